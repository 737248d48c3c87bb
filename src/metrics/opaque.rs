//! The books of writes that have no lines: Prometheus remote writes, in bodies.

use super::{Counter, Drop, SharedCounter};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted of a backend's opaque writes, in bodies: they have books of their own.
#[derive(Debug, Default)]
pub struct Opaque {
    /// Offered by all fronts.
    pub taken: SharedCounter,
    /// Answered 2xx.
    pub delivered: Counter,
    /// Dropped, by [`Drop`].
    pub dropped: [SharedCounter; Drop::COUNT],
    /// Waiting or in flight.
    pub queued: Gauge,
}

/// A number that goes up and down, written by many threads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
