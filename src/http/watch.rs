//! How long a connection may be idle, and how long it may dawdle over a request's head.
//!
//! Called by `connection`: a [`Watch`] goes with each connection and learns through [`Watched`]
//! when bytes come. hyper's own timer cannot tell a client that has nothing to say from one that
//! sends its head a byte a minute.

use crate::config::Connections;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep_until;

/// A connection is not ended to make room for others before it has waited for this long.
const ROOM_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of a request has come, since then.
    Idle(Instant),
    /// The head of a request is coming, since then.
    Head(Instant),
    /// The body of a request is coming, since then.
    Body(Instant),
    /// A request is being answered.
    Busy,
}

/// What one connection waits for.
#[derive(Debug)]
pub(super) struct Watch {
    state: Cell<State>,
    /// When the head of the last request was there.
    asked: Cell<Instant>,
    end: Notify,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self { state: Cell::new(State::Idle(now)), asked: Cell::new(now), end: Notify::new() }
    }

    /// A whole head has come.
    pub(super) fn busy(&self) {
        self.asked.set(Instant::now());
        self.state.set(State::Busy);
    }

    /// The request is answered.
    pub(super) fn idle(&self) {
        self.state.set(State::Idle(Instant::now()));
    }

    fn bytes_came(&self) {
        match self.state.get() {
            State::Idle(_) => self.state.set(State::Head(Instant::now())),
            State::Body(_) => self.state.set(State::Busy),
            State::Head(_) | State::Busy => {}
        }
    }

    /// hyper wants bytes that have not come. While a request is answered it reads nothing but its
    /// body, and nothing once it has that.
    fn bytes_are_awaited(&self) {
        if matches!(self.state.get(), State::Busy) {
            self.state.set(State::Body(self.asked.get()));
        }
    }

    /// Ends when the connection has waited for too long, or shall make room.
    pub(super) async fn expired(&self, limits: &Connections) {
        tokio::select! {
            () = self.told() => {}
            () = self.overdue(limits) => {}
        }
    }

    /// Ends when the connection shall make room, and is not answering by then.
    async fn told(&self) {
        loop {
            self.end.notified().await;
            if !matches!(self.state.get(), State::Busy) {
                return;
            }
        }
    }

    async fn overdue(&self, limits: &Connections) {
        let due = || match self.state.get() {
            State::Idle(since) => Some(since + limits.idle_timeout),
            State::Head(since) => Some(since + limits.head_timeout),
            State::Body(_) | State::Busy => None,
        };
        let mut sleep = pin!(sleep_until((Instant::now() + limits.idle_timeout).into()));
        // The connection is polled in the same task, so every change of state comes by here. The
        // timer is only moved forward at once; when it fires too early, it is set anew.
        poll_fn(|context| {
            loop {
                if let Some(due) = due()
                    && due < sleep.deadline().into_std()
                {
                    sleep.as_mut().reset(due.into());
                }
                ready!(sleep.as_mut().poll(context));
                let now = Instant::now();
                let next = due().unwrap_or(now + limits.idle_timeout);
                if next <= now {
                    return Poll::Ready(());
                }
                sleep.as_mut().reset(next.into());
            }
        })
        .await;
    }
}

/// The watches of all connections that one thread has open on one socket.
#[derive(Debug, Default)]
pub(super) struct Watches {
    open: RefCell<BTreeMap<u64, Rc<Watch>>>,
    accepted: Cell<u64>,
}

/// Takes a watch off the list when its connection has ended.
#[derive(Debug)]
pub(super) struct Place {
    watches: Rc<Watches>,
    number: u64,
    pub(super) watch: Rc<Watch>,
}

impl Watches {
    /// A watch for a new connection.
    pub(super) fn open(self: &Rc<Self>) -> Place {
        let (number, watch) = (self.accepted.get(), Rc::new(Watch::new()));
        self.accepted.set(number + 1);
        self.open.borrow_mut().insert(number, Rc::clone(&watch));
        Place { watches: Rc::clone(self), number, watch }
    }

    /// Tells the connection that has waited longest for a request to end; if there is none, the
    /// one that has waited longest for the rest of a body. One that is being answered is never
    /// told, nor one that waits since a moment ago.
    pub(super) fn make_room(&self) {
        let now = Instant::now();
        let open = self.open.borrow();
        let longest = |waits: fn(State) -> Option<Instant>| {
            let waiting =
                open.values().filter_map(|watch| Some((waits(watch.state.get())?, watch)));
            let longest = waiting.min_by_key(|(since, _)| *since);
            longest.filter(|(since, _)| now.saturating_duration_since(*since) >= ROOM_AFTER)
        };
        let for_request = |state| match state {
            State::Idle(since) | State::Head(since) => Some(since),
            State::Body(_) | State::Busy => None,
        };
        let for_body = |state| match state {
            State::Body(since) => Some(since),
            State::Idle(_) | State::Head(_) | State::Busy => None,
        };
        if let Some((_, watch)) = longest(for_request).or_else(|| longest(for_body)) {
            watch.end.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watches.open.borrow_mut().remove(&self.number);
    }
}

/// A connection that tells its watch when bytes come.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    watch: Rc<Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: &Rc<Watch>) -> Self {
        Self { stream, watch: Rc::clone(watch) }
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, cursor) else {
            self.watch.bytes_are_awaited();
            return Poll::Pending;
        };
        read?;
        // Or their end did: then hyper ends the connection by itself.
        self.watch.bytes_came();
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
