//! The bounded, lock-free queue between the fronts and one backend's sender thread.
//!
//! A `crossbeam-channel` with a limit in items and in bytes, and a gauge of what the backend still
//! owes: an item counts from the moment it is pushed until the sender has settled it, so that the
//! books close while a request is in flight. The sender waits as a future: a `tokio-uring` task
//! awaits [`Receiver::pop`], a plain thread parks in [`Receiver::pop_blocking`].

mod owed;

pub use owed::Owed;

use atomic_waker::AtomicWaker;
use crossbeam_channel::{TryRecvError, TrySendError, bounded as channel};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// What an item weighs in the queue.
pub trait Weigh {
    /// Bytes of memory that it holds.
    fn bytes(&self) -> u64;
    /// Lines of line protocol.
    fn lines(&self) -> u64;
}

/// The bounds of a queue: it refuses what would go over either.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many items may wait.
    pub items_max: usize,
    /// How many bytes of memory may wait or be in flight. A backlog has a bound of its own.
    pub bytes_max: u64,
}

#[derive(Debug, Default)]
struct Shared {
    waker: AtomicWaker,
    owed: Arc<Owed>,
}

/// The fronts' end.
#[derive(Debug)]
pub struct Sender<T> {
    /// `None` only while it is dropped: the channel must close before the receiver is woken.
    channel: Option<crossbeam_channel::Sender<T>>,
    shared: Arc<Shared>,
    bytes_max: u64,
}

/// The sender thread's end.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: crossbeam_channel::Receiver<T>,
    shared: Arc<Shared>,
}

/// Ends the wait of a queue's receiver, whether there is something to take or not.
#[derive(Debug)]
pub struct Poke(Arc<Shared>);

impl Poke {
    /// Ends the current wait.
    pub fn poke(&self) {
        self.0.waker.wake();
    }
}

/// Makes a queue within `limits`.
#[must_use]
pub fn bounded<T: Weigh>(limits: Limits) -> (Sender<T>, Receiver<T>) {
    let (push, pop) = channel(limits.items_max);
    let shared = Arc::new(Shared::default());
    let sender =
        Sender { channel: Some(push), shared: Arc::clone(&shared), bytes_max: limits.bytes_max };
    (sender, Receiver { channel: pop, shared })
}

impl<T: Weigh> Sender<T> {
    /// Adds an item without waking the sender thread: to be followed by [`wake`](Self::wake),
    /// once for all items of a turn.
    ///
    /// # Errors
    /// Gives the item back if the queue is full, in items or in bytes, or its receiver is gone.
    /// An item larger than the whole byte limit is taken by an empty queue.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        let (bytes, lines) = (item.bytes(), item.lines());
        let owed = &self.shared.owed;
        if owed.reserve(bytes, lines, self.bytes_max).is_err() {
            return Err(item);
        }
        let channel = self.channel.as_ref().expect("the channel lives until the drop");
        match channel.try_send(item) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => {
                owed.settle(bytes, lines);
                Err(item)
            }
        }
    }

    /// Wakes the sender thread if it waits while there is something to take.
    pub fn wake(&self) {
        if self.channel.as_ref().is_some_and(|channel| !channel.is_empty()) {
            self.shared.waker.wake();
        }
    }

    /// The gauge of what the backend owes.
    #[must_use]
    pub fn owed(&self) -> &Arc<Owed> {
        &self.shared.owed
    }

    /// The same queue; what is pushed through this end and its clones has another limit in bytes.
    #[must_use]
    pub fn with_bytes_max(&self, bytes_max: u64) -> Self {
        let mut clone = self.clone();
        clone.bytes_max = bytes_max;
        clone
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let (channel, shared) = (self.channel.clone(), Arc::clone(&self.shared));
        Self { channel, shared, bytes_max: self.bytes_max }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.channel = None;
        self.shared.waker.wake();
    }
}

impl<T> Receiver<T> {
    /// The next item if one waits.
    ///
    /// # Errors
    /// [`TryRecvError::Disconnected`] once all senders are gone and nothing is left.
    pub fn try_pop(&self) -> Result<T, TryRecvError> {
        self.channel.try_recv()
    }

    /// How many items wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.channel.len()
    }

    /// The next item; `None` once all senders are gone and nothing is left.
    pub async fn pop(&self) -> Option<T> {
        poll_fn(|context| self.poll_pop(context)).await
    }

    /// The next item, parking this thread while there is none; `None` once all senders are gone
    /// and nothing is left.
    #[must_use]
    pub fn pop_blocking(&self) -> Option<T> {
        self.pop_or(|| ())
    }

    /// As [`pop_blocking`](Self::pop_blocking), calling `woken` whenever a wait ends.
    pub fn pop_or(&self, mut woken: impl FnMut()) -> Option<T> {
        if let Ok(item) = self.channel.try_recv() {
            return Some(item);
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match self.poll_pop(&mut context) {
                Poll::Ready(item) => return item,
                Poll::Pending => std::thread::park(),
            }
            woken();
        }
    }

    /// What ends a wait from another thread.
    #[must_use]
    pub fn poke(&self) -> Poke {
        Poke(Arc::clone(&self.shared))
    }

    fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        match self.channel.try_recv() {
            Ok(item) => return Poll::Ready(Some(item)),
            Err(TryRecvError::Disconnected) => return Poll::Ready(None),
            Err(TryRecvError::Empty) => self.shared.waker.register(context.waker()),
        }
        // An item pushed between the look and the registration woke nobody: look once more.
        match self.channel.try_recv() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => Poll::Pending,
        }
    }

    /// The gauge of what this backend owes.
    #[must_use]
    pub fn owed(&self) -> &Arc<Owed> {
        &self.shared.owed
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(u64);

    impl Weigh for Item {
        fn bytes(&self) -> u64 {
            self.0
        }
        fn lines(&self) -> u64 {
            1
        }
    }

    #[test]
    fn refuses_over_either_limit_and_owes_until_settled() {
        let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
        assert_eq!(push.try_push(Item(100)), Ok(()), "an empty queue takes an outsized item");
        assert_eq!(push.try_push(Item(1)), Err(Item(1)), "over the byte limit");
        assert_eq!(pop.try_pop(), Ok(Item(100)));
        assert_eq!(push.try_push(Item(1)), Err(Item(1)), "popped is still owed");
        pop.owed().settle(100, 1);
        assert_eq!(push.try_push(Item(1)), Ok(()));
        assert_eq!(push.try_push(Item(1)), Ok(()));
        assert_eq!(push.try_push(Item(1)), Err(Item(1)), "over the item limit");
        assert_eq!((pop.owed().bytes(), pop.owed().lines()), (2, 2));
    }

    #[test]
    fn what_is_kept_in_a_backlog_is_owed_and_takes_no_room() {
        let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
        assert_eq!(push.try_push(Item(10)), Ok(()));
        assert_eq!(pop.try_pop(), Ok(Item(10)));
        let owed = pop.owed();
        owed.keep(10, 1);
        assert_eq!((owed.bytes(), owed.backlog_bytes(), owed.backlog_lines()), (10, 10, 1));
        assert_eq!(push.try_push(Item(10)), Ok(()), "the queue has all of its room");
        assert_eq!((owed.bytes(), owed.queue_bytes(), owed.lines()), (20, 10, 2));
        owed.settle_kept(10, 1);
        assert_eq!((owed.bytes(), owed.lines(), owed.backlog_bytes()), (10, 1, 0));
    }

    #[test]
    fn a_poke_ends_a_wait_without_an_item() {
        let (push, pop) = bounded::<Item>(Limits { items_max: 1, bytes_max: 1 });
        let poke = pop.poke();
        let (tell, woken) = channel(1);
        let popper = std::thread::spawn(move || pop.pop_or(|| _ = tell.try_send(())));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while woken.try_recv().is_err() {
            assert!(std::time::Instant::now() < end, "the poke is not felt");
            poke.poke();
        }
        drop(push);
        assert_eq!(popper.join().expect("the popper does not panic"), None);
    }

    #[test]
    fn what_is_spilled_is_owed_in_lines_and_takes_no_memory_until_it_is_back() {
        let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
        assert_eq!(push.try_push(Item(10)), Ok(()));
        let owed = pop.owed();
        owed.restore(5);
        owed.spill(10, 1);
        assert_eq!((owed.bytes(), owed.lines(), owed.backlog_lines()), (0, 6, 6));
        owed.unspill(10);
        owed.settle_kept(10, 1);
        owed.settle_spilled(5);
        assert_eq!((owed.bytes(), owed.lines(), owed.backlog_lines()), (0, 0, 0));
    }

    #[test]
    fn wakes_a_parked_thread_and_ends_after_the_last_item() {
        let (push, pop) = bounded(Limits { items_max: 4, bytes_max: u64::MAX });
        let popper = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while let Some(Item(n)) = pop.pop_blocking() {
                seen.push(n);
            }
            seen
        });
        for n in 0..1_000 {
            while push.try_push(Item(n)).is_err() {
                std::thread::yield_now();
            }
            push.wake();
        }
        drop(push);
        let seen = popper.join().expect("the popper does not panic");
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    }
}
