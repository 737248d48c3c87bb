//! The books of writes that have no lines: Prometheus remote writes, in bodies.

use super::{Backend, Counter, Drop, SharedCounter};
use crate::batch::Batch;
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
    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// So many less.
    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Backend {
    /// Counts what a front offers, before it is pushed.
    pub fn take(&self, batch: &Batch) {
        self.taken.add(batch.lines());
        if batch.is_opaque() {
            self.opaque.taken.add(1);
            self.opaque.queued.add(1);
        }
    }

    /// Counts what the backend has.
    pub fn deliver(&self, batch: &Batch) {
        if batch.is_opaque() {
            self.opaque.delivered.add(1);
            self.opaque.queued.sub(1);
            return;
        }
        self.delivered.add(batch.lines());
        self.delivered_bytes.add(batch.bytes().len() as u64);
    }

    /// Counts what is dropped for `why`.
    pub fn drop_batch(&self, why: Drop, batch: &Batch) {
        if batch.is_opaque() {
            self.opaque.dropped[why as usize].add(1);
            self.opaque.queued.sub(1);
        }
        self.drop_lines(why, batch.lines());
    }
}
