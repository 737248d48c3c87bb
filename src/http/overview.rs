//! `/status` of the `[admin]` address: the whole relay as JSON, which the status page shows.
//!
//! All of it is counted elsewhere, and most is on `/metrics` too; what is not is where backends
//! are, and what they failed with last. Totals alone: rates are the reader's to make.

use super::answer::{self, Answer};
use crate::line::Reason;
use crate::metrics::process::Usage;
use crate::metrics::{
    Backend, Counter, Drop, Endpoint, Histogram, HttpListener, HttpWorker, Registry,
    STATUS_CLASSES, SharedCounter, UdpListener, UdpWorker,
};
use crate::sys;
use hyper::header::CACHE_CONTROL;
use hyper::http::{HeaderValue, request::Parts};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

/// Status classes, and "no answer", as `/metrics` names them.
const CODES: [&str; STATUS_CLASSES + 1] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// Answers a request for `/status` on the `[admin]` address.
pub(super) fn answer(registry: &Registry, stopping: bool, head: &Parts) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET, HEAD");
    }
    let (usage, backends) = (Usage::now(), registry.backends.list());
    let bounds: Value = (0..Histogram::BUCKETS).map(Histogram::bound_us).collect();
    let mut answer = answer::json(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started": registry.started_s,
            "now-ms": sys::now_ns() / 1_000_000,
            "stopping": stopping,
            "process": {
                "cpu-seconds": usage.cpu.as_secs_f64(),
                "resident-bytes": usage.resident_bytes,
            },
            "udp": registry.udp.iter().map(udp).collect::<Value>(),
            "http": registry.http.iter().map(http).collect::<Value>(),
            "latency-bounds-us": bounds,
            "backends": backends.iter().map(|backend| of(backend)).collect::<Value>(),
        }),
    );
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn udp(listener: &UdpListener) -> Value {
    let workers = &listener.workers;
    let sum = |get: fn(&UdpWorker) -> &Counter| -> u64 {
        workers.iter().map(|worker| get(worker).get()).sum()
    };
    let refused = |reason: Reason| -> u64 {
        workers.iter().map(|worker| worker.refused[reason as usize].get()).sum()
    };
    json!({
        "name": *listener.name,
        "datagrams": sum(|w| &w.datagrams),
        "bytes": sum(|w| &w.bytes),
        "lines": sum(|w| &w.lines),
        "refused": reasons(refused, sum(|w| &w.rate_limited)),
        "kernel-drops": sum(|w| &w.kernel_drops),
        "truncated": sum(|w| &w.truncated),
        "errors": sum(|w| &w.errors),
    })
}

fn http(listener: &HttpListener) -> Value {
    let workers = &listener.workers;
    let sum = |get: fn(&HttpWorker) -> &Counter| -> u64 {
        workers.iter().map(|worker| get(worker).get()).sum()
    };
    let refused = |reason: Reason| -> u64 {
        workers.iter().map(|worker| worker.refused[reason as usize].get()).sum()
    };
    let answered = |class: usize| -> u64 {
        let of = |worker: &HttpWorker| -> u64 {
            Endpoint::ALL.iter().map(|of| worker.answers[*of as usize][class].get()).sum()
        };
        workers.iter().map(|worker| of(worker)).sum()
    };
    let classes = CODES.iter().take(STATUS_CLASSES).enumerate();
    let requests: Map<_, _> =
        classes.map(|(class, code)| ((*code).to_owned(), answered(class).into())).collect();
    json!({
        "name": *listener.name,
        "connections": sum(|w| &w.connections),
        "requests": requests,
        "bytes": sum(|w| &w.bytes),
        "lines": sum(|w| &w.lines),
        "refused": reasons(refused, sum(|w| &w.rate_limited)),
        "refused-beside": sum(|w| &w.refused_beside),
        "unreadable": sum(|w| &w.unreadable),
        "opaque": sum(|w| &w.opaque),
        "certificate-expires": listener.acceptor().and_then(|tls| tls.expires_s()),
    })
}

/// Refused lines by reason, without reasons that never occurred.
fn reasons(refused: impl Fn(Reason) -> u64, rate_limited: u64) -> Value {
    let by_reason = Reason::ALL.into_iter().map(|reason| (reason.label(), refused(reason)));
    occurred(by_reason.chain([("rate_limited", rate_limited)]))
}

fn dropped(counters: &[SharedCounter; Drop::COUNT]) -> Value {
    occurred(Drop::ALL.into_iter().zip(counters).map(|(why, count)| (why.label(), count.get())))
}

fn occurred(counts: impl Iterator<Item = (&'static str, u64)>) -> Value {
    let counts = counts.filter(|(_, count)| *count > 0);
    Value::Object(counts.map(|(name, count)| (name.to_owned(), count.into())).collect())
}

fn of(backend: &Backend) -> Value {
    let configured = backend.configured.get();
    let backlog = &backend.backlog;
    let requests = backend.requests.iter().zip(CODES);
    let requests: Map<_, _> =
        requests.map(|(count, code)| (code.to_owned(), count.get().into())).collect();
    let last_error =
        backlog.last_error().map(|error| json!({ "why": error.why, "at": error.at_s }));
    json!({
        "relay": *backend.relay,
        "name": *backend.name,
        "location": configured.location,
        "transport": if configured.is_udp { "udp" } else { "http" },
        "state": backlog.state().label(),
        "since": backlog.since_s(),
        "last-error": last_error,
        "lines": {
            "taken": backend.taken.get(),
            "filtered": backend.filtered.get(),
            "restored": backend.spool.restored.get(),
            "delivered": backend.delivered.get(),
            "dropped": dropped(&backend.dropped),
        },
        "bytes-delivered": backend.delivered_bytes.get(),
        "opaque": {
            "taken": backend.opaque.taken.get(),
            "delivered": backend.opaque.delivered.get(),
            "dropped": dropped(&backend.opaque.dropped),
        },
        "queue": {
            "lines": backend.owed.queue_lines(),
            "bytes": backend.owed.queue_bytes(),
            "bytes-max": configured.queue_bytes_max,
        },
        "backlog": {
            "lines": backend.owed.backlog_lines(),
            "bytes": backend.owed.backlog_bytes(),
            "bytes-max": configured.backlog_bytes_max,
            "oldest": backlog.oldest_s(),
            "retries": backlog.retries.get(),
        },
        "spool": { "bytes": backend.spool.bytes(), "bytes-max": configured.spool_bytes_max },
        "dead-letters": backlog.dead_letters.get(),
        "requests": requests,
        "latency": backend.latency.counts(),
        "datagrams": backend.datagrams.get(),
        "udp-refused": backend.udp_refused.get(),
        "send-errors": backend.send_errors.get(),
    })
}
