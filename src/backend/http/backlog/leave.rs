//! The relay ends: what is left stays in the spool, or is dropped and counted.

use super::super::held::Held;
use super::{Backlog, Kept, Share};
use crate::backend::Outcome;
use crate::metrics::Drop;
use crate::write::Answer;
use std::collections::HashMap;
use std::time::Instant;

impl Backlog {
    /// Puts a write on disk if it can be there, and tells its client. What is given back is to be
    /// given to [`close`](Self::close).
    pub(in super::super) fn leave(&mut self, mut held: Held) -> Option<Held> {
        let kept = match &self.spool {
            None => Kept::No(Drop::Shutdown),
            Some(_) if held.is_kept() => Kept::InMemory,
            Some(_) => self.take(&mut held, Share::All),
        };
        if let Kept::No(why) = kept {
            self.settle(held, Outcome::Dropped(why));
            return None;
        }
        // What is in memory alone ends with it.
        let is_on_disk = held.stored.is_some();
        let answer = if is_on_disk { Answer::Buffered } else { Answer::Unavailable };
        self.answer_kept(&mut held, answer);
        // What is on disk alone is counted when the spool is closed.
        (kept == Kept::InMemory).then_some(held)
    }

    /// Nothing comes any more: leaves what is on disk, drops the rest. Waits for the disk.
    pub(in super::super) fn close(&mut self, left: Vec<Held>) {
        // What came last may have taken the place of what came first.
        let trimmed = self.spool.as_mut().map(|spool| spool.end_turn(Instant::now()));
        let trimmed: HashMap<_, _> = trimmed.into_iter().flatten().collect();
        trimmed.values().for_each(|why| self.tell(*why));
        for mut held in left {
            if self.is_stored(&held) {
                self.leave_kept(&mut held);
                continue;
            }
            let why = held.stored.as_deref().and_then(|stored| {
                trimmed.get(&stored.at.segment()).copied().or_else(|| stored.gone.get())
            });
            self.settle(held, Outcome::Dropped(why.unwrap_or(Drop::Shutdown)));
        }
        if let Some(spool) = &mut self.spool {
            spool.close();
        }
    }

    fn leave_kept(&mut self, held: &mut Held) {
        let (lines, opaque) = (held.write.batch.lines(), held.write.batch.is_opaque());
        self.metrics.owed.settle_kept(held.bytes, lines);
        if let Some(kept_s) = held.kept_s.take() {
            self.forget(kept_s);
        }
        if let Some(spool) = &self.spool {
            spool.leave(lines, u64::from(opaque));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Receiver;
    use crate::backend::http::held::tests::held;
    use crate::backend::http::spooled::tests::spooled;
    use crate::metrics;
    use crate::queue::{self, Limits, bounded};
    use crate::write::Write;
    use std::path::Path;
    use std::sync::Arc;

    const LINES: usize = 1_000;

    struct Ending {
        push: queue::Sender<Write>,
        pop: queue::Receiver<Write>,
        metrics: Arc<metrics::Backend>,
        backlog: Backlog,
    }

    impl Ending {
        /// A backlog of two and a half writes of [`LINES`] in memory and 250 on disk.
        fn new(dir: &Path) -> Self {
            let (push, pop) = bounded(Limits { items_max: 2_000, bytes_max: u64::MAX });
            let owed = Arc::clone(push.owed());
            let metrics = Arc::new(metrics::Backend::new("relay".into(), "out".into(), owed));
            let spooled = spooled(dir, &metrics);
            let backlog = Backlog::new(40_000, Some(spooled), Arc::clone(&metrics));
            Self { push, pop, metrics, backlog }
        }

        /// A write that has come through the queue, and its client.
        fn taken(&self, lines: usize) -> (Held, Receiver) {
            let (held, client) = held(lines);
            self.push.try_push(held.write).expect("there is room");
            (Held::new(self.pop.try_pop().expect("it was pushed")), client)
        }

        fn dropped(&self, why: Drop) -> u64 {
            self.metrics.dropped[why as usize].get()
        }
    }

    #[test]
    fn more_than_the_disk_may_have_leaves_the_newest_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut ending = Ending::new(dir.path());
        let (mut left, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..1_000 {
            let (held, client) = ending.taken(LINES);
            left.extend(ending.backlog.leave(held));
            clients.push(client);
        }
        assert!(!left.is_empty(), "some are in memory too");
        ending.backlog.close(left);
        let (full, left) = (ending.dropped(Drop::SpoolFull), ending.metrics.spool.left.get());
        assert_eq!(full + left, 1_000 * LINES as u64, "and nothing for another reason");
        assert!(left > 100 * LINES as u64, "{left}");
        let owed = &ending.metrics.owed;
        assert_eq!((owed.lines(), owed.bytes()), (0, 0));
        let told = clients.iter_mut().filter_map(Receiver::try_recv);
        let told = told.filter(|(_, answer)| matches!(answer, Answer::Buffered));
        let promised: u64 = told.map(|_| LINES as u64).sum();
        assert_eq!(promised, left, "and the others are told");
        drop(ending);
        let next = Ending::new(dir.path());
        assert_eq!(next.metrics.spool.restored.get(), left);
    }

    #[test]
    fn what_the_disk_did_not_take_is_dropped_and_its_client_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut ending = Ending::new(dir.path());
        // More than the whole spool may have.
        let (mut held, mut client) = ending.taken(300 * LINES);
        ending.backlog.keep_in_front(&mut held);
        assert!(held.is_kept(), "in memory alone");
        let left = ending.backlog.leave(held);
        let told = client.try_recv().expect("it is told");
        assert!(matches!(told.1, Answer::Unavailable), "{told:?}");
        ending.backlog.close(left.into_iter().collect());
        let (shutdown, left) = (ending.dropped(Drop::Shutdown), ending.metrics.spool.left.get());
        assert_eq!((shutdown, left), (300 * LINES as u64, 0));
    }
}
