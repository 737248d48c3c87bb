//! Which writes share a request, and in which order requests leave.
//!
//! Called by the sender loop. Pure: no I/O, and the time comes in. A lane is what waits for one
//! place: at most one request of it is in flight, in the order of its writes; what comes meanwhile
//! is merged into the next one, as far as neighbours can be. A lane exists only while it holds
//! something. It is ready, in flight, held until a time, or, between [`Lanes::put_back`] and the
//! call that says what becomes of it, at rest.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

/// So many in a row that fail for what they hold are found out one by one.
const LEAP_MAX: usize = 256;

/// All destinations that have something waiting or in flight.
#[derive(Debug)]
pub(super) struct Lanes<K, T> {
    lanes: HashMap<K, Lane<T>>,
    /// Lanes with something waiting, nothing in flight and no time to wait for, longest ready
    /// first.
    ready: VecDeque<K>,
    /// Lanes that wait for a time. The number tells apart those of one time.
    held: BTreeMap<(Instant, u64), K>,
    held_count: u64,
    bytes: fn(&T) -> u64,
    merges: fn(&T, &T) -> bool,
}

#[derive(Debug)]
struct Lane<T> {
    flight: Vec<T>,
    waiting: VecDeque<T>,
    /// How many at the head of `waiting` go together, request by request: what failed together is
    /// tried again in halves.
    pieces: VecDeque<usize>,
    /// How often the first of `waiting` has failed alone, in a row.
    failed_alone: u32,
    /// What is in flight went past so many of `waiting`, if any.
    leaps: usize,
    /// How many the last that went past the first of `waiting` went past, and failed too.
    leapt: usize,
    /// The backend took what went past the first of `waiting`: if that fails once more, alone, it
    /// is the culprit.
    on_trial: bool,
    /// It was on trial, and failed.
    condemned: bool,
}

impl<T> Lane<T> {
    fn new(item: T) -> Self {
        let (flight, pieces) = (Vec::new(), VecDeque::new());
        Self {
            flight,
            waiting: VecDeque::from([item]),
            pieces,
            failed_alone: 0,
            leaps: 0,
            leapt: 0,
            on_trial: false,
            condemned: false,
        }
    }

    /// Looks at all that waits, and takes out what is not to be kept.
    fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let (mut at, mut passed, leaps) = (0, 0, self.leaps);
        let mut first_stays = true;
        self.waiting.retain_mut(|item| {
            let stays = keep(item);
            first_stays &= stays || at > 0;
            passed += usize::from(stays && at < leaps);
            at += 1;
            stays
        });
        self.leaps = passed;
        if !first_stays {
            // What is known of the first is not known of the next.
            (self.leapt, self.failed_alone, self.on_trial) = (0, 0, false);
        }
    }

    /// Puts what is in flight back where it was taken.
    fn put_back(&mut self) {
        let leaps = std::mem::take(&mut self.leaps);
        if leaps > 0 {
            let item = self.flight.pop().expect("one item leaps");
            self.waiting.insert(self.waiting.len().min(leaps), item);
            self.pieces.insert(self.pieces.len().min(leaps), 1);
            return;
        }
        match self.flight.len() {
            0 => {}
            1 => self.pieces.push_front(1),
            len => {
                self.pieces.push_front(len - len.div_ceil(2));
                self.pieces.push_front(len.div_ceil(2));
            }
        }
        for item in self.flight.drain(..).rev() {
            self.waiting.push_front(item);
        }
    }
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// No lanes yet. `bytes` gives what an item adds to a request, `merges` whether two of a lane
    /// can be in the same one.
    pub(super) fn new(bytes: fn(&T) -> u64, merges: fn(&T, &T) -> bool) -> Self {
        let (lanes, ready, held) = Default::default();
        Self { lanes, ready, held, held_count: 0, bytes, merges }
    }

    /// Adds an item behind all others of its destination.
    pub(super) fn push(&mut self, key: &K, item: T) {
        match self.lanes.entry(key.clone()) {
            Entry::Occupied(mut lane) => lane.get_mut().waiting.push_back(item),
            Entry::Vacant(vacant) => {
                vacant.insert(Lane::new(item));
                self.ready.push_back(key.clone());
            }
        }
    }

    /// Puts a request in flight: what waits in the lane that was ready first, up to `bytes_max`
    /// but at least one item. `None` if no lane is ready.
    pub(super) fn start(&mut self, bytes_max: u64) -> Option<K> {
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key).expect("a ready lane has something waiting");
        let first = lane.waiting.pop_front().expect("a ready lane has something waiting");
        let mut bytes = (self.bytes)(&first);
        lane.flight.push(first);
        let items_max = lane.pieces.pop_front().unwrap_or(usize::MAX);
        while lane.flight.len() < items_max
            && let Some(next) = lane.waiting.front()
        {
            bytes += (self.bytes)(next);
            if bytes > bytes_max || !(self.merges)(&lane.flight[0], next) {
                break;
            }
            lane.flight.extend(lane.waiting.pop_front());
        }
        Some(key)
    }

    /// Whether a destination has anything.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.lanes.contains_key(key)
    }

    /// What is in flight for a destination.
    pub(super) fn flight(&self, key: &K) -> &[T] {
        self.lanes.get(key).map_or(&[], |lane| &lane.flight)
    }

    /// The last that waits for a destination.
    pub(super) fn last_waiting(&self, key: &K) -> Option<&T> {
        self.lanes.get(key)?.waiting.back()
    }

    /// Ends the request in flight of a destination and gives what was in it.
    pub(super) fn finish(&mut self, key: &K) -> Vec<T> {
        let Some(lane) = self.lanes.get_mut(key) else { return Vec::new() };
        let flight = std::mem::take(&mut lane.flight);
        if std::mem::take(&mut lane.leaps) == 0 {
            (lane.leapt, lane.failed_alone, lane.on_trial) = (0, 0, false);
        }
        self.release(key);
        flight
    }

    /// Ends the request in flight; its items are at the head again, and go in halves from now on.
    /// The lane is at rest until [`release`](Self::release), [`hold`](Self::hold) or
    /// [`leap`](Self::leap). If one item went alone and `counts`, its failures are counted, and
    /// forgotten otherwise.
    pub(super) fn put_back(&mut self, key: &K, counts: bool) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.condemned = false;
        if lane.leaps == 0 {
            let fails_alone = counts && lane.flight.len() == 1;
            lane.failed_alone = if fails_alone { lane.failed_alone + 1 } else { 0 };
            lane.condemned = std::mem::take(&mut lane.on_trial) && fails_alone;
        }
        lane.put_back();
    }

    /// Takes out the only item in flight; its lane is at rest.
    pub(super) fn take_flight(&mut self, key: &K) -> Option<T> {
        let lane = self.lanes.get_mut(key)?;
        debug_assert_eq!(lane.flight.len(), 1);
        lane.on_trial &= lane.leaps > 0;
        lane.flight.pop()
    }

    /// Puts `parts` where what was taken out came from.
    pub(super) fn put_back_parts(&mut self, key: &K, parts: impl IntoIterator<Item = T>) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let at = std::mem::take(&mut lane.leaps);
        for (i, part) in parts.into_iter().enumerate() {
            lane.waiting.insert(at + i, part);
            lane.pieces.insert((at + i).min(lane.pieces.len()), 1);
        }
    }

    /// Whether what is in flight for a destination went past the first that waits.
    pub(super) fn leaps(&self, key: &K) -> bool {
        self.lanes.get(key).is_some_and(|lane| lane.leaps > 0)
    }

    /// Puts the second item of a lane at rest in flight, if the first has failed alone at least
    /// `failed_min` times and there is a second one. The next time it is the one behind that, as
    /// those between may fail for what they hold too.
    pub(super) fn leap(&mut self, key: &K, failed_min: u32) -> bool {
        let Some(lane) = self.lanes.get_mut(key) else { return false };
        if lane.failed_alone < failed_min || lane.waiting.len() < 2 {
            return false;
        }
        // Behind the last it starts anew.
        let last = (lane.waiting.len() - 1).min(LEAP_MAX);
        let at = if lane.leapt < last { lane.leapt + 1 } else { 1 };
        lane.flight.extend(lane.waiting.remove(at));
        // What it goes past is to be tried one by one.
        lane.pieces = std::iter::repeat_n(1, at).collect();
        (lane.leaps, lane.leapt) = (at, at);
        true
    }

    /// The backend took what is in flight, which went past others: the first of those is tried once
    /// more, and what is in flight goes back behind them, to have the last word. The lane is at
    /// rest then. `false` if it went past none.
    pub(super) fn try_overtaken(&mut self, key: &K) -> bool {
        let Some(lane) = self.lanes.get_mut(key).filter(|lane| lane.leaps > 0) else {
            return false;
        };
        lane.put_back();
        (lane.leapt, lane.on_trial) = (0, true);
        true
    }

    /// Takes out what was tried once more, after the backend took what had gone past it, and that
    /// [`put_back`](Self::put_back) found to fail again.
    pub(super) fn take_condemned(&mut self, key: &K) -> Option<T> {
        let lane = self.lanes.get_mut(key).filter(|lane| lane.condemned)?;
        (lane.condemned, lane.failed_alone) = (false, 0);
        lane.pieces.pop_front();
        lane.waiting.pop_front()
    }

    /// Makes a lane at rest ready, behind all others. An empty one ends.
    pub(super) fn release(&mut self, key: &K) {
        let Some(lane) = self.lanes.get(key) else { return };
        if lane.waiting.is_empty() {
            self.lanes.remove(key);
        } else {
            self.ready.push_back(key.clone());
        }
    }

    /// Keeps a lane at rest from being ready before `until`. An empty one ends.
    pub(super) fn hold(&mut self, key: &K, until: Instant) {
        let Some(lane) = self.lanes.get(key) else { return };
        if lane.waiting.is_empty() {
            self.lanes.remove(key);
        } else {
            self.held_count += 1;
            self.held.insert((until, self.held_count), key.clone());
        }
    }

    /// When the next held lane becomes ready.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.held.first_key_value().map(|(&(until, _), _)| until)
    }

    /// Makes the lanes ready that were held until `now` or earlier.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(first) = self.held.first_entry().filter(|first| first.key().0 <= now) {
            self.ready.push_back(first.remove());
        }
    }

    /// Makes all held lanes ready.
    pub(super) fn wake_all(&mut self) {
        self.ready.extend(std::mem::take(&mut self.held).into_values());
    }

    /// Whether a request can be started.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Looks at all that waits (not at what is in flight), of one destination or of all, each in
    /// its order, and takes out what is not to be kept.
    pub(super) fn retain_waiting(
        &mut self,
        key: Option<&K>,
        mut keep: impl FnMut(&K, &mut T) -> bool,
    ) {
        match key {
            // A lane at rest may be left empty: the call that follows ends it.
            Some(key) => {
                if let Some(lane) = self.lanes.get_mut(key) {
                    lane.retain(|item| keep(key, item));
                }
            }
            None => {
                for (key, lane) in &mut self.lanes {
                    lane.retain(|item| keep(key, item));
                }
                self.lanes.retain(|_, lane| !lane.waiting.is_empty() || !lane.flight.is_empty());
                let lanes = &self.lanes;
                let waits = |key: &K| lanes.get(key).is_some_and(|lane| !lane.waiting.is_empty());
                self.ready.retain(waits);
                self.held.retain(|_, key| waits(key));
            }
        }
    }

    /// All that is in flight, each destination's in its order.
    pub(super) fn in_flight(&mut self) -> impl Iterator<Item = &mut T> {
        self.lanes.values_mut().flat_map(|lane| &mut lane.flight)
    }

    /// All of a destination: what is in flight, and then what waits. In its order, but for what
    /// went past others.
    pub(super) fn all_of(&mut self, key: &K) -> impl Iterator<Item = &mut T> {
        let lane = self.lanes.get_mut(key).into_iter();
        lane.flat_map(|lane| lane.flight.iter_mut().chain(&mut lane.waiting))
    }

    /// Takes out what waits, and forgets all about it; what is in flight stays.
    pub(super) fn take_waiting(&mut self) -> Vec<T> {
        self.ready.clear();
        self.held.clear();
        let mut taken = Vec::new();
        self.lanes.retain(|_, lane| {
            taken.extend(lane.waiting.drain(..));
            lane.pieces.clear();
            // What it went past is gone: the next to come must not be taken for it.
            (lane.leaps, lane.leapt, lane.failed_alone, lane.on_trial) = (0, 0, 0, false);
            !lane.flight.is_empty()
        });
        taken
    }

    /// Takes everything out, in flight or waiting, each destination's items in their order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.ready.clear();
        self.held.clear();
        self.lanes.drain().flat_map(|(_, mut lane)| {
            lane.put_back();
            lane.waiting
        })
    }

    /// How many destinations have anything.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether nothing waits and nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests;
