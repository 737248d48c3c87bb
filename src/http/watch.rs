//! How long a connection may be idle, and how long it may dawdle over a request; which connection
//! makes room for others.
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
/// Nor one whose body is coming before it has come for this long.
const ROOM_AFTER_BODY: Duration = Duration::from_secs(10);
/// While the relay stops, a client gets no longer than this to go on with what it began.
const HURRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of a request has come, since then; the answer before may still be on its way.
    Idle(Instant),
    /// The head of a request is coming, since then.
    Head(Instant),
    /// The body of a request is coming, since then.
    Body { since: Instant, last: Instant },
    /// A request is being answered.
    Busy,
    /// As `Busy`, and the client has closed its end: since then, for all that is known, it is gone.
    Left(Instant),
    /// It is being closed.
    Ending,
}

/// How long a connection may be in each state; one without a limit may be for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    idle: Duration,
    head: Duration,
    /// Since the last bytes of a body.
    body: Option<Duration>,
}

impl Patience {
    /// While the relay runs. Whoever reads a body bounds its pauses, and answers then.
    pub(super) fn running(limits: &Connections) -> Self {
        Self { idle: limits.idle_timeout, head: limits.head_timeout, body: None }
    }

    /// While it stops.
    pub(super) const STOPPING: Self = Self { idle: HURRY, head: HURRY, body: Some(HURRY) };
}

/// What one connection waits for.
#[derive(Debug)]
pub(super) struct Watch {
    state: Cell<State>,
    end: Notify,
}

impl Watch {
    fn new() -> Self {
        Self { state: Cell::new(State::Idle(Instant::now())), end: Notify::new() }
    }

    /// A whole head has come; a body follows, or none.
    pub(super) fn head_came(&self, body_follows: bool) {
        let now = Instant::now();
        let body = State::Body { since: now, last: now };
        self.state.set(if body_follows { body } else { State::Busy });
    }

    /// The body has come, or is not read any further.
    pub(super) fn body_came(&self) {
        if matches!(self.state.get(), State::Body { .. }) {
            self.state.set(State::Busy);
        }
    }

    /// The client has closed its end while it waits for its answer.
    pub(super) fn left(&self) {
        if matches!(self.state.get(), State::Busy) {
            self.state.set(State::Left(Instant::now()));
        }
    }

    /// The request is answered.
    pub(super) fn idle(&self) {
        self.state.set(State::Idle(Instant::now()));
    }

    /// The connection is being closed: it need not be told to make room.
    pub(super) fn ending(&self) {
        self.state.set(State::Ending);
    }

    fn bytes_came(&self) {
        match self.state.get() {
            State::Idle(_) => self.state.set(State::Head(Instant::now())),
            State::Body { since, .. } => {
                self.state.set(State::Body { since, last: Instant::now() });
            }
            _ => {}
        }
    }

    /// Ends when the connection has waited for too long, or shall make room.
    pub(super) async fn expired(&self, patience: Patience) {
        tokio::select! {
            () = self.room_wanted() => {}
            () = self.overdue(patience) => {}
        }
    }

    /// Ends when the connection shall make room, unless a request or an answer came meanwhile.
    pub(super) async fn room_wanted(&self) {
        loop {
            self.end.notified().await;
            if matches!(self.state.get(), State::Ending) {
                return;
            }
        }
    }

    async fn overdue(&self, patience: Patience) {
        let due = || match self.state.get() {
            State::Idle(since) => Some(since + patience.idle),
            State::Head(since) => Some(since + patience.head),
            State::Body { last, .. } => patience.body.map(|pause| last + pause),
            State::Busy | State::Left(_) | State::Ending => None,
        };
        let mut sleep = pin!(sleep_until((Instant::now() + patience.idle).into()));
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
                let next = due().unwrap_or(now + patience.idle);
                if next <= now {
                    return Poll::Ready(());
                }
                sleep.as_mut().reset(next.into());
            }
        })
        .await;
    }

    /// How readily it is ended to make room, the least first: idle ones, then those whose clients
    /// are gone, then those whose bodies dribble in. `None` if it must not be.
    fn expendable(&self, now: Instant) -> Option<(u8, Instant)> {
        let (rank, since, after) = match self.state.get() {
            State::Idle(since) | State::Head(since) => (0, since, ROOM_AFTER),
            State::Left(since) => (1, since, ROOM_AFTER),
            State::Body { since, .. } => (2, since, ROOM_AFTER_BODY),
            State::Busy | State::Ending => return None,
        };
        (now.saturating_duration_since(since) >= after).then_some((rank, since))
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

    /// Tells the connection that is missed least to end, and answers whether there is one. One
    /// that is being answered is never told, nor one that waits since a moment ago.
    pub(super) fn make_room(&self) -> bool {
        let now = Instant::now();
        let open = self.open.borrow();
        let least = open.values().filter_map(|watch| Some((watch.expendable(now)?, watch)));
        let Some((_, watch)) = least.min_by_key(|(rank, _)| *rank) else { return false };
        watch.ending();
        watch.end.notify_one();
        true
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
        ready!(Pin::new(&mut self.stream).poll_read(context, cursor))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A state and how a watch gets into it.
    type Case = (&'static str, fn(&Watch));

    /// The state that would be told to end after `after`, if any of these would.
    fn told(states: &[Case], after: Duration) -> String {
        let later = Instant::now() + after;
        let watches = states.iter().map(|(name, set)| {
            let watch = Watch::new();
            set(&watch);
            (*name, watch)
        });
        let watches: Vec<_> = watches.collect();
        let least =
            watches.iter().filter_map(|(name, watch)| Some((watch.expendable(later)?, name)));
        least.min().map_or_else(String::new, |(_, name)| (*name).to_owned())
    }

    const BUSY: Case = ("busy", |watch| watch.head_came(false));
    const LEFT: Case = ("left", |watch| {
        watch.head_came(false);
        watch.left();
    });
    const BODY: Case = ("body", |watch| {
        watch.head_came(true);
        watch.bytes_came();
        watch.left();
    });
    const READ: Case = ("read", |watch| {
        watch.head_came(true);
        watch.body_came();
    });
    const HEAD: Case = ("head", Watch::bytes_came);
    const ENDING: Case = ("ending", Watch::ending);

    #[test]
    fn who_is_missed_least_makes_room() {
        let (second, minute) = (Duration::from_millis(1_001), Duration::from_secs(60));
        assert_eq!(told(&[BUSY, READ, LEFT, BODY, HEAD], second), "head");
        assert_eq!(told(&[BUSY, READ, BODY, LEFT], second), "left");
        assert_eq!(told(&[BUSY, READ, BODY], second), "", "it may be a large one");
        assert_eq!(told(&[BUSY, READ, BODY], minute), "body");
        assert_eq!(told(&[BUSY, READ, ENDING], minute), "");
        assert_eq!(told(&[LEFT, HEAD], Duration::from_millis(500)), "", "a moment ago");
    }

    #[test]
    fn each_connection_is_told_once() {
        let watches = Rc::<Watches>::default();
        let busy = watches.open();
        busy.watch.head_came(false);
        let idle = watches.open();
        let long_ago = Instant::now().checked_sub(2 * ROOM_AFTER).expect("the clock runs for long");
        idle.watch.state.set(State::Idle(long_ago));
        assert!(watches.make_room());
        assert!(!watches.make_room(), "it is ending already");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let is_ended = |watch: &Watch| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = watch.room_wanted() => true,
                    () = tokio::task::yield_now() => false,
                }
            })
        };
        idle.watch.head_came(false);
        assert!(!is_ended(&idle.watch), "a request came meanwhile");
        idle.watch.state.set(State::Idle(long_ago));
        assert!(watches.make_room() && is_ended(&idle.watch));
        assert!(!is_ended(&busy.watch));
    }
}
