//! `/write` and `/api/v2/write`: line protocol in, to every backend of the listener.
//!
//! The client is answered as soon as enough backends, or their backlogs, have its points (`ack`);
//! the others go on without it.

use super::ack::{self, Failure};
use super::answer::{self, Answer, Form};
use super::body::{self, Coming, Unreadable};
use super::live::Live;
use super::points::{self, FirstRefused, Points};
use super::query::{self, BadQuery};
use super::{Front, refusal};
use crate::dialect::Parameters;
use crate::fanout::Answers;
use crate::timestamp::Precision;
use crate::write::{Api, Destination};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, RETRY_AFTER};
use hyper::http::{HeaderValue, request::Parts};
use hyper::{Method, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const PATH: &str = "/write";
pub(super) const PATH_V2: &str = "/api/v2/write";

/// Answers a request for one of the two paths, as clients of that API expect it.
pub(super) async fn answer(
    live: &Live,
    head: &Parts,
    body: Coming<'_>,
    form: Form,
    peer: IpAddr,
) -> Answer {
    match head.method {
        Method::POST => {}
        Method::OPTIONS => return answer::status(StatusCode::NO_CONTENT),
        _ => return form.method_not_allowed("POST, OPTIONS"),
    }
    if let Some(not_found) = not_found(&live.now(), form) {
        return not_found;
    }
    let parameters = match parameters(&live.now(), head, form) {
        Ok(parameters) => parameters,
        Err(bad) => return refuse(live, form.error(StatusCode::BAD_REQUEST, &bad.to_string())),
    };
    let points = match read(live, head, body, parameters.precision()).await {
        Ok(points) => points,
        Err(unreadable) => return refuse(live, unreadable.into_answer(form)),
    };
    // Those that are there now: a body may have come for long.
    let front = live.now();
    if let Some(not_found) = not_found(&front, form) {
        return not_found;
    }
    if let Some(first) = &points.first_refused {
        count_refused(&front, &points);
        note_refused(&front, &points, first, peer);
        return form.bad_line(&first.words, first.line);
    }
    let Some((batch, charge)) = points.batch else {
        return answer::status(StatusCode::NO_CONTENT);
    };
    if let Some(too_many) = front.shared.limit_lines(points.lines, form) {
        front.metrics.rate_limited.add(points.lines);
        return too_many;
    }
    front.metrics.lines.add(points.lines);
    let answers = front.fanout.offer_for_client(&batch, &parameters);
    // The queues hold the bytes now; a client that waits must hold nothing more of them.
    drop((batch, charge, parameters));
    settled(&front, answers, form).await
}

/// The answer of a listener without any output for lines.
fn not_found(front: &Front, form: Form) -> Option<Answer> {
    let why = "no output takes line protocol: give one endpoints.write";
    let not_found = || {
        front.metrics.unreadable.add(1);
        form.error(StatusCode::NOT_FOUND, why)
    };
    (!front.fanout.takes(Api::Lines)).then(not_found)
}

/// Waits for the backends, and says what the client gets to know.
pub(super) async fn settled(front: &Front, answers: Answers, form: Form) -> Answer {
    let settled = tokio::select! {
        biased;
        settled = ack::settle(answers, front.config.ack) => settled,
        () = front.patience() => Err(Failure::Unavailable),
    };
    match settled {
        Ok(()) => answer::status(StatusCode::NO_CONTENT),
        Err(Failure::Refused(output, refusal)) => {
            refusal::answer(form, front.fanout.dialect(output), refusal)
        }
        Err(Failure::Unavailable) => unavailable(form),
    }
}

fn parameters(front: &Front, head: &Parts, form: Form) -> Result<Parameters, BadQuery> {
    let query = head.uri.query().unwrap_or_default();
    let default_policy = &front.config.default_retention_policy;
    let authorization =
        head.headers.get(AUTHORIZATION).map(|value| Bytes::copy_from_slice(value.as_ref()));
    match form {
        Form::V1 => {
            let query::Query { precision, forward } =
                query::read(query, default_policy.as_deref())?;
            let destination =
                Arc::new(Destination { query: forward, authorization, ..Destination::default() });
            Ok(Parameters::V1 { destination, precision })
        }
        Form::V2 => {
            let query::QueryV2 { precision, bucket } = query::read_v2(query)?;
            let default_policy = default_policy.clone();
            Ok(Parameters::V2 { bucket, default_policy, precision, authorization })
        }
    }
}

async fn read(
    live: &Live,
    head: &Parts,
    body: Coming<'_>,
    precision: Precision,
) -> Result<Points, Unreadable> {
    let (bodies, bytes_max) = live.room();
    let body = body::read(&head.headers, body, &bodies, bytes_max).await?;
    live.metrics.bytes.add(body.bytes().len() as u64);
    let stamp = live.now().stamp_ns().div_euclid(precision.nanoseconds());
    points::read(body, &bodies, precision, stamp)
}

/// Counts a request that is refused before its body was read.
pub(super) fn refuse(live: &Live, answer: Answer) -> Answer {
    live.metrics.unreadable.add(1);
    answer
}

fn count_refused(front: &Front, points: &Points) {
    for (counter, &lines) in front.metrics.refused.iter().zip(&points.refused) {
        counter.add(lines);
    }
    front.metrics.refused_beside.add(points.lines);
}

/// Notes who sent refused lines. A client's port tells nothing.
fn note_refused(front: &Front, points: &Points, first: &FirstRefused, peer: IpAddr) {
    let lines = points.refused.iter().sum();
    front.bad_senders.note((peer, 0).into(), lines, first.reason, &first.bytes);
}

fn unavailable(form: Form) -> Answer {
    let mut answer = form.error(StatusCode::SERVICE_UNAVAILABLE, "unable to write points");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
