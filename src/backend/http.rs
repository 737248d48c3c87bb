//! A backend by HTTP: what a thread `out-<backend>` runs.
//!
//! `relay` calls [`run`]. Writes go from the queue into `lanes` by destination; a request takes
//! what waits in a lane (`send` carries it, `classify` judges how it ended), and every write is
//! settled once. There is no timer: a write leaves at once if its lane is free, and otherwise
//! shares the next request with all that came meanwhile. Never sees a front.

mod classify;
mod compress;
mod connect;
mod credentials;
mod health;
mod lanes;
mod send;

use super::{Outcome, settle};
use crate::config::HttpTarget;
use crate::metrics::{self, Drop, STATUS_CLASSES, status_class};
use crate::queue::Receiver;
use crate::stop::Stop;
use crate::write::{Destination, Write};
use classify::{Failure, Reply, Verdict, classify};
use health::Health;
use lanes::Lanes;
use send::Transport;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Writes taken from the queue before requests that ended get their turn.
const POPS_MAX: usize = 256;
/// Sockets close at once when they are told to; this only bounds a kernel that does not.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends what comes through `queue` until it is disconnected and all is settled. When the drain
/// deadline of `stop` passes, what is left is dropped as [`Drop::Shutdown`].
pub fn run(
    runtime: &tokio_uring::Runtime,
    queue: Receiver<Write>,
    target: HttpTarget,
    metrics: Arc<metrics::Backend>,
    stop: Stop,
) {
    runtime.block_on(async {
        let (open, mut closed) = mpsc::channel(1);
        let (bytes_max, flights_max) = (target.batch_bytes_max as u64, target.in_flight_max);
        let sender = Sender {
            queue,
            queue_open: true,
            // `max-batch-kb` is about the request, not about what its parts hold in memory.
            lanes: Lanes::new(|write: &Write| write.batch.bytes().len() as u64),
            transport: Rc::new(Transport::new(target, open)),
            flights: JoinSet::new(),
            bytes_max,
            flights_max,
            health: Health::default(),
            metrics,
        };
        sender.send_all(stop).await;
        // Nothing is ever sent: this waits until all connections' tasks have ended.
        drop(timeout(CLOSE_TIMEOUT, closed.recv()).await);
    });
}

/// How long the fronts may take to let go of the queue after the drain deadline.
const FRONTS_TIMEOUT: Duration = Duration::from_secs(1);

struct Sender {
    queue: Receiver<Write>,
    queue_open: bool,
    lanes: Lanes<Arc<Destination>, Write>,
    transport: Rc<Transport>,
    flights: JoinSet<Flight>,
    bytes_max: u64,
    flights_max: usize,
    health: Health,
    metrics: Arc<metrics::Backend>,
}

/// A request that ended.
struct Flight {
    destination: Arc<Destination>,
    ended: Result<Reply, Failure>,
    took: Duration,
}

impl Sender {
    async fn send_all(mut self, mut stop: Stop) {
        loop {
            self.take_waiting().await;
            self.start();
            if !self.queue_open && self.lanes.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = deadline(&mut stop) => break,
                Some(flight) = self.flights.join_next() => {
                    self.land(flight.expect("a request neither panics nor is cancelled"));
                }
                write = self.queue.pop(), if self.queue_open => match write {
                    Some(write) => self.push(write),
                    None => self.queue_open = false,
                },
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
        let destination = Arc::clone(&write.destination);
        self.lanes.push(&destination, write);
    }

    /// Puts requests in flight, as many as may be.
    fn start(&mut self) {
        while self.flights.len() < self.flights_max {
            let Some(destination) = self.lanes.start(self.bytes_max) else { return };
            let writes = self.lanes.flight(&destination);
            let frames = writes.iter().map(|write| write.batch.to_body()).collect();
            let transport = Rc::clone(&self.transport);
            self.flights.spawn_local(async move {
                let started = Instant::now();
                let ended = transport.send(&destination, frames).await;
                Flight { destination, ended, took: started.elapsed() }
            });
        }
    }

    fn land(&mut self, flight: Flight) {
        self.count(&flight);
        let Flight { destination, ended, .. } = flight;
        let verdict = classify(ended);
        self.tell(&verdict);
        let outcome = match verdict {
            Verdict::Delivered => Outcome::Delivered,
            // Somebody's line is bad, or all are too much: alone, each learns its own fate.
            Verdict::Refused(_) if self.lanes.flight(&destination).len() > 1 => {
                self.lanes.split(&destination);
                return;
            }
            Verdict::Refused(refusal) | Verdict::RefusedDestination(refusal) => {
                Outcome::Refused(refusal)
            }
            Verdict::Unavailable(_) => Outcome::Dropped(Drop::Unavailable),
        };
        for write in self.lanes.finish(&destination) {
            settle(&self.metrics, &write, outcome.clone());
        }
    }

    fn count(&self, flight: &Flight) {
        let class = match &flight.ended {
            Ok(reply) => status_class(reply.refusal.status),
            // Nothing was sent.
            Err(Failure::Waiting | Failure::Request(_)) => return,
            Err(_) => STATUS_CLASSES,
        };
        self.metrics.requests[class].add(1);
        if class < STATUS_CLASSES {
            self.metrics.latency.record(flight.took);
        }
    }

    fn tell(&mut self, verdict: &Verdict) {
        let down = matches!(verdict, Verdict::Unavailable(_));
        if !self.health.observe(down, Instant::now()) {
            return;
        }
        let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
        if let Verdict::Unavailable(why) = verdict {
            tracing::warn!(relay, backend, "backend is down: {why}");
        } else {
            tracing::info!(relay, backend, "backend is back");
        }
    }

    /// The deadline has passed: drops what is left, counted, and ends the requests in flight.
    async fn give_up(mut self) {
        for write in self.lanes.drain() {
            settle(&self.metrics, &write, Outcome::Dropped(Drop::Shutdown));
        }
        self.flights.shutdown().await;
        // The fronts let go of the queue at the deadline too; what they push until then counts.
        let drop_rest = async {
            while let Some(write) = self.queue.pop().await {
                settle(&self.metrics, &write, Outcome::Dropped(Drop::Shutdown));
            }
        };
        drop(timeout(FRONTS_TIMEOUT, drop_rest).await);
    }
}

async fn deadline(stop: &mut Stop) {
    let deadline = stop.wait().await;
    tokio::time::sleep_until(deadline.into()).await;
}

#[cfg(test)]
mod tests;
