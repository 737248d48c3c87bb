//! `/api/v1/prom/write`: Prometheus remote write, relayed as it came, to the backends that have
//! `endpoints.write_prom`.
//!
//! The body is not read but for its length: it is protocol buffers, packed with snappy. It is
//! never merged with anything, and has books of its own.

use super::answer::{self, Answer, Form};
use super::body::{self, Coming};
use super::live::Live;
use super::{query, write};
use crate::batch::Batch;
use crate::write::{Api, Destination};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::sync::Arc;

pub(super) const PATH: &str = "/api/v1/prom/write";

/// Answers a request for `/api/v1/prom/write`.
pub(super) async fn answer(live: &Live, head: &Parts, body: Coming<'_>) -> Answer {
    match head.method {
        Method::POST => {}
        Method::OPTIONS => return answer::status(StatusCode::NO_CONTENT),
        _ => return answer::method_not_allowed("POST, OPTIONS"),
    }
    if !live.now().fanout.takes(Api::Prometheus) {
        return not_found(live);
    }
    let default_rp = live.now().config.default_retention_policy.clone();
    let query = match query::read(head.uri.query().unwrap_or_default(), default_rp.as_deref()) {
        Ok(query) => query.forward,
        Err(bad) => {
            let bad = answer::error(StatusCode::BAD_REQUEST, &bad.to_string());
            return write::refuse(live, bad);
        }
    };
    let (bodies, limit) = live.room();
    let (body, charge) = match body::read_as_sent(body, &bodies, limit).await {
        Ok(body) => body.release(),
        Err(unreadable) => return write::refuse(live, unreadable.into_answer(Form::V1)),
    };
    if body.is_empty() {
        return answer::status(StatusCode::NO_CONTENT);
    }
    // Those that are there now: a body may have come for long.
    let front = live.now();
    if !front.fanout.takes(Api::Prometheus) {
        return not_found(live);
    }
    front.metrics.bytes.add(body.len() as u64);
    front.metrics.opaque.add(1);
    let headers = head.headers.iter().filter(|(name, _)| is_kept(name));
    let destination = Arc::new(Destination {
        query,
        authorization: head.headers.get(AUTHORIZATION).map(|v| Bytes::copy_from_slice(v.as_ref())),
        api: Api::Prometheus,
        headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
    });
    let answers = front.fanout.offer_opaque(&Batch::opaque(body), &destination);
    // The queues hold the bytes now.
    drop((destination, charge));
    write::settled(&front, answers, Form::V1).await
}

fn not_found(live: &Live) -> Answer {
    let why = "no output takes Prometheus writes: give one endpoints.write_prom";
    write::refuse(live, answer::error(StatusCode::NOT_FOUND, why))
}

/// Whether the backend needs a header to understand the body.
fn is_kept(name: &HeaderName) -> bool {
    *name == CONTENT_TYPE || *name == CONTENT_ENCODING || name.as_str().starts_with("x-prometheus-")
}
