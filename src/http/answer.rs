//! The answers that the endpoints share. InfluxDB's clients read the `error` of the JSON body and
//! the `X-Influxdb-Error` header: every error carries both.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName};
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode};

/// What an endpoint answers.
pub(super) type Answer = Response<Full<Bytes>>;

/// Where InfluxDB repeats the error's text.
pub(super) const X_INFLUXDB_ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A status without a body.
pub(super) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// `{"error":"..."}`.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    let mut body = serde_json::json!({ "error": message }).to_string();
    body.push('\n');
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer.headers_mut().insert(X_INFLUXDB_ERROR, header(message));
    answer
}

/// 404 for a path that nothing answers.
pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "not found")
}

/// 405, naming the methods that there are.
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// Text as a header value: bytes that a header cannot hold become `?`.
fn header(text: &str) -> HeaderValue {
    let printable: String =
        text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    HeaderValue::from_str(&printable).expect("printable ASCII is a valid header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_twice_and_cannot_break_the_head() {
        let answer = error(StatusCode::BAD_REQUEST, "bad \"line\"\r\nX: \u{e4}");
        assert_eq!(answer.headers()[X_INFLUXDB_ERROR], "bad \"line\"??X: ?");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    }
}
