//! Says of all lines in a run of blocks at once whether they are well formed. Called by `plain`.
//! Pure: works on masks (see `simd`), looks at no single byte.
//!
//! How: a run of blocks is one long number, with a bit for each byte. A cursor bit that is added
//! to a mask of ones moves behind the run of ones that it stands on, for the carry runs through
//! them and stops at the first zero. So one addition finds the ends of all measurements and tags,
//! another the ends of all fields, and so on. Only these additions go from block to block (see
//! `simd`); all else is done with several blocks at a time, by the compiler's choice of
//! instructions. That is why the steps are loops of their own.

use super::fast::masks;
use super::simd::{BLOCK, EIGHT, Simd};

/// Masks of `N` blocks, one behind the other: what bytes are.
pub(super) struct Classes<const N: usize> {
    comma: [u64; N],
    equals: [u64; N],
    space: [u64; N],
    newline: [u64; N],
    digit: [u64; N],
    dot: [u64; N],
    minus: [u64; N],
    suffix: [u64; N],
    /// What is no part of a plain line.
    odd: [u64; N],
    /// The quotes that strings begin with; and those that they end with.
    opening: [u64; N],
    closing: [u64; N],
}

impl<const N: usize> Classes<N> {
    /// Sorts the bytes of `input` from `start` on; behind its end stand newlines.
    #[inline(always)]
    pub(super) fn new<S: Simd>(simd: S, input: &[u8], start: usize) -> Self {
        let mut all = Self {
            comma: [0; N],
            equals: [0; N],
            space: [0; N],
            newline: [!0; N],
            digit: [0; N],
            dot: [0; N],
            minus: [0; N],
            suffix: [0; N],
            odd: [0; N],
            opening: [0; N],
            closing: [0; N],
        };
        let mut any_odd = 0;
        let mut sorted = 0;
        while sorted + EIGHT <= N {
            let rest = input.get(start + sorted * BLOCK..).unwrap_or_default();
            let eight = match rest.first_chunk() {
                Some(blocks) if N > EIGHT => simd.eight_masks(blocks),
                None if N > EIGHT => None,
                _ => simd.few_masks(rest),
            };
            let Some(eight) = eight else { break };
            let blocks = sorted..sorted + EIGHT;
            all.comma[blocks.clone()].copy_from_slice(&eight.comma);
            all.equals[blocks.clone()].copy_from_slice(&eight.equals);
            all.space[blocks.clone()].copy_from_slice(&eight.space);
            all.newline[blocks.clone()].copy_from_slice(&eight.newline);
            all.digit[blocks.clone()].copy_from_slice(&eight.digit);
            all.dot[blocks.clone()].copy_from_slice(&eight.dot);
            all.minus[blocks.clone()].copy_from_slice(&eight.minus);
            all.suffix[blocks.clone()].copy_from_slice(&eight.suffix);
            all.odd[blocks].copy_from_slice(&eight.odd);
            any_odd |= eight.odd.iter().fold(0, |any, odd| any | odd);
            sorted += EIGHT;
        }
        for index in sorted..N {
            let at = start + index * BLOCK;
            if at >= input.len() {
                break;
            }
            let masks = masks(simd, input, at);
            all.comma[index] = masks.comma;
            all.equals[index] = masks.equals;
            all.space[index] = masks.space;
            all.newline[index] = masks.newline;
            all.digit[index] = masks.digit;
            all.dot[index] = masks.dot;
            all.minus[index] = masks.minus;
            all.suffix[index] = masks.suffix;
            all.odd[index] = masks.odd;
            any_odd |= masks.odd;
        }
        if any_odd != 0 {
            all.hide(simd, input, start);
        }
        all
    }

    /// Takes out what is escaped, and what stands in strings. Odd are then backslashes in a row,
    /// about which InfluxDB's two scans differ, and newlines that end no line.
    #[inline(always)]
    fn hide<S: Simd>(&mut self, simd: S, input: &[u8], start: usize) {
        let mut escaped = Later::<1>(0);
        let mut in_string = 0;
        for index in 0..N {
            let at = start + index * BLOCK;
            if at >= input.len() {
                // The newline that ends the last line is not to be reached by either.
                self.odd[index] |= escaped.of(0) | in_string;
                break;
            }
            let masks = masks(simd, input, at);
            let escaped = escaped.of(masks.backslash);
            let quote = masks.quote & !escaped;
            // Every quote that is left opens or closes; that it may is checked later.
            let string = simd.prefix_parity(quote) ^ in_string;
            in_string = 0_u64.wrapping_sub(string >> (BLOCK - 1));
            let shown = !(escaped | string);
            self.comma[index] &= shown;
            self.equals[index] &= shown;
            self.space[index] &= shown;
            self.odd[index] &= !(masks.quote | masks.backslash | string);
            self.odd[index] |= escaped & (masks.backslash | masks.newline);
            self.odd[index] |= string & masks.newline;
            self.opening[index] = quote & string;
            self.closing[index] = quote & !string;
        }
    }
}

/// What the lines in `N` blocks look like.
pub(super) struct Shape<const N: usize> {
    /// The lines with these bits are not to be vouched for.
    pub bad: [u64; N],
    /// Where values begin that are no numbers.
    pub words: [u64; N],
    /// The `i` of integers that may be too long for the range.
    pub long: [u64; N],
    /// Whether any of these two is not zero.
    pub odd_values: bool,
    pub newline: [u64; N],
    /// The commas before tags, and the spaces behind measurement and tags.
    pub tags: [u64; N],
    pub equals: [u64; N],
    /// The newlines behind timestamps.
    pub stamped: [u64; N],
}

/// Moves masks some bytes on, block by block.
struct Later<const BYTES: usize>(u64);

impl<const BYTES: usize> Later<BYTES> {
    #[inline(always)]
    fn of(&mut self, mask: u64) -> u64 {
        let moved = mask << BYTES | self.0;
        self.0 = mask >> (BLOCK - BYTES);
        moved
    }
}

impl<const N: usize> Shape<N> {
    #[inline(always)]
    pub(super) fn new<S: Simd>(simd: S, classes: &Classes<N>) -> Self {
        let Classes { comma, equals, space, newline, digit, dot, minus, suffix, .. } = classes;
        let mut tags = [0; N];
        let mut shape = Self {
            bad: [0; N],
            words: [0; N],
            long: [0; N],
            odd_values: false,
            newline: *newline,
            tags: [0; N],
            equals: *equals,
            stamped: [0; N],
        };
        // From each newline to the first space behind it. A newline on that way stays a one.
        let mut key_run = [0; N];
        for i in 0..N {
            key_run[i] = !space[i];
        }
        let key = simd.add(&key_run, newline, true);

        let mut key_end = [0; N];
        let mut separator = [0; N];
        let mut no_separator = [0; N];
        let mut fields_run = [0; N];
        let mut value = [0; N];
        let mut value_run = [0; N];
        let mut to_value = Later::<1>(0);
        for i in 0..N {
            key_end[i] = key[i] & space[i];
            separator[i] = comma[i] | key_end[i];
            no_separator[i] = !separator[i];
            tags[i] = comma[i] & !key[i] | key_end[i];
            fields_run[i] = !(space[i] ^ key_end[i] | newline[i]);
            value[i] = to_value.of(equals[i] & key[i]);
            value_run[i] = digit[i] | value[i] & minus[i];
        }
        // From the key's end to the next space or newline.
        let fields = simd.add(&fields_run, &key_end, false);
        // Separators (commas, and the space before the fields) and equals signs take turns. The
        // subtraction, by adding the complement, borrows from each separator on up to the next
        // equals sign: it leaves ones at all separators, and zeros at all equals signs and behind
        // the fields, only if they do.
        let keys = simd.add(equals, &no_separator, true);
        // `-? digits` of each value.
        let whole = simd.add(&value_run, &value, false);

        let mut fields_end = [0; N];
        let mut time_space = [0; N];
        let mut time_run = [0; N];
        let mut dots = [0; N];
        let mut fraction_run = [0; N];
        for i in 0..N {
            fields_end[i] = fields[i] & !fields_run[i];
            time_space[i] = fields_end[i] & space[i];
            time_run[i] = digit[i] | time_space[i];
            dots[i] = whole[i] & !value_run[i] & dot[i];
            fraction_run[i] = digit[i] | dots[i];
        }
        // From a space that is left to the next newline, over nothing but digits, at least one.
        let time = simd.add(&time_run, &time_space, false);
        let fraction = simd.add(&fraction_run, &dots, false);

        let mut behind_digit = Later::<1>(0);
        let mut opened = Later::<1>(1);
        let mut behind_value = Later::<1>(0);
        let (mut near, mut far) = (Later::<13>(0), Later::<19>(0));
        let mut odd_values = 0;
        for i in 0..N {
            let behind_digit = behind_digit.of(digit[i]);
            let time_end = time[i] & !time_run[i];
            shape.stamped[i] = time_end;
            let marks = separator[i] | equals[i];
            let stops = marks | fields_end[i];
            let mut bad = classes.odd[i] | key[i] & newline[i];
            bad |= time_end & !(newline[i] & behind_digit);
            // Something stands between marks, and before the first.
            bad |= (keys[i] ^ separator[i] | opened.of(marks | newline[i])) & stops;

            let whole = whole[i] & !value_run[i];
            let empty = whole & !behind_digit;
            let suffix = whole & suffix[i];
            let end = whole ^ dots[i] ^ suffix ^ empty;
            let end = end | fraction[i] & !fraction_run[i];
            let end = end | behind_value.of(suffix | classes.closing[i]);
            bad |= end & !(comma[i] | fields_end[i]);
            bad |= (empty | classes.opening[i]) & !value[i];
            let words = empty & value[i] & !classes.opening[i];
            // No run of digits is endless: then it is of the line that a block begins with.
            bad |= u64::from(digit[i] == !0);
            shape.bad[i] = bad;
            // An integer of 19 digits has digits here; so may others that are next to longer
            // fields.
            let long = suffix & near.of(digit[i]) & far.of(digit[i]);
            shape.words[i] = words;
            shape.long[i] = long;
            odd_values |= words | long;
        }
        shape.odd_values = odd_values != 0;
        shape.tags = tags;
        shape
    }
}
