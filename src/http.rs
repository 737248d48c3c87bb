//! The HTTP front: what a thread `http-<n>` runs.
//!
//! `relay` binds the sockets and calls [`run`] on each thread. A thread serves all listeners, on
//! sockets of its own, by io_uring. One file per endpoint: `write` (both write APIs), `prom`,
//! `ping`, `ready`, `health`, `status`, `admin`, `metrics`, and for the `[admin]` address `page`
//! and `overview`; what they share is in `body` (limits), `budget` and `held` (room for bodies),
//! `query`, `points` (lines to a batch), `ack` (how many backends are enough), `refusal`, `answer`
//! and `shared` (what the threads of a listener share). Knows nothing of backends but the queues of
//! the fan-out, and whom to give a command.

mod ack;
mod admin;
mod answer;
mod body;
mod budget;
mod connection;
mod door;
mod health;
mod held;
mod live;
mod metrics;
mod overview;
mod page;
mod ping;
mod places;
mod points;
mod prom;
mod query;
mod ready;
mod refusal;
mod shared;
mod status;
mod watch;
mod write;

pub use budget::Budget;
pub(crate) use connection::bytes_max as connection_bytes_max;
pub use live::Serving;
pub use shared::Shared;

use crate::bad_senders::Notes;
use crate::config::{self, Target};
use crate::fanout::Fanout;
use crate::metrics::{Endpoint, HttpWorker, Registry, status_class};
use crate::runtime;
use crate::stop::Stop;
use crate::sys;
use crate::timestamp::Stamper;
use answer::{Answer, Form};
use body::Coming;
use crossbeam_utils::CachePadded;
use door::Door;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::CONNECTION;
use hyper::http::HeaderValue;
use hyper::http::request::Parts;
use live::Live;
use places::Places;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use watch::Watch;

/// One `[[http]]` listener as one thread serves it.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening, one of several with `SO_REUSEPORT`, or of several threads.
    pub socket: std::net::TcpListener,
    /// The service manager has it too, and gives it to the next relay: it is not shut.
    pub stays_open: bool,
    /// What its threads share, now and after each change.
    pub serving: Receiver<Arc<Serving>>,
    /// This thread's counters.
    pub metrics: Arc<CachePadded<HttpWorker>>,
    /// Where this thread notes refused lines with their sender.
    pub bad_senders: Arc<Notes>,
}

/// The `[admin]` address: serves the status page, `/status`, `/metrics`, `/ping` and `/ready`.
#[derive(Debug)]
pub struct Admin {
    /// Bound and listening.
    pub socket: std::net::TcpListener,
    /// As in [`Listener`].
    pub stays_open: bool,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// When the relay begins to stop, which `/ready` tells.
    pub stopping: Stop,
    /// When this address shall stop: after all else has.
    pub stop: Stop,
}

/// Serves until a stop was requested and all open requests are answered, or the drain deadline
/// has passed. All queues are let go of by then. The body of a thread `http-<n>`.
///
/// # Errors
/// If a socket cannot be used with io_uring.
pub fn run(
    runtime: &tokio_uring::Runtime,
    listeners: Vec<Listener>,
    registry: &Arc<Registry>,
    stop: &Stop,
) -> io::Result<()> {
    runtime::block_on(runtime, async {
        let (mut accepting, mut following) = (JoinSet::new(), JoinSet::new());
        let stamper = Rc::new(RefCell::new(Stamper::default()));
        for listener in listeners {
            let Listener { socket, stays_open, serving, metrics, bad_senders } = listener;
            let stamper = Rc::clone(&stamper);
            let live = Live::new(serving, metrics, bad_senders, stamper, stop.clone());
            let places = Arc::clone(&live.now().shared.places);
            let live = Rc::new(live);
            following.spawn_local(Rc::clone(&live).follow());
            let site = Rc::new(Site {
                registry: Arc::clone(registry),
                live: Some(live),
                stopping: stop.clone(),
                stop: stop.clone(),
            });
            accepting.spawn_local(connection::accept(Door::new(socket, stays_open)?, site, places));
        }
        while let Some(ended) = accepting.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    })
}

/// Serves the `[admin]` address until it shall stop. The body of the thread `admin`.
///
/// # Errors
/// As [`run`].
pub fn run_admin(runtime: &tokio_uring::Runtime, admin: Admin) -> io::Result<()> {
    let Admin { socket, stays_open, registry, stopping, stop } = admin;
    let places = Arc::new(Places::new(config::Connections::default().open_max));
    runtime::block_on(runtime, async {
        let site = Rc::new(Site { registry, live: None, stopping, stop });
        connection::accept(Door::new(socket, stays_open)?, site, places).await
    })
}

/// More than this of a body that is refused has not come yet when it is answered.
const SHORT_REST_BYTES: u64 = 16 * 1024;

/// What answers on one socket.
struct Site {
    registry: Arc<Registry>,
    /// `None` on the admin address.
    live: Option<Rc<Live>>,
    /// When the relay begins to stop.
    stopping: Stop,
    /// When this socket does.
    stop: Stop,
}

/// A listener, as its endpoints see it.
struct Front {
    config: Arc<config::HttpListener>,
    fanout: Fanout,
    /// This thread's, past the queues of the fan-out.
    metrics: Arc<CachePadded<HttpWorker>>,
    shared: Shared,
    bad_senders: Arc<Notes>,
    stamper: Rc<RefCell<Stamper>>,
    /// A client waits no longer than this for its backends.
    answer_timeout: Duration,
    stop: Stop,
}

impl Front {
    fn new(
        serving: &Serving,
        metrics: &Arc<CachePadded<HttpWorker>>,
        bad_senders: &Arc<Notes>,
        stamper: &Rc<RefCell<Stamper>>,
        stop: &Stop,
    ) -> Self {
        Self {
            config: Arc::clone(&serving.config),
            fanout: serving.fanout.clone(),
            metrics: Arc::clone(metrics),
            shared: serving.shared.clone(),
            bad_senders: Arc::clone(bad_senders),
            stamper: Rc::clone(stamper),
            // A write may wait for the request before it in its backend, then for its own.
            answer_timeout: 2 * longest_timeout(&serving.config) + Duration::from_secs(1),
            stop: stop.clone(),
        }
    }

    /// Counts a request against `rate-limit`; the 429 if it goes over.
    fn limit_request(&self, endpoint: Endpoint) -> Option<Answer> {
        let form = if endpoint == Endpoint::WriteV2 { Form::V2 } else { Form::V1 };
        if is_limited(endpoint) { self.shared.limit_request(form) } else { None }
    }

    /// The stamp of a request, in nanoseconds since the epoch.
    fn stamp_ns(&self) -> i64 {
        self.stamper.borrow_mut().stamp(sys::now_ns())
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

/// What a path asks for.
fn endpoint(path: &str) -> Endpoint {
    match path {
        write::PATH => Endpoint::Write,
        write::PATH_V2 => Endpoint::WriteV2,
        prom::PATH => Endpoint::PromWrite,
        ping::PATH => Endpoint::Ping,
        ready::PATH => Endpoint::Ready,
        health::PATH => Endpoint::Health,
        status::PATH => Endpoint::Status,
        metrics::PATH => Endpoint::Metrics,
        admin::PATH => Endpoint::Admin,
        admin::FLUSH_PATH => Endpoint::Flush,
        _ => Endpoint::Other,
    }
}

/// Whether `rate-limit` counts a request. Whoever watches the relay must get an answer then, too.
fn is_limited(endpoint: Endpoint) -> bool {
    use Endpoint::{Health, Metrics, Ping, Ready, Status};
    !matches!(endpoint, Health | Metrics | Ping | Ready | Status)
}

impl Site {
    /// Answers one request. Says through `unread` that its body was not read to the end.
    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        watch: &Watch,
        unread: &Cell<bool>,
    ) -> Answer {
        let (head, mut body) = request.into_parts();
        let endpoint = endpoint(head.uri.path());
        let whole = Cell::new(body.is_end_stream());
        let mut answer = match &self.live {
            Some(live) => {
                // The front of now is let go of before the body comes.
                let limited = live.now().limit_request(endpoint);
                match limited {
                    None => {
                        let body = Coming::new(&mut body, watch, &whole);
                        self.serve(live, endpoint, &head, body, peer).await
                    }
                    Some(too_many) => too_many,
                }
            }
            None => match endpoint {
                Endpoint::Ping => ping::answer(204, &head),
                Endpoint::Ready => ready::answer(self.stopping.requested(), &head),
                Endpoint::Metrics => metrics::answer(&self.registry, &head),
                Endpoint::Status => {
                    overview::answer(&self.registry, self.stopping.requested(), &head)
                }
                Endpoint::Other if head.uri.path() == page::PATH => page::answer(&head),
                _ => answer::not_found(),
            },
        };
        if !whole.get() {
            unread.set(true);
            // The client is told that the connection ends, lest it sends its next request on it.
            // hyper reads over a short rest, and goes on.
            if body.size_hint().upper().is_none_or(|rest| rest > SHORT_REST_BYTES) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let class = status_class(answer.status().as_u16());
        self.count(|metrics| metrics.answers[endpoint as usize][class].add(1));
        tracing::debug!("{} {} {}", head.method, head.uri.path(), answer.status().as_u16());
        answer
    }

    async fn serve(
        &self,
        live: &Live,
        endpoint: Endpoint,
        head: &Parts,
        body: Coming<'_>,
        peer: IpAddr,
    ) -> Answer {
        match endpoint {
            Endpoint::Write => write::answer(live, head, body, Form::V1, peer).await,
            Endpoint::WriteV2 => write::answer(live, head, body, Form::V2, peer).await,
            Endpoint::PromWrite => prom::answer(live, head, body).await,
            Endpoint::Ping => ping::answer(live.now().config.ping_status, head),
            Endpoint::Ready => ready::answer(self.stopping.requested(), head),
            Endpoint::Health => health::answer(&live.now(), head).await,
            Endpoint::Status => status::answer(&live.now(), head),
            Endpoint::Metrics => metrics::answer(&self.registry, head),
            Endpoint::Admin => admin::answer(live, head, body, peer).await,
            Endpoint::Flush => admin::flush(&live.now(), head, peer).await,
            Endpoint::Other => answer::not_found(),
        }
    }

    fn count(&self, count: impl FnOnce(&HttpWorker)) {
        if let Some(live) = &self.live {
            count(&live.metrics);
        }
    }

    /// The bounds of a connection that comes now.
    fn limits(&self) -> config::Connections {
        let live = self.live.as_ref();
        live.map_or_else(Default::default, |live| live.now().config.connections.clone())
    }
}

#[cfg(test)]
mod tests;
