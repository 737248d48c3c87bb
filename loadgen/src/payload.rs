//! The bytes of a run, laid out from a seed before it starts; `generator` patches the numbers of
//! each write in place and sends slices of it. Knows nothing of sockets or clocks.
//!
//! All writes (datagrams or request bodies) have one size, as the segments of a GSO send must.
//! Series that are too many to be laid out are written into a short ring before each send.

use crate::line::{self, SERIES_MAX, SentDigits};
use anyhow::{Result, ensure};

/// Site names of several lengths; one per position in a write, so that all writes have one size.
const SITES: [&str; 4] = ["eu1", "us-east-1", "us2", "ap-south"];
/// The most memory one source's payload may take.
const BYTES_MAX: usize = 256 << 20;
/// More series than this are not laid out: this many lines of the ring take turns to be them.
const LAID_OUT_MAX: usize = 100_000;
const RING_LINES: usize = 1_000;

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
    walk: Option<Walk>,
}

/// The series of each next write, where they are not laid out: write by write through all of them,
/// in an order that looks random.
#[derive(Debug)]
struct Walk {
    /// Writes of different series.
    distinct: usize,
    /// Has no divisor in common with `distinct`.
    step: usize,
    at: usize,
    digits: usize,
}

impl Walk {
    fn new(distinct: usize, digits: usize, at: usize) -> Self {
        // Near the golden section of the whole, so that neighbours in time are far apart.
        let near = distinct / 1_000 * 618 + 1;
        let step = (near..).find(|&step| divisor(step, distinct) == 1).unwrap_or(1);
        Self { distinct, step, at: at % distinct, digits }
    }

    fn next(&mut self) -> usize {
        self.at = (self.at + self.step) % self.distinct;
        self.at
    }
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
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
        let digits = line::series_digits(distinct * lines);
        let mut random = fastrand::Rng::with_seed(shape.seed ^ source as u64);
        let walk = (distinct * lines > LAID_OUT_MAX)
            .then(|| Walk::new(distinct, digits, random.usize(0..distinct)));
        let distinct = if walk.is_some() { RING_LINES.div_ceil(lines) } else { distinct };
        let writes = distinct * writes_min.div_ceil(distinct).max(1);
        let bytes_about = writes * lines * 120;
        ensure!(bytes_about <= BYTES_MAX, "a payload of {bytes_about} bytes is over {BYTES_MAX}");

        let mut order: Vec<usize> = (0..distinct).collect();
        random.shuffle(&mut order);
        let mut payload = Self { bytes: Vec::new(), write_bytes: 0, slots: Vec::new(), walk };
        for write in 0..writes {
            for position in 0..lines {
                let series = order[write % distinct] * lines + position;
                let site = SITES[position % SITES.len()];
                let (start, value) = (payload.bytes.len(), random.u16(0..1000));
                let line = &mut payload.bytes;
                let place = (series, digits, source);
                let fields = line::lay_out(line, place, site, value, shape.stamped);
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
            let series = self.walk.as_mut().map(|walk| (walk.next(), walk.digits));
            for (position, slot) in self.slots.iter().enumerate() {
                let line = &mut write[slot.start..slot.end];
                if let Some((next, digits)) = series {
                    let series = next * self.slots.len() + position;
                    line::put_series(line, slot.fields, series, digits);
                }
                line::patch(line, slot.fields, sequence, sent);
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
    fn more_series_than_are_laid_out_all_come_and_none_comes_early() {
        for lines in [1, 10] {
            let mut payload = Payload::new(&shape(lines, 200_000), 1, 64).expect("within bounds");
            let (ring, writes) = (payload.writes(), 200_000 / lines);
            let mut series = HashSet::new();
            for write in 0..writes {
                let sequence = (write * lines) as u64;
                let bytes = payload.patch(write % ring, 1, sequence, &line::sent_digits(5));
                for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                    assert!(line::read(line).is_some(), "{}", line.escape_ascii());
                    let head = line.split(|&byte| byte == b' ').next().expect("a head");
                    assert!(series.insert(head.to_vec()), "{}", line.escape_ascii());
                }
            }
            assert_eq!(series.len(), 200_000);
        }
    }

    #[test]
    fn refuses_what_is_out_of_bounds() {
        for (lines, series) in [(0, 1), (10_001, 1), (1, 0), (1, SERIES_MAX + 1)] {
            assert!(Payload::new(&shape(lines, series), 1, 1).is_err(), "{lines} {series}");
        }
    }
}
