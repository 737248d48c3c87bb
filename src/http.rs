//! The HTTP front: what a thread `http-<n>` runs.
//!
//! `relay` binds the sockets and calls [`run`] on each thread. A thread serves all listeners, on
//! sockets of its own, by io_uring. One file per endpoint: `write` (both write APIs), `ping`,
//! `metrics`; what they share is in `body` (limits), `query`, `points` (lines to a batch), `ack`
//! (how many backends are enough), `refusal` and `answer`. Knows nothing of backends but the queues
//! of the fan-out.

mod ack;
mod answer;
mod body;
mod connection;
mod metrics;
mod ping;
mod points;
mod query;
mod refusal;
mod write;

pub use body::Budget;
pub use connection::CONNECTIONS_MAX;

use crate::config::{self, Target};
use crate::fanout::Fanout;
use crate::metrics::{Endpoint, HttpWorker, Registry, status_class};
use crate::stop::Stop;
use crate::timestamp::Stamper;
use crate::tls::Acceptor;
use answer::{Answer, Form};
use crossbeam_utils::CachePadded;
use hyper::Request;
use hyper::body::{Body, Incoming};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// One `[[http]]` listener as one thread serves it.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening, one of several with `SO_REUSEPORT`.
    pub socket: std::net::TcpListener,
    /// What was configured.
    pub config: Arc<config::HttpListener>,
    /// The queues of its backends.
    pub fanout: Fanout,
    /// This thread's counters.
    pub metrics: Arc<CachePadded<HttpWorker>>,
    /// What the bodies of this listener may hold, shared by all threads.
    pub bodies: Arc<Budget>,
}

/// The `[admin]` address: serves `/metrics` and `/ping`.
#[derive(Debug)]
pub struct Admin {
    /// Bound and listening.
    pub socket: std::net::TcpListener,
}

/// Serves until a stop was requested and all open requests are answered, or the drain deadline
/// has passed. All queues are let go of by then.
///
/// # Errors
/// If a socket cannot be used with io_uring.
pub fn run(
    runtime: &tokio_uring::Runtime,
    listeners: Vec<Listener>,
    admin: Option<Admin>,
    registry: Arc<Registry>,
    stop: Stop,
) -> io::Result<()> {
    runtime.block_on(serve(listeners, admin, registry, stop))
}

async fn serve(
    listeners: Vec<Listener>,
    admin: Option<Admin>,
    registry: Arc<Registry>,
    stop: Stop,
) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    let stamper = Rc::new(RefCell::new(Stamper::default()));
    for listener in listeners {
        let (socket, front) = Front::new(listener, Rc::clone(&stamper), stop.clone());
        let site = Rc::new(Site { registry: Arc::clone(&registry), front: Some(front) });
        accepting.spawn_local(connection::accept(socket, site, stop.clone()));
    }
    if let Some(Admin { socket }) = admin {
        let site = Rc::new(Site { registry, front: None });
        accepting.spawn_local(connection::accept(socket, site, stop));
    }
    while let Some(ended) = accepting.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

/// What answers on one socket.
struct Site {
    registry: Arc<Registry>,
    /// `None` on the admin address.
    front: Option<Front>,
}

/// A listener, as its endpoints see it.
struct Front {
    config: Arc<config::HttpListener>,
    fanout: Fanout,
    metrics: Arc<CachePadded<HttpWorker>>,
    bodies: Arc<Budget>,
    stamper: Rc<RefCell<Stamper>>,
    /// A client waits no longer than this for its backends.
    answer_timeout: Duration,
    stop: Stop,
}

impl Front {
    fn new(
        listener: Listener,
        stamper: Rc<RefCell<Stamper>>,
        stop: Stop,
    ) -> (std::net::TcpListener, Self) {
        let Listener { socket, config, fanout, metrics, bodies } = listener;
        // A write may wait for the request before it in its backend, then for its own.
        let answer_timeout = 2 * longest_timeout(&config) + Duration::from_secs(1);
        (socket, Self { config, fanout, metrics, bodies, stamper, answer_timeout, stop })
    }

    /// What shakes hands with clients, if they speak TLS.
    fn tls(&self) -> Option<(&Self, &Acceptor)> {
        self.config.tls.as_deref().map(|acceptor| (self, acceptor))
    }

    /// The stamp of a request, in nanoseconds since the epoch.
    fn stamp_ns(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.stamper.borrow_mut().stamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Ends when a client has waited long enough, or when the relay will not deliver any more.
    async fn patience(&self) {
        let mut stop = self.stop.clone();
        let drained = async { tokio::time::sleep_until(stop.wait().await.into()).await };
        drop(tokio::time::timeout(self.answer_timeout, drained).await);
    }
}

fn longest_timeout(config: &config::HttpListener) -> Duration {
    let timeouts = config.outputs.iter().filter_map(|output| match &output.target {
        Target::Http(target) => Some(target.timeout),
        Target::Udp(_) => None,
    });
    timeouts.max().unwrap_or_default()
}

impl Site {
    /// Answers one request. Says through `unread` that its body was not read to the end.
    async fn respond(
        &self,
        request: Request<Incoming>,
        unread: &Cell<bool>,
    ) -> Result<Answer, Infallible> {
        let (head, mut body) = request.into_parts();
        let (endpoint, answer) = match (head.uri.path(), &self.front) {
            (write::PATH, Some(front)) => {
                (Endpoint::Write, write::answer(front, &head, &mut body, Form::V1).await)
            }
            (write::PATH_V2, Some(front)) => {
                (Endpoint::WriteV2, write::answer(front, &head, &mut body, Form::V2).await)
            }
            (ping::PATH, front) => {
                let status = front.as_ref().map_or(204, |front| front.config.ping_status);
                (Endpoint::Ping, ping::answer(status, &head))
            }
            (metrics::PATH, _) => (Endpoint::Metrics, metrics::answer(&self.registry, &head)),
            _ => (Endpoint::Other, answer::not_found()),
        };
        if !body.is_end_stream() {
            unread.set(true);
        }
        let class = status_class(answer.status().as_u16());
        self.count(|metrics| metrics.answers[endpoint as usize][class].add(1));
        tracing::debug!("{} {} {}", head.method, head.uri.path(), answer.status().as_u16());
        Ok(answer)
    }

    fn count(&self, count: impl FnOnce(&HttpWorker)) {
        if let Some(front) = &self.front {
            count(&front.metrics);
        }
    }
}

#[cfg(test)]
mod tests;
