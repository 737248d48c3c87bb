//! Stopping in order: fronts first, then the queues drain up to a deadline.
//!
//! `relay` owns the [`Stopper`]; every thread holds a [`Stop`]. It is a `tokio` watch channel, so
//! that tasks await it and plain threads look at it.

use std::time::Instant;
use tokio::sync::watch;

/// How far the relay is on its way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Fronts take, senders send.
    #[default]
    Running,
    /// Fronts take nothing new and end; senders drain what is queued until the deadline.
    Draining {
        /// What is queued after it is dropped and counted.
        deadline: Instant,
    },
}

/// The one that says stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// Everybody's view of it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Phase>);

impl Default for Stopper {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }
}

impl Stopper {
    /// A view to hand to a thread.
    #[must_use]
    pub fn watch(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Tells everybody to stop, and by when the queues must be empty. Said again, the earlier
    /// deadline holds.
    pub fn stop(&self, deadline: Instant) {
        self.0.send_modify(|phase| {
            let deadline = match *phase {
                Phase::Running => deadline,
                Phase::Draining { deadline: before } => before.min(deadline),
            };
            *phase = Phase::Draining { deadline };
        });
    }
}

impl Stop {
    /// Whether the fronts shall stop.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.0.borrow() != Phase::Running
    }

    /// The drain deadline, once there is one.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Phase::Running => None,
            Phase::Draining { deadline } => Some(deadline),
        }
    }

    /// Waits for the drain deadline, which may come to be earlier meanwhile.
    pub async fn drained(&mut self) {
        loop {
            let deadline = self.wait().await;
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => return,
                changed = self.0.changed() => if changed.is_err() {
                    return tokio::time::sleep_until(deadline.into()).await;
                },
            }
        }
    }

    /// Waits until the fronts shall stop; answers the drain deadline.
    pub async fn wait(&mut self) -> Instant {
        loop {
            if let Some(deadline) = self.deadline() {
                return deadline;
            }
            if self.0.changed().await.is_err() {
                return Instant::now();
            }
        }
    }
}
