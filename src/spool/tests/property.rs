//! Any sequence of calls against a list in memory.

use super::{open_with, to};
use crate::batch::Batch;
use crate::spool::{Cursor, Limits, Place, Record, Spool, State};
use proptest::prelude::*;
use std::time::Duration;

const LIMITS: Limits = Limits { bytes_max: 2_000, age_max: Some(Duration::from_secs(12)) };

#[derive(Clone, Debug)]
enum Step {
    Append {
        db: u8,
        lines: u8,
        state: State,
    },
    /// The first that is held of a destination, or the last.
    Settle {
        db: u8,
        last: bool,
    },
    Release {
        db: u8,
    },
    Read {
        dbs: u8,
    },
    Rewind,
    Flush,
    Commit,
    Reopen {
        flush: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![Just(State::Held), Just(State::Unread)];
    prop_oneof![
        6 => (0..3u8, 0..5u8, state)
            .prop_map(|(db, lines, state)| Step::Append { db, lines, state }),
        5 => (0..3u8, any::<bool>()).prop_map(|(db, last)| Step::Settle { db, last }),
        1 => (0..3u8).prop_map(|db| Step::Release { db }),
        4 => (1..8u8).prop_map(|dbs| Step::Read { dbs }),
        1 => Just(Step::Rewind),
        2 => Just(Step::Flush),
        1 => Just(Step::Commit),
        1 => any::<bool>().prop_map(|flush| Step::Reopen { flush }),
    ]
}

/// What a record must be like.
#[derive(Clone, Debug)]
struct Entry {
    place: Place,
    db: u8,
    lines: u64,
    kept_s: u64,
    held: bool,
    settled: bool,
    marked: bool,
}

impl Entry {
    fn is_unread(&self) -> bool {
        !self.held && !self.settled
    }
}

struct Pair {
    directory: tempfile::TempDir,
    spool: Option<Spool>,
    cursor: Cursor,
    /// Those before it were passed by the cursor: by `kept_s`, which all differ.
    passed_s: u64,
    entries: Vec<Entry>,
    now_s: u64,
}

fn db_of(query: &str) -> u8 {
    query.strip_prefix("db=").and_then(|db| db.parse().ok()).expect("it is one of these")
}

impl Pair {
    fn open(directory: &tempfile::TempDir) -> Spool {
        let mut spool = open_with(directory.path(), LIMITS);
        spool.segment_bytes = 300;
        spool
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().expect("it is open")
    }

    fn append(&mut self, db: u8, lines: u8, state: State) {
        self.now_s += 1;
        let line = format!("m f=1 {:03}\n", self.now_s);
        let body = line.repeat(usize::from(lines.max(1)));
        let line_bytes = u32::try_from(line.len()).expect("it is short");
        let ends = (1..=u32::from(lines)).map(|n| n * line_bytes).collect();
        let batch = match lines {
            0 => Batch::opaque(body.into()),
            _ => Batch::from_body(body.into(), ends),
        };
        let kept_s = self.now_s;
        let record = Record { destination: &to(&db.to_string()), batch: &batch, kept_s };
        let place = self.spool().append(&record, state).expect("there is room");
        let held = state == State::Held;
        let lines = u64::from(lines);
        self.entries.push(Entry { place, db, lines, kept_s, held, settled: false, marked: false });
        while let Some(trimmed) = self.spool.as_mut().expect("it is open").trim(kept_s) {
            let (gone, left) = std::mem::take(&mut self.entries)
                .into_iter()
                .partition::<Vec<_>, _>(|entry| entry.place.segment() == trimmed.segment);
            self.entries = left;
            let unread = gone.iter().filter(|entry| entry.is_unread());
            let lines: u64 = unread.clone().map(|entry| entry.lines).sum();
            assert_eq!(
                (trimmed.unread_records, trimmed.unread_lines),
                (unread.count() as u64, lines)
            );
        }
        let spool = self.spool();
        assert!(spool.bytes() <= LIMITS.bytes_max || spool.segments() == 1);
    }

    fn read(&mut self, dbs: u8) {
        let spool = self.spool.as_mut().expect("it is open");
        let is_wanted = |db: u8| dbs >> db & 1 == 1;
        let kept = spool
            .read(&mut self.cursor, None, &mut |to| is_wanted(db_of(&to.query)))
            .expect("it reads");
        let passed_s = self.passed_s;
        let next = self
            .entries
            .iter_mut()
            .find(|entry| entry.kept_s > passed_s && entry.is_unread() && is_wanted(entry.db));
        assert_eq!(kept.as_ref().map(|kept| kept.kept_s), next.as_ref().map(|next| next.kept_s));
        let Some((kept, next)) = kept.zip(next) else {
            self.passed_s = self.now_s;
            return;
        };
        assert_eq!(kept.place, next.place);
        assert_eq!(kept.batch.lines(), next.lines);
        assert!(kept.batch.bytes().ends_with(format!(" {:03}\n", next.kept_s).as_bytes()));
        assert_eq!(db_of(&kept.destination.query), next.db);
        next.held = true;
        self.passed_s = next.kept_s;
    }

    fn rewind(&mut self) {
        self.cursor = self.spool().head();
        self.passed_s = 0;
    }

    fn flush(&mut self) {
        self.spool().flush_marks().expect("it writes");
        self.entries.iter_mut().filter(|entry| entry.settled).for_each(|entry| entry.marked = true);
    }

    fn reopen(&mut self) {
        self.spool = None;
        self.spool = Some(Self::open(&self.directory));
        self.entries.retain(|entry| !entry.marked);
        for entry in &mut self.entries {
            (entry.held, entry.settled) = (false, false);
        }
        self.rewind();
    }

    fn run(&mut self, step: &Step) {
        let held = |db: u8| move |entry: &&mut Entry| entry.held && entry.db == db;
        match *step {
            Step::Append { db, lines, state } => self.append(db, lines, state),
            Step::Read { dbs } => self.read(dbs),
            Step::Rewind => self.rewind(),
            Step::Flush => self.flush(),
            Step::Settle { db, last } => {
                let mut entries = self.entries.iter_mut();
                let found = if last { entries.rfind(held(db)) } else { entries.find(held(db)) };
                let Some(entry) = found else { return };
                (entry.held, entry.settled) = (false, true);
                let place = entry.place;
                self.spool().settle(place).expect("it settles");
            }
            Step::Release { db } => {
                let Some(entry) = self.entries.iter_mut().find(held(db)) else { return };
                entry.held = false;
                let place = entry.place;
                self.spool().release(place);
            }
            Step::Commit => {
                if let Some(commit) = self.spool().unsynced().expect("it opens") {
                    commit.sync().expect("it syncs");
                    self.spool().synced(commit);
                }
            }
            Step::Reopen { flush } => {
                if flush {
                    self.flush();
                }
                self.reopen();
            }
        }
    }

    fn check(&mut self) {
        let open = || self.entries.iter().filter(|entry| !entry.settled);
        let unread = || self.entries.iter().filter(|entry| entry.is_unread());
        let spool = self.spool.as_ref().expect("it is open");
        assert_eq!(spool.records(), open().count() as u64);
        assert_eq!(spool.lines(), open().map(|entry| entry.lines).sum::<u64>());
        assert_eq!(spool.unread_records(), unread().count() as u64);
        assert_eq!(spool.unread_lines(), unread().map(|entry| entry.lines).sum::<u64>());
        assert_eq!(spool.corrupt(), 0);
        let files = std::fs::read_dir(self.directory.path()).expect("it is there");
        let sizes = files.map(|file| file.expect("a file").metadata().expect("its size").len());
        assert_eq!(spool.bytes(), sizes.sum::<u64>(), "what is on disk is what is counted");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_list(steps in prop::collection::vec(step(), 1..80)) {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Pair::open(&directory);
        let cursor = spool.head();
        let (passed_s, entries, now_s) = Default::default();
        let mut pair = Pair { directory, spool: Some(spool), cursor, passed_s, entries, now_s };
        for step in &steps {
            pair.run(step);
            pair.check();
        }
        pair.flush();
        pair.reopen();
        pair.check();
    }
}
