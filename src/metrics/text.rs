//! Puts a [`Registry`] into Prometheus' text format. Called by `/metrics`.
//!
//! A listener's counters are summed over its threads: who needs to see one thread has `top -H`.
//! Every metric has a row in `docs/metrics.md`; a test compares the two.

use super::{
    Backend, Counter, Drop, Endpoint, Histogram, HttpWorker, Registry, SharedCounter, State,
    UdpWorker,
};
use crate::line::Reason;
use std::fmt::Write;
use std::sync::Arc;

/// The `Content-Type` of what [`render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The `reason` of lines that went over `rate-limit-lines`.
const RATE_LIMITED: &str = "rate_limited";

/// Status classes as their `code` label.
const CODES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// All counters of `registry`, as they are now.
#[must_use]
pub fn render(registry: &Registry) -> String {
    let mut text = Text(String::with_capacity(16 * 1024));
    text.family("build_info", "gauge", "1, with the version that runs.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("start_time_seconds", "gauge", "When the relay started, since the epoch.");
    text.sample("start_time_seconds", &[], registry.started_s);
    udp(&mut text, registry);
    http(&mut text, registry);
    reloads(&mut text, registry);
    backends(&mut text, &registry.backends.list());
    text.0
}

type Get<T> = fn(&T) -> &Counter;

#[rustfmt::skip]
const UDP: [(&str, &str, Get<UdpWorker>); 8] = [
    ("udp_datagrams_received_total", "Datagrams taken.", |w| &w.datagrams),
    ("udp_bytes_received_total", "Their payload.", |w| &w.bytes),
    ("udp_lines_received_total", "Lines accepted and offered to every backend.", |w| &w.lines),
    ("udp_kernel_drops_total", "Datagrams dropped by a full socket buffer.", |w| &w.kernel_drops),
    ("udp_datagrams_truncated_total", "Receives dropped as too long.", |w| &w.truncated),
    ("udp_buffers_exhausted_total", "Receives that found no buffer.", |w| &w.buffers_exhausted),
    ("udp_receive_errors_total", "Receives that failed.", |w| &w.errors),
    ("udp_batches_total", "Batches handed to the backends.", |w| &w.batches),
];

fn udp(text: &mut Text, registry: &Registry) {
    for (name, help, get) in UDP {
        text.family(name, "counter", help);
        for listener in &registry.udp {
            let sum: u64 = listener.workers.iter().map(|worker| get(worker).get()).sum();
            text.sample(name, &[("listener", &listener.name)], sum);
        }
    }
    let name = "udp_lines_refused_total";
    text.family(name, "counter", "Lines dropped: no line protocol, or over rate-limit-lines.");
    for listener in &registry.udp {
        for reason in Reason::ALL {
            let of = |worker: &UdpWorker| worker.refused[reason as usize].get();
            let sum: u64 = listener.workers.iter().map(|worker| of(worker)).sum();
            text.sample(name, &[("listener", &listener.name), ("reason", reason.label())], sum);
        }
        let sum: u64 = listener.workers.iter().map(|worker| worker.rate_limited.get()).sum();
        text.sample(name, &[("listener", &listener.name), ("reason", RATE_LIMITED)], sum);
    }
}

#[rustfmt::skip]
const HTTP: [(&str, &str, Get<HttpWorker>); 8] = [
    ("http_connections_total", "Connections accepted.", |w| &w.connections),
    ("http_connections_expired_total", "Ended by a timeout or to make room.", |w| &w.expired),
    ("http_handshakes_failed_total", "Failed TLS handshakes.", |w| &w.handshakes_failed),
    ("http_bytes_received_total", "Write bodies, inflated.", |w| &w.bytes),
    ("http_lines_received_total", "Lines accepted and offered to every backend.", |w| &w.lines),
    ("http_lines_refused_beside_total", "Good lines beside a refused one.", |w| &w.refused_beside),
    ("http_opaque_received_total", "Opaque bodies offered to the backends.", |w| &w.opaque),
    ("http_unreadable_total", "Requests refused before their lines were read.", |w| &w.unreadable),
];

fn http(text: &mut Text, registry: &Registry) {
    for (name, help, get) in HTTP {
        text.family(name, "counter", help);
        for listener in &registry.http {
            let sum: u64 = listener.workers.iter().map(|worker| get(worker).get()).sum();
            text.sample(name, &[("listener", &listener.name)], sum);
        }
    }
    let name = "tls_certificate_expiry_timestamp_seconds";
    text.family(name, "gauge", "When the listener's certificate expires, since the epoch.");
    for listener in &registry.http {
        if let Some(expires_s) = listener.acceptor().and_then(|tls| tls.expires_s()) {
            text.sample(name, &[("listener", &listener.name)], expires_s);
        }
    }
    let name = "http_lines_refused_total";
    text.family(name, "counter", "Lines refused: no line protocol, or over rate-limit-lines.");
    for listener in &registry.http {
        for reason in Reason::ALL {
            let of = |worker: &HttpWorker| worker.refused[reason as usize].get();
            let sum: u64 = listener.workers.iter().map(|worker| of(worker)).sum();
            text.sample(name, &[("listener", &listener.name), ("reason", reason.label())], sum);
        }
        let sum: u64 = listener.workers.iter().map(|worker| worker.rate_limited.get()).sum();
        text.sample(name, &[("listener", &listener.name), ("reason", RATE_LIMITED)], sum);
    }
    let name = "http_requests_total";
    text.family(name, "counter", "Requests answered.");
    for listener in &registry.http {
        for endpoint in Endpoint::ALL {
            for (class, code) in CODES[..super::STATUS_CLASSES].iter().enumerate() {
                let of = |worker: &HttpWorker| worker.answers[endpoint as usize][class].get();
                let sum: u64 = listener.workers.iter().map(|worker| of(worker)).sum();
                let labels =
                    [("listener", &*listener.name), ("endpoint", endpoint.label()), ("code", code)];
                text.sample(name, &labels, sum);
            }
        }
    }
}

fn reloads(text: &mut Text, registry: &Registry) {
    let reloads = &registry.reloads;
    let name = "config_reloads_total";
    text.family(name, "counter", "Times the configuration was read again.");
    for (result, counter) in [("success", &reloads.succeeded), ("failure", &reloads.failed)] {
        text.sample(name, &[("result", result)], counter.get());
    }
    let name = "config_last_reload_successful";
    text.family(
        name,
        "gauge",
        "Whether the configuration that was read last is the one that runs.",
    );
    text.sample(name, &[], u8::from(reloads.last_succeeded()));
    let name = "config_last_reload_success_timestamp_seconds";
    text.family(name, "gauge", "When the configuration that runs was read, since the epoch.");
    text.sample(name, &[], reloads.last_success_s().unwrap_or(registry.started_s));
}

type Read = fn(&Backend) -> u64;

#[rustfmt::skip]
const BACKEND: [(&str, &str, &str, Read); 28] = [
    ("backend_lines_taken_total", "counter", "Lines offered to the backend.", |b| b.taken.get()),
    ("backend_lines_filtered_total", "counter", "Lines that the filter kept from the backend.",
        |b| b.filtered.get()),
    ("backend_lines_delivered_total", "counter", "Lines answered 2xx, or sent by UDP.",
        |b| b.delivered.get()),
    ("backend_bytes_delivered_total", "counter", "Their bytes.", |b| b.delivered_bytes.get()),
    ("backend_queue_lines", "gauge", "Lines waiting, in flight or in the backlog.",
        |b| b.owed.lines()),
    ("backend_queue_bytes", "gauge", "Their bytes.", |b| b.owed.bytes()),
    ("backend_opaque_taken_total", "counter", "Opaque bodies offered to the backend.",
        |b| b.opaque.taken.get()),
    ("backend_opaque_delivered_total", "counter", "Opaque bodies answered 2xx.",
        |b| b.opaque.delivered.get()),
    ("backend_opaque_queued", "gauge", "Opaque bodies waiting or in flight.",
        |b| b.opaque.queued.get()),
    ("backend_datagrams_sent_total", "counter", "Datagrams sent.", |b| b.datagrams.get()),
    ("backend_udp_refused_total", "counter", "Times nobody listened at the backend's UDP port.",
        |b| b.udp_refused.get()),
    ("backend_send_errors_total", "counter", "UDP sends that failed otherwise.",
        |b| b.send_errors.get()),
    ("backend_lines_buffered_total", "counter", "Lines taken into the backlog.",
        |b| b.backlog.lines.get()),
    ("backend_backlog_lines", "gauge", "Lines in the backlog.", |b| b.owed.backlog_lines()),
    ("backend_backlog_bytes", "gauge", "Their bytes.", |b| b.owed.backlog_bytes()),
    ("backend_backlog_oldest_timestamp_seconds", "gauge",
        "When the oldest write in the backlog was taken; 0 if it is empty.",
        |b| b.backlog.oldest_s().unwrap_or(0)),
    ("backend_retries_total", "counter", "Requests that failed and are tried again.",
        |b| b.backlog.retries.get()),
    ("backend_lines_resent_total", "counter", "Lines sent again because an answer was lost.",
        |b| b.backlog.resent.get()),
    ("backend_lines_spooled_total", "counter", "Lines written to the spool on disk.",
        |b| b.spool.lines.get()),
    ("backend_lines_restored_total", "counter", "Lines found in the spool at start.",
        |b| b.spool.restored.get()),
    ("backend_opaque_restored_total", "counter", "Opaque bodies found in the spool at start.",
        |b| b.spool.opaque_restored.get()),
    ("backend_spool_bytes", "gauge", "Bytes of disk that the spool takes.", |b| b.spool.bytes()),
    ("backend_queue_limit_bytes", "gauge", "What the queue may take of memory.",
        |b| b.configured.get().queue_bytes_max),
    ("backend_backlog_limit_bytes", "gauge", "What the backlog may take of memory.",
        |b| b.configured.get().backlog_bytes_max),
    ("backend_spool_limit_bytes", "gauge", "What the spool may take of disk.",
        |b| b.configured.get().spool_bytes_max),
    ("backend_spool_damaged_total", "counter", "Damaged records of the spool that were skipped.",
        |b| b.spool.damaged.get()),
    ("backend_spool_errors_total", "counter", "Times the spool's disk failed.",
        |b| b.spool.errors.get()),
    ("backend_dead_letter_lines_total", "counter", "Lines written to the dead-letter file.",
        |b| b.backlog.dead_letters.get()),
];

fn backends(text: &mut Text, backends: &[Arc<Backend>]) {
    for (name, kind, help, get) in BACKEND {
        text.family(name, kind, help);
        for backend in backends {
            text.sample(name, &labels(backend), get(backend));
        }
    }
    let name = "backend_lines_dropped_total";
    text.family(name, "counter", "Lines that did not reach the backend.");
    dropped(text, name, backends, |backend| &backend.dropped);
    let name = "backend_opaque_dropped_total";
    text.family(name, "counter", "Opaque bodies that did not reach the backend.");
    dropped(text, name, backends, |backend| &backend.opaque.dropped);
    let name = "backend_state";
    text.family(name, "gauge", "1 for the state that the backend is in.");
    for backend in backends {
        let [relay, output] = labels(backend);
        for state in State::ALL {
            let is = u8::from(backend.backlog.state() == state);
            text.sample(name, &[relay, output, ("state", state.label())], is);
        }
    }
    let name = "backend_requests_total";
    text.family(name, "counter", "HTTP requests sent, by answer.");
    for backend in backends {
        let [relay, output] = labels(backend);
        for (counter, code) in backend.requests.iter().zip(CODES) {
            text.sample(name, &[relay, output, ("code", code)], counter.get());
        }
    }
    let name = "backend_request_duration_seconds";
    text.family(name, "histogram", "HTTP requests that were answered, from start to answer.");
    for backend in backends {
        histogram(text, name, labels(backend), &backend.latency);
    }
}

fn dropped(
    text: &mut Text,
    name: &str,
    backends: &[Arc<Backend>],
    get: fn(&Backend) -> &[SharedCounter; Drop::COUNT],
) {
    for backend in backends {
        let [relay, output] = labels(backend);
        for (why, counter) in Drop::ALL.into_iter().zip(get(backend)) {
            text.sample(name, &[relay, output, ("reason", why.label())], counter.get());
        }
    }
}

fn labels(backend: &Backend) -> [(&str, &str); 2] {
    [("relay", &backend.relay), ("backend", &backend.name)]
}

fn histogram(text: &mut Text, name: &str, labels: [(&str, &str); 2], histogram: &Histogram) {
    let [relay, output] = labels;
    let (bucket, mut total) = (format!("{name}_bucket"), 0);
    for (i, count) in histogram.counts().into_iter().enumerate() {
        total += count;
        let le = if i < Histogram::BUCKETS {
            seconds(Histogram::bound_us(i))
        } else {
            "+Inf".to_owned()
        };
        text.sample(&bucket, &[relay, output, ("le", &le)], total);
    }
    text.sample(&format!("{name}_sum"), &labels, seconds(histogram.sum_us()));
    text.sample(&format!("{name}_count"), &labels, total);
}

/// Microseconds as decimal seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Text in the making. Writing to a `String` cannot fail.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let text = &mut self.0;
        let _ = write!(text, "# HELP ringrelay_{name} {help}\n# TYPE ringrelay_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str("ringrelay_");
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            self.escaped(value);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests;
