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

/// A stamp as it stands at a line's end. Lines of one datagram have the same, and those of the
/// next one mostly the one that follows: neither is written anew.
#[derive(Clone, Copy, Debug)]
pub struct StampText {
    stamp: i64,
    /// A space, a sign, digits, a newline; what is behind that counts for nothing.
    text: [u8; Self::COPIED],
    len: usize,
}

impl Default for StampText {
    fn default() -> Self {
        let mut text = [0; Self::COPIED];
        text[..3].copy_from_slice(b" 0\n");
        Self { stamp: 0, text, len: 3 }
    }
}

impl StampText {
    /// Space, sign and digits of the longest stamp, and the newline.
    pub const BYTES_MAX: usize = 22;
    /// How many bytes [`append`](Self::append) wants room for.
    pub const COPIED: usize = 32;

    /// Appends a space, the stamp and a newline.
    #[inline]
    pub fn append(&mut self, stamp: i64, out: &mut Vec<u8>) {
        if stamp != self.stamp {
            let is_next = self.stamp >= 0 && self.stamp.checked_add(1) == Some(stamp);
            if !is_next || !self.count_up() {
                self.write(stamp);
            }
            self.stamp = stamp;
        }
        let end = out.len() + self.len;
        // A known number of bytes is copied faster than the few that count.
        out.extend_from_slice(&self.text);
        out.truncate(end);
    }

    /// Adds one to the digits; `false`, and they say nothing, if that takes one more of them.
    #[inline]
    fn count_up(&mut self) -> bool {
        let digits = &mut self.text[1..self.len - 1];
        let nines = digits.iter().rev().take_while(|&&digit| digit == b'9').count();
        let Some(first) = digits.len().checked_sub(nines + 1) else { return false };
        digits[first] += 1;
        digits[first + 1..].fill(b'0');
        true
    }

    fn write(&mut self, stamp: i64) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(stamp).as_bytes();
        self.len = 1 + digits.len() + 1;
        self.text[1..self.len - 1].copy_from_slice(digits);
        self.text[self.len - 1] = b'\n';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_is_written_as_any_number(
            starts in proptest::collection::vec(any::<i64>(), 1..9),
            small in -3..2_000_i64,
        ) {
            let mut text = StampText::default();
            for start in starts.into_iter().chain([0, -1, i64::MAX - 3, i64::MIN, 999_999, small]) {
                for stamp in (0..5).map(|more| start.saturating_add(more)) {
                    let mut out = b"m f=1".to_vec();
                    text.append(stamp, &mut out);
                    text.append(stamp, &mut out);
                    let wanted = format!("m f=1 {stamp}\n {stamp}\n");
                    prop_assert_eq!(out, wanted.as_bytes());
                }
            }
        }
    }

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
