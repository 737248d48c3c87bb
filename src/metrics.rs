//! Counters of every front and every backend, read by anybody.
//!
//! A [`Counter`] has a single writer, so counting is a load and a store, no locked instruction;
//! each thread's counters sit on cache lines of their own. `text` puts a [`Registry`] into
//! Prometheus' text format. The books: for every listener and backend of it, in lines,
//! `received = taken + filtered` and
//! `taken + restored = delivered + owed + sum(dropped)`.

mod backends;
mod backlog;
mod configured;
mod histogram;
mod opaque;
pub mod process;
mod reloads;
mod spool;
pub mod text;

pub use backends::Backends;
pub use backlog::{Backlog, LastError, State};
pub use configured::{Configured, Values as ConfiguredValues};
pub use histogram::Histogram;
pub use opaque::{Gauge, Opaque};
pub use reloads::Reloads;
pub use spool::Spool;

use crate::line::Reason;
use crate::queue::Owed;
use crate::tls::Acceptor;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A running total with one writing thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call it: two would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The total so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running total that many threads write: for what is counted once a batch, or more rarely.
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The total so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted, by listener and backend. Built by `relay` before any thread runs.
#[derive(Debug, Default)]
pub struct Registry {
    /// When the relay started, in seconds since the epoch.
    pub started_s: u64,
    /// One per `[[udp]]`.
    pub udp: Vec<UdpListener>,
    /// One per `[[http]]`.
    pub http: Vec<HttpListener>,
    /// One per output, of all listeners, and of outputs that were taken out and still drain.
    pub backends: Backends,
    /// How often the configuration was read again.
    pub reloads: Reloads,
}

/// A UDP listener: one set of counters per worker.
#[derive(Debug)]
pub struct UdpListener {
    /// The listener's `name`.
    pub name: Arc<str>,
    /// One per worker thread.
    pub workers: Vec<Arc<CachePadded<UdpWorker>>>,
}

/// What one UDP worker counts.
#[derive(Debug, Default)]
pub struct UdpWorker {
    /// Datagrams taken, empty ones too.
    pub datagrams: Counter,
    /// Their payload bytes.
    pub bytes: Counter,
    /// Lines accepted and offered to every backend.
    pub lines: Counter,
    /// Lines refused, by [`Reason`].
    pub refused: [Counter; Reason::COUNT],
    /// Lines dropped because they went over `rate-limit-lines`.
    pub rate_limited: Counter,
    /// Datagrams the kernel dropped because the socket's buffer was full.
    pub kernel_drops: Counter,
    /// Receives dropped because they were longer than a receive buffer.
    pub truncated: Counter,
    /// Times the kernel found no free receive buffer and the receive was armed again.
    pub buffers_exhausted: Counter,
    /// Receive errors, after which the receive was armed again.
    pub errors: Counter,
    /// Batches sealed.
    pub batches: Counter,
}

/// An HTTP listener: one set of counters per thread.
#[derive(Debug)]
pub struct HttpListener {
    /// The listener's `name`.
    pub name: Arc<str>,
    /// One per HTTP thread.
    pub workers: Vec<Arc<CachePadded<HttpWorker>>>,
    /// Knows when its certificate expires; `None` without TLS.
    pub tls: Mutex<Option<Arc<Acceptor>>>,
}

impl HttpListener {
    /// What shakes hands with its clients now.
    #[must_use]
    pub fn acceptor(&self) -> Option<Arc<Acceptor>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of another one.
    pub fn set_acceptor(&self, acceptor: Option<Arc<Acceptor>>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }
}

/// What one HTTP thread counts for one listener.
#[derive(Debug, Default)]
pub struct HttpWorker {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections on which no TLS came about.
    pub handshakes_failed: Counter,
    /// Requests answered, by endpoint and status class.
    pub answers: [[Counter; STATUS_CLASSES]; Endpoint::COUNT],
    /// Bytes of write bodies, after inflating.
    pub bytes: Counter,
    /// Lines accepted and offered to every backend.
    pub lines: Counter,
    /// Lines refused, by [`Reason`].
    pub refused: [Counter; Reason::COUNT],
    /// Valid lines of requests that were refused as a whole.
    pub refused_beside: Counter,
    /// Requests cut off, malformed, or over a limit before their lines were read.
    pub unreadable: Counter,
    /// Lines refused because they went over `rate-limit-lines`.
    pub rate_limited: Counter,
    /// Opaque bodies accepted and offered to every backend that takes them.
    pub opaque: Counter,
    /// Connections that were ended by a timeout, or to make room for others.
    pub expired: Counter,
}

/// Status classes: 2xx, 3xx, 4xx, 5xx.
pub const STATUS_CLASSES: usize = 4;

/// Where a status is counted, from 0 for 2xx. 1xx counts with 2xx, what is above 5xx with 5xx.
#[must_use]
pub fn status_class(status: u16) -> usize {
    usize::from(status / 100).clamp(2, STATUS_CLASSES + 1) - 2
}

/// What a request asked for, as far as it is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/write`
    Write,
    /// `/api/v2/write`
    WriteV2,
    /// `/ping`
    Ping,
    /// `/metrics`
    Metrics,
    /// `/api/v1/prom/write`
    PromWrite,
    /// `/status`
    Status,
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/admin`
    Admin,
    /// `/admin/flush`
    Flush,
    /// Anything else.
    Other,
}

impl Endpoint {
    /// How many there are.
    pub const COUNT: usize = 11;
    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Write,
        Self::WriteV2,
        Self::Ping,
        Self::Metrics,
        Self::PromWrite,
        Self::Status,
        Self::Health,
        Self::Ready,
        Self::Admin,
        Self::Flush,
        Self::Other,
    ];

    /// The value of the `endpoint` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::WriteV2 => "write_v2",
            Self::Ping => "ping",
            Self::Metrics => "metrics",
            Self::PromWrite => "prom_write",
            Self::Status => "status",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Admin => "admin",
            Self::Flush => "flush",
            Self::Other => "other",
        }
    }
}

/// Why lines did not reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The backend's queue was full.
    QueueFull,
    /// One line is longer than the output's `mtu`.
    Overlong,
    /// The backend answered 4xx: it will never take these lines.
    Refused,
    /// The backend could not be reached, answered 5xx, or did not answer in time.
    Unavailable,
    /// Still queued, or in the backlog, when the shutdown deadline passed.
    Shutdown,
    /// The backend's backlog was full.
    BufferFull,
    /// The backend answered 5xx to these lines again and again, and took others.
    Poison,
    /// Queued when `/admin/flush` was asked for.
    Flushed,
    /// In the oldest segment of the backend's spool when that was full.
    SpoolFull,
    /// In a segment of the spool that was older than `spool-max-age`.
    SpoolAged,
    /// The spool's disk did not take it, or did not give it back.
    SpoolFailed,
}

impl Drop {
    /// How many there are.
    pub const COUNT: usize = 11;
    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::QueueFull,
        Self::Overlong,
        Self::Refused,
        Self::Unavailable,
        Self::Shutdown,
        Self::BufferFull,
        Self::Poison,
        Self::Flushed,
        Self::SpoolFull,
        Self::SpoolAged,
        Self::SpoolFailed,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Overlong => "overlong",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Shutdown => "shutdown",
            Self::BufferFull => "buffer_full",
            Self::Poison => "poison",
            Self::Flushed => "flushed",
            Self::SpoolFull => "spool_full",
            Self::SpoolAged => "spool_aged",
            Self::SpoolFailed => "spool_failed",
        }
    }
}

/// What is counted of one backend: by its sender thread, and by the fronts what they push to its
/// queue or send past it.
#[derive(Debug)]
pub struct Backend {
    /// The listener's `name`.
    pub relay: Arc<str>,
    /// The output's `name`.
    pub name: Arc<str>,
    /// Lines offered to this backend by all fronts.
    pub taken: SharedCounter,
    /// Lines that the output's filter kept from it; not among those taken.
    pub filtered: SharedCounter,
    /// Lines delivered: answered 2xx, or handed to the kernel by UDP.
    pub delivered: SharedCounter,
    /// Bytes delivered, as lines with their newlines.
    pub delivered_bytes: SharedCounter,
    /// Lines dropped, by [`Drop`].
    pub dropped: [SharedCounter; Drop::COUNT],
    /// Requests by the class of their answer; the last is "no answer".
    pub requests: [Counter; STATUS_CLASSES + 1],
    /// Datagrams sent.
    pub datagrams: SharedCounter,
    /// Times the kernel reported that nobody listens at the backend's UDP port.
    pub udp_refused: SharedCounter,
    /// Times a send failed otherwise.
    pub send_errors: SharedCounter,
    /// How long a request took, from its first byte to its answer.
    pub latency: Histogram,
    /// Where it is and what bounds it.
    pub configured: Configured,
    /// What is queued, in flight, or in the backlog.
    pub owed: Arc<Owed>,
    /// What is kept while the backend fails, and the backend's state.
    pub backlog: Backlog,
    /// What of it is on disk.
    pub spool: Spool,
    /// Writes that have no lines.
    pub opaque: Opaque,
}

impl Backend {
    /// Counters of the backend `name` of listener `relay`, whose queue keeps `owed`.
    #[must_use]
    pub fn new(relay: Arc<str>, name: Arc<str>, owed: Arc<Owed>) -> Self {
        Self {
            relay,
            name,
            taken: SharedCounter::default(),
            filtered: SharedCounter::default(),
            delivered: SharedCounter::default(),
            delivered_bytes: SharedCounter::default(),
            dropped: Default::default(),
            requests: Default::default(),
            datagrams: SharedCounter::default(),
            udp_refused: SharedCounter::default(),
            send_errors: SharedCounter::default(),
            latency: Histogram::default(),
            configured: Configured::default(),
            owed,
            backlog: Backlog::default(),
            spool: Spool::default(),
            opaque: Opaque::default(),
        }
    }

    /// Counts `lines` dropped for `why`.
    pub fn drop_lines(&self, why: Drop, lines: u64) {
        self.dropped[why as usize].add(lines);
    }

    /// Lines dropped, all reasons together.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(SharedCounter::get).sum()
    }
}
