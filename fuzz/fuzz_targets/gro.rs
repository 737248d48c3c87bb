//! Any payload and stride: the cut keeps every byte, and no line crosses two datagrams.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringrelay::line::{Item, Lines};
use ringrelay::ring::cmsg::Control;
use ringrelay::segment::datagrams;
use ringrelay::timestamp::Precision;

fuzz_target!(|input: (u16, Vec<u8>, Vec<u8>)| {
    let (stride, payload, control) = input;
    let stride = Control::decode(&control).gro_stride.unwrap_or(usize::from(stride));
    let mut cut = Vec::new();
    for datagram in datagrams(&payload, Some(stride)) {
        assert!(datagram.len() <= stride.max(1));
        for item in Lines::new(datagram, Precision::Nanosecond) {
            let bytes = match item {
                Item::Line(line) => line.bytes,
                Item::Refused(refused) => refused.bytes,
            };
            assert!(bytes.len() <= datagram.len());
        }
        cut.extend_from_slice(datagram);
    }
    assert_eq!(cut, payload);
});
