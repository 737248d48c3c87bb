//! What is counted of a backend's spool.

use super::Counter;
use std::sync::atomic::{AtomicU64, Ordering};

/// Written by the backend's sender thread; but for `restored`, by the one that starts the relay.
#[derive(Debug, Default)]
pub struct Spool {
    /// Lines that were written to it.
    pub lines: Counter,
    /// Lines that an earlier run of the relay left in it, found at start.
    pub restored: Counter,
    /// Opaque bodies that an earlier run left.
    pub opaque_restored: Counter,
    /// Lines that were left in it when the relay stopped.
    pub left: Counter,
    /// Opaque bodies that were left.
    pub opaque_left: Counter,
    /// Damaged records that were skipped.
    pub damaged: Counter,
    /// Times the disk refused to be written, read or synced.
    pub errors: Counter,
    bytes: AtomicU64,
}

impl Spool {
    /// Takes note of how many bytes of disk it takes.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of disk that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
