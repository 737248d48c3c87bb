//! The spool of a schedule: its keys, and damage to its files between two lives of the relay.
//!
//! Damage knows as much of the format as it takes to say whose lines it hits: a record begins with
//! the four bytes that its file begins with, and has its length behind those and a checksum.

use crate::line::Line;
use crate::schedule::Kind;
use crate::seed::Numbers;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What stands before a record's payload, whose length is at [`LENGTH`] in it.
const HEADER: usize = 29;
const LENGTH: Range<usize> = 8..12;

/// The keys of a spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpoolPlan {
    pub(crate) fsync: &'static str,
    /// It is "always".
    pub(crate) syncs: bool,
    pub(crate) age_max_s: Option<u64>,
    pub(crate) memory_mb: usize,
}

/// What happens to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    which: Which,
    how: How,
    /// Of the numbers that say where.
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    NewestRecords,
    OldestRecords,
    Marks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Some bytes are other ones.
    Flip,
    /// The end is gone.
    Cut,
    /// There is more behind the end.
    Append,
}

/// What damage has hit, as (backend, source, number).
#[derive(Debug, Default)]
pub(crate) struct Hit {
    /// Lines that may be gone.
    pub(crate) lost: HashSet<(usize, usize, usize)>,
    /// Lines that may be sent again although the relay knew that they were stored.
    pub(crate) unmarked: HashSet<(usize, usize, usize)>,
    /// Files that were damaged.
    pub(crate) files: usize,
}

impl SpoolPlan {
    pub(crate) fn draw(numbers: &mut Numbers, kind: Kind) -> Self {
        let fsync = numbers.pick(&["always", "interval", "never"]);
        let ages = kind == Kind::SpooledClock && numbers.chance(50);
        Self {
            fsync,
            syncs: fsync == "always",
            age_max_s: ages.then(|| numbers.within(30, 300) as u64),
            memory_mb: numbers.pick(&[1, 1, 64]),
        }
    }

    /// The keys of an output.
    pub(crate) fn keys(&self, dir: &Path, small: bool) -> String {
        let (dir, size_mb) = (dir.display(), if small { 8 } else { 32 });
        let age =
            self.age_max_s.map_or_else(String::new, |s| format!("spool-max-age = \"{s}s\"\n"));
        format!(
            "spool-dir = \"{dir}\"\nspool-size-mb = {size_mb}\nfsync = \"{}\"\n{age}",
            self.fsync
        )
    }
}

impl Damage {
    pub(crate) fn draw(numbers: &mut Numbers) -> Self {
        let which = [Which::NewestRecords, Which::OldestRecords, Which::Marks];
        let how = [How::Flip, How::Flip, How::Cut, How::Append];
        Self { which: numbers.pick(&which), how: numbers.pick(&how), seed: numbers.next() }
    }

    /// Damages one file of some backend's spool in `dir`, if there is one.
    pub(crate) fn strike(&self, dir: &Path, hit: &mut Hit) {
        let mut numbers = Numbers::new(self.seed, 0);
        let suffix = if self.which == Which::Marks { "settled" } else { "records" };
        let files: Vec<_> = spools(dir)
            .into_iter()
            .filter_map(|(backend, dir)| {
                let mut files = files(&dir);
                files.retain(|file| file.extension().is_some_and(|is| is == suffix));
                let file = match self.which {
                    Which::OldestRecords => files.first(),
                    _ => files.last(),
                };
                Some((backend, file?.clone()))
            })
            .filter(|(_, file)| fs::metadata(file).is_ok_and(|is| is.len() > 1))
            .collect();
        if files.is_empty() {
            return;
        }
        let (backend, file) = numbers.pick(&files);
        let mut bytes = fs::read(&file).expect("the relay has ended");
        let before = bytes.clone();
        let range = self.change(&mut bytes, &mut numbers);
        let mut open = OpenOptions::new().write(true).truncate(true).open(&file).expect("ours");
        open.write_all(&bytes).expect("there is room");
        hit.files += 1;
        if self.which == Which::Marks {
            let records = fs::read(file.with_extension("records")).unwrap_or_default();
            let all = range_of(&records);
            hit.unmarked.extend(lines(&records, &all).map(|(s, n)| (backend, s, n)));
        } else {
            hit.lost.extend(range.iter().flat_map(|range| {
                lines(&before, range).map(|(s, n)| (backend, s, n)).collect::<Vec<_>>()
            }));
        }
    }

    /// Gives what was changed.
    fn change(&self, bytes: &mut Vec<u8>, numbers: &mut Numbers) -> Vec<Range<usize>> {
        match self.how {
            How::Flip => (0..numbers.within(1, 3))
                .map(|_| {
                    let at = numbers.below(bytes.len());
                    bytes[at] ^= 1 << numbers.below(8);
                    at..at + 1
                })
                .collect(),
            How::Cut => {
                let end = bytes.len();
                let mut at = end - numbers.within(1, (end - 1).min(600));
                // Between two records, nobody could know of it.
                if records(bytes).any(|record| record.start == at) {
                    at += 1;
                }
                bytes.truncate(at);
                std::iter::once(at..end).collect()
            }
            How::Append => {
                bytes.extend((0..numbers.within(1, 100)).map(|_| numbers.next().to_le_bytes()[3]));
                vec![]
            }
        }
    }
}

fn range_of(bytes: &[u8]) -> Range<usize> {
    0..bytes.len()
}

/// The directories of all backends' spools, each with the backend's index.
fn spools(dir: &Path) -> Vec<(usize, PathBuf)> {
    let mut spools: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.extension()?.to_str()?.strip_prefix('b')?.parse().ok()?, path))
        })
        .collect();
    spools.sort();
    spools
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|file| !file.ends_with("lock")).collect();
    files.sort();
    files
}

/// The files of all spools, but for their locks.
pub(crate) fn all_files(dir: &Path) -> Vec<PathBuf> {
    spools(dir).iter().flat_map(|(_, dir)| files(dir)).collect()
}

/// Where each record is.
fn records(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = bytes.get(at..at + HEADER)?;
        let length = header[LENGTH].try_into().map(u32::from_le_bytes).ok()?;
        let is_one = header[..4] == bytes[..4];
        let record = at..at + HEADER + length as usize;
        at = record.end;
        (is_one && at <= bytes.len()).then_some(record)
    })
}

/// The sources and numbers of the lines of the records that `range` touches.
fn lines<'a>(
    bytes: &'a [u8],
    range: &'a Range<usize>,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let touched = records(bytes).filter(|at| at.start < range.end && range.start < at.end);
    touched.flat_map(|record| {
        let payload = String::from_utf8_lossy(&bytes[record]);
        let lines: Vec<_> = payload
            .split('\n')
            .filter_map(|line| Line::parse(&line[line.find("fault,source=")?..]))
            .map(|(line, _)| (line.source, line.number))
            .collect();
        lines
    })
}
