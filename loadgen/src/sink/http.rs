//! The HTTP sink: answers `POST` to any path as a database's write endpoint would, and feeds the
//! ledger with the bodies it accepts. It can be slow, refuse, or flap.

use super::Shared;
use crate::pace::unix_ns;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How often the server looks whether it should stop.
const IDLE: Duration = Duration::from_millis(20);

/// How the sink answers writes.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// The status; lines are taken only with a 2xx.
    pub status: StatusCode,
    /// How long it waits before it answers.
    pub delay: Duration,
    /// If given, it works for so long, then answers 503 for so long, and so on.
    pub flap: Option<Duration>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { status: StatusCode::NO_CONTENT, delay: Duration::ZERO, flap: None }
    }
}

impl Behaviour {
    /// The status that is due after the sink has run for `age`.
    fn status_at(&self, age: Duration) -> StatusCode {
        match self.flap {
            Some(period) if (age.as_nanos() / period.as_nanos().max(1)) % 2 == 1 => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => self.status,
        }
    }
}

/// Binds the listener.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot bind TCP {address}"))?;
    listener.set_nonblocking(true).context("a non-blocking listener")?;
    Ok(listener)
}

/// Serves until told to stop. One thread; each connection is a task.
pub(super) fn serve(
    listener: TcpListener,
    behaviour: Behaviour,
    shared: &Arc<Shared>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the HTTP sink's runtime")?;
    let started = Instant::now();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).context("the listener")?;
        while !shared.stopping() {
            let Ok(accepted) = tokio::time::timeout(IDLE, listener.accept()).await else {
                continue;
            };
            let (stream, _) = accepted.context("accept")?;
            stream.set_nodelay(true).context("TCP_NODELAY")?;
            let shared = Arc::clone(shared);
            let answer = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { answer(request, behaviour, started, &shared).await }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            // A connection that breaks off is the client's affair: what it delivered is counted.
            tokio::spawn(async move { connection.await.ok() });
        }
        Ok(())
    })
}

async fn answer(
    request: Request<Incoming>,
    behaviour: Behaviour,
    started: Instant,
    shared: &Shared,
) -> Result<Response<Empty<Bytes>>> {
    if request.method() != Method::POST {
        return respond(StatusCode::NO_CONTENT);
    }
    let status = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let status = behaviour.status_at(started.elapsed());
            if status.is_success() {
                let lines = shared.ledger().take(&body.to_bytes(), unix_ns()?);
                shared.lines.fetch_add(lines, Ordering::Relaxed);
                shared.messages.fetch_add(1, Ordering::Relaxed);
            }
            status
        }
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Err(_) => StatusCode::BAD_REQUEST,
    };
    shared.count_answer(status.as_u16());
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    respond(status)
}

fn respond(status: StatusCode) -> Result<Response<Empty<Bytes>>> {
    Ok(Response::builder().status(status).body(Empty::new())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaps_between_working_and_unavailable() {
        let flapping = Behaviour { flap: Some(Duration::from_secs(2)), ..Behaviour::default() };
        let at = |ms| flapping.status_at(Duration::from_millis(ms)).as_u16();
        assert_eq!([at(0), at(1_999), at(2_000), at(3_999), at(4_000)], [204, 204, 503, 503, 204]);
    }
}
