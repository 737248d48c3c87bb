//! How long to wait before the next try: doubling from half a second, with jitter.
//!
//! Called by the HTTP backends. Pure: randomness comes in, and nothing here waits.

use std::time::Duration;

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The pauses between the tries of something that fails. A success starts a new one.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses from half a second up to `max`, which may be less than that.
    #[must_use]
    pub fn new(max: Duration) -> Self {
        Self { next: PAUSE_MIN.min(max), max }
    }

    /// The pause after one more failure: between three quarters and all of a length that doubles
    /// with each call, so that relays that failed together do not come back together. `random`
    /// is any number, best a new one for each call.
    pub fn pause(&mut self, random: u32) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        let cut = pause / 4;
        pause - cut.mul_f64(f64::from(random) / (f64::from(u32::MAX) + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_from_half_a_second_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(3));
        let pauses: Vec<_> = (0..5).map(|_| backoff.pause(0).as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(Backoff::new(Duration::from_millis(20)).pause(0).as_millis(), 20);
    }

    proptest! {
        #[test]
        fn jitter_takes_off_a_quarter_at_most(max_ms in 1..100_000_u64, random: Vec<u32>) {
            let mut plain = Backoff::new(Duration::from_millis(max_ms));
            let mut jittered = plain.clone();
            for random in random {
                let (longest, pause) = (plain.pause(0), jittered.pause(random));
                prop_assert!(pause <= longest && pause >= longest * 3 / 4);
            }
        }
    }
}
