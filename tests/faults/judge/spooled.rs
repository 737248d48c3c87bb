//! What a spool promises, over all lives of the relay together.

use super::{Judge, Lines};
use crate::backend::Bad;
use crate::fault::Fault;
use crate::harness::Books;
use crate::run::{End, HTTP, UDP};
use crate::schedule::{Kind, What};
use crate::source::{Known, Written};
use crate::store::Store;

/// What the books of all lives say, as far as there are any.
#[derive(Debug, Default)]
struct Sums {
    taken: u64,
    delivered: u64,
    refused: u64,
    /// But for those.
    dropped: u64,
    /// What was restored beyond what was left before: parts of writes that were cut.
    again: u64,
    killed: usize,
}

impl Judge<'_> {
    /// Judges what one backend has.
    pub(super) fn spooled(&mut self, index: usize, store: &Store) {
        if index == 0 {
            self.tally.damaged += self.record.hit.files;
            self.tally.damaged_lines += self.record.hit.lost.len();
        }
        for listener in [HTTP, UDP] {
            let sums = self.sum_up(index, listener);
            self.balance(index, listener, store, &sums);
        }
        self.replayed(index, store);
    }

    fn sum_up(&mut self, index: usize, listener: &str) -> Sums {
        let (mut sums, mut left) = (Sums::default(), None);
        let backend = format!("b{index}");
        let last = self.record.lives.len() - 1;
        for (life, end) in self.record.lives.iter().enumerate() {
            match end {
                End::Killed(log) => {
                    sums.dropped += set_aside(log, listener, &backend);
                    sums.killed += 1;
                    left = None;
                }
                End::Stopped(stopped, _) => {
                    let books = stopped.books(listener, &backend);
                    let left = left.replace(books.spooled);
                    let of = format!("life {life}, {listener} to {backend}");
                    self.spool_books(&of, index, &books, left, life == last);
                    sums.again += books.restored.saturating_sub(left.unwrap_or(books.restored));
                    sums.taken += books.taken;
                    sums.delivered += books.delivered;
                    sums.refused += books.dropped("refused");
                    sums.dropped += books.dropped.values().sum::<u64>() - books.dropped("refused");
                }
            }
        }
        sums
    }

    fn spool_books(
        &mut self,
        of: &str,
        index: usize,
        books: &Books,
        left: Option<u64>,
        is_last: bool,
    ) {
        self.tally.restored += books.restored;
        self.tally.poison += books.dropped("poison");
        self.tally.spool_full += books.dropped("spool_full");
        self.tally.spool_aged += books.dropped("spool_aged");
        self.tally.spool_failed += books.dropped("spool_failed");
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                self.defects.push(format!("{of}: {what}: {books:?}"));
            }
        };
        claim(books.close() && books.queued == 0, "the books do not close");
        claim(!is_last || books.spooled == 0, "all is delivered, and some is left");
        if let Some(left) = left {
            let restored = books.restored;
            claim(restored >= left, &format!("{left} were left in the spool"));
            let exact = !self.schedule.cuts(index) && self.schedule.kind != Kind::Disk;
            claim(!exact || restored == left, &format!("{left} alone were left in the spool"));
        }
        for (reason, count) in &books.dropped {
            let may = reason == "refused" || self.schedule.may_drop(reason);
            claim(may, &format!("{count} as {reason}"));
        }
    }

    fn balance(&mut self, index: usize, listener: &str, store: &Store, sums: &Sums) {
        let (record, schedule) = (self.record, self.schedule);
        let by_udp = listener == UDP;
        let sources = schedule.sources.iter().zip(&record.written);
        let of_listener = sources.filter(|(plan, _)| plan.by_udp == by_udp);
        let all: Vec<_> = of_listener.flat_map(|(_, lines)| lines).collect();
        let lines = Lines::sort(&all, store, schedule.backends[index]);
        let missing: Vec<_> = all
            .iter()
            .filter(|written| self.is_missing(index, store, written))
            .map(|Written { line, life, .. }| (line.source, line.number, *life))
            .collect();
        let of = format!("{listener} to b{index}");
        self.tally.dropped += sums.dropped;
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                let missing = &missing[..missing.len().min(20)];
                let text = format!("{of}: {what}: {missing:?}, {lines:?}, {sums:?}");
                self.defects.push(text);
            }
        };
        claim(missing.len() as u64 <= sums.dropped, "acknowledged lines are missing");
        claim(lines.bad_stored == 0, "refused lines are stored");
        if sums.killed > 0 {
            return;
        }
        claim(sums.taken <= lines.sent, "more is taken than sent");
        claim(lines.acknowledged <= sums.taken, "more is acknowledged than taken");
        // Of Disk, what was settled may be found again.
        if schedule.kind != Kind::Disk && !schedule.cuts(index) {
            claim(sums.delivered <= lines.stored, "more is delivered than stored");
            claim(sums.refused <= lines.bad, "good lines are refused");
        }
    }

    /// Whether a backend has not got a line that was promised to it.
    fn is_missing(&self, index: usize, store: &Store, written: &Written) -> bool {
        let Written { line, life, known, .. } = written;
        let (source, number) = (line.source, line.number);
        let is_bad = line.bad && self.schedule.backends[index] != Bad::Taken;
        if *known != Known::Acknowledged || is_bad || store.get(source, number).is_some() {
            return false;
        }
        let is_promised = match &self.record.lives[*life] {
            End::Stopped(..) => true,
            End::Killed(_) if self.schedule.ack == "all" => true,
            // It is promised to some.
            End::Killed(_) => {
                let all = self.record.backends.len();
                let least = if self.schedule.ack == "any" { 1 } else { all / 2 + 1 };
                // This one's store is locked, and it has not got it.
                let others = (0..all).filter(|other| *other != index);
                let have = others.filter(|&other| {
                    let backend = &self.record.backends[other];
                    line.bad && self.schedule.backends[other] != Bad::Taken
                        || self.record.hit.lost.contains(&(other, source, number))
                        || backend.store().get(source, number).is_some()
                });
                have.count() < least
            }
        };
        is_promised && !self.record.hit.lost.contains(&(index, source, number))
    }

    /// What a backend said it had stored comes again only if the relay ended amid its answer.
    fn replayed(&mut self, index: usize, store: &Store) {
        if self.schedule.cuts(index)
            || self.schedule.kind == Kind::Disk
            || self.record.hit.files > 0
        {
            return;
        }
        // A request of each of two listeners for each connection, and one that ended as it began.
        let most = 2 * (self.schedule.in_flight + 1);
        for (&life, &requests) in &store.repeats.requests_replayed {
            if requests > most {
                self.say(format!(
                    "b{index}: {requests} answered requests of life {life} came again"
                ));
            }
        }
    }
}

impl crate::schedule::Schedule {
    /// Whether a backend may have had writes cut in parts, which are sent as a whole after a
    /// restart.
    fn cuts(&self, backend: usize) -> bool {
        let cuts = |fault| matches!(fault, Fault::TooLarge(_) | Fault::Mixed);
        let mut steps = self.steps.iter().map(|step| step.what);
        steps.any(
            |what| matches!(what, What::Backend(index, fault) if index == backend && cuts(fault)),
        )
    }
}

/// Lines that a relay says it took for poison.
fn set_aside(log: &[String], listener: &str, backend: &str) -> u64 {
    let named = |line: &&String| {
        line.contains("lines are set aside")
            && line.contains(&format!("relay=\"{listener}\""))
            && line.contains(&format!("backend=\"{backend}\""))
    };
    let lines =
        |line: &String| line.split_once(" lines=")?.1.split(' ').next()?.parse::<u64>().ok();
    log.iter().filter(named).filter_map(lines).sum()
}
