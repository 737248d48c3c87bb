//! How long and for how many datagrams a worker waits: little when idle, more when busy.
//!
//! Every turn of the loop costs a system call, and a wake-up of every backend's thread. A busy
//! worker therefore lets datagrams gather, up to the `batch-wait-us` of the configuration; an idle
//! one hands a datagram on at once. What gathers lies in the socket's buffer, so nobody waits for
//! longer than that has room for. Pure: it sees what the last turn brought, not the clock.

use std::time::Duration;

/// The wait of a worker whose datagrams come one by one.
const WAIT_MIN: Duration = Duration::from_micros(50);
/// What one turn should bring: several full batches, and all of it stays in the cache of a core.
const TURN_BYTES: usize = 384 << 10;
/// A worker that found its next datagrams within this time hardly slept.
const BUSY_WAIT: Duration = Duration::from_micros(20);
/// What a datagram takes of the socket's buffer beside its payload: net/core/sock.c counts whole
/// allocations, and those of the network card's driver may be twice as large as the payload.
/// It joins datagrams without copying them into one allocation, so that each counts.
const DATAGRAM_BYTES: usize = 1024;
/// So much of the socket's buffer may be full when a wait ends, if datagrams come as they did
/// before: the rest is for bursts.
const ROOM_SHARE: usize = 4;
/// A partial batch is handed over after this many full turns, whatever they brought.
const FULL_TURNS_MAX: u32 = 4;

/// What one turn of the loop brought.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// How long it waited for the first of it.
    pub waited: Duration,
    /// The time since the wait before ended: all of this came in it.
    pub since: Duration,
    /// Datagrams, or several that the kernel joined.
    pub completions: usize,
    /// Each of those that were joined.
    pub datagrams: usize,
    /// Of payload.
    pub bytes: usize,
}

/// The measure of the next wait.
#[derive(Debug)]
pub struct Gather {
    wait: Duration,
    wait_max: Duration,
    want: usize,
    want_max: usize,
    /// Of the socket's buffer, as the kernel counts it.
    room_bytes: usize,
    full_turns: u32,
    busy: bool,
}

impl Gather {
    /// Starts idle; never waits longer than `wait_max` while a datagram is there, nor for more
    /// than `want_max` completions, nor until `room_bytes` of the socket's buffer are full.
    #[must_use]
    pub fn new(wait_max: Duration, want_max: usize, room_bytes: usize) -> Self {
        let wait = WAIT_MIN.min(wait_max);
        Self { wait, wait_max, want: want_max, want_max, room_bytes, full_turns: 0, busy: false }
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

    /// Takes in what a turn brought after it had `waited`, in all of the time `since` the last
    /// turn; answers whether a partial batch shall be handed over now. It may be kept only while
    /// turns are full, for the next turn then follows at once.
    pub fn turned(&mut self, turn: &Turn) -> bool {
        let Turn { waited, since, completions, datagrams, bytes } = *turn;
        let full = completions >= self.want;
        self.busy = full && waited < BUSY_WAIT;
        self.full_turns = if full { self.full_turns % FULL_TURNS_MAX + 1 } else { 0 };
        // The pace of before a pause says nothing of what comes after it.
        let paused = waited > self.wait_max * 2;
        let wait = match completions {
            _ if paused => WAIT_MIN,
            0 | 1 => self.wait / 2,
            _ => self.wait * 2,
        };
        let room = self.time_to_fill(since, datagrams, bytes);
        self.wait = wait.min(room).max(WAIT_MIN).min(self.wait_max);
        if let Some(mean) = bytes.checked_div(completions) {
            self.want = (TURN_BYTES / mean.max(1)).clamp(1, self.want_max);
        }
        !full || self.full_turns == FULL_TURNS_MAX
    }

    /// How long it takes until there is enough for a turn, or the share of the buffer is full, if
    /// datagrams go on to come as they did.
    fn time_to_fill(&self, since: Duration, datagrams: usize, bytes: usize) -> Duration {
        let held = datagrams * DATAGRAM_BYTES + 2 * bytes;
        let until = |wanted: usize, came: usize| wanted as f64 / came.max(1) as f64;
        let share = until(self.room_bytes / ROOM_SHARE, held).min(until(TURN_BYTES, bytes));
        since.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(2);
    const SLEPT: Duration = Duration::from_millis(1);
    const ROOM: usize = 1 << 30;

    fn turn(waited: Duration, completions: usize, bytes: usize) -> Turn {
        Turn { waited, since: SLEPT, completions, datagrams: completions, bytes }
    }

    #[test]
    fn waits_longer_the_busier_it_is_and_calms_down_again() {
        let mut gather = Gather::new(MAX, 64, ROOM);
        assert_eq!(gather.wait(), WAIT_MIN);
        for _ in 0..10 {
            gather.turned(&turn(SLEPT, 2, 200));
        }
        assert_eq!(gather.wait(), MAX);
        for _ in 0..10 {
            gather.turned(&turn(SLEPT, 1, 100));
        }
        assert_eq!(gather.wait(), WAIT_MIN);
    }

    #[test]
    fn starts_anew_after_a_pause() {
        let mut gather = Gather::new(MAX, 64, ROOM);
        for _ in 0..10 {
            gather.turned(&turn(SLEPT, 9, 900));
        }
        assert_eq!(gather.wait(), MAX);
        gather.turned(&turn(MAX * 3, 9, 900));
        assert_eq!(gather.wait(), WAIT_MIN);
    }

    #[test]
    fn a_wait_max_below_the_smallest_wait_is_kept() {
        let mut gather = Gather::new(Duration::ZERO, 64, ROOM);
        assert_eq!(gather.wait(), Duration::ZERO);
        gather.turned(&turn(SLEPT, 0, 0));
        gather.turned(&turn(SLEPT, 9, 900));
        assert_eq!(gather.wait(), Duration::ZERO);
    }

    #[test]
    fn wants_fewer_of_the_large_and_more_of_the_small() {
        let mut gather = Gather::new(MAX, 64, ROOM);
        gather.turned(&turn(SLEPT, 1, 64 << 10));
        assert_eq!(gather.want(), 6);
        gather.turned(&turn(SLEPT, 64, 64 * 100));
        assert_eq!(gather.want(), 64);
    }

    #[test]
    fn keeps_a_partial_batch_only_while_turns_are_full_and_not_for_long() {
        let mut gather = Gather::new(MAX, 8, ROOM);
        assert!(gather.turned(&turn(SLEPT, 7, 700)), "nothing more is waiting");
        assert!(!gather.is_busy());
        let kept = (0..8).map(|_| gather.turned(&turn(SLEPT, 8, 800))).collect::<Vec<_>>();
        assert_eq!(kept, [false, false, false, true, false, false, false, true]);
        assert!(!gather.is_busy(), "it had slept");
        gather.turned(&turn(Duration::ZERO, 8, 800));
        assert!(gather.is_busy());
    }

    #[test]
    fn waits_no_longer_than_the_buffer_has_room_for() {
        // The kernel's default: with a hundred small datagrams a millisecond, a quarter of it is
        // full after 435 us.
        let mut gather = Gather::new(MAX, 64, 212_992);
        for _ in 0..10 {
            gather.turned(&turn(SLEPT, 100, 10_000));
        }
        let quarter = SLEPT.mul_f64(53_248.0 / 122_400.0);
        assert_eq!(gather.wait(), quarter);
        gather.turned(&turn(SLEPT, 1_000, 100_000));
        assert_eq!(gather.wait(), WAIT_MIN);
        for _ in 0..10 {
            gather.turned(&turn(SLEPT, 10, 1_000));
        }
        assert_eq!(gather.wait(), MAX, "it comes back when there are fewer");
        let joined = Turn { datagrams: 100, ..turn(SLEPT, 10, 10_000) };
        gather.turned(&joined);
        assert_eq!(gather.wait(), quarter, "those that came joined count");
    }
}
