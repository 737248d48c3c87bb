//! The verdict on a schedule that is over: every way in which it broke a promise.

use crate::backend::Bad;
use crate::fault::Fault;
use crate::harness::Books;
use crate::run::{End, HTTP, Record, UDP};
use crate::schedule::{Kind, Schedule, What};
use crate::source::{Known, Written};
use crate::store::{Repeats, Store};
use crate::tally::Tally;
use std::collections::{BTreeMap, HashMap};
use std::time::UNIX_EPOCH;

mod spooled;

/// How long before the end of a schedule its last line may have been written.
const CLOCK_SLACK_S: i64 = 50;

struct Judge<'a> {
    schedule: &'a Schedule,
    record: &'a Record,
    tally: Tally,
    defects: Vec<String>,
}

/// Judges it.
pub(crate) fn judge(schedule: &Schedule, record: &Record) -> (Tally, Vec<String>) {
    let mut judge =
        Judge { schedule, record, tally: Tally::default(), defects: record.defects.clone() };
    judge.tally.schedules = 1;
    judge.tally.lives = record.lives.len();
    judge.clients();
    judge.ends();
    for (index, backend) in record.backends.iter().enumerate() {
        let store = backend.store();
        judge.tally.stored += store.first.len();
        judge.defects.extend(store.defects.iter().map(|defect| format!("b{index}: {defect}")));
        judge.order(index, &store);
        judge.last_values(index, &store);
        judge.repeats(index, &store);
        if schedule.spool.is_some() {
            judge.spooled(index, &store);
        } else {
            for life in 0..record.lives.len() {
                judge.life(index, &store, life);
            }
        }
    }
    judge.replicas();
    judge.clock();
    (judge.tally, judge.defects)
}

impl Judge<'_> {
    fn say(&mut self, defect: String) {
        self.defects.push(defect);
    }

    fn written(&self) -> impl Iterator<Item = &Written> {
        self.record.written.iter().flatten()
    }

    /// The faults of all backends, by their indices.
    fn faults(&self) -> impl Iterator<Item = (usize, Fault)> {
        self.schedule.steps.iter().filter_map(|step| match step.what {
            What::Backend(index, fault) => Some((index, fault)),
            _ => None,
        })
    }

    /// Whether content was ever in question at a backend.
    fn content_matters(&self, index: usize) -> bool {
        self.faults().any(|(at, fault)| at == index && fault.is_about_content())
    }

    /// With a backlog no client is told off without a reason.
    fn clients(&mut self) {
        let last = self.record.lives.len() - 1;
        let missing =
            self.faults().any(|(_, fault)| matches!(fault, Fault::NotFound | Fault::Mixed));
        let picky = self.schedule.backends.iter().any(|bad| *bad != Bad::Taken);
        let may_be_full = self.schedule.small || self.schedule.kind == Kind::Disk;
        let mut odd = BTreeMap::<String, usize>::new();
        let (mut lines, mut acknowledged) = (0, 0);
        for Written { line, life, known, waited, .. } in self.written() {
            lines += 1;
            let expected = match known {
                Known::Acknowledged => {
                    acknowledged += 1;
                    true
                }
                Known::Declined(400) => picky && line.bad,
                Known::Declined(404) => missing,
                // The relay's patience is a second more.
                Known::Declined(503) => {
                    *life < last || may_be_full || *waited > 2 * self.schedule.timeout
                }
                Known::Declined(_) => false,
                Known::Nothing => *life < last || self.schedule.sources[line.source].by_udp,
            };
            if !expected {
                *odd.entry(format!("{known:?} in life {life}")).or_default() += 1;
            }
        }
        self.tally.lines += lines;
        self.tally.acknowledged += acknowledged;
        for (what, count) in odd {
            self.say(format!("{count} lines: their clients were told {what}"));
        }
    }

    fn ends(&mut self) {
        for (life, end) in self.record.lives.iter().enumerate() {
            let log = match end {
                End::Stopped(stopped, _) => {
                    if !stopped.status.success() {
                        self.defects.push(format!("life {life} ended with {}", stopped.status));
                    }
                    &stopped.log
                }
                End::Killed(log) => {
                    self.tally.killed += 1;
                    log
                }
            };
            let count = |what: &str| log.iter().filter(|line| line.contains(what)).count();
            self.tally.outages += count("backend is down");
            self.tally.unresolved += count("not resolve");
            let bad = |line: &&String| {
                let disk = self.schedule.kind == Kind::Disk && line.contains("spool's disk fails");
                line.contains("panicked") || line.contains(" ERROR ") && !disk
            };
            self.tally.disk_failed += usize::from(count("spool's disk fails") > 0);
            if let Some(line) = log.iter().find(bad) {
                self.defects.push(format!("life {life}: {line}"));
            }
        }
    }

    /// The lines of a source come first in their order. Only where content is in question one goes
    /// ahead to tell whether those before it are poison, and comes again behind them.
    fn order(&mut self, index: usize, store: &Store) {
        let mut newest = HashMap::<usize, usize>::new();
        let leaps = self.content_matters(index);
        for &(source, number) in &store.first {
            let before = newest.insert(source, number);
            let went_ahead = |before| leaps && store.stands_behind(source, before, number);
            let late = |before: &usize| *before > number && !went_ahead(*before);
            if let Some(before) = before.filter(late) {
                self.say(format!("b{index}: {source}/{number} came first after {before}"));
            }
        }
    }

    /// What was written last stands at the end.
    fn last_values(&mut self, index: usize, store: &Store) {
        let last_life = self.record.lives.len() - 1;
        let mut newest = HashMap::<(usize, usize), usize>::new();
        for stored in store.lines() {
            let newest = newest.entry((stored.line.source, stored.line.series)).or_default();
            *newest = (*newest).max(stored.line.number);
        }
        self.tally.series += newest.len();
        for ((source, series), newest) in newest {
            let stands = store.last[&(source, series)];
            // What an earlier life sent again when it ended is gone with the memory of that life.
            // A spool keeps it, but for one whose disk failed or whose marks were damaged.
            let in_memory = self.schedule.spool.is_none() || self.schedule.kind == Kind::Disk;
            let excused = in_memory && self.record.written[source][newest].life < last_life
                || self.record.hit.unmarked.contains(&(index, source, stands));
            if stands != newest && !excused {
                self.say(format!(
                    "b{index}: of series {source}/{series} {stands} stands, not {newest}"
                ));
            }
        }
    }

    fn repeats(&mut self, index: usize, store: &Store) {
        let Repeats { untold, partly, unheard, replayed, requests_untold, .. } = store.repeats;
        let ahead = &store.repeats.ahead;
        self.tally.untold += untold;
        self.tally.unheard += unheard;
        self.tally.partly += partly;
        self.tally.replayed += replayed;
        if replayed > 0 && self.schedule.spool.is_none() {
            self.say(format!("b{index}: {replayed} lines came again in a later life"));
        }
        // A write comes before a suspect, and behind it again: only where content is in question.
        if !ahead.is_empty() && !self.content_matters(index) {
            let why = "though their answer was whole and their connection is open";
            self.say(format!("b{index}: lines {ahead:?} came twice, {why}"));
        }
        let [End::Stopped(_, Some(metrics))] = &self.record.lives[..] else { return };
        let backend = format!("b{index}");
        let labels = [("backend", &*backend), ("code", "none")];
        let missed = metrics.of("ringrelay_backend_requests_total", &labels);
        // What came ahead of a suspect is among them if its connection was closed since.
        if unheard > 0 && missed == 0 && !self.content_matters(index) {
            self.say(format!("b{index}: {unheard} lines came twice, and no answer was missed"));
        }
        // Whatever comes twice has been counted as tried again.
        let retries = metrics.of("ringrelay_backend_retries_total", &[("backend", &*backend)]);
        if retries < requests_untold as u64 {
            self.say(format!("b{index}: {requests_untold} requests came again, {retries} retries"));
        }
    }

    fn life(&mut self, index: usize, store: &Store, life: usize) {
        let record = self.record;
        for listener in [HTTP, UDP] {
            let by_udp = listener == UDP;
            let sources = self.schedule.sources.iter().zip(&record.written);
            let of_listener = sources.filter(|(plan, _)| plan.by_udp == by_udp);
            let lines: Vec<_> =
                of_listener.flat_map(|(_, lines)| lines).filter(|w| w.life == life).collect();
            let lines = Lines::sort(&lines, store, self.schedule.backends[index]);
            let of = format!("life {life}, {listener} to b{index}");
            if lines.bad_stored > 0 {
                self.say(format!("{of}: {} refused lines are stored", lines.bad_stored));
            }
            match &record.lives[life] {
                End::Stopped(stopped, _) => {
                    let books = stopped.books(listener, &format!("b{index}"));
                    self.books(&of, life, &lines, &books);
                }
                End::Killed(log) if lines.missing > 0 && self.had_all(index, life, log) => {
                    self.say(format!("{of}: acknowledged, and gone with SIGKILL: {lines:?}"));
                }
                End::Killed(_) => {}
            }
        }
    }

    /// Whether a backend had all that was acknowledged in a life, as none of it was in a backlog.
    fn had_all(&self, index: usize, life: usize, log: &[String]) -> bool {
        let name = format!("backend=\"b{index}\"");
        // On a machine that is very busy, any backend may be too slow.
        let down = |line: &String| line.contains("backend is down") && line.contains(&name);
        self.schedule.ack == "all" && self.schedule.is_steady(index, life) && !log.iter().any(down)
    }

    fn books(&mut self, of: &str, life: usize, lines: &Lines, books: &Books) {
        let refused = books.dropped("refused");
        let dropped = books.dropped.values().sum::<u64>() - refused;
        self.tally.dropped += dropped;
        self.tally.poison += books.dropped("poison");
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                self.defects.push(format!("{of}: {what}: {lines:?}, {books:?}"));
            }
        };
        claim(books.close() && books.queued == 0, "the books do not close");
        claim(lines.acknowledged <= books.taken, "more is acknowledged than taken");
        claim(books.taken <= lines.sent, "more is taken than sent");
        claim(books.delivered <= lines.stored, "more is delivered than stored");
        claim(lines.missing <= dropped, "acknowledged lines are missing, and not counted");
        claim(refused <= lines.bad, "good lines are refused");
        claim(dropped > 0 || lines.bad_acknowledged <= refused, "refused lines are not counted");
        let last = self.record.lives.len() - 1;
        for (reason, count) in &books.dropped {
            let may = reason == "refused" || self.schedule.may_drop(reason);
            claim(may && (reason != "shutdown" || life < last), &format!("{count} as {reason}"));
        }
    }

    /// The clock was really stepped: the last lines have stamps of the clock that was set last.
    fn clock(&mut self) {
        if !self.schedule.kind.sets_clock() {
            return;
        }
        let mut set = self.schedule.steps.iter().filter_map(|step| match step.what {
            What::Clock(seconds) => Some(seconds),
            _ => None,
        });
        let off = set.next_back().unwrap_or_default();
        let now = self.record.ended.duration_since(UNIX_EPOCH).expect("it is after 1970");
        let now = i64::try_from(now.as_secs()).expect("it is before 2262");
        for (source, written) in self.record.written.iter().enumerate() {
            let Some(last) = written.last() else { continue };
            let stores = self.record.backends.iter().map(|backend| backend.store());
            let stamps: Vec<_> = stores
                .filter_map(|store| store.get(source, last.line.number).map(|line| line.stamp))
                .collect();
            for stamp in stamps {
                if (stamp / 1_000_000_000 - now - off).abs() > CLOCK_SLACK_S {
                    self.say(format!("source {source} ends with {stamp}, {off} s off {now}"));
                }
            }
        }
    }

    /// Every backend has the same bytes of a line.
    fn replicas(&mut self) {
        let stores: Vec<_> = self.record.backends.iter().map(|backend| backend.store()).collect();
        for written in self.record.written.iter().flatten() {
            let (source, number) = (written.line.source, written.line.number);
            let mut stamps = stores.iter().filter_map(|store| store.get(source, number));
            let Some(first) = stamps.next() else { continue };
            if let Some(other) = stamps.find(|other| other.stamp != first.stamp) {
                self.defects.push(format!(
                    "{source}/{number} has the stamps {} and {}",
                    first.stamp, other.stamp
                ));
            }
        }
    }
}

/// The lines of one life, one listener, at one backend.
#[derive(Debug, Default)]
struct Lines {
    sent: u64,
    acknowledged: u64,
    stored: u64,
    /// Good, acknowledged and not stored.
    missing: u64,
    bad: u64,
    bad_acknowledged: u64,
    bad_stored: u64,
}

impl Lines {
    fn sort(written: &[&Written], store: &Store, bad: Bad) -> Self {
        let mut lines = Self::default();
        for Written { line, known, .. } in written {
            let stored = u64::from(store.get(line.source, line.number).is_some());
            let acknowledged = u64::from(*known == Known::Acknowledged);
            lines.sent += 1;
            lines.acknowledged += acknowledged;
            lines.stored += stored;
            if line.bad && bad != Bad::Taken {
                lines.bad += 1;
                lines.bad_acknowledged += acknowledged;
                lines.bad_stored += stored;
            } else if stored == 0 {
                lines.missing += acknowledged;
            }
        }
        lines
    }
}
