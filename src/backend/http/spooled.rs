//! What of the backlog is on disk: a copy of all that is kept, and what memory has no room for.
//!
//! Called by the backlog. The spool has what is kept in the order in which it was kept. Up to a
//! cursor it is in memory too; behind the cursor it is on disk alone. Only a destination that
//! waits for its own sake may lag: what is behind of it is passed by, so that others go on, and
//! has a cursor of its own. Decides when clients may be told that their writes are kept; the sync
//! itself is run by the sender loop.

use super::held::Waiter;
use crate::answers::Wakes;
use crate::config::Fsync;
use crate::metrics::{self, Drop};
use crate::spool::{Cursor, Kept, Limits, Place, Record, Spool, State, Tally, Trimmed, Why};
use crate::sys;
use crate::write::{Answer, Destination, Write};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a spool is synced by `fsync = "interval"`, searched for what is too old, and read
/// again after its disk failed.
const TICK: Duration = Duration::from_secs(1);
/// How long after the last sync the next one begins by `fsync = "always"`, if no client waits.
const PAUSE: Duration = Duration::from_millis(20);

/// One backend's spool, and where memory is in it.
#[derive(Debug)]
pub(super) struct Spooled {
    spool: Spool,
    fsync: Fsync,
    metrics: Arc<metrics::Backend>,
    /// What is behind it is on disk alone.
    cursor: Cursor,
    /// What is behind these, of their places and up to `cursor`, is on disk alone.
    lagging: HashMap<Arc<Destination>, Cursor>,
    /// Segments that were dropped, and why, of which memory may still have writes.
    trimmed: Vec<(u64, Drop)>,
    /// Clients that are told when a record is durable.
    promises: Vec<(Place, Waiter, Answer)>,
    /// Of what is up to here a sync has failed: a later one says nothing about it.
    doubtful: Option<Place>,
    /// Something was appended or settled since the last sync began.
    dirty: bool,
    /// A sync runs.
    committing: bool,
    /// When the last one began.
    began: Instant,
    ticked: Instant,
    /// The disk failed to be read at the last try.
    unreadable: bool,
    /// What is too old is dropped.
    ages: bool,
}

/// Files to be synced.
pub(super) type Commit = crate::spool::Commit<File>;

impl Spooled {
    pub(super) fn new(spool: Spool, fsync: Fsync, metrics: Arc<metrics::Backend>) -> Self {
        Self {
            cursor: spool.head(),
            fsync,
            metrics,
            lagging: HashMap::new(),
            trimmed: Vec::new(),
            promises: Vec::new(),
            doubtful: None,
            dirty: false,
            committing: false,
            began: Instant::now(),
            ticked: Instant::now(),
            unreadable: false,
            ages: spool.limits().age_max.is_some(),
            spool,
        }
    }

    /// From now on keeps within `limits`, and syncs by `fsync`.
    pub(super) fn set(&mut self, limits: Limits, fsync: Fsync) {
        self.ages = limits.age_max.is_some();
        self.spool.set_limits(limits);
        self.fsync = fsync;
    }

    /// Whether anything is on disk alone.
    pub(super) fn has_unread(&self) -> bool {
        !self.spool.is_at_end(&self.cursor) || !self.lagging.is_empty()
    }

    /// Whether what comes for a destination must queue behind something that is on disk alone.
    pub(super) fn has_unread_before(&self, destination: &Destination) -> bool {
        !self.spool.is_at_end(&self.cursor) || self.lags(destination)
    }

    fn lags(&self, destination: &Destination) -> bool {
        !self.lagging.is_empty() && self.lagging.contains_key(&destination.place())
    }

    /// Whether a segment is there.
    pub(super) fn has(&self, segment: u64) -> bool {
        self.spool.has(segment)
    }

    /// Whether a client may be told that its write is kept only when that is on the disk.
    pub(super) fn syncs_always(&self) -> bool {
        self.fsync == Fsync::Always
    }

    /// Writes a write to the spool; it stays in memory too, or does not.
    pub(super) fn append(
        &mut self,
        write: &Write,
        kept_s: u64,
        in_memory: bool,
    ) -> io::Result<Place> {
        // A turn may bring more than there is room for: the oldest goes, not the newest.
        self.trim(kept_s);
        let record = Record { destination: &write.destination, batch: &write.batch, kept_s };
        let at_end = self.spool.is_at_end(&self.cursor);
        let state = if in_memory { State::Held } else { State::Unread };
        let place = self.spool.append(&record, state).inspect_err(|error| self.failed(error))?;
        if at_end && (in_memory || self.lags(&write.destination)) {
            self.cursor = self.spool.tail();
        }
        self.dirty = true;
        self.metrics.spool.lines.add(write.batch.lines());
        Ok(place)
    }

    /// Gives `answer` to a client when its write is as safe as the configuration promises. If that
    /// is not on disk any more, or may not be, the client is told that it is unavailable.
    pub(super) fn promise(
        &mut self,
        place: Place,
        waiter: Waiter,
        answer: Answer,
        wakes: &mut Wakes,
    ) {
        let waits = self.syncs_always() && waiter.waits();
        let is_doubtful = waits && Some(place) <= self.doubtful;
        if is_doubtful || !self.has(place.segment()) {
            waiter.answer(Answer::Unavailable, wakes);
        } else if waits {
            self.promises.push((place, waiter, answer));
            // It may be durable already: the end of the turn finds out.
            self.dirty = true;
        } else {
            waiter.answer(answer, wakes);
        }
    }

    /// Reads the next write that is on disk alone into memory, but none to a place that
    /// `is_blocked`.
    pub(super) fn read(&mut self, is_blocked: impl Fn(&Destination) -> bool) -> Option<Kept> {
        if self.unreadable {
            return None;
        }
        let read = self.try_read(is_blocked);
        read.inspect_err(|error| {
            self.failed(error);
            self.unreadable = true;
        })
        .unwrap_or_default()
    }

    fn try_read(&mut self, is_blocked: impl Fn(&Destination) -> bool) -> io::Result<Option<Kept>> {
        let free = self.lagging.keys().filter(|place| !is_blocked(place));
        for place in free.cloned().collect::<Vec<_>>() {
            let from = self.lagging.get_mut(&place).expect("it lags");
            let mut wanted = |of: &Destination| of.place() == *place;
            let upto = self.cursor.clone();
            match self.spool.read(from, Some(&upto), &mut wanted)? {
                None => self.lagging.remove(&place),
                read => return Ok(read),
            };
        }
        let (start, lagging) = (self.cursor.clone(), &mut self.lagging);
        let mut wanted = |of: &Destination| {
            let place = of.place();
            if lagging.contains_key(&place) {
                return false;
            }
            let is_free = !is_blocked(&place);
            if !is_free {
                lagging.insert(Arc::new(place), start.clone());
            }
            is_free
        };
        self.spool.read(&mut self.cursor, None, &mut wanted)
    }

    /// What was in memory is on disk alone again.
    pub(super) fn release(&mut self, at: Place) {
        self.spool.release(at);
    }

    /// What is on disk alone of a place is passed by, and read by itself.
    pub(super) fn lag(&mut self, place: &Arc<Destination>) {
        self.lagging.insert(Arc::clone(place), self.spool.head());
    }

    /// Takes note that a write needs no more sending.
    pub(super) fn settle(&mut self, place: Place) {
        // Marks that a power cut takes would have old points written over newer ones.
        self.dirty = true;
        if let Err(error) = self.spool.settle(place) {
            self.failed(&error);
        }
    }

    /// Ends a turn: writes what was noted, and drops what is too much or too old. Gives the
    /// segments that were dropped in it, whose writes are to be dropped from memory too.
    pub(super) fn end_turn(&mut self, now: Instant) -> Vec<(u64, Drop)> {
        if let Err(error) = self.spool.flush_marks() {
            self.failed(&error);
        }
        if now >= self.ticked + TICK {
            self.unreadable = false;
        }
        self.trim(sys::now_s());
        let lost = self.spool.take_lost();
        self.drop_unread(Drop::SpoolFailed, lost.lines, lost.opaque);
        let damaged = &self.metrics.spool.damaged;
        damaged.add(self.spool.corrupt() - damaged.get());
        self.metrics.spool.set_bytes(self.spool.bytes());
        std::mem::take(&mut self.trimmed)
    }

    fn trim(&mut self, now_s: u64) {
        while let Some(Trimmed { segment, unread_lines, unread_opaque, why, .. }) =
            self.spool.trim(now_s)
        {
            let why = match why {
                Why::Size => Drop::SpoolFull,
                Why::Age => Drop::SpoolAged,
            };
            self.drop_unread(why, unread_lines, unread_opaque);
            self.trimmed.push((segment, why));
            self.keep_promises(|place| place.segment() == segment, false);
        }
    }

    fn drop_unread(&self, why: Drop, lines: u64, opaque: u64) {
        self.metrics.drop_lines(why, lines);
        self.metrics.owed.settle_spilled(lines);
        self.metrics.opaque.dropped[why as usize].add(opaque);
        self.metrics.opaque.queued.sub(opaque);
    }

    /// A sync that is due: to be run, and then told to [`committed`](Self::committed).
    pub(super) fn commit(&mut self, now: Instant) -> Option<Commit> {
        let ticks = now >= self.ticked + TICK;
        if ticks {
            self.ticked = now;
        }
        let due = match self.fsync {
            Fsync::Always => !self.promises.is_empty() || now >= self.began + PAUSE,
            Fsync::Interval => ticks,
            // But for clients who were promised a disk before that changed.
            Fsync::Never => !self.promises.is_empty(),
        };
        if !due || !self.dirty || self.committing {
            return None;
        }
        self.began = now;
        match self.spool.unsynced() {
            Ok(Some(commit)) => {
                self.dirty = false;
                self.committing = true;
                return Some(commit);
            }
            Ok(None) => {
                self.dirty = false;
                self.keep_promises(|_| true, true);
            }
            Err(error) => {
                self.failed(&error);
                self.keep_promises(|_| true, false);
            }
        }
        None
    }

    /// Tells clients what became of the sync.
    pub(super) fn committed(&mut self, commit: Commit, ended: io::Result<()>) {
        self.committing = false;
        self.keep_promises(|place| commit.covers(place), ended.is_ok());
        // There is more of it than one sync takes, or what came meanwhile.
        self.dirty |= !self.promises.is_empty();
        match ended {
            Ok(()) => self.spool.synced(commit),
            Err(error) => {
                self.failed(&error);
                self.doubtful = self.doubtful.max(commit.upto());
                self.spool.sync_failed(commit);
            }
        }
    }

    /// Tells the clients of these records that they are durable, or unavailable.
    fn keep_promises(&mut self, of: impl Fn(Place) -> bool, durable: bool) {
        let mut wakes = Wakes::default();
        // What was taken in front of others may be promised behind them.
        for (place, waiter, answer) in std::mem::take(&mut self.promises) {
            match of(place) {
                true if durable => waiter.answer(answer, &mut wakes),
                true => waiter.answer(Answer::Unavailable, &mut wakes),
                false => self.promises.push((place, waiter, answer)),
            }
        }
    }

    /// When [`end_turn`](Self::end_turn) and [`commit`](Self::commit) are to be called again,
    /// whatever else happens.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let unsynced = self.fsync == Fsync::Interval && self.dirty;
        let ages = self.ages && self.spool.segments() > 0;
        let tick = (unsynced || self.unreadable || ages).then(|| self.ticked + TICK);
        // The end of one that runs is an event by itself.
        let waits = self.syncs_always() && self.dirty && !self.committing;
        let pause = waits.then(|| self.began + PAUSE);
        tick.into_iter().chain(pause).min()
    }

    /// Forgets what is on disk alone, and takes it off the disk; `each` sees it first.
    pub(super) fn flush(&mut self, mut each: impl FnMut(&Kept)) {
        while let Some(kept) = self.read(|_| false) {
            each(&kept);
            self.settle(kept.place);
        }
    }

    /// The relay ends: what is on disk stays there. No sync runs any more. Waits for the disk.
    pub(super) fn close(&mut self) {
        debug_assert!(!self.committing, "what it covers would not be synced, and be promised");
        let ended = self.spool.flush_marks().and_then(|()| self.sync_all());
        if let Err(error) = &ended {
            self.failed(error);
        }
        self.keep_promises(|_| true, ended.is_ok());
        let Tally { lines, opaque, .. } = self.spool.unread();
        self.leave(lines, opaque);
        self.metrics.owed.settle_spilled(lines);
        self.metrics.spool.set_bytes(self.spool.bytes());
    }

    fn sync_all(&mut self) -> io::Result<()> {
        if self.fsync == Fsync::Never {
            return Ok(());
        }
        while let Some(commit) = self.spool.unsynced()? {
            match commit.sync() {
                Ok(()) => self.spool.synced(commit),
                Err(error) => {
                    self.spool.sync_failed(commit);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Counts what stays on the disk when the relay ends.
    pub(super) fn leave(&self, lines: u64, opaque: u64) {
        self.metrics.spool.left.add(lines);
        self.metrics.spool.opaque_left.add(opaque);
        self.metrics.opaque.queued.sub(opaque);
    }

    fn failed(&self, error: &io::Error) {
        if self.metrics.spool.errors.get() == 0 {
            let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
            tracing::error!(
                relay, backend, %error,
                "the spool's disk fails; more such errors are counted in \
                 ringrelay_backend_spool_errors_total"
            );
        }
        self.metrics.spool.errors.add(1);
    }
}

#[cfg(test)]
pub(super) mod tests;
