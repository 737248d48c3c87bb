//! Whether a tag key is repeated in a line. Called by `plain` and `fast`, which find the keys;
//! lines that go through `scalar` are compared there.

use super::fast::bit;
use super::plain::WINDOW;
use super::simd::BLOCK;

/// Where the tag keys of a line stand.
pub(super) struct TagKeys {
    starts: [u32; Self::MAX],
    ends: [u32; Self::MAX],
    started: usize,
    ended: usize,
}

impl TagKeys {
    /// More tags are left to `scalar`.
    const MAX: usize = 16;

    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { starts: [0; Self::MAX], ends: [0; Self::MAX], started: 0, ended: 0 }
    }

    /// Notes the keys in the block at `at`; false if there are too many.
    #[inline(always)]
    pub(super) fn note(&mut self, at: usize, mut commas: u64, mut equals: u64) -> bool {
        let Ok(at) = u32::try_from(at) else { return false };
        while commas != 0 {
            let Some(start) = self.starts.get_mut(self.started) else { return false };
            *start = at + commas.trailing_zeros() + 1;
            self.started += 1;
            commas &= commas - 1;
        }
        while equals != 0 {
            let Some(end) = self.ends.get_mut(self.ended) else { return false };
            *end = at + equals.trailing_zeros();
            self.ended += 1;
            equals &= equals - 1;
        }
        true
    }

    /// Whether no two keys are equal.
    #[inline(always)]
    pub(super) fn differ(&self, input: &[u8]) -> bool {
        let mut heads = [0_u64; Self::MAX];
        for tag in 0..self.started {
            heads[tag] = self.head(tag, input);
            for other in 0..tag {
                if heads[tag] == heads[other] && self.key(tag, input) == self.key(other, input) {
                    return false;
                }
            }
        }
        true
    }

    #[inline(always)]
    fn key<'a>(&self, tag: usize, input: &'a [u8]) -> &'a [u8] {
        &input[self.starts[tag] as usize..self.ends[tag] as usize]
    }

    /// The first eight bytes of a key, zeros behind it.
    #[inline(always)]
    fn head(&self, tag: usize, input: &[u8]) -> u64 {
        let start = self.starts[tag] as usize;
        let unused_bytes = 8_usize.saturating_sub(self.ends[tag] as usize - start);
        let rest = &input[start..];
        let head = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            padded
        });
        u64::from_le_bytes(head) << (8 * unused_bytes)
    }
}

/// Whether no two keys are equal that stand behind `commas` and before `equals`, which alternate:
/// masks of the first block of `bytes` and of the second.
#[inline(never)]
pub(super) fn differ(bytes: &[u8], commas: [u64; 2], equals: [u64; 2]) -> bool {
    let mut keys = TagKeys::new();
    (0..2).all(|half| keys.note(half * BLOCK, commas[half], equals[half])) && keys.differ(bytes)
}

/// The same for keys in the first block alone. Most keys differ within their first eight bytes, and
/// then no more than those is looked at.
#[inline(always)]
pub(super) fn differ_within_block(bytes: &[u8; WINDOW], commas: u64, equals: u64) -> bool {
    // A tag has four bytes or more, with its comma and its equals sign.
    let mut heads = [0_u64; BLOCK / 4];
    let (mut starts, mut ends) = (commas, equals);
    for tag in 0..heads.len() {
        if starts == 0 {
            break;
        }
        let start = bit(starts) + 1;
        let head = bytes[start..].first_chunk().expect("half a window follows");
        let unused_bytes = 8_usize.saturating_sub(bit(ends) - start);
        let head = u64::from_le_bytes(*head) << (8 * unused_bytes);
        if heads[..tag].contains(&head) {
            return differ(bytes, [commas, 0], [equals, 0]);
        }
        heads[tag] = head;
        starts &= starts - 1;
        ends &= ends - 1;
    }
    true
}
