//! Receives load and checks it: one thread and one [`Ledger`] per address. The protocols are
//! [`udp`] and [`http`]; `bench` runs sinks in its own process, `loadgen sink` runs them alone.

pub mod http;
pub mod udp;

use crate::ledger::{Ledger, Received};
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// How lines travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// `POST /write`.
    Http,
}

impl Protocol {
    /// Its name in words and in URLs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Http => "http",
        }
    }
}

/// What the threads of a sink share with its owner.
#[derive(Debug, Default)]
pub struct Shared {
    ledger: Mutex<Ledger>,
    lines: AtomicU64,
    messages: AtomicU64,
    kernel_drops: AtomicU64,
    answers: Mutex<BTreeMap<u16, u64>>,
    stop: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no thread panics while it holds the ledger")
    }

    fn count_answer(&self, status: u16) {
        let mut answers = self.answers.lock().expect("no thread panics while it counts");
        *answers.entry(status).or_default() += 1;
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A running sink.
#[derive(Debug)]
pub struct Sink {
    protocol: Protocol,
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

/// What a sink has to report when it is closed.
#[derive(Clone, Debug, Serialize)]
pub struct SinkReport {
    /// How lines came.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// Datagrams, or requests whose lines were taken.
    pub messages: u64,
    /// Drops at the sink's own socket, as the kernel counts them: a train of datagrams that came
    /// in one piece (GSO) is one drop.
    pub kernel_drops: u64,
    /// HTTP answers given, by status.
    pub answers: BTreeMap<u16, u64>,
    /// The lines.
    #[serde(flatten)]
    pub received: Received,
}

impl Sink {
    /// Starts a sink of UDP datagrams.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn udp(address: SocketAddr) -> Result<Self> {
        let socket = udp::bind(address)?;
        let address = socket.local_addr().context("asking for the sink's address")?;
        Self::start(Protocol::Udp, address, move |shared| udp::receive(&socket, shared))
    }

    /// Starts a sink of HTTP writes that answers as `behaviour` says.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn http(address: SocketAddr, behaviour: http::Behaviour) -> Result<Self> {
        let listener = http::bind(address)?;
        let address = listener.local_addr().context("asking for the sink's address")?;
        let serve = move |shared: &Arc<Shared>| http::serve(listener, behaviour, shared);
        Self::start(Protocol::Http, address, serve)
    }

    fn start(
        protocol: Protocol,
        address: SocketAddr,
        run: impl FnOnce(&Arc<Shared>) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("sink-{}", address.port()))
            .spawn(move || run(&theirs))
            .context("starting a sink's thread")?;
        Ok(Self { protocol, address, shared, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lines received so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.shared.lines.load(Ordering::Relaxed)
    }

    /// Whether its thread has ended, which it does by itself only if it fails.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Takes what has arrived, stops, and closes the books; see [`Ledger::close`] for `sent`.
    ///
    /// # Errors
    /// If the sink's thread failed while it ran.
    pub fn close(self, sent: Option<&[(usize, u64)]>) -> Result<SinkReport> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join().map_err(|_| anyhow!("the thread panicked"));
        ended.and_then(|ended| ended).with_context(|| format!("the sink at {}", self.address))?;
        let ledger = std::mem::take(&mut *self.shared.ledger());
        let answers = self.shared.answers.lock().expect("no thread panics while it counts");
        Ok(SinkReport {
            protocol: self.protocol,
            address: self.address,
            messages: self.shared.messages.load(Ordering::Relaxed),
            kernel_drops: self.shared.kernel_drops.load(Ordering::Relaxed),
            answers: answers.clone(),
            received: ledger.close(sent),
        })
    }
}
