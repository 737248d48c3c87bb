//! When each burst is due. The schedule is fixed when the run starts: being late never shifts it,
//! so that a stall of the sender shows as latency of the lines that waited (no coordinated
//! omission).

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant, SystemTime};

/// A sender that is late gives up this many times its run's length after the start.
const OVERRUN_FACTOR: u32 = 2;

/// The start of a run on both clocks, shared by all its senders.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    instant: Instant,
    unix_ns: u64,
}

impl Start {
    /// A start `delay` from now.
    ///
    /// # Errors
    /// If the system's clock stands before 1970 or after 2262.
    pub fn after(delay: Duration) -> Result<Self> {
        Ok(Self { instant: Instant::now() + delay, unix_ns: unix_ns()? + nanoseconds(delay) })
    }

    /// The moment on the monotonic clock.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.instant
    }
}

/// The system's clock in nanoseconds since 1970.
///
/// # Errors
/// If it stands before 1970 or after 2262.
pub fn unix_ns() -> Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.context("the system's clock stands before 1970")?.as_nanos())
        .ok()
        .filter(|&ns| i64::try_from(ns).is_ok())
        .context("the system's clock stands after 2262")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The schedule of one source.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Lines per second; 0 for as fast as possible.
    pub lines_per_second: u64,
    /// Lines that fall due together.
    pub lines_per_burst: u64,
    /// How long bursts fall due.
    pub duration: Duration,
    /// How far the first burst is behind the start, so that sources do not all fire at once.
    pub offset: Duration,
}

impl Schedule {
    /// When burst `n` is due, from the start; `None` once the run is over.
    #[must_use]
    pub fn due(&self, n: u64) -> Option<Duration> {
        let ns = u128::from(n) * u128::from(self.lines_per_burst) * 1_000_000_000
            / u128::from(self.lines_per_second.max(1));
        let due = Duration::from_nanos(u64::try_from(ns).ok()?);
        (due < self.duration).then(|| due + self.offset)
    }
}

/// Walks a schedule along the clock.
#[derive(Debug)]
pub struct Pacer {
    schedule: Schedule,
    start: Start,
    next: u64,
    lateness_us: Histogram<u64>,
    gave_up: bool,
}

impl Pacer {
    /// A pacer at the beginning of `schedule`.
    #[must_use]
    pub fn new(schedule: Schedule, start: Start) -> Self {
        let lateness_us = Histogram::new_with_bounds(1, 3_600_000_000, 3)
            .expect("the bounds are constants in range");
        Self { schedule, start, next: 0, lateness_us, gave_up: false }
    }

    /// Waits until the next burst is due and answers the nanoseconds since 1970 it was due at
    /// (without a rate: now). `None` when the run is over.
    ///
    /// # Errors
    /// If the system's clock cannot be used.
    pub fn wait(&mut self) -> Result<Option<u64>> {
        if self.schedule.lines_per_second == 0 {
            sleep_until(self.start.instant);
            let over = self.start.instant.elapsed() >= self.schedule.duration;
            return Ok((!over).then_some(unix_ns()?));
        }
        let Some(due) = self.schedule.due(self.next) else { return Ok(None) };
        self.next += 1;
        sleep_until(self.start.instant + due);
        let elapsed = self.start.instant.elapsed();
        if elapsed > self.schedule.duration * OVERRUN_FACTOR + Duration::from_secs(1) {
            self.gave_up = true;
            return Ok(None);
        }
        let late = elapsed.saturating_sub(due).as_micros();
        self.lateness_us.saturating_record(u64::try_from(late).unwrap_or(u64::MAX));
        Ok(Some(self.start.unix_ns + nanoseconds(due)))
    }

    /// How late bursts were sent, in microseconds.
    #[must_use]
    pub fn lateness_us(&self) -> &Histogram<u64> {
        &self.lateness_us
    }

    /// How long ago the run started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.instant.elapsed()
    }

    /// Whether the sender fell so far behind that the rest of the schedule was not sent.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }
}

fn sleep_until(due: Instant) {
    let wait = due.saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        std::thread::sleep(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(lines_per_second: u64, lines_per_burst: u64, ms: u64) -> Schedule {
        let (duration, offset) = (Duration::from_millis(ms), Duration::ZERO);
        Schedule { lines_per_second, lines_per_burst, duration, offset }
    }

    #[test]
    fn the_schedule_neither_drifts_nor_ends_early() {
        let thirds = schedule(3, 1, 3_600_000);
        assert_eq!(thirds.due(0), Some(Duration::ZERO));
        assert_eq!(thirds.due(3_000), Some(Duration::from_secs(1_000)));
        let bursts = schedule(1_000, 10, 1_000);
        assert_eq!((0..).take_while(|&n| bursts.due(n).is_some()).count(), 100);
    }

    #[test]
    fn being_late_does_not_shift_what_is_due() {
        let start = Start::after(Duration::ZERO).expect("a sane clock");
        let mut pacer = Pacer::new(schedule(1_000, 1, 60), start);
        let mut due = vec![pacer.wait().expect("a sane clock").expect("the first")];
        // A stall in the middle of the schedule, as a blocked send would make it.
        while start.instant().elapsed() < Duration::from_millis(30) {
            std::thread::yield_now();
        }
        while let Some(next) = pacer.wait().expect("a sane clock") {
            due.push(next);
        }
        assert_eq!(due.len(), 60);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000), "1 ms apart each");
        assert!(pacer.lateness_us().max() >= 28_000, "the stall shows as lateness");
        assert!(!pacer.gave_up());
    }
}
