//! What one sink has received: reads every line, checks it, keeps the counts per source and the
//! latency. `sink::udp` and `sink::http` feed it; it knows nothing of sockets.

use crate::line::{self, SOURCES_MAX};
use crate::sequence::{Counts, Sequence};
use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// How much of an altered line is kept as a sample.
const SAMPLE_BYTES: usize = 300;

/// The books of one sink.
#[derive(Debug)]
pub struct Ledger {
    sources: Vec<Option<Sequence>>,
    lines: u64,
    altered: u64,
    altered_sample: Option<String>,
    digest: u64,
    latency: Latency,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            sources: (0..SOURCES_MAX).map(|_| None).collect(),
            lines: 0,
            altered: 0,
            altered_sample: None,
            digest: 0,
            latency: Latency::default(),
        }
    }
}

impl Ledger {
    /// Takes the lines of one datagram or body that arrived at `arrived_ns` (since 1970). The last
    /// may lack its newline; empty lines are padding. Answers how many lines there were.
    pub fn take(&mut self, bytes: &[u8], arrived_ns: u64) -> u64 {
        let (mut lines, mut start) = (0, 0);
        for end in memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]) {
            if end > start {
                lines += 1;
                self.take_line(&bytes[start..end], arrived_ns);
            }
            start = end + 1;
        }
        self.lines += lines;
        lines
    }

    fn take_line(&mut self, line: &[u8], arrived_ns: u64) {
        let Some(reading) = line::read(line) else {
            self.altered += 1;
            self.altered_sample.get_or_insert_with(|| {
                line[..line.len().min(SAMPLE_BYTES)].escape_ascii().to_string()
            });
            return;
        };
        self.sources[reading.source].get_or_insert_default().take(reading.sequence);
        let said = (reading.content ^ reading.stamp).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = self.digest.wrapping_add(said ^ (said >> 32));
        self.latency.record(arrived_ns.saturating_sub(reading.sent_ns) / 1_000);
    }

    /// Closes the books. `sent` are (source, lines sent) of every source that should have come;
    /// without it, lines missing behind the last that came cannot be known.
    #[must_use]
    pub fn close(mut self, sent: Option<&[(usize, u64)]>) -> Received {
        let sent_by = |source| {
            let sent = sent?;
            Some(sent.iter().find(|&&(id, _)| id == source).map_or(0, |&(_, lines)| lines))
        };
        let mut total = Counts::default();
        let mut sources = Vec::new();
        for (source, sequence) in self.sources.into_iter().enumerate() {
            let expected = sent_by(source);
            if sequence.is_none() && expected.unwrap_or(0) == 0 {
                continue;
            }
            let counts = sequence.unwrap_or_default().counts(expected);
            total.add(&counts);
            sources.push(SourceCounts { source, counts });
        }
        Received {
            lines: self.lines,
            altered: self.altered,
            altered_sample: self.altered_sample,
            total,
            sources,
            digest: format!("{:016x}", self.digest),
            latency: Percentiles::of(self.latency.settled()),
        }
    }
}

/// What a sink received, checked.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    /// All lines, altered ones too.
    pub lines: u64,
    /// Lines with any byte not as it was sent.
    pub altered: u64,
    /// The first of them.
    pub altered_sample: Option<String>,
    /// All sources together.
    pub total: Counts,
    /// Each source.
    pub sources: Vec<SourceCounts>,
    /// The same for two sinks that received the same lines with the same timestamps, in any order.
    pub digest: String,
    /// From when a line was due to be sent until it arrived.
    pub latency: Percentiles,
}

impl Received {
    /// Lines that arrived, but not as or when they should have.
    #[must_use]
    pub fn defects(&self) -> u64 {
        self.altered + self.total.duplicate + self.total.reordered + self.total.unplaced
    }
}

/// The counts of one source.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SourceCounts {
    /// The source's id.
    pub source: usize,
    /// What came of it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50_us: u64,
    /// 99 % are below.
    pub p99_us: u64,
    /// 99.9 % are below.
    pub p999_us: u64,
    /// The highest.
    pub max_us: u64,
}

impl Percentiles {
    /// The percentiles of a histogram of microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// A histogram that takes runs of one value (the lines of a burst) in one step.
#[derive(Debug)]
struct Latency {
    histogram: Histogram<u64>,
    run: (u64, u64),
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
            .expect("the bounds are constants in range");
        Self { histogram, run: (0, 0) }
    }
}

impl Latency {
    fn record(&mut self, us: u64) {
        if us == self.run.0 {
            self.run.1 += 1;
        } else {
            self.settle();
            self.run = (us, 1);
        }
    }

    fn settle(&mut self) {
        let (us, count) = std::mem::take(&mut self.run);
        self.histogram.saturating_record_n(us, count);
    }

    fn settled(&mut self) -> &Histogram<u64> {
        self.settle();
        &self.histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Payload, Shape};

    const SENT_NS: u64 = 1_700_000_000_000_000_000;

    fn lines(count: usize) -> Vec<Vec<u8>> {
        let shape = Shape { lines_per_write: 1, series: count, stamped: true, seed: 1 };
        let mut payload = Payload::new(&shape, 3, count).expect("within bounds");
        let bytes = payload.patch(0, count, 0, &line::sent_digits(SENT_NS));
        bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    fn close(lines: &[Vec<u8>], sent: u64) -> Received {
        let mut ledger = Ledger::default();
        ledger.take(&lines.concat(), SENT_NS + 250_000);
        ledger.close(Some(&[(3, sent)]))
    }

    #[test]
    fn a_whole_run_has_no_defect() {
        let received = close(&lines(100), 100);
        assert_eq!((received.lines, received.defects(), received.total.missing), (100, 0, 0));
        assert_eq!(received.latency.p50_us, 250);
        assert_eq!(received.sources.len(), 1);
    }

    #[test]
    fn a_dropped_line_is_missing_also_the_last_and_also_all() {
        let mut all = lines(10);
        all.pop();
        assert_eq!(close(&all, 10).total.missing, 1);
        all.remove(3);
        assert_eq!(close(&all, 10).total.missing, 2);
        assert_eq!(close(&[], 10).total.missing, 10);
    }

    #[test]
    fn duplicate_swapped_and_altered_lines_are_told_apart() {
        let good = lines(10);
        let mut duplicate = good.clone();
        duplicate.push(good[4].clone());
        assert_eq!(close(&duplicate, 10).total.duplicate, 1);
        let mut swapped = good.clone();
        swapped.swap(4, 5);
        assert_eq!(close(&swapped, 10).total.reordered, 1);
        let mut altered = good.clone();
        altered[4][30] ^= 1;
        let received = close(&altered, 10);
        assert_eq!((received.altered, received.total.missing), (1, 1));
        assert!(received.altered_sample.is_some());
        let mut joined = good.clone();
        joined[4].pop();
        let received = close(&joined, 10);
        assert_eq!((received.altered, received.total.missing), (1, 2));
    }

    #[test]
    fn padding_and_a_missing_last_newline_are_no_defect() {
        let mut padded = lines(10);
        padded[4].extend_from_slice(b"\n\n\n");
        padded[9].pop();
        let received = close(&padded, 10);
        assert_eq!((received.lines, received.defects(), received.total.missing), (10, 0, 0));
    }

    #[test]
    fn the_digest_tells_timestamps_apart_but_not_orders() {
        let good = lines(10);
        let mut swapped = good.clone();
        swapped.swap(0, 9);
        assert_eq!(close(&good, 10).digest, close(&swapped, 10).digest);
        let unstamped = Shape { lines_per_write: 1, series: 1, stamped: false, seed: 1 };
        let mut payload = Payload::new(&unstamped, 3, 1).expect("within bounds");
        let line = payload.patch(0, 1, 0, &line::sent_digits(SENT_NS)).trim_ascii().to_vec();
        let stamped = |stamp: &[u8]| vec![[&line[..], b" ", stamp].concat()];
        assert_ne!(close(&stamped(b"17"), 1).digest, close(&stamped(b"18"), 1).digest);
    }
}
