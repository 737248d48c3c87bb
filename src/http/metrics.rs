//! `/metrics`: all counters in Prometheus' text format.

use super::answer::{self, Answer};
use crate::metrics::process::Usage;
use crate::metrics::{Registry, text};
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::http::{HeaderValue, request::Parts};
use hyper::{Method, Response};

pub(super) const PATH: &str = "/metrics";

/// Answers a request for `/metrics`.
pub(super) fn answer(registry: &Registry, head: &Parts) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET, HEAD");
    }
    let mut answer = Response::new(Full::from(text::render(registry) + &Usage::now().render()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
    answer
}
