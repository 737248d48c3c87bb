//! How long requests took, in buckets.

use super::Counter;
use std::time::Duration;

/// Durations in buckets that double, from 64 us to about 33 s.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; Self::BUCKETS + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Bounded buckets; one more takes what is longer.
    pub const BUCKETS: usize = 20;
    const FIRST_US_LOG2: u32 = 6;

    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let above = u64::BITS - us.saturating_sub(1).leading_zeros();
        let bucket = above.saturating_sub(Self::FIRST_US_LOG2) as usize;
        self.buckets[bucket.min(Self::BUCKETS)].add(1);
        self.sum_us.add(us);
    }

    /// The upper bound of bucket `i`, in microseconds.
    #[must_use]
    pub fn bound_us(i: usize) -> u64 {
        1 << (Self::FIRST_US_LOG2 as usize + i)
    }

    /// The count in each bucket (not cumulative); the last takes what is longer than all bounds.
    #[must_use]
    pub fn counts(&self) -> [u64; Self::BUCKETS + 1] {
        std::array::from_fn(|i| self.buckets[i].get())
    }

    /// All durations together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }
}
