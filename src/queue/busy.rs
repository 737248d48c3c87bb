//! What the receiver of a queue need not be woken for: items of a kind that it could only put aside
//! until something of its own ends.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// More kinds than this share slots, and those that find theirs taken wake the receiver.
const SLOTS: usize = 64;

/// The kinds of items that wait anyway. The receiver alone writes, the fronts look.
#[derive(Debug)]
pub(super) struct Busy {
    kinds: [AtomicU64; SLOTS],
    /// How many kinds there are, so that a front need not find out an item's kind for nothing.
    count: AtomicUsize,
    /// Items of every kind wait.
    all: AtomicBool,
}

impl Default for Busy {
    fn default() -> Self {
        let kinds = std::array::from_fn(|_| AtomicU64::new(0));
        Self { kinds, count: AtomicUsize::new(0), all: AtomicBool::new(false) }
    }
}

impl Busy {
    fn slot(&self, kind: u64) -> &AtomicU64 {
        let [low, ..] = kind.to_le_bytes();
        &self.kinds[usize::from(low) % SLOTS]
    }

    /// From now on items of this kind wait. 0 is no kind.
    pub(super) fn add(&self, kind: u64) {
        let slot = self.slot(kind);
        if kind != 0 && slot.load(Ordering::Relaxed) == 0 {
            slot.store(kind, Ordering::Relaxed);
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Items of this kind do not wait any more. The receiver looks into the queue after this: what
    /// came before it may have woken nobody.
    pub(super) fn remove(&self, kind: u64) {
        let slot = self.slot(kind);
        if kind != 0 && slot.load(Ordering::Relaxed) == kind {
            slot.store(0, Ordering::Relaxed);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Whether items of every kind wait. As after [`remove`](Self::remove), the receiver looks into
    /// the queue.
    pub(super) fn set_all(&self, all: bool) {
        if self.all.load(Ordering::Relaxed) != all {
            self.all.store(all, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    /// No kind waits. As after [`remove`](Self::remove), the receiver looks into the queue.
    pub(super) fn clear(&self) {
        self.set_all(false);
        if self.count.swap(0, Ordering::Relaxed) > 0 {
            self.kinds.iter().for_each(|kind| kind.store(0, Ordering::Relaxed));
            fence(Ordering::SeqCst);
        }
    }

    /// Whether any kind waits: if not, nobody need find out an item's.
    pub(super) fn has_kinds(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Whether an item that is in the queue by now waits anyway: its receiver, which looks into the
    /// queue after each change of this, finds it there then.
    pub(super) fn holds(&self, kind: u64) -> bool {
        let is_busy = || {
            let is_kind = || self.slot(kind).load(Ordering::Relaxed) == kind;
            self.all.load(Ordering::Relaxed) || kind != 0 && is_kind()
        };
        is_busy() && {
            // Either the receiver sees the item, or this sees what it did before it looked.
            fence(Ordering::SeqCst);
            is_busy()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_kinds_that_were_added_and_not_removed() {
        let busy = Busy::default();
        let holds = |kind| busy.holds(kind);
        assert!(!busy.has_kinds());
        let (one, same_slot, other) = (7, 7 + SLOTS as u64, 8);
        [one, same_slot, other, 0].into_iter().for_each(|kind| busy.add(kind));
        assert_eq!([one, same_slot, other, 0].map(holds), [true, false, true, false]);
        busy.remove(same_slot);
        assert!(holds(one), "it was not that one's slot");
        busy.remove(one);
        assert_eq!([one, other].map(holds), [false, true]);
        busy.set_all(true);
        assert!(holds(one) && holds(0));
        busy.set_all(false);
        assert_eq!([one, other].map(holds), [false, true]);
        busy.clear();
        assert!(!holds(other) && !busy.has_kinds());
    }
}
