//! A backend by HTTP: what a thread `out-<backend>` runs.
//!
//! `relay` calls [`run`]. Writes go from the queue into `lanes` by place; a request takes
//! what waits in a lane (`send` carries it, `classify` judges how it ended, `land` draws the
//! consequences), and every write is settled once. A write leaves at once if its lane is free,
//! and otherwise shares the next request with all that came meanwhile. While the backend fails,
//! what it was to get is kept (`backlog`), in its order, if the configuration says so. Never sees
//! a front.

mod ask;
mod backlog;
mod change;
mod classify;
mod commands;
mod compress;
mod connect;
mod credentials;
mod dead_letters;
mod files;
mod health;
mod held;
mod keep;
mod land;
mod lanes;
mod places;
mod send;
mod spooled;
mod turn;

pub use change::Change;
pub use files::{Files, FilesError, spool_directory};

use super::Outcome;
use crate::backoff::Backoff;
use crate::config::HttpTarget;
use crate::control::{Command, Flushed};
use crate::metrics::{self, Drop, STATUS_CLASSES, State, status_class};
use crate::queue::{PARKED_MAX, Receiver};
use crate::runtime;
use crate::stop::Stop;
use crate::sys;
use crate::write::{Destination, Write};
use backlog::Backlog;
use classify::{Failure, Reply};
use commands::Commands;
use dead_letters::DeadLetterFile;
use health::{Health, Sampler};
use held::Held;
use land::{Ailment, Outage};
use lanes::Lanes;
use places::Places;
use send::Transport;
use spooled::{Commit, Spooled};
use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Writes taken from the queue before requests that ended get their turn.
const POPS_MAX: usize = PARKED_MAX;
/// Bytes of lines that are read back from disk before anything else gets its turn.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Sockets close at once when they are told to; this only bounds a kernel that does not.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to one backend, as its thread is given it.
#[derive(Debug)]
pub struct Way {
    /// Where and how.
    pub target: HttpTarget,
    /// Its dead letters and its spool.
    pub files: Files,
    /// What the fronts ask.
    pub commands: mpsc::Receiver<Command>,
    /// What changes when the configuration is read again.
    pub changes: mpsc::Receiver<Change>,
}

/// Sends what comes through `queue` until it is disconnected and all is settled. When the drain
/// deadline of `stop` passes, what is left stays in the spool, or is dropped as
/// [`Drop::Shutdown`]. Writes that are set aside go to the dead letters. Obeys commands and changes
/// meanwhile.
pub fn run(
    runtime: &tokio_uring::Runtime,
    queue: Receiver<Write>,
    way: Way,
    metrics: Arc<metrics::Backend>,
    stop: Stop,
) {
    runtime::block_on(runtime, async {
        let (open, mut closed) = mpsc::channel(1);
        let transport = Rc::new(Transport::new(way.target.clone(), open));
        let sender = Sender::new(queue, way, transport, metrics);
        sender.send_all(stop).await;
        // Nothing is ever sent: this waits until all connections' tasks have ended.
        drop(timeout(CLOSE_TIMEOUT, closed.recv()).await);
    });
}

/// How long the fronts may take to let go of the queue after the drain deadline.
const FRONTS_TIMEOUT: Duration = Duration::from_secs(1);

struct Sender {
    queue: Receiver<Write>,
    /// When the queue was closed; `None` while it is open.
    closed: Option<Instant>,
    commands: Commands,
    changes: mpsc::Receiver<Change>,
    /// By [`Destination::place`].
    lanes: Lanes<Arc<Destination>, Held>,
    places: Places,
    backlog: Backlog,
    target: HttpTarget,
    transport: Rc<Transport>,
    flights: JoinSet<Flight>,
    /// The sync of the spool that runs, if one does.
    syncs: JoinSet<(Commit, io::Result<()>)>,
    /// Requests that succeeded.
    successes: u64,
    outage: Option<Outage>,
    /// How long the last outage was.
    was_down: Duration,
    /// What is wrong with which lane; none without one.
    ailments: HashMap<Arc<Destination>, Ailment>,
    /// A new one, to be copied.
    backoff: Backoff,
    dead_letters: Option<DeadLetterFile>,
    health: Health,
    refusals: Sampler,
    ailing: Sampler,
    metrics: Arc<metrics::Backend>,
}

/// A request that ended.
struct Flight {
    place: Arc<Destination>,
    /// Of its destination: what is hushed in the queue until it ends.
    kind: u64,
    ended: Result<Reply, Failure>,
    started: Instant,
    /// It was sent a second time at once.
    again: bool,
}

impl Sender {
    fn new(
        queue: Receiver<Write>,
        way: Way,
        transport: Rc<Transport>,
        metrics: Arc<metrics::Backend>,
    ) -> Self {
        let Way { target, files: Files { dead_letters, spool }, commands, changes } = way;
        let spool = spool.map(|(spool, fsync)| Spooled::new(spool, fsync, Arc::clone(&metrics)));
        let backlog = target.backlog.as_ref();
        let bytes_max = backlog.map_or(0, |backlog| backlog.bytes_max);
        let delay_max = backlog.map_or(Duration::ZERO, |backlog| backlog.delay_max);
        Self {
            queue,
            closed: None,
            commands: Commands::new(commands, Rc::clone(&transport)),
            changes,
            lanes: Lanes::new(Held::request_bytes, Held::merges),
            places: Places::default(),
            backlog: Backlog::new(bytes_max, spool, Arc::clone(&metrics)),
            transport,
            target,
            flights: JoinSet::new(),
            syncs: JoinSet::new(),
            successes: 0,
            outage: None,
            was_down: Duration::ZERO,
            ailments: HashMap::new(),
            backoff: Backoff::new(delay_max),
            dead_letters,
            health: Health::default(),
            refusals: Sampler::default(),
            ailing: Sampler::default(),
            metrics,
        }
    }

    async fn send_all(mut self, mut stop: Stop) {
        loop {
            self.take_waiting().await;
            // What was taken may need what changed before it came: a new endpoint.
            self.obey();
            self.read_back();
            self.start();
            self.hush();
            self.end_turn();
            self.backlog.wake_clients();
            if self.is_done() {
                break;
            }
            let next_try = self.next_try();
            let next_tick = self.backlog.spool().and_then(|spool| spool.next_tick());
            tokio::select! {
                biased;
                () = stop.drained() => break,
                Some(flight) = self.flights.join_next() => {
                    let flight = flight.expect("a request neither panics nor is cancelled");
                    self.queue.rouse(flight.kind);
                    // What came meanwhile is in the lanes when this one is judged.
                    self.take_waiting().await;
                    self.land(flight);
                }
                flushed = self.commands.next_flush() => {
                    // Who asked may have stopped waiting.
                    let _ = flushed.send(self.flush());
                }
                Some(change) = self.changes.recv() => self.change(change),
                write = self.queue.pop(), if self.closed.is_none() => match write {
                    Some(write) => self.push(write),
                    None => self.hurry(),
                },
                Some(synced) = self.syncs.join_next() => self.committed(synced),
                () = sleep_until(next_try), if next_try.is_some() => {}
                () = sleep_until(next_tick), if next_tick.is_some() => {}
            }
        }
        self.give_up().await;
    }

    /// Takes what waits in the queue, so that it is merged.
    async fn take_waiting(&mut self) {
        for _ in 0..POPS_MAX {
            match self.queue.try_pop() {
                Ok(write) => self.push(write),
                Err(_) => return,
            }
        }
        // A queue that never runs dry must not keep the thread from its I/O, which the runtime
        // starts only when it waits for some.
        drop(tokio_uring::no_op().await);
    }

    fn push(&mut self, write: Write) {
        let place = self.places.of(&write.destination);
        if let Some(held) = self.keep_new(&place, Held::new(write)) {
            self.lanes.push(&place, held);
        }
    }

    /// Drops what waits now, in the queue and in the lanes, the backlog with it.
    fn flush(&mut self) -> Flushed {
        let mut waiting = self.lanes.take_waiting();
        // What fronts push meanwhile came after the command. What comes from the queue does not
        // pass the backlog, which would tell its clients that it is kept.
        let queued = (0..self.queue.waiting()).map_while(|_| self.queue.try_pop().ok());
        waiting.extend(queued.map(Held::new));
        let mut flushed = Flushed::default();
        for held in waiting {
            flushed.writes += 1;
            flushed.lines += held.write.batch.lines();
            flushed.bytes += held.write.batch.bytes().len() as u64;
            self.backlog.settle(held, Outcome::Dropped(Drop::Flushed));
        }
        let (writes, lines, bytes) = self.backlog.flush_disk();
        flushed.writes += writes;
        flushed.lines += lines;
        flushed.bytes += bytes;
        self.ailments.retain(|place, _| self.lanes.contains(place));
        self.publish();
        let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
        tracing::warn!(relay, backend, lines = flushed.lines, "flushed: what waited is dropped");
        flushed
    }

    /// Puts requests in flight, as many as may be.
    fn start(&mut self) {
        if self.outage.is_some() || self.lanes.next_wake().is_some() {
            let now = Instant::now();
            self.lanes.wake(now);
            if let Some(outage) = &self.outage {
                if outage.until > now || !self.flights.is_empty() {
                    return;
                }
                // One tells whether the backend is back.
                return self.start_next();
            }
        }
        while self.flights.len() < self.target.in_flight_max && self.lanes.is_ready() {
            self.start_next();
        }
    }

    fn start_next(&mut self) {
        if let Some(place) = self.lanes.start(self.target.batch_bytes_max as u64) {
            self.launch(place);
        }
    }

    /// Sends what the lanes have put in flight.
    fn launch(&mut self, place: Arc<Destination>) {
        let flight = self.lanes.flight(&place);
        let destination = Arc::clone(&flight[0].write.destination);
        let kind = destination.kind();
        self.queue.hush(kind);
        let frames = flight.iter().map(|held| held.write.batch.to_body()).collect();
        let transport = Rc::clone(&self.transport);
        self.flights.spawn_local(async move {
            let started = Instant::now();
            let again = Cell::new(false);
            let ended = transport.send(&destination, frames, &again).await;
            Flight { place, kind, ended, started, again: again.get() }
        });
    }

    /// When a request may start that must wait now, if there is one and no other event comes
    /// first.
    fn next_try(&self) -> Option<Instant> {
        let wake = self.lanes.next_wake();
        match &self.outage {
            Some(outage) if !self.flights.is_empty() => None,
            Some(outage) if self.lanes.is_ready() => Some(outage.until),
            Some(outage) => wake.map(|wake| wake.max(outage.until)),
            None => wake.filter(|_| self.flights.len() < self.target.in_flight_max),
        }
    }

    /// Nothing new comes, and time is short: what waits for its time is tried now.
    fn hurry(&mut self) {
        let now = Instant::now();
        self.closed = Some(now);
        if let Some(outage) = &mut self.outage {
            outage.until = now;
        }
        self.lanes.wake_all();
    }

    fn publish(&self) {
        // Without a backlog nothing waits for an outage to end, so there are none.
        let keeps = self.target.backlog.is_some();
        let down = if keeps { self.outage.is_some() } else { self.health.is_failing() };
        let state = match (down, self.backlog.is_empty()) {
            (true, _) => State::Down,
            (false, false) => State::Draining,
            (false, true) => State::Up,
        };
        if self.metrics.backlog.state() != state {
            self.metrics.backlog.set_state(state, sys::now_s());
        }
    }

    fn count(&self, flight: &Flight) {
        if flight.again {
            self.metrics.backlog.retries.add(1);
            self.metrics.requests[STATUS_CLASSES].add(1);
            self.count_resent(&flight.place);
        }
        let class = match &flight.ended {
            Ok(reply) => status_class(reply.refusal.status),
            // Nothing was sent.
            Err(Failure::Waiting | Failure::Request(_)) => return,
            Err(_) => STATUS_CLASSES,
        };
        self.metrics.requests[class].add(1);
        if class < STATUS_CLASSES {
            self.metrics.latency.record(flight.started.elapsed());
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

#[cfg(test)]
mod tests;
