//! One axis of a picture: where a value lies, and which values are named.

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// For values above 0.
    Logarithmic,
}

/// From `low` to `high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Axis {
    /// From the lowest value to the highest.
    pub(super) fn spanning(scale: Scale, values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low < high { Self { scale, low, high } } else { Self { scale, low: 1.0, high: 10.0 } }
    }

    /// The same, out to the next values that are named.
    pub(super) fn covering(scale: Scale, values: &[f64]) -> Self {
        let Self { low, high, .. } = Self::spanning(scale, values);
        Self {
            scale,
            low: steps().rfind(|&step| step <= low).unwrap_or(low),
            high: steps().find(|&step| step >= high).unwrap_or(high),
        }
    }

    /// Where a value lies: 0 at `low`, 1 at `high`.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        share.clamp(0.0, 1.0)
    }

    /// The values that are named.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                (0..=4).map(|n| self.low + (self.high - self.low) * f64::from(n) / 4.0).collect()
            }
            Scale::Logarithmic => steps()
                .filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick))
                .collect(),
        }
    }
}

/// What a logarithmic axis may name.
fn steps() -> impl DoubleEndedIterator<Item = f64> {
    (-6..9).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(power)))
}

/// `1500000` as `1.5 M`.
pub(super) fn label(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e3 => (v / 1e3, " k"),
        v => (v, ""),
    };
    // At most three digits behind the point, and none that says nothing.
    let digits = format!("{value:.3}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_has_equal_steps_for_equal_ratios() {
        let axis = Axis::covering(Scale::Logarithmic, &[1.2, 90.0]);
        assert_eq!((axis.low, axis.high), (1.0, 100.0));
        assert!((axis.share(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn one_value_alone_still_has_an_axis() {
        let axis = Axis::spanning(Scale::Logarithmic, &[5.0, 5.0]);
        assert!(axis.share(5.0).is_finite() && axis.low < axis.high);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.05, 2.0, 5e3, 1.5e6].map(label), ["0.05", "2", "5 k", "1.5 M"]);
    }
}
