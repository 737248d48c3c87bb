//! Finds the end of a common line and validates it, 64 bytes at a time, without looking at
//! single bytes: masks of a block (see `simd`) go through the same few word operations whatever
//! the line says. Called by `Lines`, for lines that `plain` leaves: those of
//! more than a kilobyte, and those with tabs, hashes or carriage returns in them.
//!
//! It vouches for a line or it does not; it never refuses one. A line with two
//! backslashes in a row, an exponent, an `=` in the measurement, odd white space or any fault goes
//! on to `scalar`.
//!
//! How: separators (commas, and the space before the fields) and equals signs must alternate, so
//! the parity of how many came before tells which is which and whether a byte belongs to a key
//! or to a value. Numbers are matched all at once: a cursor bit at each value's beginning moves
//! over a run of digits when it is added to the mask of digits, because the carry runs through
//! the ones and stops behind them. What is left over at the end of a block (a carry, a parity,
//! a cursor shifted out) goes on into the next.

use super::simd::{BLOCK, Masks, Simd, Work};
use super::tags::TagKeys;
use super::value::{TimeLimit, is_boolean, is_in_range};

/// A line that `fast` vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clean {
    /// The offset of its newline, or the input's length.
    pub end: usize,
    /// Whether it ends with a timestamp.
    pub stamped: bool,
}

/// Longer lines go to `scalar`: only they can exceed the limit for keys.
const LINE_BYTES_MAX: usize = 60_000;

/// Lines that begin with one of these, or with a byte below, go to `scalar`: blanks, comments.
const LAST_ODD_START: u8 = b'#';

/// Validates the line at `start`, which is below the input's length.
pub(super) struct Validate<'a> {
    pub input: &'a [u8],
    pub start: usize,
    pub limit: TimeLimit,
}

impl Work for Validate<'_> {
    type Output = Option<Clean>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<Clean> {
        clean(simd, self.input, self.start, self.limit)
    }
}

#[inline(always)]
fn clean<S: Simd>(simd: S, input: &[u8], start: usize, limit: TimeLimit) -> Option<Clean> {
    if input[start] <= LAST_ODD_START {
        return None;
    }
    let mut state = State::new();
    let mut tags = TagKeys::new();
    let mut at = start;
    loop {
        let masks = masks(simd, input, at);
        let block = state.block(simd, masks);
        if block.words != 0 && !booleans(input, at, block.words) {
            return None;
        }
        if block.bad != 0 || at - start > LINE_BYTES_MAX {
            return None;
        }
        if block.long != 0 && !integers(input, at, block.long) {
            return None;
        }
        let mut marks = block.tag_marks;
        while marks != 0 {
            if !tags.note(at + bit(marks)) {
                return None;
            }
            marks &= marks - 1;
        }
        if block.time_space != 0 {
            state.time_start = at + bit(block.time_space) + 1;
        }
        if block.end != 0 {
            let end = at + bit(block.end);
            return state.finish(input, end, limit).filter(|_| tags.differ(input));
        }
        at += BLOCK;
        if at > input.len() {
            // A string is open at the end.
            return None;
        }
    }
}

/// The masks of the block at `at`; behind the input's end stands a newline.
#[inline(always)]
pub(super) fn masks<S: Simd>(simd: S, input: &[u8], at: usize) -> Masks {
    let left = &input[at..];
    if let Some(block) = left.first_chunk() {
        return simd.masks(block);
    }
    if let (Some(block), false) = (input.last_chunk(), left.is_empty()) {
        return simd.masks(block).tail(BLOCK - left.len());
    }
    let mut padded = [b'\n'; BLOCK];
    padded[..left.len()].copy_from_slice(left);
    simd.masks(&padded)
}

/// The number of the lowest bit of `mask`.
#[inline(always)]
pub(super) fn bit(mask: u64) -> usize {
    mask.trailing_zeros() as usize
}

/// Only the lowest bit of `mask`.
#[inline(always)]
fn lowest(mask: u64) -> u64 {
    mask & mask.wrapping_neg()
}

/// All bits up to the lowest of `mask`, that one too; all bits if `mask` is empty.
#[inline(always)]
fn through_lowest(mask: u64) -> u64 {
    mask ^ mask.wrapping_sub(1)
}

/// All ones if the highest bit of `mask` is set, which is what goes on into the next block.
#[inline(always)]
fn spread_last(mask: u64) -> u64 {
    0_u64.wrapping_sub(mask >> (BLOCK - 1))
}

/// `mask` moved one byte on, and what is shifted out kept in `carry` for the next block.
#[inline(always)]
fn next_byte(mask: u64, carry: &mut u64) -> u64 {
    let moved = mask << 1 | *carry;
    *carry = mask >> (BLOCK - 1);
    moved
}

/// Moves each bit of `cursors` behind the run of ones in `run` that it stands on.
#[inline(always)]
fn behind_run(cursors: u64, run: u64, carry: &mut bool) -> u64 {
    let (sum, first) = run.overflowing_add(cursors);
    let (sum, second) = sum.overflowing_add(u64::from(*carry));
    *carry = first | second;
    sum & !run
}

/// What one block says.
struct Block {
    /// Not zero: not a line to vouch for.
    bad: u64,
    /// Where field values begin that are neither numbers nor strings.
    words: u64,
    /// The `i` of integers that may be too long for the range.
    long: u64,
    /// Commas and equals signs of tags.
    tag_marks: u64,
    /// The space before the timestamp.
    time_space: u64,
    /// The line's end.
    end: u64,
}

/// What a block says of numbers; see [`Block`].
struct Numbers {
    bad: u64,
    words: u64,
    long: u64,
}

/// What goes on from one block of a line into the next. Fields of type `u64` are all ones or all
/// zeros, or a single carried bit.
struct State {
    in_key: u64,
    in_time: u64,
    in_string: u64,
    backslash: u64,
    /// Whether the last separator or equals sign was a separator.
    in_item_key: u64,
    /// The equals signs of the fields in the block before.
    equals_before: u64,
    opened: u64,
    value: u64,
    closed: u64,
    after_minus: u64,
    whole: bool,
    after_dot: u64,
    fraction: bool,
    after_suffix: u64,
    time_opened: u64,
    /// Offset of the timestamp in the input.
    time_start: usize,
}

impl State {
    #[inline(always)]
    fn new() -> Self {
        Self {
            in_key: !0,
            in_time: 0,
            in_string: 0,
            backslash: 0,
            in_item_key: 0,
            equals_before: 0,
            // The measurement may not be empty either.
            opened: 1,
            value: 0,
            closed: 0,
            after_minus: 0,
            whole: false,
            after_dot: 0,
            fraction: false,
            after_suffix: 0,
            time_opened: 0,
            time_start: 0,
        }
    }

    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, mut masks: Masks) -> Block {
        let mut escape_bad = 0;
        if masks.backslash | self.backslash != 0 {
            escape_bad = self.hide_escaped(&mut masks);
        }
        // Every quote that is left opens or closes; that it may is checked below.
        let mut string = 0;
        if masks.quote | self.in_string != 0 {
            string = simd.prefix_parity(masks.quote) ^ self.in_string;
            self.in_string = spread_last(string);
        }
        let newline = masks.newline & !string;
        let end = lowest(newline);
        let within = through_lowest(newline) ^ end;
        let plain = within & !string;

        // Key, fields and timestamp: up to the first space, up to the second, and the rest.
        let space = masks.space & plain;
        let key_end = lowest(space) & self.in_key;
        let key = through_lowest(key_end) & self.in_key & within;
        self.in_key &= 0_u64.wrapping_sub(u64::from(key_end == 0));
        let behind_key = within & !key;
        let fields_space = space & behind_key & !self.in_time;
        let time_space = lowest(fields_space);
        let fields = behind_key & through_lowest(fields_space) & !self.in_time;
        let time = behind_key & !fields;
        self.in_time |= 0_u64.wrapping_sub(u64::from(time_space != 0));

        let head = (key | fields) & plain;
        let comma = masks.comma & head;
        let equals = masks.equals & head;
        let separator = comma | key_end;
        let marks = separator | equals;
        let stops = time_space | end;
        let in_item_key = simd.prefix_parity(marks) ^ self.in_item_key;
        self.in_item_key = spread_last(in_item_key);
        let mut bad = separator & !in_item_key | (equals | stops) & in_item_key;
        // Nothing between two marks is empty, and no run of digits is endless.
        bad |= next_byte(marks, &mut self.opened) & (marks | stops);
        bad |= escape_bad & (within | end);
        bad |= u64::from(masks.digit == !0);
        bad |= time & !masks.digit | next_byte(time_space, &mut self.time_opened) & end;

        let field_equals = equals & fields;
        let value = next_byte(field_equals, &mut self.value);
        let ends = comma | stops;
        if masks.quote | self.closed != 0 {
            bad |= masks.quote & within & string & !value;
            let closes = masks.quote & within & !string;
            bad |= next_byte(closes, &mut self.closed) & !ends;
        }
        let numbers = self.numbers(&masks, value & !masks.quote, field_equals, ends);
        self.equals_before = field_equals;
        Block {
            bad: bad | numbers.bad,
            words: numbers.words,
            long: numbers.long,
            tag_marks: (comma | equals) & key,
            time_space,
            end,
        }
    }

    /// Takes escaped bytes out of the masks. What is bad: backslashes in a row, about which
    /// InfluxDB's two scans differ, and escaped newlines.
    #[inline(always)]
    fn hide_escaped(&mut self, masks: &mut Masks) -> u64 {
        let escaped = next_byte(masks.backslash, &mut self.backslash);
        masks.comma &= !escaped;
        masks.equals &= !escaped;
        masks.space &= !escaped;
        masks.quote &= !escaped;
        escaped & (masks.backslash | masks.newline)
    }

    /// Matches `-? digits (. digits?)?` or `-? digits i` from each bit of `starts` to one of
    /// `ends`.
    #[inline(always)]
    fn numbers(&mut self, masks: &Masks, starts: u64, equals: u64, ends: u64) -> Numbers {
        let minus = starts & masks.minus;
        let first = starts & !minus | next_byte(minus, &mut self.after_minus);
        let words = first & !masks.digit;
        let whole = behind_run(first & masks.digit, masks.digit, &mut self.whole);
        let dot = whole & masks.dot;
        let after_dot = next_byte(dot, &mut self.after_dot);
        let fraction = behind_run(after_dot, masks.digit, &mut self.fraction);
        let suffix = whole & masks.suffix;
        let after_suffix = next_byte(suffix, &mut self.after_suffix);
        let bad = (whole & !dot & !suffix | fraction | after_suffix) & !ends;
        let mut long = 0;
        if suffix != 0 {
            // Up to 18 digits are in range: the equals sign stands at most 19 bytes before.
            let mut near = u128::from(equals) << BLOCK | u128::from(self.equals_before);
            for step in [1, 2, 4, 8, 4] {
                near |= near << step;
            }
            let near = (near >> BLOCK) as u64;
            long = suffix & !near;
        }
        Numbers { bad, words, long }
    }

    #[inline(always)]
    fn finish(&self, input: &[u8], end: usize, limit: TimeLimit) -> Option<Clean> {
        let stamped = self.in_time != 0;
        if stamped && !limit.surely_holds(end - self.time_start, input[self.time_start]) {
            return None;
        }
        (self.in_key == 0).then_some(Clean { end, stamped })
    }
}

/// Whether the integers that end before the bits of `ends`, in the block at `at`, are in range.
#[inline(never)]
pub(super) fn integers(input: &[u8], at: usize, mut ends: u64) -> bool {
    while ends != 0 {
        if !is_in_range(&input[..at + bit(ends)]) {
            return false;
        }
        ends &= ends - 1;
    }
    true
}

/// Whether a boolean stands at each bit of `words`, in the block at `at`.
#[inline(never)]
pub(super) fn booleans(input: &[u8], at: usize, mut words: u64) -> bool {
    while words != 0 {
        let word = at + bit(words);
        let rest = input.get(word..).unwrap_or_default();
        let len = match rest {
            [_] | [_, b',' | b' ' | b'\n', ..] => 1,
            [b't' | b'T', ..] => 4,
            _ => 5,
        };
        let ends = matches!(rest.get(len), None | Some(b',' | b' ' | b'\n'));
        if !ends || input[word - 1] != b'=' || !rest.get(..len).is_some_and(is_boolean) {
            return false;
        }
        words &= words - 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::simd::Portable;
    use super::*;
    use crate::timestamp::Precision;

    #[test]
    fn integers_of_19_digits_are_vouched_for_if_surely_in_range() {
        let limit = TimeLimit::new(Precision::Nanosecond);
        for (value, vouched) in [
            ("1795438713082740999i", true),
            ("-8999999999999999999i", true),
            ("999999999999999999i", true),
            ("9000000000000000000i", false),
            ("10000000000000000000i", false),
        ] {
            for pad in 0..2 * BLOCK {
                let line = format!("m f{}=1,g={value},h=12i 5", "k".repeat(pad));
                let clean = clean(Portable, line.as_bytes(), 0, limit);
                assert_eq!(clean.is_some(), vouched, "{line}");
            }
        }
    }
}
