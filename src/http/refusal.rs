//! A backend's refusal on its way to the client: as the backend said it, or, where the client
//! speaks the other API, the same words in that API's form.

use super::answer::{Answer, Form, X_INFLUXDB_ERROR};
use crate::config::Dialect;
use crate::write::Refusal;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode};
use serde_json::Value;

/// A backend that answers with a page of HTML need not be repeated in full.
const WORDS_CHARS_MAX: usize = 1_000;

/// What a client of `form` is told of the refusal of a backend that speaks `dialect`.
pub(super) fn answer(form: Form, dialect: Option<&Dialect>, refusal: Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    match (form, dialect) {
        (Form::V1, Some(Dialect::V2 { .. })) | (Form::V2, Some(Dialect::V1)) => {
            form.error(status, &words(&refusal))
        }
        _ => pass_on(status, refusal),
    }
}

fn pass_on(status: StatusCode, refusal: Refusal) -> Answer {
    let mut answer = Response::new(Full::new(refusal.body));
    *answer.status_mut() = status;
    let said = [(CONTENT_TYPE, refusal.content_type), (X_INFLUXDB_ERROR, refusal.error)];
    for (name, value) in said {
        if let Some(value) = value.and_then(|value| HeaderValue::from_maybe_shared(value).ok()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// What the backend said, without its form.
fn words(refusal: &Refusal) -> String {
    let json: Option<Value> = serde_json::from_slice(&refusal.body).ok();
    let member = |name| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let header = || refusal.error.as_ref().map(|error| String::from_utf8_lossy(error).into_owned());
    let body = || {
        let body = String::from_utf8_lossy(&refusal.body);
        Some(body.trim().chars().take(WORDS_CHARS_MAX).collect())
    };
    let said = member("error").or_else(|| member("message")).or_else(header).or_else(body);
    let said = said.filter(|said| !said.is_empty());
    said.unwrap_or_else(|| "the backend refused the write and did not say why".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn said(body: &'static str, error: Option<&'static str>) -> String {
        let (content_type, body) = (None, Bytes::from_static(body.as_bytes()));
        let error = error.map(|error| Bytes::from_static(error.as_bytes()));
        words(&Refusal { status: 400, content_type, error, body })
    }

    #[test]
    fn finds_the_words_wherever_they_are() {
        assert_eq!(said("{\"error\":\"one\"}", Some("other")), "one");
        assert_eq!(said("{\"code\":\"invalid\",\"message\":\"two\"}", None), "two");
        assert_eq!(said("{\"error\":7}", Some("three")), "three");
        assert_eq!(said(" four\n", None), "four");
        assert_eq!(said("", None), "the backend refused the write and did not say why");
        assert_eq!(said(Box::leak("x".repeat(2_000).into_boxed_str()), None).len(), 1_000);
    }
}
