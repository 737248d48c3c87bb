//! The memory that a receive ring lends to the kernel: a ring of entries, and the buffers they
//! name. Used by `ring` alone.
#![expect(unsafe_code, reason = "the kernel reads the entries and writes the buffers")]

use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

const PAGE_BYTES: usize = 4096;

/// Buffers `0..entries`, each either lent to the kernel or being looked at.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    buffer_bytes: usize,
    /// Where the next entry goes; the kernel sees it once it is published.
    tail: u16,
    leaked: bool,
}

impl BufferRing {
    /// `count` buffers (a power of two) of `buffer_bytes`, all lent.
    pub(super) fn new(count: u16, buffer_bytes: usize) -> Self {
        assert!(count.is_power_of_two(), "the kernel masks entry numbers");
        let entries = allocate(entries_layout(count)).cast();
        let memory = allocate(memory_layout(count, buffer_bytes));
        let mut this = Self { entries, memory, count, buffer_bytes, tail: 0, leaked: false };
        for id in 0..count {
            this.give_back(id);
        }
        this.publish();
        this
    }

    pub(super) fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub(super) fn entries(&self) -> u16 {
        self.count
    }

    /// The first `length` bytes of buffer `id`, which the kernel has filled.
    pub(super) fn filled(&self, id: u16, length: usize) -> &[u8] {
        assert!(id < self.count, "the kernel names only buffers that it was lent");
        let length = length.min(self.buffer_bytes);
        // SAFETY: `id` is below `count`, so the offset lies inside `memory`.
        let start = unsafe { self.memory.add(usize::from(id) * self.buffer_bytes) };
        // SAFETY: the buffer has at least `length` bytes, zeroed when allocated; the kernel has
        // completed its write and does not touch it until `give_back` and `publish`.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Puts buffer `id` back; the kernel sees it after [`publish`](Self::publish).
    #[expect(clippy::cast_possible_truncation, reason = "a buffer is far smaller than 4 GiB")]
    pub(super) fn give_back(&mut self, id: u16) {
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: `id` is below `count`, so the offset lies inside `memory`.
        let buffer = unsafe { self.memory.add(usize::from(id) * self.buffer_bytes) };
        // SAFETY: `slot` is below `count`, so the entry lies inside `entries`.
        let mut entry = unsafe { self.entries.add(slot) };
        // SAFETY: the entry is aligned and zeroed, and nobody else holds a reference to it; the
        // kernel reads it only after `publish`.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(buffer.as_ptr() as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel every buffer that was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: `entries` is the base of the ring.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is aligned, lives as long as `entries`, and is only written here; the
        // kernel reads it, hence the atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Keeps the memory for ever: the kernel may still write into it.
    pub(super) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: allocated in `new` with this layout, and no longer lent.
        unsafe { dealloc(self.entries.as_ptr().cast(), entries_layout(self.count)) };
        // SAFETY: allocated in `new` with this layout, and no longer lent.
        unsafe { dealloc(self.memory.as_ptr(), memory_layout(self.count, self.buffer_bytes)) };
    }
}

fn entries_layout(count: u16) -> Layout {
    let bytes = usize::from(count) * size_of::<BufRingEntry>();
    Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 512 KiB")
}

fn memory_layout(count: u16, buffer_bytes: usize) -> Layout {
    let bytes = usize::from(count) * buffer_bytes;
    Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 2^15 buffers of some KiB")
}

/// Zeroed, so that reading a buffer the kernel filled only in part is never undefined; fresh
/// pages come from the kernel and cost nothing until they are touched.
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout's size is not zero: there is at least one buffer.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
