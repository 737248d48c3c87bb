//! How many connections a listener may have open, on all its threads together.
//!
//! A thread that needs a place makes one among its own connections (`watch`). If none of them can
//! be ended it asks the other threads here. Called by `connection`; `shared` makes one for each
//! listener.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A place for each connection that may be open.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
    /// A thread needs a place, and no other has made one yet.
    wanted: AtomicBool,
    asked: Notify,
}

/// How many there may be, and how many more there still are: taken when they were allowed.
#[derive(Debug)]
struct Size {
    count: usize,
    excess: usize,
}

impl Places {
    /// All of them free.
    pub(super) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count));
        let size = Mutex::new(Size { count, excess: 0 });
        Self { free, size, wanted: AtomicBool::new(false), asked: Notify::new() }
    }

    /// From now on `count` connections may be open. Those that are open stay; if they are more,
    /// the next that end make no room.
    pub(super) fn resize(&self, count: usize) {
        let mut size = self.size();
        if let Some(more) = count.checked_sub(size.count) {
            let paid = more.min(size.excess);
            size.excess -= paid;
            self.free.add_permits(more - paid);
        } else {
            let less = size.count - count;
            size.excess += less - self.free.forget_permits(less);
        }
        size.count = count;
    }

    /// Whether a place that was got may be kept. If not it is gone.
    fn may_keep(&self) -> bool {
        let mut size = self.size();
        let may = size.excess == 0;
        size.excess -= usize::from(!may);
        may
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if one is free now.
    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if self.may_keep() {
                return Some(place);
            }
            place.forget();
        }
    }

    /// Waits for a place.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        loop {
            let place = Arc::clone(&self.free).acquire_owned().await.expect("it is never closed");
            if self.may_keep() {
                return place;
            }
            place.forget();
        }
    }

    /// Asks the other threads for a place. One that is busy now does not hear it: ask again.
    pub(super) fn ask(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.asked.notify_waiters();
    }

    /// Waits until another thread asks.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Obeys with `make_room`, which says whether it could, unless another thread has already.
    pub(super) fn obey(&self, make_room: impl FnOnce() -> bool) {
        if self.wanted.swap(false, Ordering::Relaxed) && !make_room() {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_places_than_are_taken_come_back_as_they_are_given_up() {
        let places = Places::new(3);
        let take = || places.try_take();
        let mut taken: Vec<_> = (0..3).filter_map(|_| take()).collect();
        places.resize(1);
        for left in [2, 1] {
            taken.pop();
            assert!(take().is_none(), "{left} are open, of one");
        }
        taken.clear();
        taken.extend(take());
        assert!(taken.len() == 1 && take().is_none());
        places.resize(0);
        places.resize(2);
        taken.extend(take());
        assert!(taken.len() == 2 && take().is_none(), "what was in excess is none any more");
    }
}
