//! What is counted of a backend's backlog, and the backend's state.

use super::Counter;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Written by the backend's sender thread. How much waits now is in [`Owed`](crate::queue::Owed).
#[derive(Debug, Default)]
pub struct Backlog {
    /// Lines that were taken into the backlog.
    pub lines: Counter,
    /// Requests that failed and are tried again.
    pub retries: Counter,
    /// Lines that are sent again because the answer to a request that held them was lost: the
    /// backend may have them twice.
    pub resent: Counter,
    /// Lines written to the dead-letter file.
    pub dead_letters: Counter,
    state: AtomicU8,
    since_s: AtomicU64,
    oldest_s: AtomicU64,
    last_error: Mutex<Option<LastError>>,
}

/// What a backend failed with last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// In words, the backend's own among them.
    pub why: String,
    /// In seconds since the epoch.
    pub at_s: u64,
}

/// How a backend does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It takes what it is sent, as far as is known.
    #[default]
    Up,
    /// It fails, and is tried now and then.
    Down,
    /// It takes requests, and its backlog is not empty yet.
    Draining,
}

impl State {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Draining];

    /// The value of the `state` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

impl Backlog {
    /// Takes note of the state at `now_s`, in seconds since the epoch.
    pub fn set_state(&self, state: State, now_s: u64) {
        if self.state() != state {
            self.since_s.store(now_s, Ordering::Relaxed);
            self.state.store(state as u8, Ordering::Relaxed);
        }
    }

    /// The state of the backend.
    #[must_use]
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Relaxed))]
    }

    /// Since when, in seconds since the epoch; 0 before the first change.
    #[must_use]
    pub fn since_s(&self) -> u64 {
        self.since_s.load(Ordering::Relaxed)
    }

    /// Takes note of when the oldest write was taken, in seconds since the epoch; `None` if the
    /// backlog is empty.
    pub fn set_oldest(&self, oldest_s: Option<u64>) {
        self.oldest_s.store(oldest_s.unwrap_or(0), Ordering::Relaxed);
    }

    /// When the oldest write in the backlog was taken, in seconds since the epoch.
    #[must_use]
    pub fn oldest_s(&self) -> Option<u64> {
        Some(self.oldest_s.load(Ordering::Relaxed)).filter(|&oldest| oldest > 0)
    }

    /// Takes note of a failure at `now_s`, in seconds since the epoch.
    pub fn failed(&self, why: String, now_s: u64) {
        let failed = LastError { why, at_s: now_s };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
    }

    /// The last failure; `None` if there was none.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
