//! What all bodies of a listener may hold together, and which of them gives way when others need
//! its room.
//!
//! Called by `held`, which charges what it holds; `shared` makes one for each listener. Without
//! this a few clients that stop short of the end of large bodies would keep everybody out.

use crate::sys::Pages;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// A body is slow while this much of it takes longer than `SLOW_AFTER`,
const STEP_BYTES: usize = 16 * 1024;
/// or this part of what it holds, if that is more: it cannot hold much for long.
const STEP_PART: usize = 64;
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);
/// All bodies are looked at no more often than this, however many are refused.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Large bodies that are inflated at once: a thread is busy with one.
const INFLATING_MAX: usize = 2;
/// The part of the budget that pages may take which wait for the next body.
const SPARE_PART: usize = 8;

/// What all bodies of one listener may hold together.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
    coming: Mutex<List>,
    inflating: Semaphore,
    spare: Mutex<Spare>,
}

/// Pages of bodies that are gone: they have been touched, which is most of what pages cost. They
/// are charged, and the first to go where room is needed.
#[derive(Debug, Default)]
struct Spare {
    runs: Vec<Pages>,
    bytes: usize,
}

/// The bodies that hold something already while more of them is to come.
#[derive(Debug, Default)]
struct List {
    bodies: BTreeMap<u64, Progress>,
    listed: u64,
    /// When they were last looked at, and whether one was giving way.
    looked: Option<(Instant, bool)>,
}

#[derive(Debug)]
struct Progress {
    bytes: usize,
    since: Instant,
    told: bool,
    give_way: Arc<Notify>,
}

impl Budget {
    /// A budget of `bytes_max` bytes, none of it used.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let inflating = Semaphore::new(INFLATING_MAX);
        let (held, coming, spare) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
        Self { bytes_max, held, coming, inflating, spare }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that bodies hold now.
    #[must_use]
    pub fn held(&self) -> usize {
        let spare = self.spare().bytes;
        self.held.load(Ordering::Relaxed).saturating_sub(spare)
    }

    fn take(&self, bytes: usize) -> bool {
        if self.take_if_it_fits(bytes) {
            return true;
        }
        self.drop_spare();
        self.take_if_it_fits(bytes)
    }

    /// Never charges more than fits, not even for a moment: others would be refused for it.
    fn take_if_it_fits(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|&all| all <= self.bytes_max);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_spare(&self) {
        // Locked until it is done: whoever comes meanwhile finds their room, or waits for it.
        let mut spare = self.spare();
        let Spare { runs, bytes } = std::mem::take(&mut *spare);
        drop(runs);
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Keeps the pages of a body that is gone, if they are few.
    pub(super) fn keep(&self, mut pages: Pages) {
        pages.clear();
        let mut spare = self.spare();
        let bytes = pages.capacity();
        if spare.bytes + bytes <= self.bytes_max / SPARE_PART && self.take_if_it_fits(bytes) {
            spare.bytes += bytes;
            spare.runs.push(pages);
        }
    }

    /// Waits until few others inflate a large body; that one is done when the place is dropped.
    pub(super) async fn place_to_inflate(&self) -> SemaphorePermit<'_> {
        self.inflating.acquire().await.expect("it is never closed")
    }

    /// Tells the largest of the slow bodies to give way, one at a time. Whether one will.
    pub(super) fn make_room(&self) -> bool {
        self.make_room_at(Instant::now())
    }

    fn make_room_at(&self, now: Instant) -> bool {
        let mut list = self.list();
        if let Some((looked, giving_way)) = list.looked
            && now.saturating_duration_since(looked) < LOOK_PAUSE
        {
            return giving_way;
        }
        let is_slow =
            |body: &&mut Progress| now.saturating_duration_since(body.since) >= SLOW_AFTER;
        let giving_way = list.bodies.values().any(|body| body.told) || {
            let slow = list.bodies.values_mut().filter(is_slow);
            slow.max_by_key(|body| body.bytes).is_some_and(|largest| {
                largest.told = true;
                largest.give_way.notify_one();
                true
            })
        };
        list.looked = Some((now, giving_way));
        giving_way
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is charged to a budget, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Nothing yet.
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes `bytes` more, if there is room for them.
    #[must_use]
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.budget.take(bytes);
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    /// Pages that have been used before, if there are any; they are charged here from now on.
    pub(super) fn take_spare(&mut self) -> Option<Pages> {
        let mut spare = self.budget.spare();
        let pages = spare.runs.pop()?;
        spare.bytes -= pages.capacity();
        self.bytes += pages.capacity();
        Some(pages)
    }

    /// Charges exactly `bytes`, whether they fit or not: they are what is held.
    pub(super) fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.budget.held.fetch_add(more, Ordering::Relaxed),
            None => self.budget.held.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    /// Takes over what `other` charged to the same budget.
    pub(super) fn join(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget, &other.budget), "one listener's");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body's place in the list.
#[derive(Debug)]
pub(super) struct Listed {
    budget: Arc<Budget>,
    number: u64,
    /// How much it had at its last step.
    bytes: usize,
    give_way: Arc<Notify>,
}

impl Listed {
    /// Lists a body that holds `bytes` so far.
    pub(super) fn new(budget: &Arc<Budget>, bytes: usize) -> Self {
        let give_way = Arc::<Notify>::default();
        let mut list = budget.list();
        let number = list.listed;
        list.listed += 1;
        let since = Instant::now();
        let progress = Progress { bytes, since, told: false, give_way: Arc::clone(&give_way) };
        list.bodies.insert(number, progress);
        drop(list);
        Self { budget: Arc::clone(budget), number, bytes, give_way }
    }

    /// It holds `bytes` now.
    pub(super) fn came(&mut self, bytes: usize) {
        if bytes - self.bytes < STEP_BYTES.max(self.bytes / STEP_PART) {
            return;
        }
        self.bytes = bytes;
        if let Some(body) = self.budget.list().bodies.get_mut(&self.number) {
            (body.bytes, body.since) = (bytes, Instant::now());
        }
    }

    /// Ends when it shall give way.
    pub(super) async fn gives_way(&self) {
        self.give_way.notified().await;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.budget.list().bodies.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(budget: &Budget) -> Vec<u64> {
        let list = budget.list();
        list.bodies.iter().filter_map(|(&number, body)| body.told.then_some(number)).collect()
    }

    #[test]
    fn the_largest_of_the_slow_gives_way_and_one_at_a_time() {
        let budget = Arc::new(Budget::new(1 << 20));
        let start = Instant::now();
        let after = |millis| start + SLOW_AFTER + Duration::from_millis(millis);
        assert!(!budget.make_room_at(start), "there is none");
        let listed = |bytes| Listed::new(&budget, bytes);
        let (small, large, other) = (listed(10), listed(100_000), listed(50_000));
        assert!(!budget.make_room_at(start + Duration::from_millis(500)), "they came just now");
        assert!(budget.make_room_at(after(100)));
        assert_eq!(told(&budget), [large.number]);
        assert!(budget.make_room_at(after(200)), "it is about to go");
        assert_eq!(told(&budget), [large.number]);
        drop(large);
        assert!(budget.make_room_at(after(300)));
        assert_eq!(told(&budget), [other.number]);
        drop(other);
        assert!(budget.make_room_at(after(400)));
        assert_eq!(told(&budget), [small.number]);
        drop(small);
        assert!(!budget.make_room_at(after(500)));
        assert!(budget.list().bodies.is_empty());
    }

    #[test]
    fn only_whole_steps_are_progress_and_larger_ones_of_a_large_body() {
        let budget = Arc::new(Budget::new(1 << 30));
        let mut body = Listed::new(&budget, 0);
        let bytes = || budget.list().bodies.values().map(|body| body.bytes).sum::<usize>();
        body.came(STEP_BYTES - 1);
        assert_eq!(bytes(), 0);
        body.came(STEP_BYTES);
        assert_eq!(bytes(), STEP_BYTES);
        body.came(64 << 20);
        body.came((65 << 20) - 1);
        assert_eq!(bytes(), 64 << 20, "a 64th of it is more");
        body.came(65 << 20);
        assert_eq!(bytes(), 65 << 20);
    }
}
