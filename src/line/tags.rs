//! Whether a tag key is repeated in a line. Called by `plain` and `fast`, which find the keys;
//! lines that go through `scalar` are compared there.

use super::fast::bit;
use super::simd::BLOCK;

/// Where the tag keys of a line stand: each behind a comma and before an equals sign.
pub(super) struct TagKeys {
    /// The offsets of commas and equals signs, by turns.
    marks: [u32; 2 * Self::MAX],
    count: usize,
}

impl TagKeys {
    /// More tags are left to `scalar`.
    const MAX: usize = 16;

    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { marks: [0; 2 * Self::MAX], count: 0 }
    }

    /// Notes the comma before a tag, or the equals sign behind its key; false if it is one too
    /// many.
    #[inline(always)]
    pub(super) fn note(&mut self, offset: usize) -> bool {
        let (Some(mark), Ok(offset)) = (self.marks.get_mut(self.count), u32::try_from(offset))
        else {
            return false;
        };
        *mark = offset;
        self.count += 1;
        true
    }

    /// Whether no two keys are equal.
    #[inline(always)]
    pub(super) fn differ(&self, input: &[u8]) -> bool {
        let mut heads = [0_u64; Self::MAX];
        for tag in 0..self.count / 2 {
            let key = self.key(tag, input);
            let head = head(&input[self.start(tag)..], key.len());
            let mut others = heads[..tag].iter().enumerate();
            if others.any(|(other, &it)| it == head && self.key(other, input) == key) {
                return false;
            }
            heads[tag] = head;
        }
        true
    }

    #[inline(always)]
    fn start(&self, tag: usize) -> usize {
        self.marks[2 * tag] as usize + 1
    }

    #[inline(always)]
    fn key<'a>(&self, tag: usize, input: &'a [u8]) -> &'a [u8] {
        &input[self.start(tag)..self.marks[2 * tag + 1] as usize]
    }
}

/// The first eight bytes of a key of `len` bytes that `bytes` begins with, zeros before it.
#[inline(always)]
fn head(bytes: &[u8], len: usize) -> u64 {
    let unused_bytes = 8_usize.saturating_sub(len);
    let head = bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        padded
    });
    u64::from_le_bytes(head) << (8 * unused_bytes)
}

/// Whether it shows at a glance that no two tag keys are equal in the line that `bytes` begins
/// with: `marks` tells which of the first are commas before tags, or the space behind them. Most
/// keys differ in their first two bytes, be the second the equals sign.
#[inline(always)]
pub(super) fn differ(bytes: &[u8], mut marks: u64) -> bool {
    let Some(window) = bytes.first_chunk::<WINDOW>() else { return false };
    // A tag has four bytes or more, with its comma and its equals sign.
    let mut heads = [0_u16; BLOCK / 4];
    for tag in 0..heads.len() {
        let at = bit(marks) % BLOCK;
        if window[at] == b' ' {
            return marks != 0;
        }
        let head = u16::from_le_bytes([window[at + 1], window[at + 2]]);
        if heads[..tag].contains(&head) {
            return false;
        }
        heads[tag] = head;
        marks &= marks.wrapping_sub(1);
    }
    false
}

/// Up to the second byte of a key behind the last comma that a mask tells of.
const WINDOW: usize = BLOCK + 2;
