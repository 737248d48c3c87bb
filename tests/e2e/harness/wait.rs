//! Waiting for a condition, with a deadline. Nothing here lets anything settle.

use std::time::{Duration, Instant};

/// How long anything may take: far longer than it does, for machines that are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `poll` gives a value.
///
/// # Panics
/// With `what` once [`DEADLINE`] has passed.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until `done` holds.
///
/// # Panics
/// With `what` once [`DEADLINE`] has passed.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()));
}
