//! Connections: accepted, served by hyper, ended in order.
//!
//! Called by `http::run`, once per listening socket. An operation in flight is never dropped: its
//! socket is shut down and it is waited for, so that no buffer is freed under the kernel.

use super::watch::{Place, Watch, Watched, Watches};
use super::{Front, Site};
use crate::config::Connections;
use crate::stop::Stop;
use crate::stream::Socket;
use crate::tls::Wire;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Shutdown};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};
use tokio_uring::net::TcpListener;

/// Bytes that hyper gathers of a body before it hands them on.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How often a listener whose connections are all open looks for one that can make room.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How long and for how many bytes a client may go on sending what was refused already.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// After a failed accept (no file descriptors left) others may have closed theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed accepts are logged at most this often.
const WARN_PAUSE: Duration = Duration::from_secs(1);
/// At the drain deadline the backends answer for what is left: clients still get to know.
const FAREWELL: Duration = Duration::from_millis(500);

/// Accepts and serves until a stop is requested, then until all connections are closed. `places`
/// are the connections that may be open; more wait unserved.
pub(super) async fn accept(
    socket: std::net::TcpListener,
    site: Rc<Site>,
    places: Arc<Semaphore>,
) -> io::Result<()> {
    // io_uring waits by itself; on a non-blocking socket it would answer EAGAIN instead.
    socket.set_nonblocking(false)?;
    let closer = socket.try_clone()?;
    let listener = TcpListener::from_std(socket);
    let (mut stop, watches) = (site.stop.clone(), Rc::<Watches>::default());
    let mut open = JoinSet::new();
    let mut warned = None;
    while !stop.requested() {
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
            Ok((tcp, peer)) => {
                site.count(|metrics| metrics.connections.add(1));
                let socket = Socket::new(tcp);
                let Some(room) = room(&places, &watches, &mut stop).await else {
                    socket.close().await;
                    break;
                };
                while open.try_join_next().is_some() {}
                open.spawn_local(serve(socket, peer.ip(), Rc::clone(&site), watches.open(), room));
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
    while open.join_next().await.is_some() {}
    Ok(())
}

/// From now on clients are refused at once rather than left waiting in the kernel's queue.
fn refuse_connections(listener: &std::net::TcpListener) {
    if let Err(error) = socket2::SockRef::from(listener).shutdown(Shutdown::Both) {
        tracing::debug!(%error, "the listener was shut down already");
    }
}

/// Waits for a place. While there is none, connections that have waited longest for a request, or
/// for the rest of one, make room, so that idle ones, however many, keep nobody out. `None` if a
/// stop is requested.
async fn room(
    places: &Arc<Semaphore>,
    watches: &Watches,
    stop: &mut Stop,
) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        watches.make_room();
        tokio::select! {
            biased;
            _ = stop.wait() => return None,
            place = Arc::clone(places).acquire_owned() => {
                return Some(place.expect("it is never closed"));
            }
            () = sleep(ROOM_PAUSE) => {}
        }
    }
}

async fn serve(
    socket: Socket,
    peer: IpAddr,
    site: Rc<Site>,
    place: Place,
    room: OwnedSemaphorePermit,
) {
    let mut stop = site.stop.clone();
    if let Some(wire) = shake_hands(&socket, &site, &mut stop, &place.watch).await {
        exchange(&socket, wire, peer, &site, &place.watch).await;
    }
    socket.close().await;
    drop(room);
}

/// The connection's bytes; `None` if no TLS came about, or a stop was requested or others needed
/// room meanwhile.
async fn shake_hands(socket: &Socket, site: &Site, stop: &mut Stop, watch: &Watch) -> Option<Wire> {
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
        () = watch.expired(&site.limits) => {
            front.metrics.expired.add(1);
            return None;
        }
    };
    front.metrics.handshakes_failed.add(1);
    acceptor.tell(&front.config.name, &why);
    // Else a client that has sent more would lose the alert that says why.
    socket.linger(site.limits.head_bytes_max, LINGER_TIMEOUT).await;
    None
}

async fn exchange(socket: &Socket, wire: Wire, peer: IpAddr, site: &Site, watch: &Rc<Watch>) {
    let unread = Cell::new(false);
    let service = service_fn(|request| {
        watch.busy();
        let answer = site.respond(request, peer, &unread);
        async {
            let answer = answer.await;
            watch.idle();
            answer
        }
    });
    let mut stop = site.stop.clone();
    let served = {
        let wire = Watched::new(wire, watch);
        let connection = builder(&site.limits).serve_connection(wire, service);
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = watch.expired(&site.limits) => {
                site.count(|metrics| metrics.expired.add(1));
                Ok(())
            }
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

fn builder(limits: &Connections) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The watch does that.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(BUFFER_BYTES_MAX.max(limits.head_bytes_max + BUFFER_BYTES_MAX / 2))
        // As Go spells them, for scripts that look for them with these capitals.
        .title_case_headers(true)
        // A client that has nothing more to send still waits for its answer.
        .half_close(true);
    builder
}
