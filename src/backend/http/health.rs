//! Whether a backend is worth a connect, and when its state is worth a log line.
//!
//! Called by the transport ([`Gate`]) and the sender loop ([`Health`]). Pure: the time comes in.

use std::time::{Duration, Instant};

/// The pause after the first failed connect; it doubles with each one that follows.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Connects to a dead backend are at most this far apart: it is found again within it.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A backend that comes and goes is logged at most this often.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Spaces out connects to a backend that takes none. While it is closed, what needs a new
/// connection fails at once.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed_until: Option<Instant>,
    pause: Duration,
}

impl Gate {
    /// Whether a connect may be tried at `now`.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.closed_until.is_none_or(|until| until <= now)
    }

    /// A connect failed at `now`.
    pub(super) fn failed(&mut self, now: Instant) {
        // Several connects that ran at the same time are one failure.
        if self.is_open(now) {
            self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            self.closed_until = Some(now + self.pause);
        }
    }

    /// A connect succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// Tells when a backend goes down and when it is back.
#[derive(Debug, Default)]
pub(super) struct Health {
    down: bool,
    /// Whether the last request failed, told or not.
    failing: bool,
    /// When it was last said to be down.
    went_down: Option<Instant>,
}

impl Health {
    /// Takes note of a request that ended at `now`; says whether the backend's state changed.
    pub(super) fn observe(&mut self, down: bool, now: Instant) -> bool {
        self.failing = down;
        if down == self.down {
            return false;
        }
        if down {
            if self.went_down.is_some_and(|went_down| now - went_down < LOG_PAUSE) {
                return false;
            }
            self.went_down = Some(now);
        }
        self.down = down;
        true
    }

    /// Whether the last request failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }
}

/// Lets one log line of a kind through each second.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Option<Instant>,
    unsaid: u64,
}

impl Sampler {
    /// Whether something that happened at `now` is said; if so, how many before it were not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now - last < LOG_PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_are_spaced_out_up_to_a_second_and_free_after_a_success() {
        let (mut gate, mut now) = (Gate::default(), Instant::now());
        for pause_ms in [100, 200, 400, 800, 1_000, 1_000] {
            assert!(gate.is_open(now));
            gate.failed(now);
            gate.failed(now);
            let pause = Duration::from_millis(pause_ms);
            assert!(!gate.is_open(now + pause - Duration::from_millis(1)), "{pause_ms}");
            now += pause;
        }
        gate.succeeded();
        assert!(gate.is_open(now));
        gate.failed(now);
        assert!(gate.is_open(now + PAUSE_MIN), "the pause starts anew");
    }

    #[test]
    fn one_line_a_second_says_how_many_were_not_said() {
        let (mut sampler, now) = (Sampler::default(), Instant::now());
        assert_eq!(sampler.admit(now), Some(0));
        assert_eq!((sampler.admit(now), sampler.admit(now)), (None, None));
        assert_eq!(sampler.admit(now + LOG_PAUSE), Some(2));
    }

    #[test]
    fn a_change_is_told_once_and_down_at_most_once_a_second() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(!health.observe(false, now), "up is where it starts");
        assert!(health.observe(true, now));
        assert!(!health.observe(true, now));
        assert!(health.observe(false, now), "who was told that it is down is told that it is back");
        let soon = now + LOG_PAUSE / 2;
        assert!(!health.observe(true, soon), "too soon");
        assert!(health.is_failing(), "but it is so");
        assert!(!health.observe(false, soon), "nobody was told");
        assert!(health.observe(true, now + LOG_PAUSE));
    }
}
