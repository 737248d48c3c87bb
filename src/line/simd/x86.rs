//! What processors of the x86-64 family can do. A value of [`Gfni`], [`Avx512`], [`Avx2`] or
//! [`Sse2`] is proof that its instructions were found, which makes the rest safe.
#![expect(unsafe_code, reason = "vector loads, and calls of functions that need a CPU feature")]

use super::{BLOCK, EIGHT, EightMasks, Masks, Simd, Work, avx512};
use std::arch::x86_64::*;

/// Declares a set of instructions of this processor family, its detection and its functions.
macro_rules! instructions {
    (
        $name:ident, $doc:literal, $features:literal, [$($feature:tt),+], $masks:path,
        { $($more:tt)* }
    ) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug)]
        pub(in crate::line) struct $name(());

        impl $name {
            /// Proof that the processor has these instructions.
            pub(in crate::line) fn detect() -> Option<Self> {
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

            $($more)*
        }
    };
}

/// Additions of long numbers by AVX-512.
macro_rules! long_avx512 {
    () => {
        #[inline(always)]
        fn add<const N: usize>(self, a: &[u64; N], b: &[u64; N], carry: bool) -> [u64; N] {
            // SAFETY: `self` is proof that the features were detected.
            unsafe { avx512::add(a, b, carry) }
        }
    };
}

instructions!(
    Gfni,
    "64 bytes at once, by the bits of their classes, and eight such blocks.",
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq",
    [
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512vbmi",
        "gfni",
        "avx2",
        "bmi1",
        "bmi2",
        "lzcnt",
        "popcnt",
        "pclmulqdq"
    ],
    avx512::masks,
    {
        long_avx512!();

        const SORTS_EIGHT: bool = true;

        #[inline(always)]
        fn eight_masks(self, blocks: &[u8; EIGHT * BLOCK]) -> Option<EightMasks> {
            // SAFETY: `self` is proof that the features were detected.
            Some(unsafe { avx512::eight_masks(blocks) })
        }

        #[inline(always)]
        fn few_masks(self, input: &[u8]) -> Option<EightMasks> {
            // SAFETY: `self` is proof that the features were detected.
            Some(unsafe { avx512::few_masks(input) })
        }
    }
);

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
    avx512::masks,
    {
        long_avx512!();
    }
);

instructions!(
    Avx2,
    "Twice 32 bytes.",
    "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq",
    ["avx2", "bmi1", "bmi2", "lzcnt", "popcnt", "pclmulqdq"],
    masks_avx2,
    {}
);

instructions!(
    Sse2,
    "Four times 16 bytes: every 64-bit x86 has them, and nearly every one PCLMULQDQ.",
    "sse2,pclmulqdq",
    ["sse2", "pclmulqdq"],
    masks_sse2,
    {}
);

/// What is odd, by its low four bits, for each of them has its own.
#[target_feature(enable = "sse2")]
#[inline]
pub(super) fn odd_table() -> __m128i {
    _mm_setr_epi8(0, 0, 0x22, 0x23, 0, 0, 0, 0, 0, 0x09, 0, 0, 0x5c, 0x0d, 0, 0)
}

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
    let digit = gather(&|bytes| {
        let from_zero = _mm256_sub_epi8(bytes, _mm256_set1_epi8(b'0' as i8));
        _mm256_cmpeq_epi8(_mm256_min_epu8(from_zero, _mm256_set1_epi8(9)), from_zero)
    });
    let odd = gather(&|bytes| {
        let table = _mm256_broadcastsi128_si256(odd_table());
        _mm256_cmpeq_epi8(bytes, _mm256_shuffle_epi8(table, bytes))
    });
    masks_by!(is, digit, odd)
}

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
    let digit = gather(&|bytes| {
        let from_zero = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
        _mm_cmpeq_epi8(_mm_min_epu8(from_zero, _mm_set1_epi8(9)), from_zero)
    });
    let odd = is(b'"') | is(b'\\') | is(b'#') | is(b'\t') | is(b'\0') | is(b'\r');
    masks_by!(is, digit, odd)
}
