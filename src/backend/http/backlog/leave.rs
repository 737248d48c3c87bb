//! The relay ends: what is left stays in the spool, or is dropped and counted.

use super::super::held::Held;
use super::{Backlog, Kept, Share};
use crate::backend::Outcome;
use crate::metrics::Drop;
use crate::write::Answer;
use std::collections::HashMap;
use std::time::Instant;

impl Backlog {
    /// Puts a write on disk if it is not there, or drops it. To be given to [`close`](Self::close),
    /// if it is still its owner's.
    pub(in super::super) fn leave(&mut self, mut held: Held) -> Option<Held> {
        let kept = match &self.spool {
            Some(_) => self.keep(&mut held, Share::All, Answer::Buffered),
            None => Kept::No(Drop::Shutdown),
        };
        match kept {
            Kept::InMemory => Some(held),
            // It is counted when the spool is closed.
            Kept::OnDisk => None,
            Kept::No(_) => {
                self.settle(held, Outcome::Dropped(Drop::Shutdown));
                None
            }
        }
    }

    /// Nothing comes any more: leaves what is on disk, drops the rest. Waits for the disk.
    pub(in super::super) fn close(&mut self, left: Vec<Held>) {
        // What came last may have taken the place of what came first.
        let trimmed = self.spool.as_mut().map(|spool| spool.end_turn(Instant::now()));
        let trimmed: HashMap<_, _> = trimmed.into_iter().flatten().collect();
        for mut held in left {
            if self.is_stored(&held) {
                self.leave_kept(&mut held);
                continue;
            }
            let gone = held.stored.as_deref().and_then(|stored| {
                trimmed.get(&stored.at.segment()).copied().or_else(|| stored.gone.get())
            });
            self.settle(held, Outcome::Dropped(gone.unwrap_or(Drop::Shutdown)));
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
    use crate::backend::http::Files;
    use crate::backend::http::held::tests::held;
    use crate::backend::http::spooled::Spooled;
    use crate::config::{self, Fsync};
    use crate::metrics;
    use crate::queue::{Limits, bounded};
    use std::path::Path;
    use std::sync::Arc;

    const LINES: usize = 1_000;

    fn files(dir: &Path, metrics: &metrics::Backend) -> Files {
        let (bytes_max, age_max, fsync) = (2 << 20, None, Fsync::Interval);
        let spool = config::Spool { dir: dir.to_owned(), bytes_max, age_max, fsync };
        let config = config::Backlog {
            bytes_max: 20_000,
            delay_max: std::time::Duration::ZERO,
            keep_refused: true,
            spool: Some(spool),
            dead_letters: None,
        };
        Files::open(&config, "relay", "out", metrics).expect("it opens")
    }

    #[test]
    fn more_than_the_disk_may_have_leaves_the_newest_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (push, pop) = bounded(Limits { items_max: 2_000, bytes_max: u64::MAX });
        let metrics = metrics::Backend::new("relay".into(), "out".into(), Arc::clone(push.owed()));
        let metrics = Arc::new(metrics);
        let (spool, fsync) = files(dir.path(), &metrics).spool.expect("it is configured");
        let spooled = Spooled::new(spool, fsync, Arc::clone(&metrics));
        let mut backlog = Backlog::new(20_000, Some(spooled), Arc::clone(&metrics));
        // 8 MB, all in one turn.
        let written = 1_000;
        let mut left = Vec::new();
        for _ in 0..written {
            push.try_push(held(LINES).0.write).expect("there is room");
            let write = pop.try_pop().expect("it was pushed");
            left.extend(backlog.leave(Held::new(write)));
        }
        assert!(!left.is_empty(), "some are in memory too");
        backlog.close(left);
        let dropped = |why: Drop| metrics.dropped[why as usize].get();
        let (full, left) = (dropped(Drop::SpoolFull), metrics.spool.left.get());
        assert_eq!(full + left, (written * LINES) as u64, "and nothing for another reason");
        assert!(left > 100 * LINES as u64, "{left}");
        assert_eq!((metrics.owed.lines(), metrics.owed.bytes()), (0, 0));
        drop(backlog);
        let next = metrics::Backend::new("relay".into(), "out".into(), Arc::default());
        drop(files(dir.path(), &next));
        assert_eq!(next.spool.restored.get(), left);
    }
}
