//! Field values and timestamps, byte by byte, as InfluxDB 1.x reads them. Called by `scalar`.

use super::Reason;
use crate::timestamp::Precision;

/// InfluxDB keeps two values at each end of the range for itself.
const TIME_NS_MAX: i64 = i64::MAX - 1;

/// Where the number that begins at `i` ends: at a comma, a space or the end of `text`.
pub(super) fn number(text: &[u8], i: usize) -> Result<usize, Reason> {
    let len = text[i..].iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(text.len() - i);
    let number = &text[i..i + len];
    check_number(number)?;
    Ok(i + len)
}

fn check_number(number: &[u8]) -> Result<(), Reason> {
    let unsigned_text = number.strip_prefix(b"-").unwrap_or(number);
    match unsigned_text.split_last() {
        None => Err(Reason::InvalidNumber),
        Some((b'i', digits)) => {
            all_digits(digits)?;
            in_range::<i64>(&number[..number.len() - 1])
        }
        Some((b'u', digits)) => {
            all_digits(digits)?;
            if number[0] == b'-' {
                return Err(Reason::InvalidNumber);
            }
            in_range::<u64>(digits)
        }
        Some(_) => check_float(number, unsigned_text),
    }
}

fn all_digits(digits: &[u8]) -> Result<(), Reason> {
    let ok = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if ok { Ok(()) } else { Err(Reason::InvalidNumber) }
}

/// Whether the digits that `text` ends with are few enough to be in range whatever the sign: 18,
/// or 19 that do not begin with a 9.
pub(super) fn is_in_range(text: &[u8]) -> bool {
    let digits = text.iter().rev().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    digits < 19 || (digits == 19 && text[text.len() - 19] < b'9')
}

/// `digits` are digits, perhaps behind a sign: parsing can fail by size alone.
fn in_range<T: std::str::FromStr>(digits: &[u8]) -> Result<(), Reason> {
    let parsed = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<T>().ok());
    parsed.map(|_| ()).ok_or(Reason::ValueOutOfRange)
}

/// Below this length a float without exponent is finite whatever its digits are.
const FLOAT_BYTES_SAFE: usize = 300;

fn check_float(number: &[u8], unsigned_text: &[u8]) -> Result<(), Reason> {
    let mut dots = 0;
    let mut scientific = false;
    for (i, &byte) in unsigned_text.iter().enumerate() {
        let signed = i > 0 || number.len() > unsigned_text.len();
        match byte {
            b'0'..=b'9' => {}
            b'.' if dots == 0 => dots = 1,
            b'e' | b'E' if signed => scientific = true,
            b'+' | b'-' if i > 0 && matches!(unsigned_text[i - 1], b'e' | b'E') => {}
            _ => return Err(Reason::InvalidNumber),
        }
    }
    if unsigned_text.len() == dots {
        return Err(Reason::InvalidNumber);
    }
    if !scientific && number.len() < FLOAT_BYTES_SAFE {
        return Ok(());
    }
    let parsed = std::str::from_utf8(number).ok().and_then(|text| text.parse::<f64>().ok());
    if parsed.is_some_and(f64::is_finite) { Ok(()) } else { Err(Reason::InvalidFloat) }
}

/// Where the boolean that begins at `i` ends.
pub(super) fn boolean(text: &[u8], i: usize) -> Result<usize, Reason> {
    let len = text[i..].iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(text.len() - i);
    if is_boolean(&text[i..i + len]) { Ok(i + len) } else { Err(Reason::InvalidBoolean) }
}

/// Whether `value` is a number, a boolean, or at least begins like a string.
pub(super) fn is_value(value: &[u8]) -> bool {
    match value.first() {
        Some(b'"') => value.len() > 1,
        _ => is_boolean(value) || check_number(value).is_ok(),
    }
}

/// Whether `word` is one of InfluxDB's ten spellings.
pub(super) fn is_boolean(word: &[u8]) -> bool {
    matches!(
        word,
        b"t" | b"T" | b"true" | b"True" | b"TRUE" | b"f" | b"F" | b"false" | b"False" | b"FALSE"
    )
}

/// The size of timestamps that are in range at a glance.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimit {
    unit_ns: i64,
    /// How many digits the last timestamp in range has.
    digits: usize,
    /// Its first digit.
    first: u8,
}

impl TimeLimit {
    pub(super) fn new(precision: Precision) -> Self {
        let mut first = TIME_NS_MAX / precision.nanoseconds();
        let mut digits = 1;
        while first >= 10 {
            first /= 10;
            digits += 1;
        }
        let first = b'0' + u8::try_from(first).expect("one digit is left");
        Self { unit_ns: precision.nanoseconds(), digits, first }
    }

    /// Whether `len` digits that begin with `first` are surely in range.
    #[inline]
    pub(super) fn surely_holds(self, len: usize, first: u8) -> bool {
        len < self.digits || (len == self.digits && first < self.first)
    }

    /// Whether the digits that end before `end` are surely in range; a space is before them.
    #[inline(always)]
    pub(super) fn surely_holds_before(self, bytes: &[u8], end: usize) -> bool {
        let longest = end.checked_sub(self.digits + 1).and_then(|at| bytes.get(at..end));
        match longest {
            // What most timestamps of now look like.
            Some([b' ', first, ..]) if *first < self.first => true,
            _ => self.surely_holds_any(&bytes[..end]),
        }
    }

    #[inline(never)]
    fn surely_holds_any(self, bytes: &[u8]) -> bool {
        let digits = bytes.iter().rev().take(self.digits + 1).take_while(|b| b.is_ascii_digit());
        let len = digits.count();
        self.surely_holds(len, bytes[bytes.len() - len])
    }

    /// Checks a timestamp of digits, perhaps behind a minus.
    pub(super) fn check(self, stamp: &[u8]) -> Result<(), Reason> {
        if stamp == b"-" {
            return Err(Reason::InvalidSyntax);
        }
        let stamp = std::str::from_utf8(stamp).ok().and_then(|text| text.parse::<i64>().ok());
        let time_ns = stamp.ok_or(Reason::ValueOutOfRange)?.checked_mul(self.unit_ns);
        match time_ns {
            Some(ns) if (-TIME_NS_MAX..=TIME_NS_MAX).contains(&ns) => Ok(()),
            _ => Err(Reason::TimeOutsideRange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_at_a_glance_never_passes_what_the_check_refuses() {
        for precision in ["ns", "u", "ms", "s", "m", "h"] {
            let limit = TimeLimit::new(Precision::parse(precision).expect("a known precision"));
            let max = TIME_NS_MAX / limit.unit_ns;
            assert_eq!(limit.check(max.to_string().as_bytes()), Ok(()), "{precision}");
            assert_eq!(limit.check((-max).to_string().as_bytes()), Ok(()), "{precision}");
            let over = max.to_string();
            assert!(!limit.surely_holds(over.len(), over.as_bytes()[0]), "{precision}");
            let over = (max + 1).to_string();
            assert_eq!(limit.check(over.as_bytes()), Err(Reason::TimeOutsideRange), "{precision}");
        }
    }
}
