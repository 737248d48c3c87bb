//! Reads `/metrics`: Prometheus' text format, and what of it is shown. Pure.
//!
//! A metric that a relay does not have (it is older, or newer) counts as zero.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a relay has counted at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) version: String,
    /// When it started, in seconds since the epoch.
    pub(super) started_s: u64,
    pub(super) listeners: Vec<Listener>,
    pub(super) backends: Vec<Backend>,
}

/// One `[[udp]]` or `[[http]]`. All but the names are totals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Listener {
    pub(super) transport: &'static str,
    pub(super) name: String,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
    pub(super) kernel_drops: u64,
}

/// One output.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backend {
    pub(super) relay: String,
    pub(super) name: String,
    /// `down`, `draining`, or `up`.
    pub(super) state: String,
    /// Totals: lines and opaque bodies.
    pub(super) delivered: u64,
    pub(super) dropped: u64,
    pub(super) bytes: u64,
    /// UDP sends that failed, or that nobody wanted.
    pub(super) udp_troubles: u64,
    /// What waits now, in lines and opaque bodies; `backlog` is a part of `queued`.
    pub(super) queued: u64,
    pub(super) backlog: u64,
    /// When the oldest write in the backlog was taken, in seconds since the epoch; 0 if none was.
    pub(super) oldest_s: u64,
    pub(super) spool_bytes: u64,
    /// Requests that took at most as many seconds.
    pub(super) latency: Vec<(f64, u64)>,
}

/// One line that is no comment.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    value: f64,
}

impl Snapshot {
    /// Reads the answer of a relay.
    ///
    /// # Errors
    /// It is no relay's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut snapshot = Self::default();
        let (mut listeners, mut backends) = (BTreeMap::new(), BTreeMap::new());
        let mut seen = false;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse);
        for sample in samples {
            let Some(name) = sample.name.strip_prefix("ringrelay_") else { continue };
            seen = true;
            match name {
                "build_info" => snapshot.version = sample.label("version").to_owned(),
                "start_time_seconds" => snapshot.started_s = whole(sample.value),
                name => {
                    if let Some(name) = name.strip_prefix("backend_") {
                        let key =
                            (sample.label("relay").to_owned(), sample.label("backend").to_owned());
                        // In the order in which the relay tells them: the configuration's.
                        let next = backends.len();
                        let (_, backend) =
                            backends.entry(key).or_insert_with_key(|(relay, backend)| {
                                (next, Backend::new(relay, backend))
                            });
                        backend.take(name, &sample);
                    } else {
                        let (transport, name) = match name.split_once('_') {
                            Some(("udp", name)) => ("udp", name),
                            Some(("http", name)) => ("http", name),
                            _ => continue,
                        };
                        let key = (transport, sample.label("listener").to_owned());
                        let next = listeners.len();
                        let (_, listener) =
                            listeners.entry(key).or_insert_with_key(|(transport, name)| {
                                let name = name.clone();
                                (next, Listener { transport, name, ..Listener::default() })
                            });
                        listener.take(name, whole(sample.value));
                    }
                }
            }
        }
        if !seen {
            return Err("there are no metrics of ringrelay there".to_owned());
        }
        snapshot.listeners = in_order(listeners);
        snapshot.backends = in_order(backends);
        Ok(snapshot)
    }
}

fn in_order<K, T>(found: BTreeMap<K, (usize, T)>) -> Vec<T> {
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, row)| row).collect()
}

impl Listener {
    fn take(&mut self, name: &str, value: u64) {
        let total = match name {
            "lines_received_total" => &mut self.lines,
            "bytes_received_total" => &mut self.bytes,
            "lines_refused_total" | "unreadable_total" => &mut self.refused,
            "kernel_drops_total" => &mut self.kernel_drops,
            _ => return,
        };
        // One sample for each reason.
        *total = total.saturating_add(value);
    }
}

impl Backend {
    fn new(relay: &str, name: &str) -> Self {
        let (relay, name, state) = (relay.to_owned(), name.to_owned(), "up".to_owned());
        Self { relay, name, state, ..Self::default() }
    }

    fn take(&mut self, name: &str, sample: &Sample<'_>) {
        let value = whole(sample.value);
        let total = match name {
            "lines_delivered_total" | "opaque_delivered_total" => &mut self.delivered,
            "lines_dropped_total" | "opaque_dropped_total" => &mut self.dropped,
            "bytes_delivered_total" => &mut self.bytes,
            "udp_refused_total" | "send_errors_total" => &mut self.udp_troubles,
            "queue_lines" | "opaque_queued" => &mut self.queued,
            "backlog_lines" => &mut self.backlog,
            "backlog_oldest_timestamp_seconds" => &mut self.oldest_s,
            "spool_bytes" => &mut self.spool_bytes,
            "state" => {
                if value == 1 {
                    sample.label("state").clone_into(&mut self.state);
                }
                return;
            }
            "request_duration_seconds_bucket" => {
                // `+Inf` is a number, too.
                if let Ok(most) = sample.label("le").parse() {
                    self.latency.push((most, value));
                }
                return;
            }
            _ => return,
        };
        *total = total.saturating_add(value);
    }
}

impl<'a> Sample<'a> {
    /// `NAME{LABEL="VALUE",...} NUMBER`; `None` if it is something else.
    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (label, behind) = rest.split_once("=\"")?;
                let (value, behind) = quoted(behind)?;
                labels.push((label, value));
                rest = behind.strip_prefix(',').unwrap_or(behind);
            }
            rest = &rest[1..];
        }
        // A timestamp may follow.
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }

    fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut value = Cow::Borrowed("");
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        value += &rest[..at];
        let escaped = rest[at..].strip_prefix('\\');
        let Some(escaped) = escaped else { return Some((value, &rest[at + 1..])) };
        let c = escaped.chars().next()?;
        value.to_mut().push(if c == 'n' { '\n' } else { c });
        rest = &escaped[c.len_utf8()..];
    }
}

/// A count. What is negative or no number counts nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;
    use crate::queue::{Limits, bounded};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// What the relay itself renders: a metric that is renamed must not go missing here.
    #[test]
    fn reads_what_the_relay_writes() {
        let mut registry = metrics::Registry { started_s: 17, ..Default::default() };
        let udp = metrics::UdpWorker::default();
        udp.lines.add(5);
        udp.bytes.add(50);
        udp.refused[0].add(1);
        udp.refused[3].add(2);
        udp.rate_limited.add(4);
        udp.kernel_drops.add(6);
        registry.udp.push(metrics::UdpListener {
            name: "u".into(),
            workers: vec![Arc::new(udp.into()), Arc::default()],
        });
        let http = metrics::HttpWorker::default();
        http.lines.add(7);
        http.unreadable.add(1);
        let workers = vec![Arc::new(http.into())];
        registry.http.push(metrics::HttpListener {
            name: "h \"1\"\\".into(),
            workers,
            tls: None.into(),
        });
        let mut backends = Vec::new();
        for name in ["b", "a"] {
            let (queue, _) = bounded::<crate::write::Write>(Limits { items_max: 1, bytes_max: 1 });
            let owed = Arc::clone(queue.owed());
            let backend = metrics::Backend::new("u".into(), name.into(), owed);
            backend.delivered.add(8);
            backend.delivered_bytes.add(80);
            backend.drop_lines(metrics::Drop::Refused, 3);
            backend.udp_refused.add(1);
            backend.send_errors.add(1);
            backend.latency.record(Duration::from_millis(1));
            backends.push(Arc::new(backend));
        }
        registry.backends.set(backends);
        let read = Snapshot::parse(&metrics::text::render(&registry)).expect("it is a relay's");
        assert_eq!((&*read.version, read.started_s), (env!("CARGO_PKG_VERSION"), 17));
        let udp = Listener {
            transport: "udp",
            name: "u".into(),
            lines: 5,
            bytes: 50,
            refused: 7,
            kernel_drops: 6,
        };
        let [first, second] = &read.listeners[..] else { panic!("{:?}", read.listeners) };
        assert_eq!(*first, udp);
        let found = (&*second.name, second.transport, second.lines, second.refused);
        assert_eq!(found, ("h \"1\"\\", "http", 7, 1));
        let [b, a] = &read.backends[..] else { panic!("{:?}", read.backends) };
        assert_eq!((&*b.name, &*a.name, &*b.relay, &*b.state), ("b", "a", "u", "up"));
        assert_eq!((b.delivered, b.dropped, b.bytes, b.udp_troubles), (8, 3, 80, 2));
        assert_eq!(b.latency.len(), 21);
        assert_eq!(b.latency.last(), Some(&(f64::INFINITY, 1)));
    }

    #[test]
    fn gauges_and_states_are_read() {
        let text = "\
ringrelay_backend_queue_lines{relay=\"r\",backend=\"b\"} 9 1700000000
ringrelay_backend_opaque_queued{relay=\"r\",backend=\"b\"} 1
ringrelay_backend_backlog_lines{relay=\"r\",backend=\"b\"} 8
ringrelay_backend_backlog_oldest_timestamp_seconds{relay=\"r\",backend=\"b\"} 1700000000
ringrelay_backend_spool_bytes{relay=\"r\",backend=\"b\"} 1e3
ringrelay_backend_state{relay=\"r\",backend=\"b\",state=\"up\"} 0
ringrelay_backend_state{relay=\"r\",backend=\"b\",state=\"down\"} 1
ringrelay_backend_of_tomorrow{relay=\"r\",backend=\"b\"} 1
ringrelay_of_tomorrow 1
";
        let read = Snapshot::parse(text).expect("it is a relay's");
        let backend = &read.backends[0];
        assert_eq!((backend.queued, backend.backlog, backend.spool_bytes), (10, 8, 1_000));
        assert_eq!((&*backend.state, backend.oldest_s), ("down", 1_700_000_000));
    }

    #[test]
    fn what_is_no_relay_is_refused() {
        for text in ["", "<html>", "# HELP up 1", "go_goroutines 7"] {
            assert!(Snapshot::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "(ringrelay_)?[a-z_]{0,9}(\\{.{0,30})?\\PC{0,30}") {
            let _ = Snapshot::parse(&text);
        }
    }
}
