//! Requests that fronts carry past the queue of a backend: which destination has one in flight,
//! and what a front hands over because it did not succeed.
//!
//! A front that finds nothing owed to the backend flies a write by itself, on a connection of its
//! own (`way`). The sender loop is told of it here, and lets nothing of the same destination leave
//! meanwhile. It alone judges a flight that failed, as one of its own. At most one flies at a time.

use super::classify::{Failure, Reply};
use super::held::Held;
use super::{Flight, Sender};
use crate::metrics;
use crate::queue::Weigh;
use crate::write::{Destination, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::sync::Notify;

/// What the fronts and the sender thread of one backend know of the flights past its queue.
#[derive(Debug)]
pub struct Past {
    pub(super) metrics: Arc<metrics::Backend>,
    /// The backend is as well as can be: what fails is the sender's business until it is again.
    allowed: AtomicBool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Where the write in flight goes.
    flying: Option<Arc<Destination>>,
    /// The sender waits for its end.
    awaited: bool,
    failed: Option<Failed>,
}

/// A write that a front could not deliver, and how its request ended.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) write: Write,
    pub(super) ended: Result<Reply, Failure>,
    pub(super) started: Instant,
    /// It was sent a second time at once.
    pub(super) again: bool,
}

impl Past {
    /// For the backend with these counters; nothing flies.
    #[must_use]
    pub fn new(metrics: Arc<metrics::Backend>) -> Self {
        let allowed = AtomicBool::new(true);
        Self { metrics, allowed, state: Mutex::default(), changed: Notify::new() }
    }

    /// Whether a front may try [`begin`](Self::begin): the backend works, and is owed nothing.
    pub(super) fn is_free(&self) -> bool {
        self.allowed.load(Ordering::Relaxed) && self.owes_nothing()
    }

    fn owes_nothing(&self) -> bool {
        self.metrics.owed.lines() == 0 && self.metrics.owed.bytes() == 0
    }

    /// Begins a flight: the write is owed from now on. `false` if there is one already, or if
    /// anything is owed that may have come before it.
    pub(super) fn begin(&self, write: &Write) -> bool {
        {
            let mut state = self.lock();
            if state.flying.is_some() {
                return false;
            }
            state.flying = Some(Arc::clone(&write.destination));
        }
        // Whatever is pushed from now on, the sender sees the flight before it starts that.
        // What was pushed before is owed already, and its turn comes first.
        if !self.owes_nothing() {
            self.end(None);
            return false;
        }
        self.metrics.owed.owe(write.bytes(), write.batch.lines());
        self.metrics.take(&write.batch);
        true
    }

    /// Ends the flight; the sender goes on with what failed, if anything did.
    pub(super) fn end(&self, failed: Option<Failed>) {
        let mut state = self.lock();
        state.flying = None;
        let wake = failed.is_some() || std::mem::take(&mut state.awaited);
        // A flight that never began must not take away what an earlier one left.
        state.failed = failed.or(state.failed.take());
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Says whether fronts may send by themselves.
    pub(super) fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    /// What failed since the last look.
    pub(super) fn take_failed(&self) -> Option<Failed> {
        self.lock().failed.take()
    }

    /// Whether a write to `place` must wait for the flight. If so, its end is told.
    pub(super) fn holds(&self, place: &Destination) -> bool {
        let mut state = self.lock();
        let holds = state.flying.as_ref().is_some_and(|flying| flying.place() == *place);
        state.awaited |= holds;
        holds
    }

    /// Whether there is a flight. If so, its end is told.
    pub(super) fn is_flying(&self) -> bool {
        let mut state = self.lock();
        let flies = state.flying.is_some();
        state.awaited |= flies;
        flies
    }

    /// Ends when something failed, or a flight ended that was waited for. May be dropped and
    /// called again.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }
}

impl Sender {
    /// Goes on with what a front could not deliver, and with what waited for it.
    pub(super) fn take_past(&mut self) {
        if let Some(Failed { write, ended, started, again }) = self.past.take_failed() {
            let place = Arc::new(write.destination.place());
            self.lanes.insert_in_flight(&place, Held::new(write));
            self.land(Flight { place, ended, started, again });
        }
        while let Some(write) = self.behind.pop_front() {
            let place = Arc::new(write.destination.place());
            if self.past.holds(&place) {
                return self.behind.push_front(write);
            }
            self.enter(&place, write);
        }
    }

    /// Fronts know success only: while anything is wrong, all is for this thread to judge.
    pub(super) fn allow_past(&self, failed: bool) {
        let well = self.outage.is_none() && self.ailments.is_empty() && self.backlog.is_empty();
        self.past.allow(!failed && well);
    }
}
