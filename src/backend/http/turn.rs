//! What the sender loop does in each turn about its spool and about being woken, and at the end.
//!
//! Called by the sender loop.

use super::held::Held;
use super::spooled::Commit;
use super::{FRONTS_TIMEOUT, READ_BYTES_MAX, Sender};
use crate::backend::Outcome;
use crate::write::Destination;
use std::io;
use std::time::Instant;
use tokio::task::JoinError;
use tokio::time::timeout;

impl Sender {
    /// Whether nothing comes any more, and nothing is left to send; or what is left is safe on
    /// disk, and the backend was found to be down since.
    pub(super) fn is_done(&mut self) -> bool {
        let Some(closed) = self.closed else { return false };
        if self.lanes.is_empty() && !self.backlog.has_unread() {
            return true;
        }
        let is_down = self.outage.as_ref().is_some_and(|outage| outage.failed_after(closed));
        is_down && self.flights.is_empty() && self.backlog.spool().is_some()
    }

    /// Takes back into memory what is on disk alone, as far as there is room.
    pub(super) fn read_back(&mut self) {
        if !self.backlog.has_unread() {
            return;
        }
        let (ailments, mut bytes) = (&self.ailments, 0);
        let ails = |of: &Destination| ailments.get(of).is_some_and(|ailment| ailment.is_alone());
        while bytes < READ_BYTES_MAX
            && let Some(held) = self.backlog.read(ails)
        {
            bytes += held.write.batch.bytes().len();
            let place = self.places.of(&held.write.destination);
            self.lanes.push(&place, held);
        }
        self.publish();
    }

    /// Lets the spool keep up with what was decided since the last turn.
    pub(super) fn end_turn(&mut self) {
        let Some(spool) = self.backlog.spool() else { return };
        let now = Instant::now();
        let trimmed = spool.end_turn(now);
        if let Some(commit) = spool.commit(now) {
            self.syncs.spawn_local(async move {
                let ended = sync(&commit).await;
                (commit, ended)
            });
        }
        for (segment, why) in trimmed {
            let backlog = &mut self.backlog;
            backlog.tell(why);
            // What is in flight may be delivered all the same.
            let in_flight = self.lanes.in_flight().filter_map(|held| held.stored.as_ref());
            let lost = in_flight.filter(|stored| stored.at.segment() == segment);
            lost.for_each(|stored| stored.gone.set(Some(why)));
            self.lanes.retain_waiting(None, |_, held| {
                let stays = held.segment() != Some(segment);
                if !stays {
                    backlog.settle_in_place(held, Outcome::Dropped(why));
                }
                stays
            });
        }
    }

    /// Takes note of a sync that ended.
    pub(super) fn committed(&mut self, synced: Result<(Commit, io::Result<()>), JoinError>) {
        let (commit, ended) = synced.expect("a sync neither panics nor is cancelled");
        if let Some(spool) = self.backlog.spool() {
            spool.committed(commit, ended);
        }
    }

    /// The fronts wake this thread only for what it can do something about: what is in flight keeps
    /// others of its destination waiting, and all if there are as many as may be. But while
    /// anything is kept, clients are told at once that theirs is too.
    pub(super) fn hush(&self) {
        let keeps = self.outage.is_some() || !self.ailments.is_empty() || !self.backlog.is_empty();
        if keeps || self.closed.is_some() {
            self.queue.rouse_all();
        } else {
            self.queue.hush_all(self.flights.len() >= self.target.in_flight_max);
        }
    }

    /// All is done, or the deadline has passed: what is left stays in the spool or is dropped,
    /// counted, and requests in flight end.
    pub(super) async fn give_up(mut self) {
        let (lines, bytes) = (self.metrics.owed.backlog_lines(), self.metrics.owed.backlog_bytes());
        if lines > 0 && self.backlog.spool().is_none() {
            let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
            tracing::warn!(relay, backend, lines, bytes, "the backlog is dropped at shutdown");
        }
        self.publish();
        self.queue.rouse_all();
        let mut left: Vec<_> =
            self.lanes.drain().filter_map(|held| self.backlog.leave(held)).collect();
        self.backlog.wake_clients();
        self.flights.shutdown().await;
        // The fronts let go of the queue at the deadline too; what they push until then counts.
        let leave_rest = async {
            while let Some(write) = self.queue.pop().await {
                left.extend(self.backlog.leave(Held::new(write)));
                // A front may keep the queue open for this very client.
                self.backlog.wake_clients();
            }
        };
        drop(timeout(FRONTS_TIMEOUT, leave_rest).await);
        // What it covers is neither safe nor to be synced again before it has ended.
        while let Some(synced) = self.syncs.join_next().await {
            self.committed(synced);
        }
        self.backlog.close(left);
    }
}

/// Forces a part of the spool to its disk.
async fn sync(commit: &Commit) -> io::Result<()> {
    for file in commit.files() {
        tokio_uring::fs::File::from_std(file.try_clone()?).sync_data().await?;
    }
    Ok(())
}
