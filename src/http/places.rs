//! How many connections a listener may have open, on all its threads together.
//!
//! A thread that needs a place makes one among its own connections (`watch`). If none of them can
//! be ended it asks the other threads here. Called by `connection`; `shared` makes one for each
//! listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A place for each connection that may be open.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// A thread needs a place, and no other has made one yet.
    wanted: AtomicBool,
    asked: Notify,
}

impl Places {
    /// All of them free.
    pub(super) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count));
        Self { free, wanted: AtomicBool::new(false), asked: Notify::new() }
    }

    /// A place, if one is free now.
    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Waits for a place.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.free).acquire_owned().await.expect("it is never closed")
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
