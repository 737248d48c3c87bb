//! Packs datagrams into the segments of one GSO send: all of one size, padded with newlines, which
//! line protocol reads as empty lines. Pure.

/// linux/udp.h: `UDP_MAX_SEGMENTS` before Linux 6.9.
const SEGMENTS_MAX: usize = 64;
/// The largest payload of one send, by UDP over IPv4.
const SEND_BYTES_MAX: usize = 65_507;

/// One send in the making.
#[derive(Debug)]
pub(super) struct Packing {
    bytes: Vec<u8>,
    /// Where the segment that is being filled begins.
    segment: usize,
    mtu: usize,
    bytes_max: usize,
}

impl Packing {
    /// An empty send of segments of `mtu` bytes, 1 to 65507.
    pub(super) fn new(mtu: usize) -> Self {
        let segments = (SEND_BYTES_MAX / mtu).clamp(1, SEGMENTS_MAX);
        let bytes_max = segments * mtu;
        Self { bytes: Vec::with_capacity(bytes_max), segment: 0, mtu, bytes_max }
    }

    /// Takes one datagram, and a newline if it lacks one; false if there is no room for it.
    pub(super) fn push(&mut self, datagram: &[u8]) -> bool {
        let Some(last) = datagram.last() else { return true };
        let newline = usize::from(*last != b'\n');
        let need = datagram.len() + newline;
        if self.bytes.len() + need > self.segment + self.mtu {
            let next = self.segment + self.mtu;
            if need > self.mtu || next + self.mtu > self.bytes_max {
                return false;
            }
            self.bytes.resize(next, b'\n');
            self.segment = next;
        }
        self.bytes.extend_from_slice(datagram);
        if newline > 0 {
            self.bytes.push(b'\n');
        }
        true
    }

    /// What is packed; the packing is empty then, and wants its memory back by `put_back`.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.segment = 0;
        std::mem::take(&mut self.bytes)
    }

    /// The memory of what was taken, for the next send.
    pub(super) fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(mtu: usize, datagrams: &[&[u8]]) -> (Vec<u8>, Vec<bool>) {
        let mut packing = Packing::new(mtu);
        let fitted = datagrams.iter().map(|datagram| packing.push(datagram)).collect();
        (packing.take(), fitted)
    }

    #[test]
    fn fills_segments_and_pads_all_but_the_last() {
        let (bytes, _) = pack(8, &[b"aaa\n", b"bbb\n", b"ccccc\n", b"ddd\n", b"e\n"]);
        assert_eq!(bytes, b"aaa\nbbb\nccccc\n\n\nddd\ne\n");
    }

    #[test]
    fn a_datagram_without_a_newline_is_not_joined_to_its_neighbour() {
        let (bytes, fitted) = pack(8, &[b"aaa", b"", b"bbb", b"1234567", b"12345678"]);
        assert_eq!(bytes, b"aaa\nbbb\n1234567\n");
        assert_eq!(fitted, [true, true, true, true, false]);
    }

    #[test]
    fn a_send_has_64_segments_and_65507_bytes_at_most() {
        for (mtu, segments) in [(10, 64), (1_400, 46), (65_507, 1)] {
            let mut packing = Packing::new(mtu);
            let datagram = vec![b'\n'; mtu];
            let fitted = (0..100).take_while(|_| packing.push(&datagram)).count();
            assert_eq!((fitted, packing.take().len()), (segments, segments * mtu));
        }
    }
}
