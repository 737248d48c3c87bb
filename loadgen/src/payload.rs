//! The bytes of a run, laid out from a seed before it starts; `generator` patches the numbers of
//! each write in place and sends slices of it. Knows nothing of sockets or clocks.
//!
//! All writes (datagrams or request bodies) have one size, as the segments of a GSO send must.

use crate::line::{self, SERIES_MAX, SentDigits};
use anyhow::{Result, ensure};

/// Site names of several lengths; one per position in a write, so that all writes have one size.
const SITES: [&str; 4] = ["eu1", "us-east-1", "us2", "ap-south"];
/// The most memory one source's payload may take.
const BYTES_MAX: usize = 256 << 20;

/// What a payload is built from.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Lines in one datagram or request body.
    pub lines_per_write: usize,
    /// Different series; rounded up to a multiple of `lines_per_write`.
    pub series: usize,
    /// Whether lines carry the sender's timestamp.
    pub stamped: bool,
    /// Decides the field values and the order of the series.
    pub seed: u64,
}

/// A ring of writes of one source.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    write_bytes: usize,
    slots: Vec<Slot>,
}

/// Where one line of every write is.
#[derive(Debug)]
struct Slot {
    start: usize,
    end: usize,
    fields: usize,
}

impl Payload {
    /// Lays out the writes of `source`, at least `writes_min` of them.
    ///
    /// # Errors
    /// If the shape is out of bounds or would take more than 256 MiB.
    pub fn new(shape: &Shape, source: usize, writes_min: usize) -> Result<Self> {
        let lines = shape.lines_per_write;
        ensure!((1..=10_000).contains(&lines), "a write has 1 to 10000 lines, not {lines}");
        ensure!((1..=SERIES_MAX).contains(&shape.series), "series must be 1 to {SERIES_MAX}");
        let distinct = shape.series.div_ceil(lines);
        ensure!(distinct * lines <= SERIES_MAX, "series rounded up must be at most {SERIES_MAX}");
        let writes = distinct * writes_min.div_ceil(distinct).max(1);
        let bytes_about = writes * lines * 120;
        ensure!(bytes_about <= BYTES_MAX, "a payload of {bytes_about} bytes is over {BYTES_MAX}");

        let mut random = fastrand::Rng::with_seed(shape.seed ^ source as u64);
        let mut order: Vec<usize> = (0..distinct).collect();
        random.shuffle(&mut order);
        let mut payload = Self { bytes: Vec::new(), write_bytes: 0, slots: Vec::new() };
        for write in 0..writes {
            for position in 0..lines {
                let series = order[write % distinct] * lines + position;
                let site = SITES[position % SITES.len()];
                let (start, value) = (payload.bytes.len(), random.u16(0..1000));
                let line = &mut payload.bytes;
                let fields = line::lay_out(line, (series, source), site, value, shape.stamped);
                if write == 0 {
                    payload.slots.push(Slot { start, end: payload.bytes.len(), fields });
                }
                payload.bytes.push(b'\n');
            }
            if write == 0 {
                payload.write_bytes = payload.bytes.len();
            }
        }
        Ok(payload)
    }

    /// How many writes the ring holds.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.bytes.len() / self.write_bytes
    }

    /// Bytes of one write.
    #[must_use]
    pub fn write_bytes(&self) -> usize {
        self.write_bytes
    }

    /// Lines of one write.
    #[must_use]
    pub fn lines_per_write(&self) -> usize {
        self.slots.len()
    }

    /// Patches `count` writes from `first` on with consecutive numbers from `sequence` and answers
    /// their bytes, one write behind the other.
    ///
    /// # Panics
    /// If they reach beyond the ring.
    pub fn patch(&mut self, first: usize, count: usize, sequence: u64, sent: &SentDigits) -> &[u8] {
        let run = first * self.write_bytes..(first + count) * self.write_bytes;
        let mut sequence = sequence;
        for write in self.bytes[run.clone()].chunks_exact_mut(self.write_bytes) {
            for slot in &self.slots {
                line::patch(&mut write[slot.start..slot.end], slot.fields, sequence, sent);
                sequence += 1;
            }
        }
        &self.bytes[run]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn shape(lines_per_write: usize, series: usize) -> Shape {
        Shape { lines_per_write, series, stamped: true, seed: 7 }
    }

    #[test]
    fn numbers_run_on_through_writes_of_one_size() {
        let mut payload = Payload::new(&shape(3, 6), 1, 4).expect("within bounds");
        assert_eq!(payload.writes(), 4);
        let size = payload.write_bytes();
        let bytes = payload.patch(1, 2, 40, &line::sent_digits(5));
        assert_eq!(bytes.len(), 2 * size);
        let numbers: Vec<u64> = bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| line::read(line).expect("freshly patched").sequence)
            .collect();
        assert_eq!(numbers, [40, 41, 42, 43, 44, 45]);
    }

    #[test]
    fn has_as_many_series_as_asked_and_one_payload_per_seed() {
        let payload = Payload::new(&shape(10, 1_000), 1, 1).expect("within bounds");
        let series: HashSet<&[u8]> = payload
            .bytes
            .split(|&byte| byte == b'\n')
            .filter_map(|line| line.split(|&byte| byte == b' ').next())
            .filter(|head| !head.is_empty())
            .collect();
        assert_eq!(series.len(), 1_000);
        let again = Payload::new(&shape(10, 1_000), 1, 1).expect("within bounds");
        assert_eq!(payload.bytes, again.bytes);
        let other = Shape { seed: 8, ..shape(10, 1_000) };
        assert_ne!(payload.bytes, Payload::new(&other, 1, 1).expect("within bounds").bytes);
    }

    #[test]
    fn refuses_what_is_out_of_bounds() {
        for (lines, series) in [(0, 1), (10_001, 1), (1, 0), (1, SERIES_MAX + 1)] {
            assert!(Payload::new(&shape(lines, series), 1, 1).is_err(), "{lines} {series}");
        }
    }
}
