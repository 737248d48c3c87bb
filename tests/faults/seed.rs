//! Numbers from a seed, and the environment variables that choose seeds.
//!
//! The same seed gives the same numbers on every machine and in every release of this suite's
//! dependencies: there are none.

use std::time::Duration;

/// SplitMix64: small, even, and any seed is a good one.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    /// `stream` tells apart those who draw from one seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut numbers = Self(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ stream.rotate_left(32));
        numbers.next();
        numbers
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0. The bias is below one in a billion for what tests ask.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    /// From `first` to `last`, both possible.
    pub(crate) fn within(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn millis(&mut self, first: usize, last: usize) -> Duration {
        Duration::from_millis(self.within(first, last) as u64)
    }
}

/// The seeds of one run: the one of `RINGRELAY_FAULT_SEED`, or as many as
/// `RINGRELAY_FAULT_SCHEDULES` says. `share` is how many of the `default` of the largest test
/// this one runs.
pub(crate) fn seeds(default: u64, share: u64) -> Vec<u64> {
    if let Some(seed) = variable("RINGRELAY_FAULT_SEED") {
        return vec![seed];
    }
    let count = variable("RINGRELAY_FAULT_SCHEDULES").unwrap_or(default);
    (0..(count * share).div_ceil(default)).collect()
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: give a whole number")))
}
