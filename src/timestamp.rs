//! Precisions of line-protocol timestamps, and the stamp a point gets that came without one.
//!
//! Used by the fronts (to stamp), by `line` (range check) and by `config`. Pure: the clock's
//! reading comes in as an argument.

/// The unit of a line's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Nanoseconds, line protocol's default.
    #[default]
    Nanosecond,
    /// Microseconds.
    Microsecond,
    /// Milliseconds.
    Millisecond,
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
}

impl Precision {
    /// Reads the spelling of a configuration file or of the `precision` URL parameter:
    /// `n`, `ns`, `u`, `us`, `ms`, `s`, `m`, `h`; the empty string means nanoseconds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "n" | "ns" => Some(Self::Nanosecond),
            "u" | "us" | "µ" => Some(Self::Microsecond),
            "ms" => Some(Self::Millisecond),
            "s" => Some(Self::Second),
            "m" => Some(Self::Minute),
            "h" => Some(Self::Hour),
            _ => None,
        }
    }

    /// The spelling that InfluxDB 1.x takes in the `precision` URL parameter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nanosecond => "ns",
            Self::Microsecond => "u",
            Self::Millisecond => "ms",
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    /// How many nanoseconds one unit has.
    #[must_use]
    pub fn nanoseconds(self) -> i64 {
        match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }
}

/// Hands out the stamps of one front: each datagram or request gets its own nanosecond, never
/// one that was handed out before, so that two points of one series that arrive in one read do
/// not overwrite each other.
#[derive(Debug)]
pub struct Stamper {
    last_ns: i64,
}

/// A clock this far behind the last stamp was set back by somebody: it is followed.
const SET_BACK_NS: i64 = 1_000_000_000;

impl Default for Stamper {
    fn default() -> Self {
        Self { last_ns: i64::MIN }
    }
}

impl Stamper {
    /// The stamp for a datagram or request taken at `now_ns` (nanoseconds since the epoch):
    /// `now_ns`, or one more than the last stamp where the clock has not moved or slipped back.
    /// A clock that was set back by more than a second is followed.
    pub fn stamp(&mut self, now_ns: i64) -> i64 {
        let set_back = now_ns < self.last_ns.saturating_sub(SET_BACK_NS);
        self.last_ns = if set_back { now_ns } else { now_ns.max(self.last_ns.saturating_add(1)) };
        self.last_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_never_repeat_and_follow_the_clock() {
        let mut stamper = Stamper::default();
        assert_eq!(stamper.stamp(100), 100);
        assert_eq!(stamper.stamp(100), 101);
        assert_eq!(stamper.stamp(50), 102, "a clock that slips back repeats nothing");
        assert_eq!(stamper.stamp(5_000_000_000), 5_000_000_000);
        assert_eq!(stamper.stamp(200), 200, "a clock that was set back is followed");
    }

    #[test]
    fn spellings_of_the_go_relays() {
        for text in ["n", "u", "ms", "s", "m", "h", "ns", "us", ""] {
            assert!(Precision::parse(text).is_some(), "{text}");
        }
        for text in ["sec", "N", "d", " s"] {
            assert!(Precision::parse(text).is_none(), "{text}");
        }
    }
}
