//! `/admin`: a query to every backend. `/admin/flush`: drop what waits for every backend.
//!
//! Both are for the addresses of `admin-allow` alone, and not for web pages that a browser there
//! shows.

use super::Front;
use super::answer::{self, Answer, Form};
use super::body::{self, Coming};
use super::live::Live;
use crate::config::Target;
use crate::control::{Asked, Command, Query, Told};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const PATH: &str = "/admin";
pub(super) const FLUSH_PATH: &str = "/admin/flush";

/// A sender thread takes its commands between two requests; this is for one that is busy.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a backend's words about a failure is passed on.
const WORDS_BYTES_MAX: usize = 4 * 1024;

/// Answers a request for `/admin`: 204 if every backend took the query, otherwise what became of
/// it at each, with the worst status.
pub(super) async fn answer(live: &Live, head: &Parts, body: Coming<'_>, peer: IpAddr) -> Answer {
    if let Some(refusal) = refusal(&live.now(), head, peer) {
        return refusal;
    }
    let (bodies, limit) = live.room();
    // Charged until every backend has answered.
    let (body, _charge) = match body::read(&head.headers, body, &bodies, limit).await {
        Ok(body) => body.release(),
        Err(unreadable) => return unreadable.into_answer(Form::V1),
    };
    let query = Arc::new(Query {
        parameters: head.uri.query().unwrap_or_default().to_owned(),
        authorization: head.headers.get(AUTHORIZATION).cloned(),
        content_type: head.headers.get(CONTENT_TYPE).cloned(),
        body,
    });
    // Those that are there now: a body may have come for long.
    let front = live.now();
    let outputs = front.config.outputs.iter().zip(front.fanout.outputs());
    let asked: Vec<_> = outputs
        .filter_map(|(config, output)| {
            let Target::Http(target) = &config.target else { return None };
            let query = Arc::clone(&query);
            let answered = output.control.as_ref()?.give(|a| Command::Query(query, a));
            Some((&config.name, target.timeout, answered))
        })
        .collect();
    let (mut worst, mut outputs) = (StatusCode::NO_CONTENT, Map::new());
    for (name, limit, answered) in asked {
        // Queries wait for their turn where many run already.
        let answered = timeout(2 * limit + GRACE, answered).await;
        let asked = answered.map_or_else(
            |_| Err(format!("no answer within {limit:?}")),
            |asked| asked.unwrap_or_else(|_| Err("too many queries at once".to_owned())),
        );
        let (status, words) = judge(asked);
        outputs.insert(name.to_string(), words);
        worst = worst.max(status);
    }
    if worst == StatusCode::NO_CONTENT {
        return answer::status(worst);
    }
    let error = "the query failed at one backend or more: see outputs";
    answer::json_error(worst, error, &json!({ "error": error, "outputs": outputs }))
}

/// What a backend made of a query: 204 if it took it, and words for the client.
fn judge(asked: Asked) -> (StatusCode, Value) {
    let told = match asked {
        Ok(told) => told,
        Err(why) => return (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": why })),
    };
    let failed = match told.status {
        200..=299 => match failure_inside(&told) {
            None => return (StatusCode::NO_CONTENT, json!({ "status": told.status })),
            Some(words) => {
                return (StatusCode::BAD_REQUEST, json!({ "status": told.status, "error": words }));
            }
        },
        400..=599 => StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY),
        // A redirect is not followed: the backend did not take the query.
        _ => StatusCode::BAD_GATEWAY,
    };
    let words = error_of(&told.body).unwrap_or_else(|| {
        let cut = &told.body[..told.body.len().min(WORDS_BYTES_MAX)];
        String::from_utf8_lossy(cut).into_owned()
    });
    (failed, json!({ "status": told.status, "error": words }))
}

/// InfluxDB answers 200 to a statement that fails, and says so in the body.
fn failure_inside(told: &Told) -> Option<String> {
    if !told.whole {
        return Some("its answer is too long, or was cut off, and could not be checked".to_owned());
    }
    error_of(&told.body)
}

/// The `error` of an answer of InfluxDB: of the whole, or of its first statement that failed.
fn error_of(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let words = |value: &Value| {
        value.get("error").map(|e| e.as_str().map_or_else(|| e.to_string(), str::to_owned))
    };
    let results = || json.get("results")?.as_array()?.iter().find_map(words);
    words(&json).or_else(results)
}

/// Answers a request for `/admin/flush`: what was dropped, per backend.
pub(super) async fn flush(front: &Front, head: &Parts, peer: IpAddr) -> Answer {
    if let Some(refusal) = refusal(front, head, peer) {
        return refusal;
    }
    let outputs = front.fanout.outputs().iter();
    let asked: Vec<_> = outputs
        .filter_map(|output| {
            Some((&output.metrics.name, output.control.as_ref()?.give(Command::Flush)))
        })
        .collect();
    let (mut flushed, mut failed) = (Map::new(), false);
    for (name, answered) in asked {
        let words = match timeout(GRACE, answered).await {
            Ok(Ok(told)) => {
                json!({ "writes": told.writes, "lines": told.lines, "bytes": told.bytes })
            }
            // The command may still be obeyed: it waits behind others.
            Ok(Err(_)) | Err(_) => {
                failed = true;
                json!({ "error": "its thread is busy: try again" })
            }
        };
        flushed.insert(name.to_string(), words);
    }
    let body = json!({ "flushed": flushed });
    if failed {
        let error = "not every backend was flushed";
        return answer::json_error(StatusCode::SERVICE_UNAVAILABLE, error, &body);
    }
    answer::json(StatusCode::OK, &body)
}

/// Why this client may not, if so.
fn refusal(front: &Front, head: &Parts, peer: IpAddr) -> Option<Answer> {
    // A client by IPv4 has an IPv6 address on a socket that serves both.
    let peer = peer.to_canonical();
    if !front.config.admin_allow.iter().any(|network| network.contains(&peer)) {
        let why = format!("{peer} may not do this: add it to admin-allow");
        return Some(answer::error(StatusCode::FORBIDDEN, &why));
    }
    if head.method != Method::POST {
        return Some(answer::method_not_allowed("POST"));
    }
    // Set by browsers alone. Listeners have no pages, so a page of somebody else's is behind it,
    // whatever host it names: a name may be made to point here.
    head.headers.contains_key(ORIGIN).then(|| {
        let why = "a request with an Origin comes from a web page, which may not do this";
        answer::error(StatusCode::FORBIDDEN, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn told(status: u16, body: &'static str) -> Asked {
        let body = Bytes::from_static(body.as_bytes());
        Ok(Told { status, body, whole: true, took: Duration::ZERO })
    }

    #[test]
    fn a_query_is_taken_only_if_no_statement_failed() {
        let failed = r#"{"results":[{"statement_id":0},{"statement_id":1,"error":"no"}]}"#;
        for (asked, status, words) in [
            (told(204, ""), 204, ""),
            (told(200, r#"{"results":[{"statement_id":0}]}"#), 204, ""),
            (told(200, "not JSON"), 204, ""),
            (told(200, failed), 400, "no"),
            (told(200, r#"{"error":"none"}"#), 400, "none"),
            (told(401, r#"{"error":"who?"}"#), 401, "who?"),
            (told(500, "broken"), 500, "broken"),
            (told(302, ""), 502, ""),
            (Err("no connection".to_owned()), 503, "no connection"),
        ] {
            let text = format!("{asked:?}");
            let (got, json) = judge(asked);
            assert_eq!(got, status, "{text}");
            assert_eq!(json["error"].as_str().unwrap_or_default(), words, "{text}");
        }
        let cut = Told { status: 200, body: Bytes::new(), whole: false, took: Duration::ZERO };
        assert_eq!(judge(Ok(cut)).0, 400, "what cannot be checked is not called taken");
    }
}
