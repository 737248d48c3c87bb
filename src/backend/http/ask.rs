//! Questions to the backend that are no writes: its ping and its query endpoint.
//!
//! Called by `commands`. Each has a connection of its own, which ends with the answer: a question
//! tells whether a connection can be had now, and takes none from the writes.

use super::classify::Failure;
use super::connect;
use super::credentials;
use super::send::{AGENT, Frames, Transport, transport};
use crate::control::{Asked, Query, Told};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::http::{HeaderValue, Response, request};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What of an answer is read. A longer one costs its connection, which ends anyway.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

impl Transport {
    /// Asks the ping endpoint.
    pub(super) async fn ping(&self, limit: Duration) -> Asked {
        let mut request = Request::get(&self.target.ping_path);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.ask(request, Bytes::new(), limit).await.map_err(|failure| failure.to_string())
    }

    /// Puts a query to the query endpoint.
    pub(super) async fn query(&self, query: &Query) -> Asked {
        let path = &self.target.query_path;
        let parameters = match self.authorization {
            Some(_) => credentials::without_clients(&query.parameters),
            None => Cow::Borrowed(&*query.parameters),
        };
        let mut request = match &*parameters {
            "" => Request::post(path),
            parameters => Request::post(format!("{path}?{parameters}")),
        };
        if let Some(authorization) = self.authorization.as_ref().or(query.authorization.as_ref()) {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(content_type) = &query.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let asked = self.ask(request, query.body.clone(), self.target.timeout).await;
        asked.map_err(|failure| failure.to_string())
    }

    async fn ask(
        &self,
        request: request::Builder,
        body: Bytes,
        limit: Duration,
    ) -> Result<Told, Failure> {
        let started = Instant::now();
        let parts = VecDeque::from_iter((!body.is_empty()).then_some(body));
        let request = request
            .header(HOST, &self.target.authority)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(Frames::new(parts))
            .map_err(|error| Failure::Request(error.to_string()))?;
        let exchange = async {
            let open = self.open.clone();
            let mut connection = connect::connect(&self.target, limit, open).await?;
            let response = connection.requests.send_request(request).await;
            let response = response.map_err(|error| transport(&error))?;
            let status = response.status().as_u16();
            let (body, whole) = read(response).await;
            Ok(Told { status, body, whole, took: started.elapsed() })
        };
        timeout(limit, exchange).await.unwrap_or(Err(Failure::Timeout(limit)))
    }
}

async fn read(response: Response<Incoming>) -> (Bytes, bool) {
    let (mut rest, mut body) = (response.into_body(), BytesMut::new());
    loop {
        let data = match rest.frame().await {
            None => return (body.freeze(), true),
            Some(Err(_)) => return (body.freeze(), false),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return (body.freeze(), false);
        }
    }
}
