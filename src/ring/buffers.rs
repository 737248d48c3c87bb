//! The memory that a receive ring lends to the kernel: a ring of entries, and the buffers they
//! name. Used by `ring` alone.
#![expect(unsafe_code, reason = "the kernel reads the entries and writes the buffers")]

use crate::sys::map;
use io_uring::types::BufRingEntry;
use rustix::mm::munmap;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Buffers `0..entries`, each either lent to the kernel or being looked at.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    buffer_bytes: usize,
    /// Where the next entry goes; the kernel sees it once it is published.
    tail: u16,
    /// Buffers that are not lent, the one used last on top.
    idle: Vec<u16>,
    leaked: bool,
}

impl BufferRing {
    /// `count` buffers (a power of two) of `buffer_bytes`, none lent yet.
    pub(super) fn new(count: u16, buffer_bytes: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two(), "the kernel masks entry numbers");
        let entries = map(entries_bytes(count))?.cast();
        let memory = map(usize::from(count) * buffer_bytes)?;
        let idle = (0..count).rev().collect();
        Ok(Self { entries, memory, count, buffer_bytes, tail: 0, idle, leaked: false })
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
        // completed its write and does not touch it until it is lent again.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Takes back buffer `id`, which the kernel has filled.
    pub(super) fn take_back(&mut self, id: u16) {
        self.idle.push(id);
    }

    /// Lends buffers until the kernel has `target` of them, at least one and at most all.
    pub(super) fn lend(&mut self, target: usize) {
        let target = target.clamp(1, usize::from(self.count));
        while usize::from(self.count) - self.idle.len() < target {
            let id = self.idle.pop().expect("fewer than all buffers are lent");
            self.enter(id);
        }
        self.publish();
    }

    #[expect(clippy::cast_possible_truncation, reason = "a buffer is far smaller than 4 GiB")]
    fn enter(&mut self, id: u16) {
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

    /// Shows the kernel every buffer that was entered.
    fn publish(&mut self) {
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
        let entries = self.entries.as_ptr().cast();
        // SAFETY: mapped in `new` with this size, and no longer lent.
        let unmapped = unsafe { munmap(entries, entries_bytes(self.count)) };
        debug_assert!(unmapped.is_ok(), "it was mapped");
        let bytes = usize::from(self.count) * self.buffer_bytes;
        // SAFETY: mapped in `new` with this size, and no longer lent.
        let unmapped = unsafe { munmap(self.memory.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "it was mapped");
    }
}

fn entries_bytes(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}
