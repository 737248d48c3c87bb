//! How far the sources may go, and where the relay is: what the schedule and its sources share.
//!
//! The schedule moves on by what the sources have written, never by time.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the sources may take for what a step grants them, on a machine that is very busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A relay that takes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 0.
    pub(crate) life: usize,
    pub(crate) http: SocketAddr,
    pub(crate) udp: SocketAddr,
}

#[derive(Debug, Default)]
struct State {
    place: Option<Place>,
    /// Lines that each source may have written, in all.
    granted: usize,
    written: Vec<usize>,
    over: bool,
}

/// Shared by a schedule and its sources.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

impl Pace {
    pub(crate) fn new(sources: usize) -> Self {
        let state = State { written: vec![0; sources], ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the relay is now, if it runs.
    pub(crate) fn set_place(&self, place: Option<Place>) {
        self.lock().place = place;
        self.changed.notify_all();
    }

    /// Lets each source write so many more lines.
    pub(crate) fn grant(&self, lines: usize) {
        self.lock().granted += lines;
        self.changed.notify_all();
    }

    /// No source writes any more.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// Waits until the sources have written this share of what they may, in percent. `false` if
    /// they do not get on.
    pub(crate) fn wait_for(&self, percent: usize) -> bool {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        loop {
            let written: usize = state.written.iter().sum();
            if written * 100 >= state.granted * state.written.len() * percent {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until this source may write; gives how many lines, at least one, and where to.
    /// `None` at the end.
    pub(crate) fn next(&self, source: usize) -> Option<(usize, Place)> {
        let may = |state: &State| state.place.filter(|_| state.granted > state.written[source]);
        let state = self
            .changed
            .wait_while(self.lock(), |state| !state.over && may(state).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return None;
        }
        may(&state).map(|place| (state.granted - state.written[source], place))
    }

    /// This source has written so many lines, however that ended.
    pub(crate) fn wrote(&self, source: usize, lines: usize) {
        self.lock().written[source] += lines;
        self.changed.notify_all();
    }

    /// This source cannot reach the relay there: it waits for another one.
    pub(crate) fn wait_for_another(&self, place: Place) {
        let same = |state: &mut State| !state.over && state.place == Some(place);
        drop(self.changed.wait_timeout_while(self.lock(), DEADLINE, same));
    }
}
