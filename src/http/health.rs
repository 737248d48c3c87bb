//! `/health`: every backend's ping endpoint, asked at the same time.
//!
//! The backends' own threads ask. However many clients want to know, a backend is asked once at a
//! time.

use super::Front;
use super::answer::{self, Answer};
use crate::control::{Asked, Command};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::timeout;

pub(super) const PATH: &str = "/health";

/// A sender thread answers by the time it was given; this is for one that is busy.
const GRACE: Duration = Duration::from_secs(1);

/// Answers a request for `/health`.
pub(super) async fn answer(front: &Front, head: &Parts) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET, HEAD");
    }
    let limit = front.config.health_timeout;
    let outputs = front.fanout.outputs();
    let controls = outputs.iter().filter_map(|output| Some((output, output.control.as_ref()?)));
    let asked: Vec<_> = controls
        .map(|(output, control)| {
            (&output.metrics.name, control.give(|answer| Command::Ping(limit, answer)))
        })
        .collect();
    let (mut healthy, mut problem) = (Map::new(), Map::new());
    for (name, answered) in asked {
        let answered = timeout(limit + GRACE, answered).await;
        let asked = answered.map_or_else(
            |_| Err(format!("no answer within {limit:?}")),
            |asked| asked.unwrap_or_else(|_| Err("too much is asked at once".to_owned())),
        );
        match judge(asked) {
            Ok(words) => healthy.insert(name.to_string(), words.into()),
            Err(words) => problem.insert(name.to_string(), words.into()),
        };
    }
    report(healthy, problem, front.config.health_critical_status)
}

fn judge(asked: Asked) -> Result<String, String> {
    match asked {
        Ok(told) if (200..300).contains(&told.status) => {
            Ok(format!("OK. Time taken {:?}", told.took))
        }
        Ok(told) => Err(format!("KO. Unexpected error code {}", told.status)),
        Err(why) => Err(format!("KO. {why}")),
    }
}

/// As the Go relay: what is empty is left out.
fn report(healthy: Map<String, Value>, problem: Map<String, Value>, critical: u16) -> Answer {
    let (word, status) = match (healthy.is_empty(), problem.is_empty()) {
        (_, true) => ("healthy", 200),
        (false, false) => ("problem", 200),
        (true, false) => ("critical", critical),
    };
    let mut body = Map::new();
    body.insert("status".to_owned(), word.into());
    for (key, outputs) in [("healthy", healthy), ("problem", problem)] {
        if !outputs.is_empty() {
            body.insert(key.to_owned(), outputs.into());
        }
    }
    answer::json(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &body.into())
}
