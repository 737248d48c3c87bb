//! What a backend owes: the gauge beside its queue, which the sender settles.

use std::sync::atomic::{AtomicU64, Ordering};

/// There is no room left.
pub(super) struct Full;

/// What a backend owes: pushed to its queue and not settled yet.
#[derive(Debug, Default)]
pub struct Owed {
    /// Without the backlog: what the queue's limit is about.
    bytes: AtomicU64,
    /// All of it.
    lines: AtomicU64,
    backlog_bytes: AtomicU64,
    backlog_lines: AtomicU64,
}

impl Owed {
    /// Takes room for an item that is to be pushed.
    ///
    /// # Errors
    /// There is not enough of `bytes_max` left; an item larger than that has room alone.
    pub(super) fn reserve(&self, bytes: u64, lines: u64, bytes_max: u64) -> Result<(), Full> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > bytes_max {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full);
        }
        self.lines.fetch_add(lines, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes pushed and not settled.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) + self.backlog_bytes()
    }

    /// Lines pushed and not settled.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Acquire)
    }

    /// How many of these bytes take room in the queue: all but those in the backend's backlog.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many of the lines are not in the backend's backlog.
    #[must_use]
    pub fn queue_lines(&self) -> u64 {
        // The two are read one after the other, and may both change meanwhile.
        self.lines().saturating_sub(self.backlog_lines())
    }

    /// How many of these bytes are in the backend's backlog: they take no room in the queue.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes.load(Ordering::Relaxed)
    }

    /// How many of these lines are in the backend's backlog.
    #[must_use]
    pub fn backlog_lines(&self) -> u64 {
        self.backlog_lines.load(Ordering::Relaxed)
    }

    /// Takes off what the backend has settled: delivered or dropped, and counted as such.
    pub fn settle(&self, bytes: u64, lines: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.lines.fetch_sub(lines, Ordering::Release);
    }

    /// Moves what was pushed into the backlog, which makes room in the queue.
    pub fn keep(&self, bytes: u64, lines: u64) {
        self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.backlog_lines.fetch_add(lines, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Moves what was pushed into the part of the backlog that takes no memory.
    pub fn spill(&self, bytes: u64, lines: u64) {
        self.backlog_lines.fetch_add(lines, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes out of memory what is kept in the backlog.
    pub fn evict(&self, bytes: u64) {
        self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes back into memory what was spilled.
    pub fn unspill(&self, bytes: u64) {
        self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// As [`settle`](Self::settle) for what was spilled.
    pub fn settle_spilled(&self, lines: u64) {
        self.settle_kept(0, lines);
    }

    /// Owes lines that an earlier run of the relay has spilled.
    pub fn restore(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        self.backlog_lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// As [`settle`](Self::settle) for what was in the backlog.
    pub fn settle_kept(&self, bytes: u64, lines: u64) {
        self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.backlog_lines.fetch_sub(lines, Ordering::Relaxed);
        self.lines.fetch_sub(lines, Ordering::Release);
    }
}
