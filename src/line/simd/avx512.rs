//! 64 bytes, or eight words, at once. Called by `x86`, which knows what the processor has.
#![expect(unsafe_code, reason = "vector loads and stores")]

use super::super::long;
use super::x86::odd_table;
use super::{BLOCK, EIGHT, EightMasks, Masks};
use std::arch::x86_64::*;

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
#[expect(clippy::cast_possible_wrap, reason = "vectors are of i8")]
pub(super) fn masks(block: &[u8; BLOCK]) -> Masks {
    let bytes = load(block);
    let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
    let from_zero = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0' as i8));
    let table = _mm512_broadcast_i32x4(odd_table());
    let digit = _mm512_cmplt_epu8_mask(from_zero, _mm512_set1_epi8(10));
    let odd = _mm512_cmpeq_epi8_mask(bytes, _mm512_shuffle_epi8(table, bytes));
    masks_by!(is, digit, odd)
}

/// The classes of a byte, as bits. Those that never meet share two for three: odd bytes have both
/// the first and the second.
const COMMA: u8 = 1;
const EQUALS: u8 = 1 << 1;
const SPACE: u8 = 1 << 2;
const NEWLINE: u8 = 1 << 3;
const DIGIT: u8 = 1 << 4;
const DOT: u8 = 1 << 5;
const MINUS: u8 = 1 << 6;
const SUFFIX: u8 = 1 << 7;
const ODD: u8 = COMMA | EQUALS;

/// The class of each byte of ASCII; no other byte has one.
static CLASSES: [u8; 128] = {
    let mut classes = [0; 128];
    let mut byte = 0;
    while byte < 128_u8 {
        classes[byte as usize] = match byte {
            b',' => COMMA,
            b'=' => EQUALS,
            b' ' => SPACE,
            b'\n' => NEWLINE,
            b'0'..=b'9' => DIGIT,
            b'.' => DOT,
            b'-' => MINUS,
            b'i' => SUFFIX,
            b'"' | b'\\' | b'#' | b'\t' | b'\0' | b'\r' => ODD,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Byte `8 * class + eighth` of a block's masks is where the bits of a class are for an eighth of
/// the block, once they are transposed within each.
static GATHERED: [u8; BLOCK] = {
    let mut places = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        places[at] = (at % 8 * 8 + at / 8).to_le_bytes()[0];
        at += 1;
    }
    places
};

/// The masks of eight blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
#[inline]
pub(super) fn eight_masks(blocks: &[u8; EIGHT * BLOCK]) -> EightMasks {
    let mut rows = [_mm512_setzero_si512(); EIGHT];
    for (row, block) in rows.iter_mut().zip(blocks.as_chunks().0) {
        *row = load(block);
    }
    sort(rows)
}

/// The masks of fewer than eight blocks; newlines follow the input.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
#[inline]
pub(super) fn few_masks(input: &[u8]) -> EightMasks {
    let mut rows = [_mm512_set1_epi8(b'\n'.cast_signed()); EIGHT];
    let (blocks, rest) = input.as_chunks();
    for (row, block) in rows.iter_mut().zip(blocks) {
        *row = load(block);
    }
    if let Some(row) = rows.get_mut(blocks.len()) {
        *row = load_some(rest);
    }
    sort(rows)
}

/// Looks up the class of each byte, and turns the bits of eight bytes into a byte of each class:
/// two tables and three permutations, where `masks` compares with each byte of interest.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
#[inline]
fn sort(mut rows: [__m512i; EIGHT]) -> EightMasks {
    let (tables, _) = CLASSES.as_chunks::<BLOCK>();
    let (low, high, gathered) = (load(&tables[0]), load(&tables[1]), load(&GATHERED));
    // As a matrix of bits: the one that changes nothing, but that its rows count backwards.
    let unit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64.cast_signed());
    for row in &mut rows {
        let bytes = *row;
        let is_ascii = !_mm512_movepi8_mask(bytes);
        let classes = _mm512_maskz_permutex2var_epi8(is_ascii, low, bytes, high);
        let transposed = _mm512_gf2p8affine_epi64_epi8::<0>(unit, classes);
        let forwards = _mm512_gf2p8affine_epi64_epi8::<0>(transposed, unit);
        *row = _mm512_permutexvar_epi8(gathered, forwards);
    }
    let [first, second, space, newline, digit, dot, minus, suffix] = transpose(rows);
    EightMasks {
        comma: words(_mm512_andnot_si512(second, first)),
        equals: words(_mm512_andnot_si512(first, second)),
        space: words(space),
        newline: words(newline),
        digit: words(digit),
        dot: words(dot),
        minus: words(minus),
        suffix: words(suffix),
        odd: words(_mm512_and_si512(first, second)),
    }
}

/// Eight rows of eight words become columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: [__m512i; EIGHT]) -> [__m512i; EIGHT] {
    let [a, b, c, d, e, f, g, h] = rows;
    let low = |a, b| _mm512_unpacklo_epi64(a, b);
    let high = |a, b| _mm512_unpackhi_epi64(a, b);
    // Pairs of rows: words 0, 2, 4, 6 of both by turns, then 1, 3, 5, 7.
    let even = [low(a, b), low(c, d), low(e, f), low(g, h)];
    let odd = [high(a, b), high(c, d), high(e, f), high(g, h)];
    let columns = |[ab, cd, ef, gh]: [__m512i; 4]| {
        let (abcd_04, abcd_26) =
            (_mm512_shuffle_i64x2::<0x88>(ab, cd), _mm512_shuffle_i64x2::<0xdd>(ab, cd));
        let (efgh_04, efgh_26) =
            (_mm512_shuffle_i64x2::<0x88>(ef, gh), _mm512_shuffle_i64x2::<0xdd>(ef, gh));
        [
            _mm512_shuffle_i64x2::<0x88>(abcd_04, efgh_04),
            _mm512_shuffle_i64x2::<0x88>(abcd_26, efgh_26),
            _mm512_shuffle_i64x2::<0xdd>(abcd_04, efgh_04),
            _mm512_shuffle_i64x2::<0xdd>(abcd_26, efgh_26),
        ]
    };
    let ([zero, two, four, six], [one, three, five, seven]) = (columns(even), columns(odd));
    [zero, one, two, three, four, five, six, seven]
}

/// Fewer bytes than a block has, newlines behind them.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_some(bytes: &[u8]) -> __m512i {
    let newlines = _mm512_set1_epi8(b'\n'.cast_signed());
    // A load of nothing from nowhere is no fault, but takes a hundred times as long as others.
    if bytes.is_empty() {
        return newlines;
    }
    let there = !(!0 << bytes.len());
    // SAFETY: no byte is read but those that are there, and the load needs no alignment.
    unsafe { _mm512_mask_loadu_epi8(newlines, there, bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn words(vector: __m512i) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    // SAFETY: these are the 64 bytes that are written, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    // SAFETY: these are the 64 bytes that are read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// The words of a long number that one vector holds.
const WORDS: usize = 8;

#[target_feature(enable = "avx512f")]
#[inline]
fn load_words(words: &[u64; WORDS]) -> __m512i {
    // SAFETY: these are the 64 bytes that are read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Adds one to those of eight words that `carried` tells of, and stores them.
#[target_feature(enable = "avx512f")]
#[inline]
fn carry_words(words: &mut [u64; WORDS], carried: u32) {
    let [carried, ..] = carried.to_le_bytes();
    let before = load_words(words);
    let after = _mm512_mask_add_epi64(before, carried, before, _mm512_set1_epi64(1));
    // SAFETY: these are the 64 bytes that are written, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), after) };
}

/// `a + b`, eight words at a time: which of them get a carry is found by one addition for all.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn add<const N: usize>(a: &[u64; N], b: &[u64; N], carry: bool) -> [u64; N] {
    if !N.is_multiple_of(WORDS) {
        return long::add(a, b, carry);
    }
    let (mut sums, mut given, mut passing) = ([0; N], 0, 0);
    let parts = a
        .as_chunks::<WORDS>()
        .0
        .iter()
        .zip(b.as_chunks::<WORDS>().0)
        .zip(sums.as_chunks_mut::<WORDS>().0);
    for (part, ((a, b), sum)) in parts.enumerate() {
        let (a, b) = (load_words(a), load_words(b));
        let sums = _mm512_add_epi64(a, b);
        given |= u32::from(_mm512_cmplt_epu64_mask(sums, a)) << (WORDS * part);
        passing |=
            u32::from(_mm512_cmpeq_epi64_mask(sums, _mm512_set1_epi64(-1))) << (WORDS * part);
        // SAFETY: these are the 64 bytes that are written, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(sum.as_mut_ptr().cast(), sums) };
    }
    let carried = long::carried(given, carry, passing);
    for (part, sum) in sums.as_chunks_mut::<WORDS>().0.iter_mut().enumerate() {
        carry_words(sum, carried >> (WORDS * part));
    }
    sums
}
