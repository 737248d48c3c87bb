//! Sorts 64 bytes at a time into bitmasks, with the best instructions the processor has.
//!
//! `shape` and `fast` work on the masks. The only file of this room with `unsafe`: a value of
//! [`Avx512`], [`Avx2`] or [`Sse2`] is proof that its instructions were found, which makes the rest
//! safe.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector loads, and calls of functions that need a CPU feature")
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

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

/// What is compiled anew for each set of instructions. Closures would do if compilers could be
/// told to inline them always.
pub(super) trait Work {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// One set of instructions.
pub(super) trait Simd: Copy {
    /// Runs `work`, compiled for these instructions.
    fn run<W: Work>(self, work: W) -> W::Output;
    /// Sorts the bytes of a block.
    fn masks(self, block: &[u8; BLOCK]) -> Masks;
    /// Bit `i` of the result is the parity of bits `0..=i`.
    #[inline(always)]
    fn prefix_parity(self, mut bits: u64) -> u64 {
        for step in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << step;
        }
        bits
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

/// Declares a set of instructions of this processor family, its detection and its functions.
#[cfg(target_arch = "x86_64")]
macro_rules! instructions {
    ($name:ident, $doc:literal, $features:literal, [$($feature:tt),+], $masks:ident) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name(());

        impl $name {
            /// Proof that the processor has these instructions.
            pub(super) fn detect() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&+).then_some(Self(()))
            }
        }

        impl Simd for $name {
            #[inline(always)]
            fn run<W: Work>(self, work: W) -> W::Output {
                #[target_feature(enable = $features)]
                fn compiled<W: Work>(simd: $name, work: W) -> W::Output {
                    work.run(simd)
                }
                // SAFETY: `self` is proof that the features were detected.
                unsafe { compiled(self, work) }
            }

            #[inline(always)]
            fn masks(self, block: &[u8; BLOCK]) -> Masks {
                // SAFETY: `self` is proof that the features were detected.
                unsafe { $masks(block) }
            }

            #[inline(always)]
            fn prefix_parity(self, bits: u64) -> u64 {
                #[target_feature(enable = "pclmulqdq")]
                #[inline]
                #[expect(clippy::cast_sign_loss, clippy::cast_possible_wrap, reason = "bits")]
                fn multiply(bits: u64) -> u64 {
                    let ones = _mm_set1_epi8(-1);
                    let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), ones);
                    _mm_cvtsi128_si64(product) as u64
                }
                // SAFETY: `self` is proof that the features were detected.
                unsafe { multiply(bits) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instructions!(
    Avx512,
    "64 bytes at once.",
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq",
    [
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx2",
        "bmi1",
        "bmi2",
        "lzcnt",
        "popcnt",
        "pclmulqdq"
    ],
    masks_avx512
);

#[cfg(target_arch = "x86_64")]
instructions!(
    Avx2,
    "Twice 32 bytes.",
    "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq",
    ["avx2", "bmi1", "bmi2", "lzcnt", "popcnt", "pclmulqdq"],
    masks_avx2
);

#[cfg(target_arch = "x86_64")]
instructions!(
    Sse2,
    "Four times 16 bytes: every 64-bit x86 has them, and nearly every one PCLMULQDQ.",
    "sse2,pclmulqdq",
    ["sse2", "pclmulqdq"],
    masks_sse2
);

/// What is odd, by its low four bits, for each of them has its own.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn odd_table() -> __m128i {
    _mm_setr_epi8(0, 0, 0x22, 0x23, 0, 0, 0, 0, 0, 0x09, 0, 0, 0x5c, 0x0d, 0, 0)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
#[expect(clippy::cast_possible_wrap, reason = "vectors are of i8")]
fn masks_avx512(block: &[u8; BLOCK]) -> Masks {
    // SAFETY: the block has the 64 bytes that are read, and the load needs no alignment.
    let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
    let from_zero = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0' as i8));
    let table = _mm512_broadcast_i32x4(odd_table());
    Masks {
        comma: is(b','),
        equals: is(b'='),
        space: is(b' '),
        newline: is(b'\n'),
        quote: is(b'"'),
        backslash: is(b'\\'),
        digit: _mm512_cmplt_epu8_mask(from_zero, _mm512_set1_epi8(10)),
        dot: is(b'.'),
        minus: is(b'-'),
        suffix: is(b'i'),
        odd: _mm512_cmpeq_epi8_mask(bytes, _mm512_shuffle_epi8(table, bytes)),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "vectors are of i8")]
fn masks_avx2(block: &[u8; BLOCK]) -> Masks {
    let (low, high) = block.split_at(32);
    // SAFETY: the half has the 32 bytes that are read, and the load needs no alignment.
    let low = unsafe { _mm256_loadu_si256(low.as_ptr().cast()) };
    // SAFETY: as above.
    let high = unsafe { _mm256_loadu_si256(high.as_ptr().cast()) };
    let gather = |class: &dyn Fn(__m256i) -> __m256i| {
        let low = _mm256_movemask_epi8(class(low)) as u32;
        let high = _mm256_movemask_epi8(class(high)) as u32;
        u64::from(low) | u64::from(high) << 32
    };
    let is = |byte: u8| gather(&|bytes| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8)));
    Masks {
        comma: is(b','),
        equals: is(b'='),
        space: is(b' '),
        newline: is(b'\n'),
        quote: is(b'"'),
        backslash: is(b'\\'),
        digit: gather(&|bytes| {
            let from_zero = _mm256_sub_epi8(bytes, _mm256_set1_epi8(b'0' as i8));
            _mm256_cmpeq_epi8(_mm256_min_epu8(from_zero, _mm256_set1_epi8(9)), from_zero)
        }),
        dot: is(b'.'),
        minus: is(b'-'),
        suffix: is(b'i'),
        odd: gather(&|bytes| {
            let table = _mm256_broadcastsi128_si256(odd_table());
            _mm256_cmpeq_epi8(bytes, _mm256_shuffle_epi8(table, bytes))
        }),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "vectors are of i8")]
fn masks_sse2(block: &[u8; BLOCK]) -> Masks {
    let load = |at: usize| {
        let quarter = &block[16 * at..16 * at + 16];
        // SAFETY: the quarter has the 16 bytes that are read, and the load needs no alignment.
        unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) }
    };
    let quarters = [load(0), load(1), load(2), load(3)];
    let gather = |class: &dyn Fn(__m128i) -> __m128i| {
        let part =
            |at: usize| u64::from(_mm_movemask_epi8(class(quarters[at])) as u32) << (16 * at);
        part(0) | part(1) | part(2) | part(3)
    };
    let is = |byte: u8| gather(&|bytes| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8)));
    Masks {
        comma: is(b','),
        equals: is(b'='),
        space: is(b' '),
        newline: is(b'\n'),
        quote: is(b'"'),
        backslash: is(b'\\'),
        digit: gather(&|bytes| {
            let from_zero = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
            _mm_cmpeq_epi8(_mm_min_epu8(from_zero, _mm_set1_epi8(9)), from_zero)
        }),
        dot: is(b'.'),
        minus: is(b'-'),
        suffix: is(b'i'),
        odd: is(b'"') | is(b'\\') | is(b'#') | is(b'\t') | is(b'\0') | is(b'\r'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                    assert!(Avx512::detect().is_none_or(|simd| simd.masks(&block) == truth));
                    assert!(Avx2::detect().is_none_or(|simd| simd.masks(&block) == truth));
                    assert!(Sse2::detect().is_none_or(|simd| simd.masks(&block) == truth));
                }
            }
        }
    }
}
