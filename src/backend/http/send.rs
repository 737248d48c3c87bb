//! One request to the backend: sent, answered within the timeout, judged.
//!
//! Called by the sender loop, which runs several at a time. Keeps connections that wait for a
//! request. Knows nothing of lanes, writes or their clients.

use super::classify::{Failure, Reply};
use super::compress;
use super::connect::{self, Connection};
use super::credentials;
use super::health::Gate;
use crate::config::HttpTarget;
use crate::write::{Api, Destination, Refusal};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, RETRY_AFTER,
    USER_AGENT,
};
use hyper::http::{HeaderValue, Response};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What of a refusal's body is kept for the client.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// A connection is ready again within microseconds of its answer, or it is given up.
const READY_TIMEOUT: Duration = Duration::from_millis(50);
const LINE_PROTOCOL: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("ringrelay/", env!("CARGO_PKG_VERSION")));
const X_INFLUXDB_ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");

/// The way to one backend.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) target: HttpTarget,
    /// The output's own credentials.
    pub(super) authorization: Option<HeaderValue>,
    /// Connections that wait for a request, the one used last at the end.
    idle: RefCell<Vec<Connection>>,
    gate: RefCell<Gate>,
    /// Held by each connection's task until its socket is closed.
    pub(super) open: mpsc::Sender<()>,
}

impl Transport {
    pub(super) fn new(target: HttpTarget, open: mpsc::Sender<()>) -> Self {
        let authorization = target.authorization.as_ref().map(credentials::header);
        Self { target, authorization, idle: RefCell::default(), gate: RefCell::default(), open }
    }

    /// Sends `frames` as one body and gives the backend's answer.
    pub(super) async fn send(
        &self,
        destination: &Destination,
        frames: VecDeque<Bytes>,
    ) -> Result<Reply, Failure> {
        let limit = self.target.timeout;
        // An opaque body is packed already, and keeps its encoding.
        let gzip = self.target.gzip && destination.api == Api::Lines;
        let frames = if gzip { compress::gzip(frames) } else { frames };
        let exchanged = tokio::time::timeout(limit, self.exchange(destination, frames)).await;
        exchanged.unwrap_or(Err(Failure::Timeout(limit)))
    }

    async fn exchange(
        &self,
        destination: &Destination,
        frames: VecDeque<Bytes>,
    ) -> Result<Reply, Failure> {
        if let Some(mut connection) = self.take_idle() {
            let request = self.request(destination, frames.clone())?;
            match connection.requests.send_request(request).await {
                Ok(response) => return self.read(connection, response).await,
                Err(error) if error.is_parse() => {
                    return Err(Failure::Transport(error.to_string()));
                }
                // The backend closed it while it was idle. Writing a point twice changes nothing,
                // so once more, on a connection that cannot be stale.
                Err(_) => {}
            }
        }
        let mut connection = self.connect().await?;
        let request = self.request(destination, frames)?;
        let response = connection.requests.send_request(request).await;
        self.read(connection, response.map_err(|error| transport(&error))?).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            if connection.requests.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Whether a connection waits for a request.
    pub(super) fn has_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.last() {
            if connection.requests.is_ready() {
                return true;
            }
            idle.pop();
        }
        false
    }

    /// Makes a connection for a request to come, if one can be had.
    pub(super) async fn connect_idle(&self) {
        if let Ok(connection) = self.connect().await {
            self.keep(connection).await;
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        // With a backlog, tries are spaced out by the sender loop.
        if self.target.backlog.is_none() && !self.gate.borrow().is_open(Instant::now()) {
            return Err(Failure::Waiting);
        }
        // Half of the time: the other is for the request, and a connect ends by its own limit.
        let limit = self.target.timeout / 2;
        let connected = connect::connect(&self.target, limit, self.open.clone()).await;
        match &connected {
            Ok(_) => self.gate.borrow_mut().succeeded(),
            Err(_) => self.gate.borrow_mut().failed(Instant::now()),
        }
        connected
    }

    fn request(
        &self,
        destination: &Destination,
        frames: VecDeque<Bytes>,
    ) -> Result<Request<Frames>, Failure> {
        let path = match destination.api {
            Api::Lines => self.target.write_path.as_ref(),
            Api::Prometheus => self.target.write_prom_path.as_ref(),
        };
        let path =
            path.ok_or_else(|| Failure::Request("the backend has no such endpoint".into()))?;
        let joint = if path.contains('?') { '&' } else { '?' };
        let query = match self.authorization {
            Some(_) => credentials::without_clients(&destination.query),
            None => Cow::Borrowed(&*destination.query),
        };
        let mut request = Request::post(format!("{path}{joint}{query}"))
            .header(HOST, &self.target.authority)
            .header(USER_AGENT, AGENT);
        if destination.api == Api::Lines {
            request = request.header(CONTENT_TYPE, LINE_PROTOCOL);
            if self.target.gzip {
                request = request.header(CONTENT_ENCODING, GZIP);
            }
        }
        for (name, value) in &destination.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        } else if let Some(authorization) = &destination.authorization {
            request = request.header(AUTHORIZATION, authorization.as_ref());
        }
        // What came by HTTP was valid there; this is for what a configuration made up.
        request.body(Frames::new(frames)).map_err(|error| Failure::Request(error.to_string()))
    }

    /// Reads the answer to its end, so that its connection can take the next request.
    async fn read(
        &self,
        connection: Connection,
        response: Response<Incoming>,
    ) -> Result<Reply, Failure> {
        let (head, mut rest) = response.into_parts();
        let header = |name| head.headers.get(name).map(|v| Bytes::copy_from_slice(v.as_ref()));
        let (content_type, error) = (header(CONTENT_TYPE), header(X_INFLUXDB_ERROR));
        let retry_after = retry_after(&head.headers);
        let mut body = BytesMut::new();
        let whole = loop {
            let data = match rest.frame().await {
                None => break true,
                // The status has come: what was to follow it changes nothing.
                Some(Err(_)) => break false,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            let room = REFUSAL_BYTES_MAX - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                break false;
            }
        };
        if whole {
            self.keep(connection).await;
        }
        let status = head.status.as_u16();
        let refusal = Refusal { status, content_type, error, body: body.freeze() };
        Ok(Reply { refusal, retry_after })
    }

    /// Keeps a connection for the next request. At most as many as run at once are ever open.
    async fn keep(&self, mut connection: Connection) {
        // A backend that answered before it read the whole body may never read the rest.
        let ready = tokio::time::timeout(READY_TIMEOUT, connection.requests.ready()).await;
        if ready.is_ok_and(|ready| ready.is_ok()) {
            self.idle.borrow_mut().push(connection);
        }
    }
}

/// `Retry-After` in seconds. As a date it would need the two clocks to agree, and is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

pub(super) fn transport(error: &hyper::Error) -> Failure {
    use std::error::Error;
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    Failure::Transport(format!("{error}{cause}"))
}

/// A body of several parts, none of them copied together.
#[derive(Debug)]
pub(super) struct Frames {
    parts: VecDeque<Bytes>,
    bytes: u64,
}

impl Frames {
    pub(super) fn new(parts: VecDeque<Bytes>) -> Self {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts, bytes }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.pop_front();
        self.bytes -= part.as_ref().map_or(0, |part| part.len() as u64);
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}
