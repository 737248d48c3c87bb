//! What was seen in many schedules, for the figures at the end of a test: a suite that meets
//! nothing proves nothing.

use std::ops::AddAssign;

/// Counts, over all schedules so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) schedules: usize,
    /// Relays that were started, and those of them that were killed.
    pub(crate) lives: usize,
    pub(crate) killed: usize,
    /// Times that a backend was said to be down, and that its name did not resolve.
    pub(crate) outages: usize,
    pub(crate) unresolved: usize,
    /// Lines that were written, and acknowledged by HTTP.
    pub(crate) lines: usize,
    pub(crate) acknowledged: usize,
    /// Lines that are stored, over all backends.
    pub(crate) stored: usize,
    /// Lines that were stored again, as [`Repeats`](crate::store::Repeats) has it.
    pub(crate) untold: usize,
    pub(crate) partly: usize,
    pub(crate) unheard: usize,
    /// Lines that the relay's books say were dropped, but for bad ones; and those of them that
    /// were taken for poison.
    pub(crate) dropped: u64,
    pub(crate) poison: u64,
    /// Series whose last value was looked at, over all backends.
    pub(crate) series: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.lives += other.lives;
        self.killed += other.killed;
        self.outages += other.outages;
        self.unresolved += other.unresolved;
        self.lines += other.lines;
        self.acknowledged += other.acknowledged;
        self.stored += other.stored;
        self.untold += other.untold;
        self.partly += other.partly;
        self.unheard += other.unheard;
        self.dropped += other.dropped;
        self.poison += other.poison;
        self.series += other.series;
    }
}
