//! What is kept while the backend fails: how much of it, since when, and what becomes of it.
//!
//! Called by the sender loop. A [`Held`] write knows what it is charged and whether it is kept;
//! the [`Backlog`] counts, and sees to it that what is kept is on disk too if there is a spool.
//! Their order is the lanes' business.

mod leave;

use super::held::{Held, Stored};
use super::spooled::Spooled;
use crate::answers::Wakes;
use crate::backend::{self, Outcome};
use crate::metrics;
use crate::spool::{self, Place};
use crate::sys;
use crate::write::{Answer, Destination, Write};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a write is that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    InMemory,
    /// It is the spool's alone now, and its owner is to forget it.
    OnDisk,
    /// Nowhere, for this reason: it is still to be settled.
    No(metrics::Drop),
}

/// How much of the backlog a write may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// The backend is down: all of it.
    All,
    /// The backend takes other destinations, and needs room for the next time it is down.
    Half,
}

/// The account of what is kept.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes_max: u64,
    metrics: Arc<metrics::Backend>,
    /// How many of the kept writes in memory were taken in which second.
    ages: BTreeMap<u64, u64>,
    spool: Option<Spooled>,
    /// Clients that were answered, and are to be told.
    wakes: Wakes,
    /// It was said, since it was empty last, that it drops for these reasons.
    told: Vec<metrics::Drop>,
}

impl Backlog {
    /// At most `bytes_max` bytes of memory; 0 keeps nothing. With a spool, all of it is on disk
    /// too, and more.
    pub(super) fn new(
        bytes_max: u64,
        spool: Option<Spooled>,
        metrics: Arc<metrics::Backend>,
    ) -> Self {
        let (ages, wakes, told) = Default::default();
        Self { bytes_max, metrics, ages, spool, wakes, told }
    }

    /// From now on keeps at most `bytes_max` bytes in memory. More than that may be there already.
    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// What of it is on disk, if any may be.
    pub(super) fn spool(&mut self) -> Option<&mut Spooled> {
        self.spool.as_mut()
    }

    /// Takes a write into the backlog, and answers its client with `answer` as soon as that is
    /// true. One that is there already stays.
    pub(super) fn keep(&mut self, held: &mut Held, share: Share, answer: Answer) -> Kept {
        if !held.is_kept() {
            let kept = self.take(held, share);
            if !matches!(kept, Kept::No(_)) {
                self.answer_kept(held, answer);
            }
            return kept;
        }
        self.answer_kept(held, answer);
        Kept::InMemory
    }

    /// Takes a write that is in flight, or waits for its turn, into the backlog because what is
    /// behind it will be: after a restart, it must be in front of that. Its client waits on.
    pub(super) fn keep_in_front(&mut self, held: &mut Held) {
        let Some(spool) = &mut self.spool else { return };
        if held.is_kept() {
            return;
        }
        let now_s = sys::now_s();
        // Appended later, it would be behind: where the disk fails, it is in memory alone.
        let at = spool.append(&held.write, now_s, true).ok();
        self.take_into_memory(held, now_s, at);
    }

    fn take(&mut self, held: &mut Held, share: Share) -> Kept {
        let bytes_max = match share {
            Share::All => self.bytes_max,
            Share::Half => self.bytes_max / 2,
        };
        let has_room = self.metrics.owed.backlog_bytes() + held.bytes <= bytes_max;
        let now_s = sys::now_s();
        let Some(spool) = &mut self.spool else {
            if has_room {
                self.take_into_memory(held, now_s, None);
                return Kept::InMemory;
            }
            self.tell(metrics::Drop::BufferFull);
            return Kept::No(metrics::Drop::BufferFull);
        };
        let in_memory = has_room && !spool.has_unread_before(&held.write.destination);
        match spool.append(&held.write, now_s, in_memory) {
            Ok(at) if in_memory => {
                self.take_into_memory(held, now_s, Some(at));
                Kept::InMemory
            }
            Ok(at) => {
                self.metrics.owed.spill(held.bytes, held.write.batch.lines());
                self.metrics.backlog.lines.add(held.write.batch.lines());
                held.stored = Some(Stored::new(at));
                Kept::OnDisk
            }
            // Better in memory than nowhere, but no client may be promised a disk then.
            Err(_) if in_memory && !(spool.syncs_always() && held.has_client()) => {
                self.take_into_memory(held, now_s, None);
                Kept::InMemory
            }
            Err(_) => Kept::No(metrics::Drop::SpoolFailed),
        }
    }

    /// Says that lines are dropped although they could be kept longer: once for each reason, until
    /// nothing is kept any more.
    pub(super) fn tell(&mut self, why: metrics::Drop) {
        let what = match why {
            metrics::Drop::BufferFull => {
                "the backlog is full: new lines are dropped until the backend is back; \
                 a larger buffer-size-mb, or a spool-dir, would hold more"
            }
            metrics::Drop::SpoolFull => {
                "the spool is full: its oldest lines are dropped; \
                 a larger spool-size-mb would hold more"
            }
            metrics::Drop::SpoolAged => {
                "lines are dropped that have been in the spool for spool-max-age"
            }
            _ => return,
        };
        if !self.told.contains(&why) {
            self.told.push(why);
            let (relay, backend, reason) = (&*self.metrics.relay, &*self.metrics.name, why.label());
            tracing::warn!(relay, backend, reason, "{what}");
        }
    }

    fn take_into_memory(&mut self, held: &mut Held, now_s: u64, at: Option<Place>) {
        self.metrics.owed.keep(held.bytes, held.write.batch.lines());
        self.metrics.backlog.lines.add(held.write.batch.lines());
        held.stored = at.map(Stored::new);
        held.kept_s = Some(now_s);
        *self.ages.entry(now_s).or_default() += 1;
        self.publish();
    }

    fn answer_kept(&mut self, held: &mut Held, answer: Answer) {
        let waiter = held.waiter();
        match (&mut self.spool, &held.stored) {
            (Some(spool), Some(stored)) if matches!(answer, Answer::Buffered) => {
                spool.promise(stored.at, waiter, answer, &mut self.wakes);
            }
            // It is in memory alone.
            (Some(spool), None) if matches!(answer, Answer::Buffered) && spool.syncs_always() => {
                waiter.answer(Answer::Unavailable, &mut self.wakes);
            }
            _ => waiter.answer(answer, &mut self.wakes),
        }
    }

    /// Takes the next write from disk into memory, if there is one and room for it; none to a
    /// destination that `ails` while memory is half full.
    pub(super) fn read(&mut self, ails: impl Fn(&Destination) -> bool) -> Option<Held> {
        let bytes = self.metrics.owed.backlog_bytes();
        let spool = self.spool.as_mut().filter(|spool| spool.has_unread())?;
        if bytes >= self.bytes_max {
            return None;
        }
        let half_full = bytes >= self.bytes_max / 2;
        let spool::Kept { place: at, destination, batch, kept_s } =
            spool.read(|place| half_full && ails(place))?;
        let write = Write { batch, destination, client: None };
        let mut held = Held::new(write);
        self.metrics.owed.unspill(held.bytes);
        held.stored = Some(Stored::new(at));
        held.kept_s = Some(kept_s);
        *self.ages.entry(kept_s).or_default() += 1;
        self.publish();
        Some(held)
    }

    /// Cuts a write in two; gives it back if it is one line.
    pub(super) fn cut(&mut self, held: Held) -> Result<[Held; 2], Box<Held>> {
        let parts = held.cut()?;
        if let Some(age) = parts[0].kept_s.and_then(|kept_s| self.ages.get_mut(&kept_s)) {
            *age += 1;
        }
        Ok(parts)
    }

    /// Whether so much is in memory that what is on disk alone may not be read.
    pub(super) fn is_crowded(&self) -> bool {
        self.has_unread() && self.metrics.owed.backlog_bytes() > self.bytes_max / 4 * 3
    }

    /// Whether a kept write can wait on disk alone.
    pub(super) fn can_evict(&self, held: &Held) -> bool {
        // A part of a write that was cut is not: all of that would be read back.
        let whole = |stored: &Stored| stored.at.lines() == held.write.batch.lines();
        held.stored.as_deref().is_some_and(whole) && self.is_stored(held)
    }

    /// Leaves a write to the disk alone. Its owner forgets it.
    pub(super) fn evict(&mut self, held: &mut Held) {
        if let (Some(spool), Some(stored)) = (&mut self.spool, held.stored.take()) {
            spool.release(stored.at);
        }
        if let Some(kept_s) = held.kept_s.take() {
            self.metrics.owed.evict(held.bytes);
            self.forget(kept_s);
        }
    }

    /// What is on disk alone of a place is to be read by itself.
    pub(super) fn lag(&mut self, place: &Arc<Destination>) {
        if let Some(spool) = &mut self.spool {
            spool.lag(place);
        }
    }

    /// Wakes the clients that were answered: once in each turn, as one wake is enough for all
    /// clients of a front.
    pub(super) fn wake_clients(&mut self) {
        self.wakes.wake();
    }

    /// Settles a write: counts it, takes it off the gauges, answers its client.
    pub(super) fn settle(&mut self, mut held: Held, outcome: Outcome) {
        self.settle_in_place(&mut held, outcome);
    }

    /// As [`settle`](Self::settle), of a write that its owner drops next.
    pub(super) fn settle_in_place(&mut self, held: &mut Held, outcome: Outcome) {
        let answer = backend::book(&self.metrics, &held.write.batch, outcome);
        let (owed, lines) = (&self.metrics.owed, held.write.batch.lines());
        match held.kept_s.take() {
            None => owed.settle(held.bytes, lines),
            Some(kept_s) => {
                owed.settle_kept(held.bytes, lines);
                self.forget(kept_s);
            }
        }
        if let (Some(spool), Some(stored)) = (&mut self.spool, held.stored.take()) {
            stored.parts.update(|parts| parts - 1);
            if stored.parts.get() == 0 {
                spool.settle(stored.at);
            }
        }
        held.answer(answer, &mut self.wakes);
    }

    /// Drops what is on disk alone; gives how many writes, lines and bytes of lines.
    pub(super) fn flush_disk(&mut self) -> (u64, u64, u64) {
        let Some(spool) = &mut self.spool else { return (0, 0, 0) };
        let (mut writes, mut lines, mut bytes) = (0, 0, 0);
        let metrics = &self.metrics;
        spool.flush(|kept| {
            writes += 1;
            lines += kept.batch.lines();
            bytes += kept.batch.bytes().len() as u64;
            metrics.drop_batch(metrics::Drop::Flushed, &kept.batch);
            metrics.owed.settle_spilled(kept.batch.lines());
        });
        (writes, lines, bytes)
    }

    /// Whether it is on disk, and was not dropped there.
    fn is_stored(&self, held: &Held) -> bool {
        let spool = self.spool.as_ref();
        held.segment().is_some_and(|segment| spool.is_some_and(|spool| spool.has(segment)))
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty() && !self.has_unread()
    }

    /// Whether anything is on disk alone.
    pub(super) fn has_unread(&self) -> bool {
        self.spool.as_ref().is_some_and(Spooled::has_unread)
    }

    /// Whether what comes for a destination must queue behind something that is on disk alone.
    pub(super) fn has_unread_before(&self, destination: &Destination) -> bool {
        self.spool.as_ref().is_some_and(|spool| spool.has_unread_before(destination))
    }

    fn forget(&mut self, kept_s: u64) {
        let age = self.ages.get_mut(&kept_s).expect("a kept write was counted");
        *age -= 1;
        if *age == 0 {
            self.ages.remove(&kept_s);
        }
        if self.is_empty() {
            self.told.clear();
        }
        self.publish();
    }

    fn publish(&self) {
        let oldest = self.ages.first_key_value().map(|(&second, _)| second);
        self.metrics.backlog.set_oldest(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::http::held::tests::held;
    use crate::queue::{Limits, bounded};

    /// A backlog whose queue has let `held` through.
    fn backlog(bytes_max: u64, held: &[&Held]) -> Backlog {
        let limits = Limits { items_max: 10, bytes_max: u64::MAX };
        let (push, _pop) = bounded(limits);
        for held in held {
            push.try_push(held.write.clone()).expect("there is room");
        }
        let owed = Arc::clone(push.owed());
        let metrics = metrics::Backend::new("relay".into(), "out".into(), owed);
        Backlog::new(bytes_max, None, Arc::new(metrics))
    }

    #[test]
    fn keeps_what_it_has_room_for_and_forgets_what_is_settled() {
        let ((mut a, mut answer), (mut b, _b), (mut c, _c)) = (held(2), held(1), held(2));
        let bytes = a.bytes + b.bytes;
        let mut backlog = backlog(bytes, &[&a, &b, &c]);
        let owed = Arc::clone(&backlog.metrics.owed);
        let full = Kept::No(metrics::Drop::BufferFull);
        assert_eq!(backlog.keep(&mut a, Share::Half, Answer::Buffered), full, "more than a half");
        assert_eq!(backlog.keep(&mut a, Share::All, Answer::Buffered), Kept::InMemory);
        assert!(matches!(answer.try_recv(), Some((0, Answer::Buffered))));
        assert_eq!(backlog.keep(&mut b, Share::All, Answer::Buffered), Kept::InMemory);
        assert_eq!(backlog.keep(&mut c, Share::All, Answer::Buffered), full, "it is full");
        assert_eq!((owed.backlog_bytes(), owed.backlog_lines()), (bytes, 3));
        assert!(backlog.metrics.backlog.oldest_s().is_some());
        let parts = backlog.cut(a).expect("two lines");
        for held in parts.into_iter().chain([b]) {
            assert!(!backlog.is_empty());
            backlog.settle(held, Outcome::Delivered);
        }
        backlog.settle(c, Outcome::Dropped(metrics::Drop::BufferFull));
        assert!(backlog.is_empty());
        assert_eq!(backlog.metrics.backlog.oldest_s(), None);
        assert_eq!((owed.backlog_bytes(), owed.bytes(), owed.lines()), (0, 0, 0));
        assert_eq!(backlog.metrics.delivered.get(), 3);
    }
}
