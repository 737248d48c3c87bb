//! Numbers of many words: what of `simd` adds them. Called by `shape`, whose cursors
//! are bits that carries move.
//!
//! The lowest word comes first. What is carried out of the highest is dropped.

/// `a + b`, and one more if `carry`.
#[inline(always)]
pub(super) fn add<const N: usize>(a: &[u64; N], b: &[u64; N], carry: bool) -> [u64; N] {
    let (mut sums, mut carry) = ([0; N], u8::from(carry));
    for i in 0..N {
        carry = add_word(carry, a[i], b[i], &mut sums[i]);
    }
    sums
}

/// Which words a carry goes into: behind those that give one (`given`, from `first` on), and on
/// through those that would pass one on (`passing`). All are bits, one for each word.
#[inline(always)]
pub(super) fn carried(given: u32, first: bool, passing: u32) -> u32 {
    // The same trick once more: the carry of this addition runs through the words that pass it on.
    ((given << 1 | u32::from(first)) + passing) ^ passing
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_addcarry_u64 as add_word;

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn add_word(carry: u8, a: u64, b: u64, sum: &mut u64) -> u8 {
    let (first, one) = a.overflowing_add(b);
    let (second, other) = first.overflowing_add(u64::from(carry));
    *sum = second;
    u8::from(one | other)
}
