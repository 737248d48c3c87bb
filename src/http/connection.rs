//! Connections: accepted, served by hyper, ended in order.
//!
//! Called by `http::run`, once per listening socket. An operation in flight is never dropped: its
//! socket is shut down and it is waited for, so that no buffer is freed under the kernel.

use super::{Front, Site};
use crate::stop::Stop;
use crate::stream::Socket;
use crate::tls::Wire;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout_at};
use tokio_uring::net::{TcpListener, TcpStream};

/// Connections open at once per listening socket, that is per listener and thread; more wait in
/// the kernel's backlog. An idle one holds about 12 KiB.
pub const CONNECTIONS_MAX: u32 = 4_096;
/// Bytes of a request's head; a larger one is answered 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes that hyper gathers of a body before it hands them on.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// A connection on which no whole request head came for this long is closed: clients that write
/// once a minute keep theirs.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long and for how many bytes a client may go on sending what was refused already.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// After a failed accept (no file descriptors left) others may have closed theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed accepts are logged at most this often.
const WARN_PAUSE: Duration = Duration::from_secs(1);
/// At the drain deadline the backends answer for what is left: clients still get to know.
const FAREWELL: Duration = Duration::from_millis(500);

/// Accepts and serves until a stop is requested, then until all connections are closed.
pub(super) async fn accept(
    socket: std::net::TcpListener,
    site: Rc<Site>,
    mut stop: Stop,
) -> io::Result<()> {
    // io_uring waits by itself; on a non-blocking socket it would answer EAGAIN instead.
    socket.set_nonblocking(false)?;
    let closer = socket.try_clone()?;
    let listener = TcpListener::from_std(socket);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let mut warned = None;
    while !stop.requested() {
        let place = tokio::select! {
            biased;
            _ = stop.wait() => break,
            place = Arc::clone(&room).acquire_owned() => place.expect("it is never closed"),
        };
        let mut accepting = pin!(listener.accept());
        let accepted = tokio::select! {
            biased;
            _ = stop.wait() => {
                refuse_connections(&closer);
                accepting.await
            }
            accepted = &mut accepting => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                site.count(|metrics| metrics.connections.add(1));
                let served = serve(tcp, Rc::clone(&site), stop.clone(), place);
                drop(tokio_uring::spawn(served));
            }
            Err(_) if stop.requested() => {}
            Err(error) => {
                if warned.is_none_or(|warned: Instant| warned.elapsed() >= WARN_PAUSE) {
                    tracing::warn!(%error, "a connection could not be accepted; clients wait");
                    warned = Some(Instant::now());
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    refuse_connections(&closer);
    drop(room.acquire_many(CONNECTIONS_MAX).await);
    Ok(())
}

/// From now on clients are refused at once rather than left waiting in the kernel's queue.
fn refuse_connections(listener: &std::net::TcpListener) {
    if let Err(error) = socket2::SockRef::from(listener).shutdown(Shutdown::Both) {
        tracing::debug!(%error, "the listener was shut down already");
    }
}

async fn serve(tcp: TcpStream, site: Rc<Site>, mut stop: Stop, place: OwnedSemaphorePermit) {
    let socket = Socket::new(tcp);
    if let Some(wire) = shake_hands(&socket, &site, &mut stop).await {
        exchange(&socket, wire, &site, stop).await;
    }
    socket.close().await;
    drop(place);
}

/// The connection's bytes; `None` if no TLS came about, or a stop was requested meanwhile.
async fn shake_hands(socket: &Socket, site: &Site, stop: &mut Stop) -> Option<Wire> {
    let Some((front, acceptor)) = site.front.as_ref().and_then(Front::tls) else {
        return Some(Wire::Plain(socket.stream()));
    };
    // Boxed: a plain connection must not hold room for a handshake.
    let shaken = Box::pin(acceptor.accept(socket.stream()));
    let why = tokio::select! {
        biased;
        _ = stop.wait() => return None,
        shaken = shaken => match shaken {
            Ok(wire) => return Some(wire),
            Err(why) => why,
        },
    };
    front.metrics.handshakes_failed.add(1);
    acceptor.tell(&front.config.name, &why);
    // Else a client that has sent more would lose the alert that says why.
    socket.linger(HEAD_BYTES_MAX, LINGER_TIMEOUT).await;
    None
}

async fn exchange(socket: &Socket, wire: Wire, site: &Site, mut stop: Stop) {
    let unread = Cell::new(false);
    let service = service_fn(|request| site.respond(request, &unread));
    let served = {
        let connection = builder().serve_connection(wire, service);
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            served = connection.as_mut() => served,
            deadline = stop.wait() => {
                connection.as_mut().graceful_shutdown();
                timeout_at((deadline + FAREWELL).into(), connection).await.unwrap_or(Ok(()))
            }
        }
    };
    if served.is_err_and(|error| error.is_parse()) {
        site.count(|metrics| metrics.unreadable.add(1));
    }
    if unread.get() {
        socket.linger(LINGER_BYTES_MAX, LINGER_TIMEOUT).await;
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        // As Go spells them, for scripts that look for them with these capitals.
        .title_case_headers(true)
        // A client that has nothing more to send still waits for its answer.
        .half_close(true);
    builder
}
