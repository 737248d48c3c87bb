//! `/status`: each backend's address, and the books of its writes.

use super::Front;
use super::answer::{self, Answer};
use crate::config::{HttpTarget, Output, Target};
use crate::metrics::{Backend, Drop, State};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

pub(super) const PATH: &str = "/status";

/// Answers a request for `/status`.
pub(super) fn answer(front: &Front, head: &Parts) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET, HEAD");
    }
    let outputs = front.config.outputs.iter().zip(front.fanout.outputs());
    let outputs: Map<_, _> = outputs
        .map(|(config, output)| (config.name.to_string(), of(config, &output.metrics)))
        .collect();
    answer::json(StatusCode::OK, &json!({ "status": outputs }))
}

fn of(output: &Output, metrics: &Backend) -> Value {
    let dropped: Map<_, _> = Drop::ALL
        .into_iter()
        .map(|why| (why.label().to_owned(), metrics.dropped[why as usize].get().into()))
        .collect();
    let mut status = json!({
        "location": output.target.location(),
        "queue": {
            "lines": metrics.owed.queue_lines(),
            "bytes": metrics.owed.queue_bytes(),
            "bytes-max": output.queue_bytes_max,
        },
        "lines": {
            "taken": metrics.taken.get(),
            "delivered": metrics.delivered.get(),
            "dropped": dropped,
        },
    });
    // As the Go relay shows a backend that has a buffer.
    if let Target::Http(HttpTarget { backlog: Some(backlog), .. }) = &output.target {
        let state = metrics.backlog.state();
        status["buffering"] = u8::from(state != State::Up).into();
        status["maxSize"] = backlog.bytes_max.into();
        status["size"] = metrics.owed.backlog_bytes().into();
        status["state"] = state.label().into();
        status["backlog"] = json!({
            "lines": metrics.owed.backlog_lines(),
            "bytes": metrics.owed.backlog_bytes(),
            "bytes-max": backlog.bytes_max,
            "oldest": metrics.backlog.oldest_s(),
            "since": metrics.backlog.since_s(),
            "retries": metrics.backlog.retries.get(),
        });
        if let Some(spool) = &backlog.spool {
            status["spool"] = json!({
                "bytes": metrics.spool.bytes(),
                "bytes-max": spool.bytes_max,
                "restored": metrics.spool.restored.get(),
                "damaged": metrics.spool.damaged.get(),
                "errors": metrics.spool.errors.get(),
            });
        }
        if let Some(letters) = &backlog.dead_letters {
            status["dead-letters"] = json!({
                "lines": metrics.backlog.dead_letters.get(),
                "dir": letters.dir,
            });
        }
    }
    status
}
