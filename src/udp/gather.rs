//! How long and for how many datagrams a worker waits: little when idle, more when busy.
//!
//! Every turn of the loop costs a system call, and a wake-up of every backend's thread. A busy
//! worker therefore lets datagrams gather, up to the `batch-wait-us` of the configuration; an idle
//! one hands a datagram on at once. Pure: it sees what the last turn brought, not the clock.

use std::time::Duration;

/// The wait of a worker whose datagrams come one by one.
const WAIT_MIN: Duration = Duration::from_micros(50);
/// What one turn should bring: several full batches, and all of it stays in the cache of a core.
const TURN_BYTES: usize = 384 << 10;
/// A worker that found its next datagrams within this time hardly slept.
const BUSY_WAIT: Duration = Duration::from_micros(20);
/// A partial batch is handed over after this many full turns, whatever they brought.
const FULL_TURNS_MAX: u32 = 4;

/// The measure of the next wait.
#[derive(Debug)]
pub struct Gather {
    wait: Duration,
    wait_max: Duration,
    want: usize,
    want_max: usize,
    full_turns: u32,
    busy: bool,
}

impl Gather {
    /// Starts idle; never waits longer than `wait_max` while a datagram is there, nor for more
    /// than `want_max` completions.
    #[must_use]
    pub fn new(wait_max: Duration, want_max: usize) -> Self {
        let wait = WAIT_MIN.min(wait_max);
        Self { wait, wait_max, want: want_max, want_max, full_turns: 0, busy: false }
    }

    /// From now on never waits longer than `wait_max` while a datagram is there.
    pub fn set_wait_max(&mut self, wait_max: Duration) {
        self.wait_max = wait_max;
        self.wait = self.wait.min(wait_max);
    }

    /// How long datagrams may gather.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// How many completions end the wait early.
    #[must_use]
    pub fn want(&self) -> usize {
        self.want
    }

    /// Whether the worker can hardly keep up by itself: the last turn was full at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Takes in what a turn brought after it had `waited`; answers whether a partial batch shall
    /// be handed over now. It may be kept only while turns are full, for the next turn then
    /// follows at once.
    pub fn turned(&mut self, waited: Duration, completions: usize, bytes: usize) -> bool {
        let full = completions >= self.want;
        self.busy = full && waited < BUSY_WAIT;
        self.full_turns = if full { self.full_turns % FULL_TURNS_MAX + 1 } else { 0 };
        if completions > 1 {
            self.wait = (self.wait * 2).min(self.wait_max);
        } else {
            self.wait = (self.wait / 2).max(WAIT_MIN).min(self.wait_max);
        }
        if let Some(mean) = bytes.checked_div(completions) {
            self.want = (TURN_BYTES / mean.max(1)).clamp(1, self.want_max);
        }
        !full || self.full_turns == FULL_TURNS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(2);
    const SLEPT: Duration = Duration::from_millis(1);

    #[test]
    fn waits_longer_the_busier_it_is_and_calms_down_again() {
        let mut gather = Gather::new(MAX, 64);
        assert_eq!(gather.wait(), WAIT_MIN);
        for _ in 0..10 {
            gather.turned(SLEPT, 2, 200);
        }
        assert_eq!(gather.wait(), MAX);
        for _ in 0..10 {
            gather.turned(SLEPT, 1, 100);
        }
        assert_eq!(gather.wait(), WAIT_MIN);
    }

    #[test]
    fn a_wait_max_below_the_smallest_wait_is_kept() {
        let mut gather = Gather::new(Duration::ZERO, 64);
        assert_eq!(gather.wait(), Duration::ZERO);
        gather.turned(SLEPT, 0, 0);
        gather.turned(SLEPT, 9, 900);
        assert_eq!(gather.wait(), Duration::ZERO);
    }

    #[test]
    fn wants_fewer_of_the_large_and_more_of_the_small() {
        let mut gather = Gather::new(MAX, 64);
        gather.turned(SLEPT, 1, 64 << 10);
        assert_eq!(gather.want(), 6);
        gather.turned(SLEPT, 64, 64 * 100);
        assert_eq!(gather.want(), 64);
    }

    #[test]
    fn keeps_a_partial_batch_only_while_turns_are_full_and_not_for_long() {
        let mut gather = Gather::new(MAX, 8);
        assert!(gather.turned(SLEPT, 7, 700), "nothing more is waiting");
        assert!(!gather.is_busy());
        let kept = (0..8).map(|_| gather.turned(SLEPT, 8, 800)).collect::<Vec<_>>();
        assert_eq!(kept, [false, false, false, true, false, false, false, true]);
        assert!(!gather.is_busy(), "it had slept");
        gather.turned(Duration::ZERO, 8, 800);
        assert!(gather.is_busy());
    }
}
