//! What is counted of reloads: as Prometheus counts its own.

use super::SharedCounter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the thread that reads the configuration again.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Those that took effect.
    pub succeeded: SharedCounter,
    /// Those that were refused, and changed nothing.
    pub failed: SharedCounter,
    failed_last: AtomicBool,
    success_s: AtomicU64,
}

impl Reloads {
    /// Counts one that took effect at `now_s`, in seconds since the epoch.
    pub fn succeed(&self, now_s: u64) {
        self.succeeded.add(1);
        self.failed_last.store(false, Ordering::Relaxed);
        self.success_s.store(now_s, Ordering::Relaxed);
    }

    /// Counts one that was refused.
    pub fn fail(&self) {
        self.failed.add(1);
        self.failed_last.store(true, Ordering::Relaxed);
    }

    /// Whether the file that was read last is the one that runs.
    #[must_use]
    pub fn last_succeeded(&self) -> bool {
        !self.failed_last.load(Ordering::Relaxed)
    }

    /// When the last one took effect, in seconds since the epoch; `None` before the first.
    #[must_use]
    pub fn last_success_s(&self) -> Option<u64> {
        Some(self.success_s.load(Ordering::Relaxed)).filter(|&at| at > 0)
    }
}
