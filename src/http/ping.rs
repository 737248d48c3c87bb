//! `/ping`: whether the relay answers. Says nothing about its backends.

use super::answer::{self, Answer};
use hyper::header::HeaderName;
use hyper::http::{HeaderValue, request::Parts};
use hyper::{Method, StatusCode};

pub(super) const PATH: &str = "/ping";

const X_INFLUXDB_VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");

/// Answers a request for `/ping` with `status`.
pub(super) fn answer(status: u16, head: &Parts) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET, HEAD");
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
    let mut answer = answer::status(status);
    answer.headers_mut().insert(X_INFLUXDB_VERSION, HeaderValue::from_static("relay"));
    answer
}
