//! Connections: accepted, served by hyper, ended in order.
//!
//! Called by `http::run`, once per listening socket. An operation in flight is never dropped: its
//! socket is shut down and it is waited for, so that no buffer is freed under the kernel.

use super::Site;
use super::door::Door;
use super::places::Places;
use super::watch::{Patience, Place, Watch, Watched, Watches};
use crate::config::Connections;
use crate::stop::Stop;
use crate::stream::{self, Peer, Socket};
use crate::tls::Wire;
use hyper::Request;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

/// Bytes that hyper gathers of a body before it hands them on. An idle connection may keep them.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// The head of an answer, and what tasks and parsers hold.
const HYPER_BYTES: usize = 16 * 1024;
/// A record of TLS in each direction, and what rustls gathers.
const TLS_BYTES: usize = 96 * 1024;
/// How often a listener whose connections are all open looks for one that can make room.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How long and for how many bytes a client may go on sending what was refused already.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// After a failed accept (no file descriptors left) others may have closed theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed accepts are logged at most this often.
const WARN_PAUSE: Duration = Duration::from_secs(1);
/// How often a client that waits for its answer is looked after.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// At the drain deadline the backends answer for what is left: clients still get to know.
const FAREWELL: Duration = Duration::from_millis(500);

/// Accepts and serves until a stop is requested, then until all connections are closed. `places`
/// are the connections that may be open; more wait unserved.
pub(super) async fn accept(door: Door, site: Rc<Site>, places: Arc<Places>) -> io::Result<()> {
    let (mut stop, watches) = (site.stop.clone(), Rc::<Watches>::default());
    let mut open = JoinSet::new();
    let mut warned = None;
    while !stop.requested() {
        let accepted = loop {
            tokio::select! {
                biased;
                _ = stop.wait() => break None,
                accepted = door.next() => break Some(accepted),
                () = places.asked() => places.obey(|| watches.make_room()),
            }
        };
        let Some(accepted) = accepted else { break };
        match accepted {
            Ok((tcp, peer)) => {
                site.count(|metrics| metrics.connections.add(1));
                let socket = Socket::of_client(tcp);
                let Some(room) = room(&places, &watches, &mut stop).await else {
                    socket.close().await;
                    break;
                };
                while open.try_join_next().is_some() {}
                open.spawn_local(serve(socket, peer.ip(), Rc::clone(&site), watches.open(), room));
            }
            Err(error) => {
                if warned.is_none_or(|warned: Instant| warned.elapsed() >= WARN_PAUSE) {
                    tracing::warn!(%error, "a connection could not be accepted; clients wait");
                    warned = Some(Instant::now());
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    door.close();
    while open.join_next().await.is_some() {}
    Ok(())
}

/// Waits for a place. While there is none, connections that have waited longest for a request
/// make room, on this thread or another, so that idle ones, however many, keep nobody out. `None`
/// if a stop is requested.
async fn room(places: &Places, watches: &Watches, stop: &mut Stop) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Some(place) = places.try_take() {
            return Some(place);
        }
        if !watches.make_room() {
            places.ask();
        }
        tokio::select! {
            biased;
            _ = stop.wait() => return None,
            place = places.take() => return Some(place),
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
    if let Some(wire) = shake_hands(&socket, peer, &site, &place.watch, &mut stop).await {
        exchange(&socket, wire, peer, &site, &place.watch).await;
    }
    socket.close().await;
    drop(room);
}

/// The connection's bytes; `None` if no TLS came about, or room or a stop was wanted meanwhile.
async fn shake_hands(
    socket: &Socket,
    peer: IpAddr,
    site: &Site,
    watch: &Watch,
    stop: &mut Stop,
) -> Option<Wire> {
    let Some((listener, acceptor)) = site.live.as_ref().and_then(|live| live.tls()) else {
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
        () = watch.room_wanted() => {
            site.count(|metrics| metrics.expired.add(1));
            return None;
        }
    };
    watch.ending();
    site.count(|metrics| metrics.handshakes_failed.add(1));
    acceptor.tell(&listener, peer, &why);
    // Else a client that has sent more would lose the alert that says why.
    socket.linger(site.limits().head_bytes_max, LINGER_TIMEOUT).await;
    None
}

async fn exchange(socket: &Socket, wire: Wire, peer: IpAddr, site: &Site, watch: &Rc<Watch>) {
    let (unread, limits) = (Cell::new(false), site.limits());
    let service = service_fn(|request: Request<Incoming>| {
        watch.head_came(!request.body().is_end_stream());
        let answer = site.respond(request, peer, watch, &unread);
        async {
            tokio::select! {
                biased;
                answer = answer => {
                    watch.idle();
                    Ok(answer)
                }
                gone = client_gone(socket, watch) => Err(gone),
            }
        }
    });
    let mut stop = site.stop.clone();
    let served = {
        let wire = Watched::new(wire, watch);
        let connection = builder(&limits).serve_connection(wire, service);
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = watch.expired(Patience::running(&limits)) => {
                site.count(|metrics| metrics.expired.add(1));
                Ok(())
            }
            deadline = stop.wait() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    served = connection => served,
                    () = watch.expired(Patience::STOPPING) => {
                        site.count(|metrics| metrics.expired.add(1));
                        Ok(())
                    }
                    () = sleep_until((deadline + FAREWELL).into()) => Ok(()),
                }
            }
        }
    };
    watch.ending();
    if served.is_err_and(|error| error.is_parse()) {
        site.count(|metrics| metrics.unreadable.add(1));
    }
    if unread.get() {
        socket.linger(LINGER_BYTES_MAX, LINGER_TIMEOUT).await;
    }
}

/// The client closed its connection before it had its answer.
#[derive(Debug, thiserror::Error)]
#[error("the client is gone")]
struct Gone;

/// Ends when nobody is there any more who could get an answer. A client that has merely said that
/// it sends nothing more may be waiting, or gone: it waits until others need its place.
async fn client_gone(socket: &Socket, watch: &Watch) -> Gone {
    loop {
        sleep(LOOK_PAUSE).await;
        match socket.peer() {
            Peer::There => {}
            Peer::Finished => watch.left(),
            Peer::Gone => return Gone,
        }
    }
}

/// Bytes that one connection may hold at most, beside the body of its request and its answer.
pub(crate) fn bytes_max(limits: &Connections, tls: bool) -> usize {
    // hyper reads into one buffer while it may still hold the one before.
    let hyper = 2 * buffer_bytes_max(limits) + HYPER_BYTES;
    stream::CLIENT_BYTES_MAX + hyper + if tls { TLS_BYTES } else { 0 }
}

fn buffer_bytes_max(limits: &Connections) -> usize {
    BUFFER_BYTES_MAX.max(limits.head_bytes_max + BUFFER_BYTES_MAX / 2)
}

fn builder(limits: &Connections) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The watch does that.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(buffer_bytes_max(limits))
        // As Go spells them, for scripts that look for them with these capitals.
        .title_case_headers(true)
        // A client that has nothing more to send still waits for its answer.
        .half_close(true);
    builder
}
