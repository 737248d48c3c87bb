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

/// Whether the joined datagrams of `payload` may be read as one run of lines: each of them ends
/// with a newline, and no quote or backslash can make a newline part of a line. Reading a run is
/// faster than reading its datagrams one by one, and finds the same lines.
#[must_use]
pub fn is_one_run(payload: &[u8], stride: usize) -> bool {
    let mut ends = payload.chunks_exact(stride.max(1)).map(<[u8]>::last);
    ends.all(|last| last == Some(&b'\n')) && memchr::memchr2(b'"', b'\\', payload).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Item, Lines};
    use crate::timestamp::Precision;
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

    #[test]
    fn datagrams_that_a_line_could_leave_are_no_run() {
        assert!(is_one_run(b"a\nb\nc", 2));
        assert!(!is_one_run(b"a\nbbc\n", 2), "the second has no newline at its end");
        assert!(!is_one_run(b"\"\nb\n", 2));
        assert!(!is_one_run(b"\\\nb\n", 2));
    }

    fn lines(bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let own = |item| match item {
            Item::Line(line) => (line.bytes.to_vec(), true),
            Item::Refused(refused) => (refused.bytes.to_vec(), false),
        };
        Lines::new(bytes, Precision::Nanosecond).map(own).collect()
    }

    proptest! {
        #[test]
        fn a_run_has_the_lines_of_its_datagrams(
            parts in proptest::collection::vec("[-mf=1, #\"\\\\\r\n]{7}", 1..20),
            last in "[mf=1 \n]{0,7}",
            newlines: bool,
        ) {
            let end = if newlines { "\n" } else { "x" };
            let whole: String = parts.iter().map(|part| format!("{part}{end}")).collect();
            let payload = whole + &last;
            let payload = payload.as_bytes();
            if is_one_run(payload, 8) {
                let one_by_one: Vec<_> = datagrams(payload, Some(8)).flat_map(lines).collect();
                prop_assert_eq!(lines(payload), one_by_one);
            }
        }

        #[test]
        fn every_byte_is_in_exactly_one_datagram(
            payload: Vec<u8>,
            stride in proptest::option::of(0..300usize),
        ) {
            prop_assert_eq!(cut(&payload, stride).concat(), payload);
        }
    }
}
