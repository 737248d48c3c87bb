//! `/write`: InfluxDB 1.x line protocol in, to every backend of the listener.
//!
//! The client is answered as soon as one backend, or its backlog, has its points; the others go on
//! without it.

use super::answer::{self, Answer, X_INFLUXDB_ERROR};
use super::body::{self, Unreadable};
use super::points::{self, Points};
use super::{Front, query};
use crate::write::{self, Destination, Refusal};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::http::{HeaderValue, request::Parts};
use hyper::{Method, Response, StatusCode};
use std::sync::Arc;
use tokio::sync::mpsc;

pub(super) const PATH: &str = "/write";

/// Answers a request for `/write`.
pub(super) async fn answer(front: &Front, head: &Parts, body: &mut Incoming) -> Answer {
    match head.method {
        Method::POST => {}
        Method::OPTIONS => return answer::status(StatusCode::NO_CONTENT),
        _ => return answer::method_not_allowed("POST, OPTIONS"),
    }
    let default_rp = front.config.default_retention_policy.as_deref();
    let query = match query::read(head.uri.query().unwrap_or_default(), default_rp) {
        Ok(query) => query,
        Err(bad) => return refuse(front, answer::error(StatusCode::BAD_REQUEST, &bad.to_string())),
    };
    let points = match read(front, head, body, &query).await {
        Ok(points) => points,
        Err(unreadable) => return refuse(front, unreadable.into_answer()),
    };
    if let Some(why) = &points.first_refused {
        count_refused(front, &points);
        return answer::error(StatusCode::BAD_REQUEST, why);
    }
    let Some(batch) = points.batch else {
        return answer::status(StatusCode::NO_CONTENT);
    };
    front.metrics.lines.add(points.lines);
    let destination = Arc::new(Destination {
        query: query.forward,
        authorization: head.headers.get(AUTHORIZATION).map(|v| Bytes::copy_from_slice(v.as_ref())),
    });
    let answers = front.fanout.offer_for_client(&batch, &destination);
    // The queues hold the bytes now; a client that waits must hold nothing more of them.
    drop((batch, destination));
    let settled = tokio::select! {
        biased;
        settled = first_delivery(answers) => settled,
        () = front.patience() => Err(None),
    };
    match settled {
        Ok(()) => answer::status(StatusCode::NO_CONTENT),
        Err(Some(refusal)) => pass_on(refusal),
        Err(None) => unavailable(),
    }
}

async fn read(
    front: &Front,
    head: &Parts,
    body: &mut Incoming,
    query: &query::Query,
) -> Result<Points, Unreadable> {
    let body = body::read(&head.headers, body, &front.bodies, front.config.body_bytes_max).await?;
    front.metrics.bytes.add(body.bytes().len() as u64);
    let stamp = front.stamp_ns().div_euclid(query.precision.nanoseconds());
    points::read(body, &front.bodies, query.precision, stamp)
}

/// Waits until one backend has delivered, or keeps it in its backlog. Otherwise gives, once all
/// have answered, what the first backend in the file's order that refused said: the same answer
/// whoever was faster.
async fn first_delivery(
    mut answers: mpsc::Receiver<(usize, write::Answer)>,
) -> Result<(), Option<Refusal>> {
    let mut refused: Option<(usize, Refusal)> = None;
    while let Some((output, answer)) = answers.recv().await {
        match answer {
            write::Answer::Delivered | write::Answer::Buffered => return Ok(()),
            write::Answer::Refused(refusal) => {
                if refused.as_ref().is_none_or(|(first, _)| output < *first) {
                    refused = Some((output, refusal));
                }
            }
            write::Answer::Unavailable => {}
        }
    }
    Err(refused.map(|(_, refusal)| refusal))
}

fn refuse(front: &Front, answer: Answer) -> Answer {
    front.metrics.unreadable.add(1);
    answer
}

fn count_refused(front: &Front, points: &Points) {
    for (counter, &lines) in front.metrics.refused.iter().zip(&points.refused) {
        counter.add(lines);
    }
    front.metrics.refused_beside.add(points.lines);
}

fn pass_on(refusal: Refusal) -> Answer {
    let mut answer = Response::new(Full::new(refusal.body));
    *answer.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let said = [(CONTENT_TYPE, refusal.content_type), (X_INFLUXDB_ERROR, refusal.error)];
    for (name, value) in said {
        if let Some(value) = value.and_then(|value| HeaderValue::from_maybe_shared(value).ok()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn unavailable() -> Answer {
    let mut answer = answer::error(StatusCode::SERVICE_UNAVAILABLE, "unable to write points");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::Answer::{Buffered, Delivered, Refused, Unavailable};

    fn refusal(status: u16) -> write::Answer {
        Refused(Refusal { status, content_type: None, error: None, body: Bytes::new() })
    }

    fn outcome(answers: Vec<(usize, write::Answer)>) -> Result<(), Option<u16>> {
        let (sender, receiver) = mpsc::channel(answers.len());
        for answer in answers {
            sender.try_send(answer).expect("there is room for all");
        }
        drop(sender);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime
            .block_on(first_delivery(receiver))
            .map_err(|refusal| refusal.map(|refusal| refusal.status))
    }

    #[test]
    fn one_delivery_is_enough_and_refusals_are_ranked_by_output() {
        assert_eq!(outcome(vec![(1, refusal(400)), (0, Delivered)]), Ok(()));
        assert_eq!(outcome(vec![(1, Unavailable), (0, Buffered)]), Ok(()), "it will be delivered");
        let late_first = vec![(2, refusal(404)), (1, refusal(400)), (0, Unavailable)];
        assert_eq!(outcome(late_first), Err(Some(400)));
        assert_eq!(outcome(vec![(0, Unavailable), (1, Unavailable)]), Err(None));
    }
}
