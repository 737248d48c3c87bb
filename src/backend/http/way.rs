//! A front's own way to a backend, past its queue: for as long as the backend works and nothing is
//! owed to it, a front thread carries a write by itself and wakes nobody.
//!
//! Opened by each HTTP front through [`fanout`](crate::fanout). It knows success only: what ends
//! otherwise is handed over to the sender thread (`past`), which never sends it a second time
//! before it has judged the first.

use super::CLOSE_TIMEOUT;
use super::classify::{Failure, Reply};
use super::past::{Failed, Past};
use super::send::Transport;
use crate::backend::{Outcome, settle};
use crate::config::HttpTarget;
use crate::fanout;
use crate::metrics::{Drop as Dropped, status_class};
use crate::queue;
use crate::write::Write;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

/// What is larger is worth the way to another core.
const BYTES_MAX: usize = 64 * 1024;
/// A front connects at most this often: while it has no connection, writes take the queue.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Opens ways to one backend, one for each front thread.
#[derive(Debug)]
pub struct Opener {
    target: HttpTarget,
    past: Arc<Past>,
    /// The queue is not closed before all ways are: what fails goes to its receiver.
    queue: queue::Sender<Write>,
}

#[derive(Debug)]
struct Way {
    transport: RefCell<Option<Rc<Transport>>>,
    closed: RefCell<mpsc::Receiver<()>>,
    past: Arc<Past>,
    flights: RefCell<JoinSet<()>>,
    connected: Cell<Option<Instant>>,
    _queue: queue::Sender<Write>,
}

impl Opener {
    /// Ways to the backend at `target`, past `queue`.
    #[must_use]
    pub fn new(target: HttpTarget, past: Arc<Past>, queue: queue::Sender<Write>) -> Self {
        Self { target, past, queue }
    }
}

impl fanout::Opener for Opener {
    fn open(&self) -> Rc<dyn fanout::Way> {
        let (open, closed) = mpsc::channel(1);
        Rc::new(Way {
            transport: RefCell::new(Some(Rc::new(Transport::new(self.target.clone(), open)))),
            closed: RefCell::new(closed),
            past: Arc::clone(&self.past),
            flights: RefCell::default(),
            connected: Cell::default(),
            _queue: self.queue.clone(),
        })
    }
}

impl fanout::Way for Way {
    fn carry(&self, write: Write) -> Result<(), Write> {
        if write.batch.bytes().len() > BYTES_MAX || !self.past.is_free() {
            return Err(write);
        }
        let transport = self.transport.borrow().clone();
        let Some(transport) = transport else { return Err(write) };
        if !transport.has_idle() {
            self.connect(transport);
            return Err(write);
        }
        if !self.past.begin(&write) {
            return Err(write);
        }
        let carried = Carried { write: Some(write), past: Arc::clone(&self.past) };
        self.spawn(carried.fly(transport));
        Ok(())
    }

    fn close(&self, deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let mut flights = self.flights.take();
            let all = async { while flights.join_next().await.is_some() {} };
            if timeout_at(deadline.into(), all).await.is_err() {
                flights.shutdown().await;
            }
            drop(self.transport.take());
            let (_, none) = mpsc::channel(1);
            let mut closed = self.closed.replace(none);
            // Nothing is ever sent: this waits until all connections' tasks have ended.
            drop(timeout(CLOSE_TIMEOUT, closed.recv()).await);
        })
    }
}

impl Way {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut flights = self.flights.borrow_mut();
        while flights.try_join_next().is_some() {}
        flights.spawn_local(task);
    }

    fn connect(&self, transport: Rc<Transport>) {
        let now = Instant::now();
        if self.connected.get().is_some_and(|last| now - last < CONNECT_PAUSE) {
            return;
        }
        self.connected.set(Some(now));
        self.spawn(async move { transport.connect_idle().await });
    }
}

/// A write in flight. If it is dropped, the relay stops and the write is dropped with it.
struct Carried {
    write: Option<Write>,
    past: Arc<Past>,
}

impl Carried {
    async fn fly(self, transport: Rc<Transport>) {
        let started = Instant::now();
        let write = self.write.as_ref().expect("it is taken when it lands");
        let frames = VecDeque::from([write.batch.to_body()]);
        let again = Cell::new(false);
        let ended = transport.send(&write.destination, frames, &again).await;
        self.land(ended, started, again.get());
    }

    fn land(mut self, ended: Result<Reply, Failure>, started: Instant, again: bool) {
        let write = self.write.take().expect("it lands once");
        let metrics = &self.past.metrics;
        match ended {
            Ok(reply) if !again && matches!(reply.refusal.status, 200..=299) => {
                metrics.requests[status_class(reply.refusal.status)].add(1);
                metrics.latency.record(started.elapsed());
                self.past.end(None);
                settle(metrics, &write, Outcome::Delivered);
            }
            ended => {
                self.past.end(Some(Failed { write, ended, started, again }));
            }
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(write) = self.write.take() {
            self.past.end(None);
            settle(&self.past.metrics, &write, Outcome::Dropped(Dropped::Shutdown));
        }
    }
}
