//! Numbers in few columns. Pure.

const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// A number in at most 5 columns: `0`, `0.3`, `42`, `999`, `1.23k`, `12.3k`, `123k`, `1.23M`.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() || value < 0.05 {
        return "0".to_owned();
    }
    let (mut value, mut unit) = (value, 0);
    // What rounds to 1000 is 1.00 of the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, value) if value >= 9.95 => 0,
        (0, _) => 1,
        (_, value) if value < 9.995 => 2,
        (_, value) if value < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = if unit == 0 { text.strip_suffix(".0").unwrap_or(&text) } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// A count, likewise.
#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
pub(super) fn count(value: u64) -> String {
    short(value as f64)
}

/// A time in at most 6 columns: `42s`, `3m20s`, `4h05m`, `12d03h`.
pub(super) fn time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        86_400..8_640_000 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// Seconds as a latency in at most 5 columns: `0.1ms`, `12ms`, `1.5s`.
pub(super) fn latency(seconds: f64) -> String {
    let ms = seconds * 1_000.0;
    match seconds {
        s if !s.is_finite() => ">30s".to_owned(),
        s if s < 0.009_95 => format!("{ms:.1}ms"),
        s if s < 0.999_5 => format!("{ms:.0}ms"),
        s if s < 9.95 => format!("{s:.1}s"),
        s => format!("{s:.0}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_short_and_rounded() {
        for (value, shown) in [
            (0.0, "0"),
            (0.04, "0"),
            (0.25, "0.2"),
            (1.0, "1"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (99_960.0, "100k"),
            (999_600.0, "1.00M"),
            (1_234_567_890.0, "1.23G"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(short(value), shown, "{value}");
        }
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (200, "3m20s"),
            (14_700, "4h05m"),
            (1_047_600, "12d03h"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(time(seconds), shown);
        }
        for (seconds, shown) in
            [(0.000_064, "0.1ms"), (0.012, "12ms"), (1.5, "1.5s"), (f64::INFINITY, ">30s")]
        {
            assert_eq!(latency(seconds), shown);
        }
    }

    proptest! {
        #[test]
        fn any_number_fits(value in any::<f64>(), seconds in 0..100_000_000_u64, few in 0.0..40.0) {
            prop_assert!(value > 9.9e17 || short(value).len() <= 5, "{}", short(value));
            prop_assert!(time(seconds).len() <= 6);
            prop_assert!(latency(few).len() <= 5, "{}", latency(few));
        }
    }
}
