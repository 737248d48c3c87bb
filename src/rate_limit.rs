//! Token buckets: how many requests or lines a listener takes in a second.
//!
//! Pure: the time comes in as an argument. A [`RateLimit`] is one atomic that the threads of a
//! listener share; a [`Share`] is what one thread has taken out of it in advance, so that a line
//! costs a subtraction. Knows nothing of what is limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NS_PER_S: u64 = 1_000_000_000;

/// A bucket of `burst` tokens into which `per_second` tokens flow.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u64,
    /// How long an empty bucket takes to fill.
    fill_ns: u64,
    start: Instant,
    /// When the bucket is full again, in nanoseconds since `start`; in the past if it is full.
    full_at_ns: AtomicU64,
}

impl RateLimit {
    /// A full bucket. Zeros count as 1.
    #[must_use]
    pub fn new(per_second: u64, burst: u64, now: Instant) -> Self {
        let per_second = per_second.max(1);
        let fill_ns = nanoseconds(burst.max(1), per_second);
        Self { per_second, fill_ns, start: now, full_at_ns: AtomicU64::new(0) }
    }

    /// Takes `n` tokens, all or none. More than the bucket holds are taken from a full bucket,
    /// which then owes them.
    ///
    /// # Errors
    /// How long to wait until that many are there.
    pub fn take(&self, n: u64, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.start).as_nanos();
        let now_ns = u64::try_from(since).unwrap_or(u64::MAX);
        let cost_ns = nanoseconds(n, self.per_second);
        let room_ns = self.fill_ns.saturating_sub(cost_ns);
        let taken = self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = full_at.max(now_ns);
            (full_at - now_ns <= room_ns).then(|| full_at.saturating_add(cost_ns))
        });
        taken.map(drop).map_err(|full_at| {
            Duration::from_nanos(full_at.saturating_sub(now_ns).saturating_sub(room_ns))
        })
    }
}

fn nanoseconds(tokens: u64, per_second: u64) -> u64 {
    tokens.saturating_mul(NS_PER_S).div_ceil(per_second)
}

/// Tokens of a shared bucket that one thread holds.
#[derive(Debug)]
pub struct Share {
    limit: Arc<RateLimit>,
    /// Taken from the bucket at once: small beside what it holds, so that threads share fairly.
    portion: u64,
    held: u64,
    dry: bool,
}

impl Share {
    /// Most tokens that a thread holds back from the others.
    const PORTION_MAX: u64 = 64;

    /// An empty share of `limit`.
    #[must_use]
    pub fn new(limit: Arc<RateLimit>) -> Self {
        let per_ms = limit.per_second / 1_000;
        Self { limit, portion: per_ms.clamp(1, Self::PORTION_MAX), held: 0, dry: false }
    }

    /// Whether it is a share of that bucket.
    #[must_use]
    pub fn is_of(&self, limit: &Arc<RateLimit>) -> bool {
        Arc::ptr_eq(&self.limit, limit)
    }

    /// Begins a turn: the bucket is asked again, even if it was found empty before.
    pub fn begin(&mut self) {
        self.dry = false;
    }

    /// Takes one token. Once the bucket was found empty it is not asked again in this turn.
    pub fn take_one(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.held == 0 && !self.dry {
            match self.limit.take(self.portion, now()) {
                Ok(()) => self.held = self.portion,
                Err(_) => self.dry = true,
            }
        }
        let taken = self.held > 0;
        self.held -= u64::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_passes_then_the_rate_rules() {
        let start = Instant::now();
        let limit = RateLimit::new(100, 3, start);
        for _ in 0..3 {
            assert_eq!(limit.take(1, start), Ok(()));
        }
        assert_eq!(limit.take(1, start), Err(10 * MS));
        assert_eq!(limit.take(1, start + 4 * MS), Err(6 * MS));
        assert_eq!(limit.take(1, start + 10 * MS), Ok(()));
        assert_eq!(limit.take(1, start + 10 * MS), Err(10 * MS));
        let later = start + Duration::from_secs(60);
        assert_eq!(limit.take(3, later), Ok(()), "full again, and no fuller");
        assert_eq!(limit.take(1, later), Err(10 * MS));
    }

    #[test]
    fn more_than_the_bucket_holds_are_owed() {
        let start = Instant::now();
        let limit = RateLimit::new(1_000, 10, start);
        assert_eq!(limit.take(50, start), Ok(()), "a full bucket gives it");
        assert_eq!(limit.take(50, start + 49 * MS), Err(MS), "only a full one");
        assert_eq!(limit.take(1, start + 40 * MS), Err(MS));
        assert_eq!(limit.take(50, start + 50 * MS), Ok(()));
    }

    #[test]
    fn a_share_asks_an_empty_bucket_once_a_turn() {
        let start = Instant::now();
        let limit = Arc::new(RateLimit::new(10_000, 20, start));
        let mut share = Share::new(Arc::clone(&limit));
        assert_eq!((0..100).filter(|_| share.take_one(|| start)).count(), 20);
        let never = || -> Instant { panic!("the bucket was empty in this turn") };
        assert!(!share.take_one(never));
        share.begin();
        assert_eq!((0..100).filter(|_| share.take_one(|| start + MS)).count(), 10);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            per_second in 1..100_000_u64,
            burst in 1..1_000_u64,
            asks in prop::collection::vec((1..50_u64, 0..20_000_u64), 1..300),
        ) {
            let start = Instant::now();
            let limit = RateLimit::new(per_second, burst, start);
            let (mut now, mut taken) = (start, 0);
            for (n, pause_us) in asks {
                let n = n.min(burst);
                now += Duration::from_micros(pause_us);
                match limit.take(n, now) {
                    Ok(()) => taken += n,
                    Err(wait) => {
                        prop_assert!(!wait.is_zero());
                        now += wait;
                        prop_assert_eq!(limit.take(n, now), Ok(()), "after the wait it is there");
                        taken += n;
                    }
                }
                let seconds = (now - start).as_secs_f64();
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let most = burst as f64 + seconds * per_second as f64 + 0.001;
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let taken = taken as f64;
                prop_assert!(taken <= most, "{taken} of {most}");
            }
        }

        #[test]
        fn threads_together_get_no_more_than_one(burst in 1..500_u64) {
            let start = Instant::now();
            let limit = RateLimit::new(1, burst, start);
            let taken = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while limit.take(1, start).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            prop_assert_eq!(taken.into_inner(), burst);
        }
    }
}
