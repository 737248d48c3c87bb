//! Bodies compressed for a backend: `content-encoding = "gzip"`. Called by the transport. Pure.

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::VecDeque;
use std::io::Write;

/// Line protocol shrinks to about a fifth of its size.
const SHRINKS_BY: usize = 5;

/// The parts as one, compressed. The lowest level: a line costs the relay as little as may be,
/// and most of what there is to gain is gained.
pub(super) fn gzip(parts: VecDeque<Bytes>) -> VecDeque<Bytes> {
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    let sink = BytesMut::with_capacity(bytes / SHRINKS_BY + 64).writer();
    let mut encoder = GzEncoder::new(sink, Compression::fast());
    for part in parts {
        encoder.write_all(&part).expect("memory takes every byte");
    }
    let sink = encoder.finish().expect("memory takes every byte");
    VecDeque::from([sink.into_inner().freeze()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn the_parts_come_out_as_one_and_smaller() {
        let part = |n: u32| Bytes::from(format!("cpu,host=a usage={n} {n}000000000\n").repeat(50));
        let parts: VecDeque<_> = (0..10).map(part).collect();
        let plain = parts.iter().flatten().copied().collect::<Vec<_>>();
        let packed = gzip(parts);
        assert!(packed.len() == 1 && packed[0].len() < plain.len() / 4);
        let mut unpacked = Vec::new();
        GzDecoder::new(&*packed[0]).read_to_end(&mut unpacked).expect("it is gzip");
        assert_eq!(unpacked, plain);
    }
}
