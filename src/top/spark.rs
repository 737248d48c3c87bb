//! The recent past of a rate as a row of bars, one for each look. Pure.

use std::collections::VecDeque;

/// Looks that are remembered: more than a terminal has columns for.
const LOOKS_MAX: usize = 240;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// Rates, the newest last; `None` where the relay did not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spark(VecDeque<Option<f64>>);

impl Spark {
    pub(super) fn push(&mut self, rate: Option<f64>) {
        if self.0.len() == LOOKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// The newest `width` bars. The highest of them is the scale, zero the lowest bar, and what is
    /// not known is blank.
    pub(super) fn draw(&self, width: usize, ascii: bool) -> String {
        let bars = if ascii { ASCII } else { BARS };
        let shown = self.0.iter().skip(self.0.len().saturating_sub(width));
        let most = shown.clone().flatten().fold(0.0_f64, |most, rate| most.max(*rate));
        shown.map(|rate| rate.map_or(' ', |rate| bars[height(rate, most)])).collect()
    }
}

/// From 0, which is zero alone, to 7.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of 1 times 7, and a cast from a float saturates"
)]
fn height(rate: f64, most: f64) -> usize {
    if rate > 0.0 && most > 0.0 { (rate / most * 7.0).ceil().clamp(1.0, 7.0) as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_scaled_to_the_highest_that_is_seen() {
        let mut spark = Spark::default();
        for rate in [Some(1e9), Some(0.0), Some(0.001), None, Some(50.0), Some(100.0)] {
            spark.push(rate);
        }
        assert_eq!(spark.draw(5, false), "▁▂ ▅█");
        assert_eq!(spark.draw(5, true), "_. =#");
        assert_eq!(spark.draw(9, true), "#_. ..", "the first one towers");
        assert_eq!(spark.draw(0, false), "");
        for _ in 0..1_000 {
            spark.push(Some(0.0));
        }
        assert_eq!(spark.draw(300, true), "_".repeat(LOOKS_MAX));
    }
}
