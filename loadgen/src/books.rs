//! The verdict: every line sent is at every backend, or the relay's counters say what became of
//! it. Pure: takes what senders, sinks, kernel and relay report, answers what does not add up.

use crate::generator::SentReport;
use crate::relay::metrics::Metrics;
use crate::sink::{Protocol, SinkReport};
use serde::Serialize;

/// No line of load is shorter.
const LINE_BYTES_MIN: usize = 90;
/// The most datagrams in one GSO send.
const SEGMENTS_MAX: u64 = 64;

/// Everything known about one listener at the end of a run.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerReport {
    /// Its name.
    pub name: String,
    /// What was sent to it.
    pub sent: SentReport,
    /// UDP: drops at its sockets, by the kernel's own count. A train of datagrams received in one
    /// piece (GSO to GRO) is one drop.
    pub kernel_drops: u64,
    /// What the relay counted in front; `None` if it keeps no counters.
    pub counted: Option<FrontCounts>,
    /// Its backends.
    pub backends: Vec<BackendReport>,
}

/// The relay's counters of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrontCounts {
    /// UDP: datagrams received.
    pub datagrams: u64,
    /// UDP: kernel drops as the relay knows them.
    pub kernel_drops: u64,
    /// UDP: lines refused, by reason.
    pub refused: Vec<(String, u64)>,
}

/// One backend at the end of a run.
#[derive(Clone, Debug, Serialize)]
pub struct BackendReport {
    /// Its name.
    pub name: String,
    /// The largest datagram that is sent to it.
    pub mtu: usize,
    /// What its sink received.
    pub sink: SinkReport,
    /// What the relay counted; `None` if it keeps no counters.
    pub counted: Option<BackendCounts>,
}

/// The relay's counters of a backend, in lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackendCounts {
    /// Delivered.
    pub delivered: u64,
    /// Dropped, by reason.
    pub dropped: Vec<(String, u64)>,
}

impl FrontCounts {
    /// Picks a UDP listener's counters from a scrape; all 0 for HTTP.
    #[must_use]
    pub fn of(metrics: &Metrics, listener: &str) -> Self {
        let labels = [("listener", listener)];
        let sum = |name| metrics.sum(name, &labels).unwrap_or(0);
        let refused = "ringrelay_udp_lines_refused_total";
        Self {
            datagrams: sum("ringrelay_udp_datagrams_received_total"),
            kernel_drops: sum("ringrelay_udp_kernel_drops_total"),
            refused: metrics.by_label(refused, &labels, "reason"),
        }
    }
}

impl BackendCounts {
    /// Picks a backend's counters from a scrape.
    #[must_use]
    pub fn of(metrics: &Metrics, listener: &str, backend: &str) -> Self {
        let labels = [("relay", listener), ("backend", backend)];
        let delivered = metrics.sum("ringrelay_backend_lines_delivered_total", &labels);
        let dropped = "ringrelay_backend_lines_dropped_total";
        Self {
            delivered: delivered.unwrap_or(0),
            dropped: metrics.by_label(dropped, &labels, "reason"),
        }
    }
}

/// What does not add up, and what is worth knowing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Each of these means: not proven.
    pub failures: Vec<String>,
    /// Losses that are accounted for, and limits of the measurement.
    pub notes: Vec<String>,
}

/// Lines that did not arrive at a backend and of which the relay's or the sink's counters know.
#[must_use]
pub fn lines_counted_lost(listener: &ListenerReport, backend: &BackendReport) -> u64 {
    let sent = &listener.sent;
    let Some(counted) = &backend.counted else { return 0 };
    let in_front = listener.counted.as_ref().map_or(0, |front| {
        let refused: u64 = front.refused.iter().map(|(_, lines)| lines).sum();
        let datagrams = match sent.protocol {
            Protocol::Udp => sent.writes.saturating_sub(front.datagrams),
            Protocol::Http => 0,
        };
        datagrams * sent.lines_per_write as u64 + refused
    });
    let dropped: u64 = counted.dropped.iter().map(|(_, lines)| lines).sum();
    let at_sink = match backend.sink.kernel_drops {
        0 => 0,
        _ => counted.delivered.saturating_sub(backend.sink.received.lines),
    };
    in_front + dropped + at_sink + sent.lines_told_lost.saturating_sub(dropped)
}

/// Checks the books of one listener and all its backends.
#[must_use]
pub fn check(listener: &ListenerReport) -> Findings {
    let mut findings = Findings::default();
    let name = &listener.name;
    if listener.sent.lines == 0 {
        findings.fail(format!("{name}: nothing was sent, so nothing is proven"));
    }
    if listener.sent.gave_up() {
        let note = format!("{name}: the senders could not keep up and left lines out");
        findings.notes.push(note);
    }
    let lost_in_front = match listener.sent.protocol {
        Protocol::Udp => findings.check_udp_front(listener),
        Protocol::Http => 0..=listener.sent.lines_told_lost,
    };
    for backend in &listener.backends {
        findings.check_arrivals(name, backend);
        match &backend.counted {
            Some(counted) => {
                let lost = (*lost_in_front.start(), *lost_in_front.end());
                findings.check_counted(listener, backend, counted, lost);
            }
            None => findings.check_uncounted(listener, backend),
        }
    }
    findings.check_replicas(listener);
    findings
}

impl Findings {
    fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// How many lines were lost before the relay had them, by its counters; a range where those
    /// cannot know.
    fn check_udp_front(&mut self, listener: &ListenerReport) -> std::ops::RangeInclusive<u64> {
        let (name, sent) = (&listener.name, &listener.sent);
        let Some(counted) = &listener.counted else { return 0..=0 };
        let drops = listener.kernel_drops;
        if counted.kernel_drops != drops {
            let said = counted.kernel_drops;
            self.fail(format!("{name}: the kernel dropped {drops} times, the relay says {said}"));
        }
        if counted.datagrams > sent.writes {
            let (got, sent) = (counted.datagrams, sent.writes);
            self.fail(format!("{name}: the relay counts {got} datagrams of {sent} sent"));
            return 0..=0;
        }
        let lost = sent.writes - counted.datagrams;
        if lost < drops || lost > drops * sent.writes_per_send as u64 {
            self.fail(format!(
                "{name}: {lost} datagrams did not reach the relay, but the kernel dropped {drops} \
                 (each of 1 to {} datagrams)",
                sent.writes_per_send
            ));
        }
        if lost > 0 {
            self.notes.push(format!("{name}: {lost} datagrams were lost before the relay"));
        }
        let refused: u64 = counted.refused.iter().map(|(_, lines)| lines).sum();
        if refused > 0 {
            let reasons = &counted.refused;
            self.notes.push(format!("{name}: the relay refused {refused} lines {reasons:?}"));
        }
        let lines = lost * sent.lines_per_write as u64 + refused;
        lines..=lines
    }

    /// What arrived must be as it was sent, once, and in order.
    fn check_arrivals(&mut self, listener: &str, backend: &BackendReport) {
        let (name, received) = (&backend.name, &backend.sink.received);
        let total = &received.total;
        for (lines, what) in [
            (received.altered, "altered"),
            (total.duplicate, "duplicate"),
            (total.reordered, "reordered"),
            (total.unplaced, "duplicate or reordered"),
        ] {
            if lines > 0 {
                self.fail(format!("{listener} -> {name}: {lines} lines {what}"));
            }
        }
        if let Some(sample) = &received.altered_sample {
            self.notes.push(format!("{listener} -> {name}: the first altered line: {sample}"));
        }
    }

    fn check_counted(
        &mut self,
        listener: &ListenerReport,
        backend: &BackendReport,
        counted: &BackendCounts,
        (lost_min, lost_max): (u64, u64),
    ) {
        let (front, name, sent) = (&listener.name, &backend.name, listener.sent.lines);
        let dropped: u64 = counted.dropped.iter().map(|(_, lines)| lines).sum();
        let known = counted.delivered + dropped;
        if known + lost_max < sent {
            self.fail(format!(
                "{front} -> {name}: {} lines lost in silence: {sent} sent, the relay says {} \
                 delivered, {dropped} dropped, {lost_max} lost or refused in front",
                sent - known - lost_max,
                counted.delivered
            ));
        } else if known + lost_min > sent {
            self.fail(format!(
                "{front} -> {name}: the relay accounts for {} lines, but {sent} were sent",
                known + lost_min
            ));
        }
        if dropped > 0 {
            let reasons = &counted.dropped;
            self.notes.push(format!("{front} -> {name}: the relay dropped lines: {reasons:?}"));
        }
        self.check_delivered(front, backend, counted.delivered);
    }

    /// What the relay says it delivered must be what the sink has, less what the sink's own
    /// socket dropped.
    fn check_delivered(&mut self, front: &str, backend: &BackendReport, delivered: u64) {
        let (name, sink) = (&backend.name, &backend.sink);
        let received = sink.received.lines;
        let drops = sink.kernel_drops;
        let per_drop = SEGMENTS_MAX * (backend.mtu / LINE_BYTES_MIN + 1) as u64;
        if received > delivered {
            self.fail(format!(
                "{front} -> {name}: {received} lines arrived, the relay says {delivered} delivered"
            ));
        } else if delivered - received < drops || delivered - received > drops * per_drop {
            self.fail(format!(
                "{front} -> {name}: the relay says {delivered} lines delivered, {received} \
                 arrived, and the sink's socket dropped {drops} times"
            ));
        } else if drops > 0 {
            let lost = delivered - received;
            self.notes.push(format!(
                "{front} -> {name}: the sink itself lost {lost} lines (its socket was full)"
            ));
        }
    }

    /// A relay without counters must deliver everything, or it has lost lines in silence.
    fn check_uncounted(&mut self, listener: &ListenerReport, backend: &BackendReport) {
        let (front, name, sent) = (&listener.name, &backend.name, &listener.sent);
        let received = backend.sink.received.lines;
        let lost = sent.lines.saturating_sub(received);
        if lost > sent.lines_told_lost {
            self.fail(format!(
                "{front} -> {name}: {lost} of {} lines lost; the relay keeps no counters (kernel \
                 drops: {} before it, {} at the sink)",
                sent.lines, listener.kernel_drops, backend.sink.kernel_drops
            ));
        }
    }

    /// Backends that have every line must have the same bytes, timestamps included.
    fn check_replicas(&mut self, listener: &ListenerReport) {
        let sent = listener.sent.lines;
        let mut whole = listener.backends.iter().filter(|backend| {
            let received = &backend.sink.received;
            received.lines == sent && received.defects() == 0
        });
        let Some(first) = whole.next() else { return };
        for other in whole {
            if other.sink.received.digest != first.sink.received.digest {
                let (name, one, two) = (&listener.name, &first.name, &other.name);
                self.fail(format!("{name}: {one} and {two} have different timestamps"));
            }
        }
    }
}

#[cfg(test)]
#[path = "books/tests.rs"]
mod tests;
