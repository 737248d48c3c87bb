//! One line of load: how it is written and how it is proven to have arrived as it was sent.
//!
//! `payload` lays lines out and patches them before each send; `ledger` reads them back. This is
//! deliberately not the relay's parser: a line is `m` or `u` (stamped by the sender or not), tags
//! that end in the source, and fields of one fixed width that end in a checksum over all bytes
//! before it. Tags are sorted, because the Go relay sorts them: only so do its lines come out as
//! they went in.
//!
//! ```text
//! m3,dc=eu1,host=h00017,src=02 seq=100000000123i,sent=1700000000000000i,v=12.5,sum=1234567890i
//! (a space, not a line end) 1700000000000000000
//! ```

use xxhash_rust::xxh3::xxh3_64;

/// How many sources there can be: the tag `src` has two digits.
pub const SOURCES_MAX: usize = 100;
/// How many series there can be: the tag `host` has at most eight digits.
pub const SERIES_MAX: usize = 100_000_000;

/// Sequence numbers are written from here, so that their width never changes.
const SEQUENCE_BASE: u64 = 100_000_000_000;
const SUM_BASE: u64 = 1_000_000_000;

const FIELDS: &[u8] = b"seq=000000000000i,sent=0000000000000000i,v=00.0,sum=0000000000i";
const SEQUENCE_AT: usize = 4;
const SEQUENCE_DIGITS: usize = 12;
const SENT_AT: usize = 23;
/// The source and the space behind a tag `host`.
const SOURCE: &str = ",src=00 ";
/// Microseconds since 1970.
const SENT_DIGITS: usize = 16;
const VALUE_AT: usize = 43;
const SUM_AT: usize = 52;
const SUM_DIGITS: usize = 10;

/// Digits of a timestamp in nanoseconds.
const STAMP_DIGITS: usize = 19;

/// A whole microsecond in nanoseconds since 1970, in digits, written into many lines at once: all
/// of them as the timestamp, the first 16 as the field `sent`.
pub type SentDigits = [u8; STAMP_DIGITS];

/// The digits of `sent_ns`, nanoseconds since 1970, without its part of a microsecond.
#[must_use]
pub fn sent_digits(sent_ns: u64) -> SentDigits {
    let mut digits = [b'0'; STAMP_DIGITS];
    put_decimal(&mut digits[..SENT_DIGITS], sent_ns / 1_000);
    digits
}

/// Digits of the tag `host` of each line, if there are so many series.
#[must_use]
pub fn series_digits(count: usize) -> usize {
    if count <= 100_000 { 5 } else { 8 }
}

/// Appends a line without its newline, all but its numbers in place, and answers where its fields
/// begin. `digits` are those of the series; `value_tenths` is the field `v` in tenths, 0 to 999.
pub fn lay_out(
    line: &mut Vec<u8>,
    (series, digits, source): (usize, usize, usize),
    site: &str,
    value_tenths: u16,
    stamped: bool,
) -> usize {
    let kind = if stamped { 'm' } else { 'u' };
    let (start, measurement) = (line.len(), series % 10);
    let head = format!("{kind}{measurement},dc={site},host=h{series:0digits$},src={source:02} ");
    line.extend_from_slice(head.as_bytes());
    let fields = line.len();
    line.extend_from_slice(FIELDS);
    let value = format!("{:02}.{}", value_tenths / 10 % 100, value_tenths % 10);
    line[fields + VALUE_AT..fields + VALUE_AT + 4].copy_from_slice(value.as_bytes());
    if stamped {
        line.push(b' ');
        line.extend_from_slice(&[b'0'; STAMP_DIGITS]);
    }
    fields - start
}

/// Writes another series into a laid-out line, whose fields begin at `fields`: before [`patch`],
/// which sums up what is there.
pub fn put_series(line: &mut [u8], fields: usize, series: usize, digits: usize) {
    let end = fields - SOURCE.len();
    put_decimal(&mut line[end - digits..end], series as u64);
    put_decimal(&mut line[1..2], series as u64);
}

/// Writes the numbers of one laid-out line (without its newline), whose fields begin at `fields`.
pub fn patch(line: &mut [u8], fields: usize, sequence: u64, sent: &SentDigits) {
    let (at, width) = (fields + SEQUENCE_AT, SEQUENCE_DIGITS);
    put_decimal(&mut line[at..at + width], SEQUENCE_BASE + sequence);
    let at = fields + SENT_AT;
    line[at..at + SENT_DIGITS].copy_from_slice(&sent[..SENT_DIGITS]);
    let sum = checksum(xxh3_64(&line[..fields + SUM_AT]));
    put_decimal(&mut line[fields + SUM_AT..fields + SUM_AT + SUM_DIGITS], sum);
    if line.len() > fields + FIELDS.len() {
        line[fields + FIELDS.len() + 1..].copy_from_slice(sent);
    }
}

/// What an unaltered line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who sent it.
    pub source: usize,
    /// Its number within the source, from 0.
    pub sequence: u64,
    /// When it was due to be sent, in nanoseconds since 1970, to the microsecond.
    pub sent_ns: u64,
    /// Its timestamp: the sender's, or what a relay added; 0 if there is none.
    pub stamp: u64,
    /// A hash of all its bytes but the timestamp.
    pub content: u64,
}

/// Reads a line without its newline; `None` if any of its bytes is not as it was sent. The
/// timestamp of a line that was sent without one may be anything or missing.
#[must_use]
pub fn read(line: &[u8]) -> Option<Reading> {
    let fields = memchr::memchr(b' ', line)? + 1;
    if fields < 4 || line.len() < fields + FIELDS.len() {
        return None;
    }
    let content = xxh3_64(&line[..fields + SUM_AT]);
    let sum = decimal(&line[fields + SUM_AT..fields + SUM_AT + SUM_DIGITS])?;
    if sum != checksum(content) || line[fields + FIELDS.len() - 1] != b'i' {
        return None;
    }
    let sent = &line[fields + SENT_AT..fields + SENT_AT + SENT_DIGITS];
    let stamp = match (&line[fields + FIELDS.len()..], line[0]) {
        ([b' ', stamp @ ..], b'm') if is_stamp_of(stamp, sent) => decimal(stamp)?,
        ([b' ', stamp @ ..], b'u') => decimal(stamp)?,
        ([], b'u') => 0,
        _ => return None,
    };
    Some(Reading {
        source: usize::try_from(decimal(&line[fields - 3..fields - 1])?).ok()?,
        sequence: decimal(&line[fields + SEQUENCE_AT..fields + SEQUENCE_AT + SEQUENCE_DIGITS])?
            .checked_sub(SEQUENCE_BASE)?,
        sent_ns: decimal(sent)?.checked_mul(1_000)?,
        stamp,
        content,
    })
}

/// Whether `stamp` is `sent` (microseconds) in nanoseconds.
fn is_stamp_of(stamp: &[u8], sent: &[u8]) -> bool {
    stamp.strip_prefix(sent) == Some(b"000")
}

fn checksum(content: u64) -> u64 {
    SUM_BASE + (content & u64::from(u32::MAX))
}

/// Writes `value` in decimal over all of `digits`, with leading zeros.
fn put_decimal(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a digit is below 10");
        value /= 10;
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > STAMP_DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: u64 = 1_700_000_000_123_456_000;

    fn line(stamped: bool) -> Vec<u8> {
        let mut line = Vec::new();
        let fields = lay_out(&mut line, (17, 5, 2), "eu1", 125, stamped);
        patch(&mut line, fields, 123, &sent_digits(SENT));
        line
    }

    #[test]
    fn is_line_protocol_of_a_typical_size() {
        let line = String::from_utf8(line(true)).expect("a line is ASCII");
        let expected = "m7,dc=eu1,host=h00017,src=02 seq=100000000123i,sent=1700000000123456i,\
                        v=12.5,sum=";
        assert!(line.starts_with(expected), "{line}");
        assert!(line.ends_with("i 1700000000123456000"), "{line}");
        assert_eq!(line.len(), 112);
    }

    #[test]
    fn another_series_makes_the_line_that_would_have_been_laid_out() {
        let laid_out = |series| {
            let mut line = Vec::new();
            let fields = lay_out(&mut line, (series, 8, 2), "eu1", 125, true);
            (line, fields)
        };
        let (mut line, fields) = laid_out(17);
        put_series(&mut line, fields, 9_876_543, 8);
        let (mut other, _) = laid_out(9_876_543);
        assert!(other.starts_with(b"m3,dc=eu1,host=h09876543,src=02 "));
        for line in [&mut line, &mut other] {
            patch(line, fields, 1, &sent_digits(SENT));
        }
        assert_eq!(line, other);
        assert!(read(&line).is_some());
    }

    #[test]
    fn reads_what_was_written() {
        let reading = read(&line(true)).expect("unaltered");
        assert_eq!((reading.source, reading.sequence), (2, 123));
        assert_eq!((reading.sent_ns, reading.stamp), (SENT, SENT));
    }

    #[test]
    fn any_altered_byte_is_noticed() {
        for stamped in [true, false] {
            let line = line(stamped);
            for at in 0..line.len() {
                for flip in [0x01, 0x02, 0x20] {
                    let mut altered = line.clone();
                    altered[at] ^= flip;
                    assert_eq!(read(&altered), None, "byte {at} of {}", line.escape_ascii());
                }
                assert_eq!(read(&line[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_relay_may_stamp_only_what_was_sent_without_a_timestamp() {
        let mut unstamped = line(false);
        assert_eq!(read(&unstamped).map(|reading| reading.stamp), Some(0));
        unstamped.extend_from_slice(b" 1700000000999999999");
        assert_eq!(read(&unstamped).map(|r| r.stamp), Some(1_700_000_000_999_999_999));
        let mut stamped = line(true);
        let end = stamped.len() - 1;
        stamped.truncate(end);
        assert_eq!(read(&stamped), None);
    }
}
