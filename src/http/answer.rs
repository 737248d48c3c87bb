//! The answers that the endpoints share. InfluxDB's clients read the `error` of the JSON body and
//! the `X-Influxdb-Error` header, those of InfluxDB 2 the `code` and `message` of the body: every
//! error carries its words in the body and in the header.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName};
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode};

/// What an endpoint answers.
pub(super) type Answer = Response<Full<Bytes>>;

/// Where InfluxDB repeats the error's text.
pub(super) const X_INFLUXDB_ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");

/// Where InfluxDB 2 repeats the error's code.
const X_PLATFORM_ERROR_CODE: HeaderName = HeaderName::from_static("x-platform-error-code");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A status without a body.
pub(super) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// How errors are written: as a client of this API expects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"error":"..."}`
    V1,
    /// `{"code":"...","message":"..."}`
    V2,
}

impl Form {
    pub(super) fn error(self, status: StatusCode, message: &str) -> Answer {
        match self {
            Self::V1 => error(status, message),
            Self::V2 => {
                let json = serde_json::json!({ "code": code(status), "message": message });
                with_code(status, message, &json)
            }
        }
    }

    /// 400 for a line that is not line protocol, the `line`th from 1.
    pub(super) fn bad_line(self, message: &str, line: u32) -> Answer {
        let status = StatusCode::BAD_REQUEST;
        match self {
            Self::V1 => error(status, message),
            Self::V2 => {
                let json =
                    serde_json::json!({ "code": code(status), "message": message, "line": line });
                with_code(status, message, &json)
            }
        }
    }

    /// 405, naming the methods that there are.
    pub(super) fn method_not_allowed(self, allow: &'static str) -> Answer {
        let mut answer = self.error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        answer
    }
}

fn with_code(status: StatusCode, message: &str, json: &serde_json::Value) -> Answer {
    let mut answer = json_error(status, message, json);
    answer.headers_mut().insert(X_PLATFORM_ERROR_CODE, HeaderValue::from_static(code(status)));
    answer
}

/// A JSON body.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{body}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// `{"error":"..."}`.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    json_error(status, message, &serde_json::json!({ "error": message }))
}

/// An error with a body that says more.
pub(super) fn json_error(status: StatusCode, message: &str, body: &serde_json::Value) -> Answer {
    let mut answer = json(status, body);
    answer.headers_mut().insert(X_INFLUXDB_ERROR, header(message));
    answer
}

/// The codes of InfluxDB 2 for the statuses that there are.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        405 => "method not allowed",
        409 => "conflict",
        413 => "request too large",
        422 => "unprocessable entity",
        429 => "too many requests",
        500 => "internal error",
        503 => "unavailable",
        _ => "invalid",
    }
}

/// 404 for a path that nothing answers.
pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "not found: this relay takes writes; send queries to a backend")
}

/// 405, naming the methods that there are.
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    Form::V1.method_not_allowed(allow)
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
        let answer = Form::V2.error(StatusCode::PAYLOAD_TOO_LARGE, "too\nmuch");
        assert_eq!(answer.headers()[X_INFLUXDB_ERROR], "too?much");
        assert_eq!(answer.headers()[X_PLATFORM_ERROR_CODE], "request too large");
    }
}
