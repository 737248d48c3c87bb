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
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, RETRY_AFTER,
    USER_AGENT,
};
use hyper::http::{HeaderValue, Response};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};

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

    /// Sends `frames` as one body and gives the backend's answer. Once its status has come, the
    /// rest of it decides nothing, and need not come. Says so if they were sent `again` because
    /// nobody knows what became of them the first time.
    pub(super) async fn send(
        &self,
        destination: &Destination,
        frames: VecDeque<Bytes>,
        again: &Cell<bool>,
    ) -> Result<Reply, Failure> {
        let limit = self.target.timeout;
        let end = Instant::now() + limit;
        // An opaque body is packed already, and keeps its encoding.
        let gzip = self.target.gzip && destination.api == Api::Lines;
        let frames = if gzip { compress::gzip(frames) } else { frames };
        let exchanged = timeout_at(end.into(), self.exchange(destination, frames, again)).await;
        let (connection, response) = exchanged.unwrap_or(Err(Failure::Timeout(limit)))?;
        Ok(self.read(connection, response, end).await)
    }

    async fn exchange(
        &self,
        destination: &Destination,
        frames: VecDeque<Bytes>,
        again: &Cell<bool>,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        if let Some(mut connection) = self.take_idle() {
            let request = self.request(destination, frames.clone())?;
            // If it fails, the backend closed it while it was idle, or what was left of the answer
            // before came as the answer. Writing a point twice changes nothing, so once more, on a
            // connection that cannot be stale.
            if let Ok(response) = connection.requests.send_request(request).await {
                return Ok((connection, response));
            }
            again.set(true);
        }
        let mut connection = self.connect().await?;
        let request = self.request(destination, frames)?;
        let response = connection.requests.send_request(request).await;
        Ok((connection, response.map_err(|error| transport(&error))?))
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

    /// Reads the answer to its end, if it comes until `end`: its connection can take the next
    /// request then.
    async fn read(
        &self,
        connection: Connection,
        response: Response<Incoming>,
        end: Instant,
    ) -> Reply {
        let (head, mut rest) = response.into_parts();
        let header = |name| head.headers.get(name).map(|v| Bytes::copy_from_slice(v.as_ref()));
        let (content_type, error) = (header(CONTENT_TYPE), header(X_INFLUXDB_ERROR));
        let retry_after = retry_after(&head.headers, SystemTime::now());
        let mut body = BytesMut::new();
        let whole = loop {
            let data = match timeout_at(end.into(), rest.frame()).await {
                Ok(None) => break true,
                Err(_) | Ok(Some(Err(_))) => break false,
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
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
        Reply { refusal, retry_after }
    }

    /// Keeps a connection for the next request. At most as many as run at once are ever open.
    async fn keep(&self, mut connection: Connection) {
        // A backend that answered before it read the whole body may never read the rest.
        let ready = timeout(READY_TIMEOUT, connection.requests.ready()).await;
        if ready.is_ok_and(|ready| ready.is_ok()) {
            self.idle.borrow_mut().push(connection);
        }
    }
}

/// How long to wait by `Retry-After`, which is in seconds or a date. A date is counted from the
/// answer's own, so that the two clocks need not agree, or else from `now`.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let after = text(RETRY_AFTER)?;
    if !after.is_empty() && after.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is long, not nothing.
        return Some(after.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let until = httpdate::parse_http_date(after).ok()?;
    let date = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    until.duration_since(date.unwrap_or(now)).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let later = "Sun, 06 Nov 1994 08:50:37 GMT";
        for (after, date, expected) in [
            ("0", None, Some(0)),
            (" 7 ", None, Some(7)),
            (later, None, Some(60)),
            (later, Some("Sun, 06 Nov 1994 08:50:35 GMT"), Some(2)),
            (later, Some("yesterday"), Some(60)),
            (later, Some("Sun, 06 Nov 1994 09:00:00 GMT"), None),
            ("Sunday, 06-Nov-94 08:50:37 GMT", None, Some(60)),
            ("-5", None, None),
            ("1.5", None, None),
            ("soon", None, None),
            ("", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(after));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{after} at {date:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("99999999999999999999"));
        assert_eq!(retry_after(&headers, now), Some(Duration::MAX));
    }
}
