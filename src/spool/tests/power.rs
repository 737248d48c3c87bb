//! Power is cut after every operation of the spool, and in the midst of it: what was acknowledged
//! is there, in order, nothing else is, and what was settled for good stays settled.

use super::model::{Fate, Model, Op, Random};
use super::{LIMITS, drain, to};
use crate::batch::Batch;
use crate::spool::{Commit, Cursor, Disk, Limits, Place, Record, Spool, State};
use crate::write::Destination;
use std::collections::BTreeMap;
use std::sync::Arc;

const DATABASES: usize = 3;
/// Two or three records.
const SEGMENT_BYTES: u64 = 220;

/// What is known of a record, in operations: each is the count of those done by then.
#[derive(Debug, Default)]
struct Life {
    place: Option<Place>,
    is_held: bool,
    is_settled: bool,
    appending: usize,
    appended: usize,
    /// A commit that covers it has succeeded.
    acknowledged: Option<usize>,
    /// From here on it may be gone.
    going: Option<usize>,
    /// From here on it does not come back to the next process.
    gone: Option<usize>,
    /// From here on no power cut brings it back.
    gone_for_good: Option<usize>,
}

/// A spool, what is done to it, and what must come of that.
struct Script {
    model: Model,
    spool: Spool<Model>,
    cursor: Cursor,
    random: Random,
    lives: Vec<Life>,
    commit: Option<Commit<<Model as Disk>::File>>,
    /// Which were gone when the commit was taken.
    gone_before: Vec<usize>,
}

fn open(model: &Model, limits: Limits) -> Spool<Model> {
    let mut spool = Spool::open(model.clone(), limits).expect("it lists");
    spool.segment_bytes = SEGMENT_BYTES;
    spool.recover().expect("it recovers");
    spool
}

fn record(number: usize) -> (Destination, Arc<Batch>, u64) {
    let body = format!("m f={number}i {number}\n");
    let end = u32::try_from(body.len()).expect("it is short");
    let destination = to(&(number % DATABASES).to_string());
    (destination, Batch::from_body(body.into(), vec![end]), number as u64)
}

fn append(spool: &mut Spool<Model>, number: usize, state: State) -> Place {
    let (destination, batch, kept_s) = record(number);
    let record = Record { destination: &destination, batch: &batch, kept_s };
    spool.append(&record, state).expect("there is room")
}

/// The numbers of all records that are there, each as it was appended.
fn numbers(spool: &mut Spool<Model>) -> Vec<usize> {
    let kept = drain(spool).into_iter().map(|kept| {
        let number = usize::try_from(kept.kept_s).expect("it was one");
        let (destination, batch, _) = record(number);
        assert_eq!(kept.batch.bytes(), batch.bytes());
        assert_eq!(*kept.destination, destination);
        number
    });
    kept.collect()
}

impl Script {
    fn run(seed: u64, steps: usize) -> Self {
        let random = Random::new(seed);
        let bytes_max = if seed.is_multiple_of(3) { 900 } else { LIMITS.bytes_max };
        let model = Model::default();
        let spool = open(&model, Limits { bytes_max, ..LIMITS });
        let (cursor, lives) = (spool.head(), Vec::new());
        let (commit, gone_before) = Default::default();
        let mut script = Self { model, spool, cursor, random, lives, commit, gone_before };
        for _ in 0..steps {
            match script.random.below(16) {
                0..=4 => script.append(),
                5 => script.fail_to_append(),
                6..=9 => script.settle(),
                10 | 11 => script.flush(),
                12 => script.take_commit(),
                13 | 14 => script.finish_commit(),
                _ => script.read(),
            }
        }
        script
    }

    fn append(&mut self) {
        let state = if self.random.below(3) == 0 { State::Unread } else { State::Held };
        let appending = self.model.log_len();
        let place = append(&mut self.spool, self.lives.len(), state);
        self.lives.push(Life {
            place: Some(place),
            is_held: state == State::Held,
            appending,
            appended: self.model.log_len(),
            ..Life::default()
        });
        let before = self.model.log_len();
        while let Some(trimmed) = self.spool.trim(0) {
            let after = self.model.log_len();
            for life in &mut self.lives {
                if life.place.is_some_and(|place| place.segment() == trimmed.segment) {
                    (life.is_held, life.is_settled) = (false, true);
                    life.going.get_or_insert(before);
                    life.gone.get_or_insert(after);
                }
            }
        }
    }

    /// It was never there, though all of it may have been written.
    fn fail_to_append(&mut self) {
        let (appending, cut_fails) = (self.model.log_len(), self.random.below(2) == 0);
        let (len, cut) = (self.random.below(160), cut_fails);
        self.model.faults(|faults| (faults.full_after.set(Some(len)), faults.cut.set(cut)));
        let record = record(self.lives.len());
        let record = Record { destination: &record.0, batch: &record.1, kept_s: record.2 };
        self.spool.append(&record, State::Held).expect_err("the disk is full");
        let now = Some(self.model.log_len());
        let gone = if cut_fails { None } else { now };
        let (appended, is_settled) = (usize::MAX, cut_fails);
        self.lives.push(Life { appending, appended, is_settled, gone, ..Life::default() });
    }

    /// The first that is held of some destination, or any.
    fn settle(&mut self) {
        let start = self.random.below(DATABASES);
        let held = |number: &usize| self.lives[*number].is_held;
        let lane = (start..self.lives.len()).step_by(DATABASES).find(held);
        let Some(number) = lane.or_else(|| (0..self.lives.len()).find(held)) else { return };
        let life = &mut self.lives[number];
        (life.is_held, life.is_settled) = (false, true);
        self.spool.settle(life.place.expect("it was appended")).expect("it settles");
    }

    fn flush(&mut self) {
        let before = self.model.log_len();
        self.spool.flush_marks().expect("it writes");
        let after = self.model.log_len();
        for life in self.lives.iter_mut().filter(|life| life.is_settled) {
            life.going.get_or_insert(before);
            life.gone.get_or_insert(after);
        }
    }

    fn read(&mut self) {
        let wanted = to(&self.random.below(DATABASES).to_string());
        let read = self.spool.read(&mut self.cursor, None, &mut |to| *to == wanted);
        if let Some(kept) = read.expect("it reads") {
            let number = usize::try_from(kept.kept_s).expect("it was one");
            assert!(!self.lives[number].is_held && !self.lives[number].is_settled);
            assert_eq!(self.lives[number].place, Some(kept.place));
            self.lives[number].is_held = true;
        } else if self.random.below(2) == 0 {
            self.cursor = self.spool.head();
        }
    }

    fn take_commit(&mut self) {
        let commit = self.spool.unsynced().expect("it opens");
        assert!(self.commit.is_none() || commit.is_none(), "one at a time");
        if commit.is_some() {
            let gone = (0..self.lives.len()).filter(|&number| self.lives[number].gone.is_some());
            self.gone_before = gone.collect();
            self.commit = commit;
        }
    }

    fn finish_commit(&mut self) {
        let Some(commit) = self.commit.take() else { return };
        commit.sync().expect("nothing fails here");
        let now = self.model.log_len();
        for life in &mut self.lives {
            if life.place.is_some_and(|place| commit.covers(place)) {
                life.acknowledged.get_or_insert(now);
            }
        }
        for &number in &self.gone_before {
            self.lives[number].gone_for_good.get_or_insert(now);
        }
        self.spool.synced(commit);
    }

    /// What is there after a cut behind `ops` operations is right.
    fn check(&self, model: &Model, ops: usize, fate: Fate) {
        let by = |at: Option<usize>| at.is_some_and(|at| at <= ops);
        let mut spool = open(model, LIMITS);
        let there = numbers(&mut spool);
        let context = || format!("cut at {ops}, {fate:?}: {there:?}\n{:#?}", self.lives);
        assert!(there.is_sorted_by(|a, b| a < b), "order: {}", context());
        for (number, life) in self.lives.iter().enumerate() {
            let is_there = there.contains(&number);
            let was_safe = match fate {
                Fate::Kept => life.appended <= ops,
                _ => by(life.acknowledged),
            };
            if was_safe && life.going.is_none_or(|going| ops <= going) {
                assert!(is_there, "{number} is missing: {}", context());
            }
            let is_gone = if fate == Fate::Kept { life.gone } else { life.gone_for_good };
            if by(is_gone) || ops <= life.appending {
                assert!(!is_there, "{number} is there: {}", context());
            }
        }
        // And so it goes on: a new record comes behind all others, and an end comes to them all.
        append(&mut spool, 1_000, State::Unread);
        drop(spool);
        let mut spool = open(model, LIMITS);
        let mut cursor = spool.head();
        let mut again = Vec::new();
        while let Some(kept) = spool.read(&mut cursor, None, &mut |_| true).expect("it reads") {
            again.push(usize::try_from(kept.kept_s).expect("it was one"));
            spool.settle(kept.place).expect("it settles");
        }
        assert_eq!(again, [&there[..], &[1_000]].concat(), "{}", context());
        spool.flush_marks().expect("it removes");
        assert_eq!(model.names(), [] as [&str; 0], "{}", context());
    }
}

#[test]
fn power_is_cut_after_every_operation() {
    let mut seen = BTreeMap::new();
    for seed in 0..40 {
        let script = Script::run(seed, 60);
        let log = script.model.log();
        let random = Random::new(seed);
        for ops in 0..=log.len() {
            let fates = [Fate::Kept, Fate::Lost].into_iter().chain([Fate::Mixed; 6]);
            for fate in fates {
                script.check(&Model::after(&log[..ops], fate, &random), ops, fate);
            }
        }
        let lives = &script.lives;
        *seen.entry("acknowledged").or_insert(0) +=
            lives.iter().filter(|life| life.acknowledged.is_some()).count();
        *seen.entry("gone for good").or_insert(0) +=
            lives.iter().filter(|life| life.gone_for_good.is_some()).count();
        *seen.entry("removed").or_insert(0) +=
            log.iter().filter(|op| matches!(op, Op::Remove(_))).count();
    }
    assert!(seen.values().all(|&count| count > 100), "the script did something: {seen:?}");
}

#[test]
fn power_is_cut_within_every_write() {
    for seed in 100..108 {
        let script = Script::run(seed, 40);
        let log = script.model.log();
        for ops in 1..=log.len() {
            let Op::Write { inode, at, bytes } = &log[ops - 1] else { continue };
            for len in 0..bytes.len() {
                let part = Op::Write { inode: *inode, at: *at, bytes: bytes[..len].to_vec() };
                let cut = [&log[..ops - 1], &[part]].concat();
                let model = Model::after(&cut, Fate::Kept, &script.random);
                // The write is not done: what was there before it must be.
                script.check(&model, ops - 1, Fate::Kept);
            }
        }
    }
}
