//! Any bytes as a datagram: nothing panics, every slice is where it says, and accepted lines
//! joined by newlines are the same lines again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringrelay::line::{Item, Line, Lines};
use ringrelay::timestamp::Precision;

fn accepted(input: &[u8]) -> Vec<Line<'_>> {
    let line = |item| match item {
        Item::Line(line) => Some(line),
        Item::Refused(_) => None,
    };
    Lines::new(input, Precision::Nanosecond).filter_map(line).collect()
}

fuzz_target!(|input: &[u8]| {
    let lines = accepted(input);
    let mut joined = Vec::new();
    let mut starts = Vec::new();
    for line in &lines {
        assert_eq!(&input[line.start..line.start + line.bytes.len()], line.bytes);
        starts.push(joined.len());
        joined.extend_from_slice(line.bytes);
        joined.push(b'\n');
    }
    let again = accepted(&joined);
    assert_eq!(again.len(), lines.len());
    for ((one, other), start) in again.iter().zip(&lines).zip(starts) {
        assert_eq!(*one, Line { start, ..*other });
    }
});
