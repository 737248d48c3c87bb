//! Memory for a long run of bytes, in whole pages straight from the kernel.
//!
//! Called by the HTTP front for bodies of some size. An allocator keeps what it is given back, and
//! growing there means that the old block and the new one are held at once. Here growing moves
//! entries of the page table, not bytes, and what is dropped is the kernel's again at once: so
//! what is held is what was asked for. Too dear for short runs, which the allocator serves.
#![expect(unsafe_code, reason = "mappings are handled by address")]

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};
use std::io;
use std::ptr::{NonNull, null_mut};

/// The smallest page of any Linux that this is built for; where pages are larger, the kernel
/// rounds up by itself.
const PAGE_BYTES: usize = 4096;

/// A run of bytes with room for more.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: the mapping belongs to this value alone, as a `Vec`'s memory does to it.
unsafe impl Send for Pages {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// Room for at least `bytes`, none of it used, and none of it backed until it is written.
    ///
    /// # Errors
    /// The kernel's, where memory, addresses or mappings are used up.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let capacity = rounded(bytes)?;
        Ok(Self { start: map(capacity)?, len: 0, capacity })
    }

    /// How many bytes there is room for without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes the room `bytes`, rounded up to pages: larger, or smaller but never less than is used.
    ///
    /// # Errors
    /// As for [`new`](Self::new); all is as it was then.
    pub fn resize(&mut self, bytes: usize) -> io::Result<()> {
        let capacity = rounded(bytes.max(self.len))?;
        if capacity == self.capacity {
            return Ok(());
        }
        let (start, may_move) = (self.start.as_ptr().cast(), MremapFlags::MAYMOVE);
        // SAFETY: the mapping has this size, and nothing refers to it: `self` is borrowed mutably.
        let start = unsafe { mremap(start, self.capacity, capacity, may_move)? };
        self.start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Uses none of it any more. The room stays, and what backs it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds `bytes`.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.capacity - self.len, "the caller has made room");
        let end = self.start.as_ptr().wrapping_add(self.len);
        // SAFETY: what follows `len` is within the mapping, by the line above, and `bytes` lies
        // elsewhere: `self` is borrowed mutably.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len()) };
        self.len += bytes.len();
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so many bytes of the mapping were written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping has this size, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.capacity) };
        debug_assert!(unmapped.is_ok(), "it was mapped: {unmapped:?}");
    }
}

/// Fresh zeroed pages, which cost nothing until they are touched.
///
/// # Errors
/// The kernel's, where memory, addresses or mappings are used up.
pub(crate) fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
    let memory = unsafe { mmap_anonymous(null_mut(), bytes, access, flags)? };
    NonNull::new(memory.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn rounded(bytes: usize) -> io::Result<usize> {
    let capacity = bytes.max(1).checked_next_multiple_of(PAGE_BYTES);
    capacity.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_through_growing_and_shrinking() {
        let mut pages = Pages::new(1).expect("one page");
        assert_eq!((pages.capacity(), pages.as_ref()), (4096, &[][..]));
        let mut wanted = Vec::new();
        for n in 0..2_000_u32 {
            let bytes = [n.to_le_bytes(); 500].concat();
            if pages.capacity() < wanted.len() + bytes.len() {
                pages.resize(wanted.len() + bytes.len()).expect("there is memory");
            }
            pages.extend_from_slice(&bytes);
            wanted.extend_from_slice(&bytes);
        }
        assert_eq!(pages.as_ref(), wanted);
        pages.resize(64 << 20).expect("there is memory");
        assert_eq!((pages.capacity(), pages.as_ref()), (64 << 20, &wanted[..]));
        pages.resize(0).expect("it only shrinks");
        assert_eq!((pages.capacity(), pages.as_ref()), (4_001_792, &wanted[..]));
    }

    #[test]
    fn what_cannot_be_had_is_an_error_and_changes_nothing() {
        for bytes in [usize::MAX, usize::MAX / 2, 1 << 46] {
            Pages::new(bytes).expect_err("no such memory");
            let mut pages = Pages::new(1).expect("one page");
            pages.extend_from_slice(b"stays");
            pages.resize(bytes).expect_err("no such memory");
            assert_eq!((pages.capacity(), pages.as_ref()), (4096, &b"stays"[..]));
        }
    }

    #[test]
    #[should_panic(expected = "the caller has made room")]
    fn nothing_is_written_behind_the_end() {
        let mut pages = Pages::new(1).expect("one page");
        pages.extend_from_slice(&[0; 4097]);
    }
}
