//! Which writes go into the backlog when a request has failed, and which new ones follow them.
//!
//! Called by the sender loop and by `land`.

use super::Sender;
use super::backlog::{Kept, Share};
use super::held::Held;
use crate::backend::Outcome;
use crate::write::{Answer, Destination};
use std::sync::Arc;

impl Sender {
    /// Takes what waits, of one destination or of all, into the backlog; what it has no room for
    /// is dropped.
    pub(super) fn keep_waiting(&mut self, destination: Option<&Arc<Destination>>, share: Share) {
        let (backlog, ailments) = (&mut self.backlog, &self.ailments);
        if destination.is_none() {
            self.lanes.in_flight().for_each(|held| backlog.keep_in_front(held));
        }
        self.lanes.retain_waiting(destination, |key, held| {
            let refusal = ailments.get(key).and_then(|ailment| ailment.refusal.clone());
            match backlog.keep(held, share, refusal.map_or(Answer::Buffered, Answer::Refused)) {
                Kept::InMemory => true,
                Kept::OnDisk => false,
                Kept::No(why) => {
                    backlog.settle_in_place(held, Outcome::Dropped(why));
                    false
                }
            }
        });
    }

    /// What waits for its own sake must not hold the memory that others need to be read back: but
    /// for the first, which is tried, it can wait on disk alone.
    pub(super) fn make_room(&mut self, destination: &Arc<Destination>) {
        if !self.backlog.is_crowded() {
            return;
        }
        let (backlog, mut stay, mut at) = (&mut self.backlog, 1, 0);
        self.lanes.retain_waiting(Some(destination), |_, held| {
            at += 1;
            stay = if backlog.can_evict(held) { stay } else { at };
            true
        });
        at = 0;
        self.lanes.retain_waiting(Some(destination), |_, held| {
            at += 1;
            if at > stay {
                backlog.evict(held);
            }
            at <= stay
        });
        backlog.lag(destination);
    }

    /// Takes a new write into the backlog if it belongs there: behind what is kept of its
    /// destination, or while the backend is down. `None` if there is no room for it: it is settled.
    pub(super) fn keep_new(
        &mut self,
        destination: &Arc<Destination>,
        mut held: Held,
    ) -> Option<Held> {
        let ailment = self.ailments.get(destination);
        let down = self.outage.is_some();
        let behind = self.lanes.last_waiting(destination).is_some_and(Held::is_kept)
            || self.backlog.has_unread_before(destination);
        if !down && !behind {
            return Some(held);
        }
        let alone = ailment.filter(|ailment| ailment.alone && self.outage.is_none());
        let share = alone.map_or(Share::All, |ailment| ailment.share);
        let refusal = ailment.and_then(|ailment| ailment.refusal.clone());
        self.keep_in_front(destination);
        let answer = refusal.map_or(Answer::Buffered, Answer::Refused);
        match self.backlog.keep(&mut held, share, answer) {
            Kept::InMemory => Some(held),
            Kept::OnDisk => None,
            // With nothing else to try, it is what tells whether the backend is back.
            Kept::No(_) if self.lanes.is_empty() && !self.backlog.has_unread() => Some(held),
            Kept::No(why) => {
                self.backlog.settle(held, Outcome::Dropped(why));
                None
            }
        }
    }

    /// Takes all of a destination into the backlog that is not there, so that what is behind it can
    /// be. Nothing that is kept is behind something that is not.
    fn keep_in_front(&mut self, destination: &Arc<Destination>) {
        if self.backlog.spool().is_none() {
            return;
        }
        let last = self.lanes.flight(destination).last();
        if last.into_iter().chain(self.lanes.last_waiting(destination)).all(Held::is_kept) {
            return;
        }
        let backlog = &mut self.backlog;
        self.lanes.all_of(destination).for_each(|held| backlog.keep_in_front(held));
    }
}
