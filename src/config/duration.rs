//! Durations in the notation of Go: `10s`, `1m30s`, `500ms`, `1.5h`. Used by the reader. Pure.

use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads what Go's `time.ParseDuration` reads, except that no duration is negative. `None` if it
/// is no duration, is negative, or is longer than Go's longest (2^63 ns).
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total_ns = 0_u64;
    loop {
        let (ns, behind) = part(rest)?;
        total_ns = total_ns.checked_add(ns).filter(|&ns| i64::try_from(ns).is_ok())?;
        rest = behind;
        if rest.is_empty() {
            return Some(Duration::from_nanos(total_ns));
        }
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let &(_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let ns = whole.checked_mul(unit_ns)?.checked_add(fraction_ns(fraction, unit_ns))?;
    Some((ns, rest))
}

/// What the digits behind the point are worth; below a nanosecond they are cut off. Of an hour,
/// the 13th digit is worth less than a nanosecond: no more are looked at.
fn fraction_ns(digits: &str, unit_ns: u64) -> u64 {
    let (mut ns, mut scale) = (0_u64, 1_u64);
    for digit in digits.bytes().take(13) {
        scale *= 10;
        ns = ns * 10 + u64::from(digit - b'0');
    }
    let worth = u128::from(ns) * u128::from(unit_ns) / u128::from(scale);
    u64::try_from(worth).expect("a fraction of a unit is less than the unit")
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The shortest notation with one unit.
pub(super) fn show(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .rev()
        .find(|(_, unit_ns)| ns.is_multiple_of(u128::from(*unit_ns)))
        .map_or_else(String::new, |(unit, unit_ns)| format!("{}{unit}", ns / u128::from(*unit_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, ns) in [
            ("0", 0),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("10s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("2h45m30.918273645s", 9_930_918_273_645),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", i64::MAX.unsigned_abs()),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "3",
            "-5s",
            "+",
            "s",
            ".",
            ".s",
            "1e3s",
            "10 s",
            "10S",
            "1d",
            "5s ",
            "1s2",
            "--1s",
            "9223372036854775808ns",
            "99999999999999999999h",
            "3000000h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "\\PC{0,20}|[0-9.a-zµ+-]{0,20}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_shown_is_read_back(ns in 0..=i64::MAX.unsigned_abs()) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }
    }
}
