//! Sorts 64 bytes at a time into bitmasks, with the best instructions the processor has.
//!
//! `shape` and `fast` work on the masks. What processors of a family can do is in a file below,
//! the only ones with `unsafe`.

/// The masks of a block by `$is`, which finds one byte. A macro, because a closure that is handed
/// on may be compiled without the instructions of whoever made it.
#[cfg(target_arch = "x86_64")]
macro_rules! masks_by {
    ($is:ident, $digit:ident, $odd:ident) => {
        Masks {
            comma: $is(b','),
            equals: $is(b'='),
            space: $is(b' '),
            newline: $is(b'\n'),
            quote: $is(b'"'),
            backslash: $is(b'\\'),
            digit: $digit,
            dot: $is(b'.'),
            minus: $is(b'-'),
            suffix: $is(b'i'),
            odd: $odd,
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512, Gfni, Sse2};

use super::long;

/// How many bytes one mask tells of.
pub(super) const BLOCK: usize = 64;

/// Which bytes of a block are what: bit `i` is about byte `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    pub comma: u64,
    pub equals: u64,
    pub space: u64,
    pub newline: u64,
    pub quote: u64,
    pub backslash: u64,
    pub digit: u64,
    pub dot: u64,
    pub minus: u64,
    /// The letter that ends an integer, `i`.
    pub suffix: u64,
    /// What no plain line holds: quotes, backslashes, hashes (comments begin with one), and what
    /// counts as white space though it separates nothing (tabs, zeros, carriage returns).
    pub odd: u64,
}

impl Masks {
    /// Drops the first `bytes` (1 to 63) bytes; a newline follows what is left.
    #[inline(always)]
    pub(super) fn tail(self, bytes: usize) -> Self {
        Self {
            comma: self.comma >> bytes,
            equals: self.equals >> bytes,
            space: self.space >> bytes,
            newline: self.newline >> bytes | 1 << (BLOCK - bytes),
            quote: self.quote >> bytes,
            backslash: self.backslash >> bytes,
            digit: self.digit >> bytes,
            dot: self.dot >> bytes,
            minus: self.minus >> bytes,
            suffix: self.suffix >> bytes,
            odd: self.odd >> bytes,
        }
    }
}

/// How many blocks some processors sort at once.
pub(super) const EIGHT: usize = 8;

/// The masks of eight blocks, one behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EightMasks {
    pub comma: [u64; EIGHT],
    pub equals: [u64; EIGHT],
    pub space: [u64; EIGHT],
    pub newline: [u64; EIGHT],
    pub digit: [u64; EIGHT],
    pub dot: [u64; EIGHT],
    pub minus: [u64; EIGHT],
    pub suffix: [u64; EIGHT],
    pub odd: [u64; EIGHT],
}

/// What is compiled anew for each set of instructions. Closures would do if compilers could be
/// told to inline them always.
pub(super) trait Work {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// One set of instructions.
pub(super) trait Simd: Copy {
    /// Whether `eight_masks` and `few_masks` are there; they are faster from three blocks on.
    const SORTS_EIGHT: bool = false;
    /// Runs `work`, compiled for these instructions.
    fn run<W: Work>(self, work: W) -> W::Output;
    /// Sorts the bytes of a block.
    fn masks(self, block: &[u8; BLOCK]) -> Masks;
    /// Sorts the bytes of eight blocks.
    #[inline(always)]
    fn eight_masks(self, _blocks: &[u8; EIGHT * BLOCK]) -> Option<EightMasks> {
        None
    }
    /// Sorts the bytes of up to eight blocks; newlines follow them.
    #[inline(always)]
    fn few_masks(self, _input: &[u8]) -> Option<EightMasks> {
        None
    }
    /// Bit `i` of the result is the parity of bits `0..=i`.
    #[inline(always)]
    fn prefix_parity(self, mut bits: u64) -> u64 {
        for step in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << step;
        }
        bits
    }
    /// `a + b`, and one more if `carry`, of numbers of many words (see `long`).
    #[inline(always)]
    fn add<const N: usize>(self, a: &[u64; N], b: &[u64; N], carry: bool) -> [u64; N] {
        long::add(a, b, carry)
    }
}

/// What every processor can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Simd for Portable {
    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn masks(self, block: &[u8; BLOCK]) -> Masks {
        let gather = |class: fn(u8) -> bool| {
            let flags = block.map(|byte| u8::from(class(byte)));
            flags.chunks_exact(8).enumerate().fold(0, |mask, (at, flags)| {
                let flags = u64::from_le_bytes(flags.try_into().expect("eight flags"));
                // Moves the low bit of byte k to bit 56 + k; no two of them meet on the way.
                mask | (flags.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at)
            })
        };
        Masks {
            comma: gather(|b| b == b','),
            equals: gather(|b| b == b'='),
            space: gather(|b| b == b' '),
            newline: gather(|b| b == b'\n'),
            quote: gather(|b| b == b'"'),
            backslash: gather(|b| b == b'\\'),
            digit: gather(|b| b.is_ascii_digit()),
            dot: gather(|b| b == b'.'),
            minus: gather(|b| b == b'-'),
            suffix: gather(|b| b == b'i'),
            odd: gather(|b| matches!(b, b'"' | b'\\' | b'#' | b'\t' | b'\0' | b'\r')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_instructions_see_the_same_in_every_byte() {
        for base in (0..=255_u8).step_by(BLOCK) {
            let mut block = [0; BLOCK];
            block.iter_mut().zip(base..=u8::MAX).for_each(|(to, byte)| *to = byte);
            for turn in 0..BLOCK {
                block.rotate_left(turn);
                let truth = Portable.masks(&block);
                let counted = block.iter().filter(|byte| matches!(byte, 0 | 9 | 13 | 34 | 35 | 92));
                assert_eq!(truth.odd.count_ones() as usize, counted.count());
                #[cfg(target_arch = "x86_64")]
                {
                    assert!(Gfni::detect().is_none_or(|simd| simd.masks(&block) == truth));
                    assert!(Avx512::detect().is_none_or(|simd| simd.masks(&block) == truth));
                    assert!(Avx2::detect().is_none_or(|simd| simd.masks(&block) == truth));
                    assert!(Sse2::detect().is_none_or(|simd| simd.masks(&block) == truth));
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    proptest! {
        #[test]
        fn eight_blocks_at_once_are_as_one_by_one(
            bytes in proptest::collection::vec(any::<u8>(), EIGHT * BLOCK),
            common in proptest::collection::vec(0..20_usize, EIGHT * BLOCK),
            len in 0..=EIGHT * BLOCK,
        ) {
            let Some(simd) = Gfni::detect() else { return Ok(()) };
            let common = common.iter().map(|&at| b" ,=\n0123456789.-i#\"\\"[at]).collect();
            for mut bytes in [bytes, common] {
                let few = simd.few_masks(&bytes[..len]).expect("it sorts eight at once");
                bytes[len..].fill(b'\n');
                let blocks = bytes[..].try_into().expect("its length");
                let eight = simd.eight_masks(blocks).expect("it sorts eight at once");
                prop_assert_eq!(few, eight);
                for (at, block) in bytes.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let one = Portable.masks(block);
                    prop_assert_eq!(eight.comma[at], one.comma);
                    prop_assert_eq!(eight.equals[at], one.equals);
                    prop_assert_eq!(eight.space[at], one.space);
                    prop_assert_eq!(eight.newline[at], one.newline);
                    prop_assert_eq!(eight.digit[at], one.digit);
                    prop_assert_eq!(eight.dot[at], one.dot);
                    prop_assert_eq!(eight.minus[at], one.minus);
                    prop_assert_eq!(eight.suffix[at], one.suffix);
                    prop_assert_eq!(eight.odd[at], one.odd);
                }
            }
        }

        #[test]
        fn long_numbers_are_added_and_subtracted_as_word_by_word(
            kinds in proptest::collection::vec(0..4_u8, 32),
            words in proptest::collection::vec(any::<u64>(), 32),
            carry in any::<bool>(),
        ) {
            // Carries go far only where words are all ones, or zeros.
            let word = |at: usize| match kinds[at] {
                0 => u64::MAX,
                1 => 0,
                2 => 1,
                _ => words[at],
            };
            let a: [u64; 16] = std::array::from_fn(word);
            let b: [u64; 16] = std::array::from_fn(|at| word(16 + at));
            if let Some(simd) = Avx512::detect() {
                prop_assert_eq!(simd.add(&a, &b, carry), long::add(&a, &b, carry));
                let (mut difference, mut borrow) = ([0; 16], false);
                for i in 0..16 {
                    let (rest, one) = a[i].overflowing_sub(b[i]);
                    let (rest, other) = rest.overflowing_sub(u64::from(borrow));
                    (difference[i], borrow) = (rest, one | other);
                }
                prop_assert_eq!(simd.add(&a, &b.map(|word| !word), true), difference);
                prop_assert_eq!(long::add(&a, &b.map(|word| !word), true), difference);
            }
        }
    }
}
