//! Connections to one backend: its name resolved, connected, shaken hands with, ended.
//!
//! Called by the transport. One connect tries all addresses of the backend in turn.

use super::classify::Failure;
use super::send::Frames;
use crate::config::HttpTarget;
use crate::stream::Socket;
use crate::tls::{Connector, Wire};
use hyper::client::conn::http1::{self, SendRequest};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};
use tokio_uring::net::TcpStream;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) requests: SendRequest<Frames>,
    /// Its end is what the task that drives the connection waits for.
    _alive: oneshot::Sender<()>,
}

/// Connects to the target within `limit`, through TLS if that is wanted. The connection's task
/// holds `open` until its socket is closed.
pub(super) async fn connect(
    target: &HttpTarget,
    limit: Duration,
    open: mpsc::Sender<()>,
) -> Result<Connection, Failure> {
    let end = Instant::now() + limit;
    let authority = &*target.authority;
    let addresses = match timeout(limit, resolve(authority)).await {
        Ok(resolved) => resolved.map_err(|error| {
            Failure::Connect(format!("the name {authority} does not resolve: {error}"))
        })?,
        Err(_) => {
            return Err(Failure::Connect(format!(
                "the name {authority} did not resolve within {limit:?}"
            )));
        }
    };
    let tcp = connect_any(&addresses, end).await?;
    let socket = Socket::new(tcp);
    let wire = match shake_hands(&socket, target.tls.as_deref(), end).await {
        Ok(wire) => wire,
        Err(failure) => {
            socket.close().await;
            return Err(failure);
        }
    };
    let mut builder = http1::Builder::new();
    builder.max_header_size(HEAD_BYTES_MAX).max_buf_size(4 * HEAD_BYTES_MAX);
    let (requests, connection) =
        builder.handshake(wire).await.map_err(|error| Failure::Transport(error.to_string()))?;
    let (alive, dropped) = oneshot::channel();
    drop(tokio_uring::spawn(async move {
        {
            let connection = pin!(connection);
            tokio::select! {
                // How it ended is said to the request that was on it.
                _ = connection => {}
                _ = dropped => {}
            }
        }
        socket.close().await;
        drop(open);
    }));
    Ok(Connection { requests, _alive: alive })
}

async fn shake_hands(
    socket: &Socket,
    tls: Option<&Connector>,
    end: Instant,
) -> Result<Wire, Failure> {
    let Some(connector) = tls else { return Ok(Wire::Plain(socket.stream())) };
    // Boxed: requests to a plain backend must not hold room for a handshake.
    match timeout_at(end.into(), Box::pin(connector.connect(socket.stream()))).await {
        Ok(shaken) => shaken.map_err(Failure::Tls),
        Err(_) => Err(Failure::Tls("the handshake took too long".into())),
    }
}

/// The addresses behind `host:port`. The system's resolver blocks, so it gets a thread of its own,
/// which a caller that waits no longer leaves behind to end by itself.
async fn resolve(authority: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = authority.parse() {
        return Ok(vec![address]);
    }
    let (resolved, result) = oneshot::channel();
    let authority = authority.to_owned();
    std::thread::Builder::new().name("resolve".into()).spawn(move || {
        let addresses = authority.to_socket_addrs().map(Iterator::collect);
        // The one who asked may have stopped waiting.
        drop(resolved.send(addresses));
    })?;
    result.await.map_err(io::Error::other)?
}

async fn connect_any(addresses: &[SocketAddr], end: Instant) -> Result<TcpStream, Failure> {
    let mut failed = Failure::Connect("the name has no address".into());
    for (tried, &address) in addresses.iter().enumerate() {
        // Each address gets its share, so that one that swallows everything leaves some time.
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(Instant::now()) / left;
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => Failure::Connect(format!("{address}: {error}")),
            Err(_) => Failure::Connect(format!("{address}: no answer within {share:?}")),
        };
    }
    Err(failed)
}
