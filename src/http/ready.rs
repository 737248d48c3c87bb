//! `/ready`: whether the relay takes writes. Says nothing about its backends.

use super::answer::{self, Answer};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;

pub(super) const PATH: &str = "/ready";

/// Answers a request for `/ready`.
pub(super) fn answer(stopping: bool, head: &Parts) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET, HEAD");
    }
    if stopping {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    answer::json(StatusCode::OK, &json!({ "status": "ready" }))
}
