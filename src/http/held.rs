//! The bytes of a body, charged to the budget of its listener for as long as they are held.
//!
//! Called by `body`, which reads them, and `points`, which rewrites them. Long bodies lie in pages
//! of their own: what is charged is then what the process holds, also while they grow and after.
//! Some of those pages are kept for later bodies, because fresh ones are dear.

use super::body::Unreadable;
use super::budget::{Budget, Charge};
use crate::sys::Pages;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// The first allocation of a body; it doubles from there,
const FIRST_BYTES: usize = 4 * 1024;
/// up to this. Longer bodies lie in pages, and grow by this much or a part of what they have.
pub(super) const HEAP_BYTES_MAX: usize = 64 * 1024;
const GROW_PART: usize = 8;

/// Bytes whose memory is charged to a budget for as long as they are held.
#[derive(Debug)]
pub(super) struct Held {
    /// Dropped before the memory, which may be charged anew, as spare pages.
    charge: Charge,
    memory: Memory,
    /// Not grown beyond this without need: the body's length where it is known.
    expected: usize,
    /// Whether it may grow though the budget is used up.
    unasked: bool,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Pages(Run),
}

/// Pages that are for the next body when this one is gone.
#[derive(Debug)]
struct Run {
    pages: Option<Pages>,
    budget: Arc<Budget>,
}

impl Run {
    fn pages(&self) -> &Pages {
        self.pages.as_ref().expect("only taken when dropped")
    }

    fn pages_mut(&mut self) -> &mut Pages {
        self.pages.as_mut().expect("only taken when dropped")
    }
}

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        self.pages().as_ref()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.budget.keep(pages);
        }
    }
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(run) => run.as_ref(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.capacity(),
            Self::Pages(run) => run.pages().capacity(),
        }
    }

    /// Makes the room `capacity`, which is more than there is; a long body's in `spare` pages, if
    /// there are any. Where mappings are used up, the allocator serves.
    fn grow(&mut self, capacity: usize, spare: Option<Pages>, budget: &Arc<Budget>) {
        match self {
            Self::Heap(bytes) if capacity <= HEAP_BYTES_MAX => {
                bytes.reserve_exact(capacity - bytes.len());
            }
            Self::Heap(bytes) => match pages(capacity, spare) {
                Ok(mut pages) => {
                    pages.extend_from_slice(bytes);
                    let budget = Arc::clone(budget);
                    *self = Self::Pages(Run { pages: Some(pages), budget });
                }
                Err(_) => bytes.reserve_exact(capacity - bytes.len()),
            },
            Self::Pages(run) => {
                if run.pages_mut().resize(capacity).is_err() {
                    let mut bytes = Vec::with_capacity(capacity);
                    bytes.extend_from_slice(run.as_ref());
                    *self = Self::Heap(bytes);
                }
            }
        }
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        match self {
            Self::Heap(heap) => heap.extend_from_slice(bytes),
            Self::Pages(run) => run.pages_mut().extend_from_slice(bytes),
        }
    }

    /// The bytes for whoever keeps them, and little more memory than they need.
    fn into_bytes(mut self) -> Bytes {
        let len = self.bytes().len();
        let wasteful = self.capacity() > len + len / 4;
        match &mut self {
            Self::Heap(bytes) if wasteful => bytes.shrink_to_fit(),
            // Failing that it holds what it did: no more than was charged.
            Self::Pages(run) if wasteful => drop(run.pages_mut().resize(len)),
            _ => {}
        }
        match self {
            Self::Heap(bytes) => bytes.into(),
            Self::Pages(run) => Bytes::from_owner(run),
        }
    }
}

/// Whether the allocator serves, and nobody needs to ask for what is made of it.
pub(super) fn is_short(body: &[u8]) -> bool {
    body.len() <= HEAP_BYTES_MAX
}

fn pages(capacity: usize, spare: Option<Pages>) -> io::Result<Pages> {
    let Some(mut pages) = spare else { return Pages::new(capacity) };
    if pages.capacity() < capacity {
        pages.resize(capacity)?;
    }
    Ok(pages)
}

impl Held {
    /// Holds nothing yet. `expected` bytes, if known, spare the last growing.
    pub(super) fn new(budget: &Arc<Budget>, expected: Option<usize>) -> Self {
        let expected = expected.unwrap_or(usize::MAX);
        let (charge, memory) = (Charge::new(budget), Memory::Heap(Vec::new()));
        Self { charge, memory, expected, unasked: false }
    }

    /// For a copy of `body`, of `bytes_max` bytes: one of a short body may always be made. A thread
    /// makes one at a time, so that all of them are little.
    pub(super) fn copy_of(body: &[u8], budget: &Arc<Budget>, bytes_max: usize) -> Self {
        Self { unasked: is_short(body), ..Self::new(budget, Some(bytes_max)) }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let (needed, before) = (self.bytes().len() + bytes.len(), self.memory.capacity());
        if needed > before {
            self.grow(self.next_capacity(needed, before))?;
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    fn grow(&mut self, capacity: usize) -> Result<(), Unreadable> {
        let before = self.memory.capacity();
        let is_first = matches!(self.memory, Memory::Heap(_)) && capacity > HEAP_BYTES_MAX;
        let spare = if is_first { self.charge.take_spare() } else { None };
        let has = before.max(spare.as_ref().map_or(0, Pages::capacity));
        if !self.unasked && !self.charge.take(capacity.saturating_sub(has)) {
            drop(spare);
            self.charge.set(before);
            self.budget().make_room();
            return Err(Unreadable::Busy);
        }
        self.memory.grow(capacity, spare, self.charge.budget());
        self.charge.set(self.memory.capacity());
        Ok(())
    }

    fn next_capacity(&self, needed: usize, before: usize) -> usize {
        let wanted = if needed <= HEAP_BYTES_MAX {
            (before * 2).clamp(FIRST_BYTES, HEAP_BYTES_MAX)
        } else {
            before + HEAP_BYTES_MAX.max(before / GROW_PART)
        };
        needed.max(wanted.min(self.expected))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// How many bytes it was said to hold in the end.
    pub(super) fn expected(&self) -> usize {
        self.expected
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.charge.budget()
    }

    /// The bytes, and what is charged for them: to be dropped once another bound holds them.
    pub(super) fn release(self) -> (Bytes, Charge) {
        (self.memory.into_bytes(), self.charge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_BYTES: usize = 4096;

    #[test]
    fn a_budget_is_shared_grows_with_the_bytes_and_is_given_back() {
        let budget = Arc::new(Budget::new(10_000));
        let mut one = Held::new(&budget, Some(100));
        one.push(&[0; 60]).expect("it fits");
        assert_eq!(budget.held(), 100, "what is expected, not more");
        let mut two = Held::new(&budget, None);
        assert_eq!(two.push(&[0; 9_901]), Err(Unreadable::Busy));
        two.push(&[0; 9_900]).expect("it fits exactly");
        assert_eq!(one.push(&[0; 100]), Err(Unreadable::Busy));
        drop(two);
        one.push(&[0; 100]).expect("there is room again");
        let (bytes, charge) = one.release();
        assert_eq!((bytes.len(), budget.held()), (160, 160), "until they have another bound");
        drop(charge);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_long_body_is_charged_what_it_holds_and_goes_on_as_it_lies() {
        for expected in [None, Some(5_000_001)] {
            let budget = Arc::new(Budget::new(64 << 20));
            let mut held = Held::new(&budget, expected);
            let wanted: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
            for part in wanted.chunks(60_000) {
                held.push(part).expect("it fits");
                assert_eq!(budget.held(), held.memory.capacity());
                let spare = held.memory.capacity() - held.bytes().len();
                let spare_max = HEAP_BYTES_MAX.max(held.bytes().len() / GROW_PART) + PAGE_BYTES;
                assert!(spare <= spare_max, "{spare}");
            }
            let address = held.bytes().as_ptr();
            let (bytes, charge) = held.release();
            assert!(std::ptr::eq(address, bytes.as_ptr()), "no copy");
            assert_eq!(bytes, wanted);
            drop(charge);
            assert_eq!(budget.held(), 0);
        }
    }

    #[test]
    fn pages_serve_again_unless_their_room_is_needed() {
        let budget = Arc::new(Budget::new(1 << 20));
        let long = |fill: u8| {
            let mut held = Held::new(&budget, Some(100_000));
            held.push(&[fill; 100_000]).expect("it fits");
            assert!(held.bytes().iter().all(|&byte| byte == fill));
            (held.bytes().as_ptr(), held.release())
        };
        let (first, released) = long(1);
        drop(released);
        assert_eq!(budget.held(), 0, "spare pages are nobody's");
        let (second, (bytes, charge)) = long(2);
        assert!(std::ptr::eq(first, second));
        assert_eq!(budget.held(), 25 * PAGE_BYTES);
        drop((bytes, charge));
        // Beside spare pages this would not fit.
        let mut all = Held::new(&budget, Some(1 << 20));
        all.push(&vec![3; 1 << 20]).expect("it fits exactly");
        assert_eq!(budget.held(), 1 << 20);
        drop(all);
        let mut small = Held::new(&budget, Some(10));
        small.push(b"fits").expect("nothing that large is kept");
        assert_eq!(budget.held(), 10);
    }
}
