//! The spool in a directory of its own, and on disks that fail. What lies deeper has its own
//! files: a model of it, and a model of a power cut.

mod damage;
mod faults;
mod model;
mod power;
mod property;
mod reading;

use super::*;
use crate::batch::Batch;
use crate::write::{Api, Destination};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};

const LIMITS: Limits = Limits { bytes_max: 32 << 20, age_max: None };

pub(super) fn to(db: &str) -> Destination {
    Destination { query: format!("db={db}"), ..Destination::default() }
}

/// Lines of one letter each.
pub(super) fn batch(lines: &str) -> Arc<Batch> {
    let lines: Vec<_> = lines.chars().map(|c| format!("{c} f=1 1\n")).collect();
    let mut end = 0;
    let ends = lines.iter().map(|line| {
        end += u32::try_from(line.len()).expect("it is short");
        end
    });
    Batch::from_body(lines.concat().into(), ends.collect())
}

fn open(path: &std::path::Path) -> Spool {
    open_with(path, LIMITS)
}

fn open_with(path: &std::path::Path, limits: Limits) -> Spool {
    let directory = Directory::open(path).expect("nobody else has it");
    let mut spool = Spool::open(directory, limits).expect("it lists its files");
    spool.recover().expect("it reads its files");
    spool
}

fn append<D: Disk>(spool: &mut Spool<D>, db: &str, lines: &str, state: State) -> Place {
    let record = Record { destination: &to(db), batch: &batch(lines), kept_s: 7 };
    spool.append(&record, state).expect("there is room")
}

fn names(path: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("it is there");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().expect("text")).collect();
    names.sort();
    names
}

/// All that can be read, by its lines.
fn drain<D: Disk>(spool: &mut Spool<D>) -> Vec<Kept> {
    let mut cursor = spool.head();
    let mut all = Vec::new();
    while let Some(kept) = spool.read(&mut cursor, None, &mut |_| true).expect("it reads") {
        all.push(kept);
    }
    assert!(spool.is_at_end(&cursor));
    all
}

fn bodies(kept: &[Kept]) -> Vec<&[u8]> {
    kept.iter().map(|kept| kept.batch.bytes()).collect()
}

#[test]
fn a_record_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let opaque = Destination {
        query: "org=a%20b&bucket=c".into(),
        authorization: Some(Bytes::from_static(b"Token t\xff")),
        api: Api::Prometheus,
        headers: vec![
            (HeaderName::from_static("x-a"), HeaderValue::from_static("")),
            (HeaderName::from_static("x-b"), HeaderValue::from_bytes(b"\xfe").expect("opaque")),
        ],
    };
    let body = Batch::opaque(Bytes::from_static(b"\0\x01"));
    let record = Record { destination: &opaque, batch: &body, kept_s: u64::MAX };
    spool.append(&record, State::Unread).expect("there is room");
    append(&mut spool, "a", "xyz", State::Unread);
    for again in [false, true] {
        if again {
            drop(spool);
            spool = open(directory.path());
        }
        let all = drain(&mut spool);
        assert_eq!(all.len(), 2);
        assert_eq!(*all[0].destination, opaque);
        assert_eq!(all[0].kept_s, u64::MAX);
        assert!(all[0].batch.is_opaque());
        assert_eq!(all[0].batch.bytes(), b"\0\x01");
        assert_eq!(*all[1].destination, to("a"));
        assert_eq!(all[1].batch.ends(), [8, 16, 24]);
        assert_eq!(all[1].batch.bytes(), b"x f=1 1\ny f=1 1\nz f=1 1\n");
    }
}

#[test]
fn an_empty_backlog_leaves_an_empty_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let places: Vec<_> =
        "abc".chars().map(|c| append(&mut spool, "a", &c.to_string(), State::Held)).collect();
    assert_eq!((spool.records(), spool.lines(), spool.unread_lines()), (3, 3, 0));
    spool.settle(places[1]).expect("it settles");
    spool.flush_marks().expect("it writes");
    assert_eq!(names(directory.path()).len(), 3, "lock, records, marks");
    drop(spool);
    let mut spool = open(directory.path());
    let all = drain(&mut spool);
    assert_eq!(bodies(&all), [b"a f=1 1\n", b"c f=1 1\n"]);
    for kept in all {
        spool.settle(kept.place).expect("it settles");
        spool.settle(kept.place).expect("once is enough");
    }
    spool.flush_marks().expect("it removes");
    assert_eq!(names(directory.path()), ["lock"]);
    assert_eq!((spool.bytes(), spool.records(), spool.segments()), (0, 0, 0));
}

#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("not/yet/there");
    let place = append(&mut open(&path), "a", "x", State::Held);
    assert_eq!(place.segment(), 1);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode(&path), mode(path.parent().expect("it has one"))), (0o700, 0o700));
    assert_eq!(names(&path).len(), 2);
    assert!(names(&path).iter().all(|name| mode(&path.join(name)) == 0o600));
}

#[test]
fn one_process_has_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = Directory::open(directory.path()).expect("it is free");
    let error = Directory::open(directory.path()).expect_err("it is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    assert!(error.to_string().contains("another process uses this spool"), "{error}");
    drop(first);
    Directory::open(directory.path()).expect("it is free again");
}
