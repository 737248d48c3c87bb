//! What was sent: counted by each source's thread, added up when all have ended.

use crate::ledger::Percentiles;
use crate::pace::Pacer;
use crate::sink::Protocol;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one source has sent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceReport {
    /// Its id.
    pub source: usize,
    /// Lines sent; their sequence numbers are 0 to `lines - 1`.
    pub lines: u64,
    /// Datagrams or requests.
    pub writes: u64,
    /// HTTP: lines whose request was not answered 2xx: the client knows that they may be lost.
    pub lines_told_lost: u64,
    /// HTTP: requests by the status of their answer; 0 is no answer.
    pub answers: BTreeMap<u16, u64>,
    /// UDP: sends the kernel refused and that were repeated (a full buffer, a closed port).
    pub retries: u64,
    /// Whether the source fell so far behind that it left out the rest of its schedule.
    pub gave_up: bool,
}

/// A source's report in the making.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) report: SourceReport,
    pub(super) request_us: Histogram<u64>,
    lateness_us: Histogram<u64>,
    elapsed: Duration,
}

impl Tally {
    pub(crate) fn new(source: usize) -> Self {
        let histogram: Histogram<u64> = Histogram::new_with_bounds(1, 3_600_000_000, 3)
            .expect("the bounds are constants in range");
        Self {
            report: SourceReport { source, ..SourceReport::default() },
            request_us: histogram.clone(),
            lateness_us: histogram,
            elapsed: Duration::ZERO,
        }
    }

    pub(super) fn lines(&self) -> u64 {
        self.report.lines
    }

    /// Closes the tally after the last send.
    pub(super) fn close(mut self, pacer: &Pacer) -> Self {
        self.report.gave_up = pacer.gave_up();
        self.lateness_us = pacer.lateness_us().clone();
        self.elapsed = pacer.elapsed();
        self
    }
}

/// What all sources of a load have sent.
#[derive(Clone, Debug, Serialize)]
pub struct SentReport {
    /// How lines travelled.
    pub protocol: Protocol,
    /// Lines of all sources.
    pub lines: u64,
    /// Datagrams or requests of all sources.
    pub writes: u64,
    /// Lines in each write.
    pub lines_per_write: usize,
    /// Most writes in one GSO send; 1 without GSO.
    pub writes_per_send: usize,
    /// Bytes of each write.
    pub write_bytes: usize,
    /// See [`SourceReport::lines_told_lost`].
    pub lines_told_lost: u64,
    /// Requests by the status of their answer; 0 is no answer.
    pub answers: BTreeMap<u16, u64>,
    /// From the start of the schedule to the last send, in seconds.
    pub seconds: f64,
    /// How late bursts were sent.
    pub lateness: Percentiles,
    /// HTTP: from when a request was due until its answer.
    pub request: Percentiles,
    /// Each source.
    pub sources: Vec<SourceReport>,
}

impl SentReport {
    pub(crate) fn new(
        protocol: Protocol,
        lines_per_write: usize,
        writes_per_send: usize,
        write_bytes: usize,
    ) -> Self {
        Self {
            protocol,
            lines: 0,
            writes: 0,
            lines_per_write,
            writes_per_send,
            write_bytes,
            lines_told_lost: 0,
            answers: BTreeMap::new(),
            seconds: 0.0,
            lateness: Percentiles::default(),
            request: Percentiles::default(),
            sources: Vec::new(),
        }
    }

    pub(super) fn with(mut self, tallies: Vec<Tally>) -> Self {
        let mut total = Tally::new(0);
        for tally in tallies {
            self.lines += tally.report.lines;
            self.writes += tally.report.writes;
            self.lines_told_lost += tally.report.lines_told_lost;
            for (&status, requests) in &tally.report.answers {
                *self.answers.entry(status).or_default() += requests;
            }
            total.elapsed = total.elapsed.max(tally.elapsed);
            let same = "all histograms have the same bounds";
            total.lateness_us.add(&tally.lateness_us).expect(same);
            total.request_us.add(&tally.request_us).expect(same);
            self.sources.push(tally.report);
        }
        self.seconds = total.elapsed.as_secs_f64();
        self.lateness = Percentiles::of(&total.lateness_us);
        self.request = Percentiles::of(&total.request_us);
        self
    }

    /// (source, lines sent) of each source.
    #[must_use]
    pub fn lines_by_source(&self) -> Vec<(usize, u64)> {
        self.sources.iter().map(|source| (source.source, source.lines)).collect()
    }

    /// Whether a source left out part of its schedule.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        self.sources.iter().any(|source| source.gave_up)
    }
}
