//! Validates the commonest lines at one go: up to 127 bytes, and neither strings nor escapes.
//! `Lines` asks it first. Masks of the whole line (see `simd`) take the place of state and loops;
//! only the tags are gone through one by one.
//!
//! Like `fast` it vouches for a line or it does not, and never refuses one; what it leaves goes on
//! to `fast`. It leaves little undone on its way: a quote or a backslash shows in the first step.

use super::fast::{Clean, LAST_ODD_START, booleans, integers};
use super::simd::{BLOCK, Masks, Simd, next_byte};
use super::tags;
use super::value::TimeLimit;

/// How many bytes are looked at; the newline must be among them.
pub(super) const WINDOW: usize = 2 * BLOCK;

/// Validates the line at `start`, which is below the input's length.
#[inline(always)]
pub(super) fn clean<S: Simd>(
    simd: S,
    input: &[u8],
    start: usize,
    limit: TimeLimit,
) -> Option<Clean> {
    let rest = &input[start..];
    if rest[0] <= LAST_ODD_START {
        return None;
    }
    let mut padded = [b'\n'; WINDOW];
    let bytes = rest.first_chunk().unwrap_or_else(|| {
        padded[..rest.len()].copy_from_slice(rest);
        &padded
    });
    let window = Window::new(simd, bytes);
    let ends = window.ends(bytes)?;
    let shape = window.shape(&ends);
    if shape.bad != 0 || shape.odd() && !odd_values(bytes, &shape) {
        return None;
    }
    if ends.time.is_some_and(|time| !limit.surely_holds(ends.line - time, bytes[time])) {
        return None;
    }
    let clean = Clean { end: start + ends.line, stamped: ends.time.is_some() };
    window.tags_differ(bytes, ends.key).then_some(clean)
}

/// The number of the lowest bit of `mask`; 128 if there is none.
#[inline(always)]
fn bit(mask: u128) -> usize {
    mask.trailing_zeros() as usize
}

/// Only the lowest bit of `mask`.
#[inline(always)]
fn lowest(mask: u128) -> u128 {
    mask & mask.wrapping_neg()
}

/// The bits of the low and of the high block.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves")]
fn halves(mask: u128) -> [u64; 2] {
    [mask as u64, (mask >> BLOCK) as u64]
}

/// The masks of a line's first bytes: bit `i` is about byte `i`.
struct Window {
    edge: u128,
    comma: u128,
    equals: u128,
    digit: u128,
    dot: u128,
    minus: u128,
    suffix: u128,
}

/// Where the parts of a line end.
struct Ends {
    /// The bit of the space behind measurement and tags.
    key: u128,
    /// The bit of the space or newline behind the fields.
    fields: u128,
    /// The offset of the newline.
    line: usize,
    /// The offset of the timestamp, if there is one.
    time: Option<usize>,
}

/// What measurement, tags and fields look like.
struct Shape {
    /// Not zero: not a line to vouch for.
    bad: u128,
    /// Where values begin that are no numbers.
    words: u128,
    /// The `i` of integers that may be too long for the range.
    long: u128,
}

impl Shape {
    /// Whether single values are to be looked at.
    #[inline(always)]
    fn odd(&self) -> bool {
        self.words | self.long != 0
    }
}

impl Window {
    #[inline(always)]
    fn new<S: Simd>(simd: S, bytes: &[u8; WINDOW]) -> Self {
        let (low, high) = bytes.split_at(BLOCK);
        let low = simd.masks(low.try_into().expect("half of a window is a block"));
        let high = simd.masks(high.try_into().expect("half of a window is a block"));
        let join = |of: fn(&Masks) -> u64| u128::from(of(&low)) | u128::from(of(&high)) << BLOCK;
        Self {
            edge: join(|masks| masks.edge),
            comma: join(|masks| masks.comma),
            equals: join(|masks| masks.equals),
            digit: join(|masks| masks.digit),
            dot: join(|masks| masks.dot),
            minus: join(|masks| masks.minus),
            suffix: join(|masks| masks.suffix),
        }
    }

    /// Finds the parts: two or three, with one space between them and a newline at the end. A
    /// timestamp is all digits.
    #[inline(always)]
    fn ends(&self, bytes: &[u8; WINDOW]) -> Option<Ends> {
        let key = lowest(self.edge);
        let behind_key = self.edge ^ key;
        let fields = lowest(behind_key);
        if bytes.get(bit(key)) != Some(&b' ') {
            return None;
        }
        let end = bit(behind_key);
        match bytes.get(end)? {
            b'\n' => return Some(Ends { key, fields, line: end, time: None }),
            b' ' => {}
            _ => return None,
        }
        let behind_fields = behind_key ^ fields;
        let (time, line) = (end + 1, bit(behind_fields));
        let stamp = lowest(behind_fields).wrapping_sub(next_byte(fields));
        let good = bytes.get(line) == Some(&b'\n') && time < line && stamp & !self.digit == 0;
        good.then_some(Ends { key, fields, line, time: Some(time) })
    }

    /// Whether separators (commas, and the space before the fields) and equals signs alternate
    /// with something between them, and what of the values is no number.
    #[inline(always)]
    fn shape(&self, ends: &Ends) -> Shape {
        let head = ends.fields.wrapping_sub(1);
        let comma = self.comma & head;
        let equals = self.equals & head;
        let separator = comma | ends.key;
        let marks = separator | equals;
        let stops = marks | ends.fields;

        // Subtraction borrows from each separator on up to the next equals sign: it leaves ones at
        // all separators, and zeros at all equals signs and behind the fields, only if they take
        // turns, a separator first and an equals sign last.
        let keys = equals.wrapping_sub(separator);
        let mut bad = (keys ^ separator) & stops;
        // Neither is the measurement empty.
        bad |= (next_byte(marks) | 1) & stops;

        // As in `fast`: cursors at the values' beginnings are carried over the digits.
        let fields = next_byte(ends.key).wrapping_neg();
        let starts = next_byte(equals & fields);
        let minus = starts & self.minus;
        let first = starts ^ minus | next_byte(minus);
        let words = first & !self.digit;
        let whole = self.digit.wrapping_add(first ^ words) & !self.digit;
        let dot = whole & self.dot;
        let fraction = self.digit.wrapping_add(next_byte(dot)) & !self.digit;
        let suffix = whole & self.suffix;
        let number_ends = (whole ^ dot ^ suffix) | fraction | next_byte(suffix);
        bad |= number_ends & !(comma | ends.fields);

        // An integer of 19 digits has digits here; so may others that are next to longer fields.
        let long = suffix & self.digit << 12 & self.digit << 19;
        Shape { bad, words, long }
    }

    /// Whether no tag key is repeated; the marks before `key_end` alternate.
    #[inline(always)]
    fn tags_differ(&self, bytes: &[u8; WINDOW], key_end: u128) -> bool {
        let key = key_end.wrapping_sub(1);
        let (commas, equals) = (halves(self.comma & key), halves(self.equals & key));
        if halves(key_end)[1] == 0 {
            tags::differ_within_block(bytes, commas[0], equals[0])
        } else {
            tags::differ(bytes, commas, equals)
        }
    }
}

/// Whether what is no number is a boolean, and no integer is out of range.
#[inline(never)]
fn odd_values(bytes: &[u8; WINDOW], shape: &Shape) -> bool {
    let (words, long) = (halves(shape.words), halves(shape.long));
    (0..2).all(|half| {
        let at = half * BLOCK;
        booleans(bytes, at, words[half]) && integers(bytes, at, long[half])
    })
}

#[cfg(test)]
mod tests {
    use super::super::simd::Portable;
    use super::*;
    use crate::timestamp::Precision;

    fn vouches(line: &str) -> bool {
        let limit = TimeLimit::new(Precision::Nanosecond);
        let clean = clean(Portable, line.as_bytes(), 0, limit);
        if let Some(clean) = clean {
            assert_eq!(clean.end, line.find('\n').unwrap_or(line.len()), "{line}");
            assert_eq!(clean.stamped, line[..clean.end].matches(' ').count() == 2, "{line}");
        }
        clean.is_some()
    }

    #[test]
    fn common_lines_are_vouched_for() {
        for line in [
            "m f=1",
            "m f=1 5",
            "m,a=b f=1.5,g=-2i,h=1. 1434055562000000000\nn f=x\n",
            "m,a=b,c=d,ab=x f=1,g=true,h=F,i=-0.5",
            "cpu,container_id=1,container_name=2,'a'=# 'f'=1",
            "m a=9223372036854775807,b=1795438713082740999i,c=-8999999999999999999i",
        ] {
            assert!(vouches(line), "{line}");
            let len = line.lines().map(str::len).next().unwrap_or_default();
            for pad in 1..WINDOW - len {
                assert!(vouches(&format!("{}{line}", "p".repeat(pad))), "{pad} {line}");
            }
        }
        let longest = format!("m,{}=v f=1", "k".repeat(WINDOW - 9));
        assert!(vouches(&longest), "127 bytes and a newline");
        assert!(!vouches(&format!("{longest}0")), "no room for a newline");
    }

    #[test]
    fn other_lines_are_left() {
        for line in [
            ",a=b f=1",
            "m,a=\" f=1",
            "m,a=b,c f=1",
            "m,a f=1",
            "m,a= f=1",
            "m,=b f=1",
            "m,a=b=c f=1",
            "m=1 f=1",
            "m,,a=b f=1",
            "m,a=b, f=1",
            "m",
            "m ",
            "m f",
            "m f=",
            "m =1",
            "m f=1,",
            "m f=1,g",
            "m f=1,=2",
            "m f=1,,g=2",
            "m f=1=2",
            "m,a=b",
            "m  f=1",
            "m f=1 ",
            "m f=1  5",
            "m f=1 5 ",
            "m f=1 5x",
            "m f=1 -",
            "m f=-",
            "m f=--1",
            "m f=1-",
            "m f=1.2.3",
            "m f=i",
            "m f=.",
            "m f=1.5i",
            "m f=1ii",
            "m f=1i2",
            "m f=1e5",
            "m f=\"s\"",
            "m f=tru",
            "m\\ f=1",
            "m f=1\r",
            "m f=9999999999999999999i",
            "m f=10000000000000000000i",
            "m f=1 9999999999999999999",
            "m,a=1,b=2,a=3 f=1",
            "m,container_id=1,container_id=2 f=1",
        ] {
            assert!(!vouches(line), "{line}");
        }
        let apart = format!("m,a=1,b={},a=2 f=1", "v".repeat(BLOCK));
        assert!(!vouches(&apart), "{apart}");
    }
}
