//! The bounded, lock-free queue between the fronts and one backend's sender thread.
//!
//! A `crossbeam-channel` with a limit in items and in bytes, and a gauge of what the backend still
//! owes: an item counts from the moment it is pushed until the sender has settled it, so that the
//! books close while a request is in flight. The sender waits as a future: a `tokio-uring` task
//! awaits [`Receiver::pop`], a plain thread parks in [`Receiver::pop_blocking`]. To be woken is
//! what costs most of a small item, so a receiver may say for which kinds of items it need not be.

mod busy;
mod owed;

pub use owed::Owed;

use atomic_waker::AtomicWaker;
use busy::Busy;
use crossbeam_channel::{TryRecvError, TrySendError, bounded as channel};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// What an item weighs in the queue.
pub trait Weigh {
    /// Bytes of memory that it holds.
    fn bytes(&self) -> u64;
    /// Lines of line protocol.
    fn lines(&self) -> u64;
    /// Items of one kind go one after the other at the receiver, so that one waits for what is
    /// being done with another: see [`Receiver::hush`]. 0 is the kind of those that do not.
    fn kind(&self) -> u64 {
        0
    }
}

/// How many items may lie in a queue without waking its receiver: what one look takes out, and too
/// few to fill the queue for others.
pub const PARKED_MAX: usize = 256;

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
    busy: Busy,
    owed: Arc<Owed>,
}

/// The fronts' end.
#[derive(Debug)]
pub struct Sender<T> {
    /// `None` only while it is dropped: the channel must close before the receiver is woken.
    channel: Option<crossbeam_channel::Sender<T>>,
    shared: Arc<Shared>,
    bytes_max: u64,
    /// Something was pushed that the receiver is to be woken for.
    wakes: AtomicBool,
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
    let sender = Sender {
        channel: Some(push),
        shared: Arc::clone(&shared),
        bytes_max: limits.bytes_max,
        wakes: AtomicBool::new(false),
    };
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
        let Shared { owed, busy, .. } = &*self.shared;
        if owed.reserve(bytes, lines, self.bytes_max).is_err() {
            return Err(item);
        }
        let kind = if busy.has_kinds() { item.kind() } else { 0 };
        let channel = self.channel.as_ref().expect("the channel lives until the drop");
        match channel.try_send(item) {
            Ok(()) => {
                let parked_max = PARKED_MAX.min(channel.capacity().unwrap_or(usize::MAX) / 2);
                if !busy.holds(kind) || channel.len() > parked_max {
                    self.wakes.store(true, Ordering::Release);
                }
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => {
                owed.settle(bytes, lines);
                Err(item)
            }
        }
    }

    /// Wakes the sender thread if it waits, and is to be woken for what this end has pushed since
    /// the last time.
    pub fn wake(&self) {
        let wakes = self.wakes.load(Ordering::Relaxed) && self.wakes.swap(false, Ordering::Acquire);
        if wakes && self.channel.as_ref().is_some_and(|channel| !channel.is_empty()) {
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
        Self { channel, shared, bytes_max: self.bytes_max, wakes: AtomicBool::new(false) }
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

    /// Until [`rouse`](Self::rouse), items of this kind lie in the queue without waking anybody,
    /// as long as they are few. Kind 0 is none; where there are many kinds, some wake as ever.
    pub fn hush(&self, kind: u64) {
        self.shared.busy.add(kind);
    }

    /// Items of this kind wake again. Those that came before this did not: look for them.
    pub fn rouse(&self, kind: u64) {
        self.shared.busy.remove(kind);
    }

    /// While this is set, no item wakes anybody, of whatever kind, as long as they are few. When it
    /// is over, look for them.
    pub fn hush_all(&self, hush: bool) {
        self.shared.busy.set_all(hush);
    }

    /// Items of every kind wake again. Look for those that did not.
    pub fn rouse_all(&self) {
        self.shared.busy.clear();
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
mod tests;
