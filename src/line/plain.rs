//! Validates the commonest lines many at a time. `Lines` asks it first.
//!
//! It looks at a run of 64-byte blocks with no regard for where lines begin: `shape` says for all
//! lines in them at once whether they are well formed. Only then are they counted, and looked at
//! one by one for nothing but their timestamps and the names of their tags.
//!
//! Like `fast` it vouches for a line or it does not, and never refuses one. A look ends before the
//! first line that is not vouched for, which goes on to `fast`.

use super::fast::{bit, booleans, integers};
use super::shape::{Classes, Shape};
use super::simd::{BLOCK, EIGHT, Simd, Work};
use super::tags::{self, TagKeys};
use super::value::TimeLimit;

/// How many blocks are looked at in one go, where there are so many; and how many where there are
/// not, or where there was a fault a moment ago.
const MANY: usize = 16;
const FEW: usize = 6;
/// One line of common length.
const ONE: usize = 2;
/// How many lines are found in one go.
const LINES_MAX: usize = 32;
/// Behind those that count, line ends are written without asking whether there are any.
const SPARE: usize = 2;
/// How many lines are left to `fast` at most before the next look.
const PAUSE_MAX: u8 = 16;

/// Lines found in one go, one behind the other, that are not yet taken.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The offset that `ends` count from.
    base: usize,
    /// The newlines behind the lines.
    ends: [u32; LINES_MAX + SPARE],
    /// Bit `i` says whether line `i` ends with a timestamp.
    stamped: u64,
    next: usize,
    count: usize,
    /// The last look ended at a line that was not to be vouched for: the next may, too.
    interrupted: bool,
    /// How many lines are left to `fast` without a look, since nothing was found so many times.
    pause: u8,
    pause_next: u8,
}

impl Found {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            ends: [0; LINES_MAX + SPARE],
            stamped: 0,
            next: 0,
            count: 0,
            interrupted: false,
            pause: 0,
            pause_next: 1,
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Takes the next line: the offset of its newline, and whether it ends with a timestamp.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<(usize, bool)> {
        if self.is_empty() {
            return None;
        }
        let end = self.base + self.ends[self.next] as usize;
        let stamped = self.stamped >> self.next & 1 != 0;
        self.next += 1;
        Some((end, stamped))
    }

    /// Takes the next lines up to one without a timestamp: an offset, and those of their newlines
    /// counted from there.
    #[inline(always)]
    pub(super) fn take_stamped(&mut self) -> (usize, &[u32]) {
        let from = self.next;
        let run = (self.stamped >> from).trailing_ones() as usize;
        self.next = self.count.min(from + run);
        (self.base, &self.ends[from..self.next])
    }

    /// Whether the next line shall be left to `fast` without a look.
    pub(super) fn pauses(&mut self) -> bool {
        let pauses = self.pause > 0;
        self.pause -= u8::from(pauses);
        pauses
    }

    /// After each look: the less it finds, the seldomer is the next.
    #[inline(always)]
    fn rest(&mut self, interrupted: bool) {
        self.interrupted = interrupted;
        if self.count > 0 {
            self.pause_next = 1;
        } else {
            self.pause = self.pause_next;
            self.pause_next = (2 * self.pause_next).min(PAUSE_MAX);
        }
    }
}

/// Finds lines that begin at `start`, up to the first that is not to be vouched for; perhaps none.
pub(super) struct Find<'a> {
    pub input: &'a [u8],
    pub start: usize,
    pub limit: TimeLimit,
    pub found: &'a mut Found,
}

impl Work for Find<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let bytes = self.input.len() - self.start;
        // One byte more, for the newline that stands behind the input.
        if bytes < ONE * BLOCK {
            self.find::<S, ONE>(simd);
        } else if S::SORTS_EIGHT && (bytes < EIGHT * BLOCK || self.found.interrupted) {
            self.find::<S, EIGHT>(simd);
        } else if bytes < FEW * BLOCK || self.found.interrupted {
            self.find::<S, FEW>(simd);
        } else {
            self.find::<S, MANY>(simd);
        }
    }
}

impl Find<'_> {
    /// Finds lines that end within `N` blocks.
    #[inline(always)]
    fn find<S: Simd, const N: usize>(self, simd: S) {
        let Self { input, start, limit, found } = self;
        let mut shape = Shape::new(simd, &Classes::<N>::new(simd, input, start));
        if shape.odd_values {
            check_odd_values(&mut shape, input, start);
        }
        let interrupted = found.note(&shape, start);
        found.check(&input[start..], limit, &shape);
        found.rest(interrupted);
    }
}

/// Whether what is no number is a boolean, and no integer is out of range.
#[inline(never)]
fn check_odd_values<const N: usize>(shape: &mut Shape<N>, input: &[u8], start: usize) {
    for index in 0..N {
        let at = start + index * BLOCK;
        let (words, long) = (shape.words[index], shape.long[index]);
        if words != 0 && !booleans(input, at, words) {
            shape.bad[index] |= words;
        }
        if long != 0 && !integers(input, at, long) {
            shape.bad[index] |= long;
        }
    }
}

/// All bits below the lowest of `mask`; all bits if it is empty.
#[inline(always)]
fn below(mask: u64) -> u64 {
    mask.wrapping_sub(1) & !mask
}

/// 64 bits from the bit `at` on; behind the last block begins the first again.
#[inline(always)]
fn window<const N: usize>(masks: &[u64; N], at: usize) -> u64 {
    let (block, bits) = (at / BLOCK, at % BLOCK);
    let masks = |block: usize| masks.get(block).copied().unwrap_or(0);
    masks(block) >> bits | masks(block + 1) << 1 << (BLOCK - 1 - bits)
}

impl<const N: usize> Shape<N> {
    /// Whether no tag key is repeated in the line at `start`.
    #[inline(never)]
    fn keys_differ(&self, bytes: &[u8], start: usize) -> bool {
        let mut keys = TagKeys::new();
        for at in (start..).step_by(BLOCK) {
            let tags = window(&self.tags, at);
            let mut marks = tags | window(&self.equals, at);
            while marks != 0 {
                let offset = at + bit(marks);
                if bytes.get(offset) == Some(&b' ') {
                    return keys.differ(bytes);
                }
                if !keys.note(offset) {
                    return false;
                }
                marks &= marks - 1;
            }
        }
        false
    }
}

impl Found {
    /// Notes the lines before the first fault; answers whether there is one.
    #[inline(always)]
    fn note<const N: usize>(&mut self, shape: &Shape<N>, start: usize) -> bool {
        let mut count = 0;
        let mut interrupted = false;
        for (index, offset) in (0..N).zip((0_u32..).step_by(BLOCK)) {
            let bad = shape.bad[index];
            let mut newlines = shape.newline[index] & below(bad);
            let behind = count + newlines.count_ones() as usize;
            if behind > LINES_MAX {
                break;
            }
            // There are seldom more than two: so no branch depends on how many.
            while let Some([first, second, ..]) = self.ends.get_mut(count..) {
                *first = offset + newlines.trailing_zeros();
                newlines &= newlines.wrapping_sub(1);
                *second = offset + newlines.trailing_zeros();
                newlines &= newlines.wrapping_sub(1);
                if newlines == 0 {
                    break;
                }
                count += 2;
            }
            count = behind;
            if bad != 0 {
                interrupted = true;
                break;
            }
        }
        (self.base, self.next, self.count) = (start, 0, count);
        interrupted
    }

    /// Ends before the first line that has a timestamp that may be out of range, or a tag twice.
    #[inline(always)]
    fn check<const N: usize>(&mut self, bytes: &[u8], limit: TimeLimit, shape: &Shape<N>) {
        let mut start = 0;
        let mut all_stamped = 0;
        let count = self.count;
        for (index, &end) in self.ends.iter().enumerate().take(count) {
            let end = end as usize;
            let stamped = shape.stamped.get(end / BLOCK).copied().unwrap_or(0) >> (end % BLOCK) & 1;
            let in_time = stamped == 0 || limit.surely_holds_before(bytes, end);
            let tags = window(&shape.tags, start);
            if !in_time || !tags::differ(&bytes[start..], tags) && !shape.keys_differ(bytes, start)
            {
                self.count = index;
                break;
            }
            all_stamped |= stamped << index;
            start = end + 1;
        }
        self.stamped = all_stamped;
    }
}

#[cfg(test)]
mod tests;
