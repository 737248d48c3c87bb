//! Cuts a received payload back into the datagrams that the kernel joined (GRO).
//!
//! Called by the `udp` front and the fuzz target. Pure: payload and stride come in as arguments.
//! A datagram need not end with a newline, so this cut always comes before any look at lines: no
//! line ever crosses two datagrams.

/// The datagrams of `payload`: runs of `stride` bytes, the last one may be shorter. Without a
/// stride the payload is one datagram, possibly empty.
pub fn datagrams(payload: &[u8], stride: Option<usize>) -> impl Iterator<Item = &[u8]> {
    let whole = payload.len().max(1);
    let stride = stride.unwrap_or(whole).clamp(1, whole);
    let empty = payload.is_empty().then_some(payload);
    empty.into_iter().chain(payload.chunks(stride))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(payload: &[u8], stride: Option<usize>) -> Vec<&[u8]> {
        datagrams(payload, stride).collect()
    }

    #[test]
    fn cuts_at_the_stride_and_keeps_a_shorter_last() {
        assert_eq!(cut(b"aabbc", Some(2)), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(cut(b"aabb", Some(2)), [b"aa", b"bb"]);
        assert_eq!(cut(b"aabb", None), [b"aabb"]);
        assert_eq!(cut(b"aabb", Some(9)), [b"aabb"]);
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        assert_eq!(cut(b"", None), [b""]);
        assert_eq!(cut(b"", Some(0)), [b""]);
    }

    proptest! {
        #[test]
        fn every_byte_is_in_exactly_one_datagram(
            payload: Vec<u8>,
            stride in proptest::option::of(0..300usize),
        ) {
            prop_assert_eq!(cut(&payload, stride).concat(), payload);
        }
    }
}
