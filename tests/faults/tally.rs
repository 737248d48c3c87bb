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
    /// Lines that came again in a later life of the relay, and that were found in spools.
    pub(crate) replayed: usize,
    pub(crate) restored: u64,
    /// Files of spools that were damaged, and lines that may be gone with them.
    pub(crate) damaged: usize,
    pub(crate) damaged_lines: usize,
    /// Lines that were dropped from spools, for want of room, for their age, and
    /// as the disk failed.
    pub(crate) spool_full: u64,
    pub(crate) spool_aged: u64,
    pub(crate) spool_failed: u64,
    /// Lives in which a disk failed.
    pub(crate) disk_failed: usize,
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
        self.replayed += other.replayed;
        self.restored += other.restored;
        self.damaged += other.damaged;
        self.damaged_lines += other.damaged_lines;
        self.spool_full += other.spool_full;
        self.spool_aged += other.spool_aged;
        self.spool_failed += other.spool_failed;
        self.disk_failed += other.disk_failed;
        self.series += other.series;
    }
}
