//! Cursors: what is wanted, up to where, and while more is appended.

use super::{LIMITS, append, batch, bodies, drain, names, open, open_with, to};
use crate::batch::Batch;
use crate::spool::{Directory, Limits, Record, Spool, State};
use std::io::ErrorKind;

#[test]
fn what_is_not_wanted_is_left_for_a_later_cursor() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    for (db, lines) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
        append(&mut spool, db, lines, State::Unread);
    }
    let mut first = spool.head();
    let lines = |spool: &mut Spool, cursor: &mut _, upto: Option<&_>, db: &str| {
        let wanted = to(db);
        let kept = spool.read(cursor, upto, &mut |to| *to == wanted).expect("it reads");
        kept.map(|kept| String::from_utf8(kept.batch.bytes()[..1].to_vec()).expect("a digit"))
    };
    assert_eq!(lines(&mut spool, &mut first, None, "b").as_deref(), Some("2"));
    // What the first cursor has passed, and no more.
    let mut second = spool.head();
    assert!(second < first);
    assert_eq!(lines(&mut spool, &mut second, Some(&first), "a").as_deref(), Some("1"));
    assert_eq!(lines(&mut spool, &mut second, Some(&first), "a"), None);
    assert_eq!(second, first);
    append(&mut spool, "a", "5", State::Unread);
    append(&mut spool, "a", "6", State::Held);
    for digit in ["3", "5"] {
        assert!(!spool.is_at_end(&first));
        assert_eq!(lines(&mut spool, &mut first, None, "a").as_deref(), Some(digit));
    }
    assert_eq!(lines(&mut spool, &mut first, None, "a"), None);
    assert!(spool.is_at_end(&first));
    append(&mut spool, "a", "7", State::Unread);
    assert!(!spool.is_at_end(&first));
    assert_eq!(lines(&mut spool, &mut first, None, "a").as_deref(), Some("7"));
    assert_eq!((spool.unread_records(), spool.records()), (1, 7));
    assert_eq!(bodies(&drain(&mut spool)), [b"4 f=1 1\n"]);
}

#[test]
fn what_is_released_is_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let place = append(&mut spool, "a", "1", State::Held);
    assert_eq!(drain(&mut spool).len(), 0);
    spool.release(place);
    spool.release(place);
    assert_eq!(spool.unread_lines(), 1);
    assert_eq!(drain(&mut spool).len(), 1);
    spool.settle(place).expect("it settles");
    spool.release(place);
    assert_eq!((spool.records(), spool.unread_records()), (0, 0));
}

#[test]
fn records_of_all_sizes() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = Limits { bytes_max: 8 << 20, age_max: None };
    let mut spool = open_with(directory.path(), limits);
    // Around the window, a segment, and what a window takes of small ones.
    let lens = [0, 1, 262_000, 100, 262_100, 262_144, 300_000, 5, 2 << 20, 5, 70_000, 262_144];
    let bodies: Vec<_> =
        (0..).zip(lens).map(|(n, len)| Batch::opaque(vec![n; len].into())).collect();
    for batch in &bodies {
        let record = Record { destination: &to("a"), batch, kept_s: 1 };
        spool.append(&record, State::Unread).expect("there is room");
    }
    let huge = Batch::opaque(vec![0; 8 << 20].into());
    let record = Record { destination: &to("a"), batch: &huge, kept_s: 1 };
    let error = spool.append(&record, State::Unread).expect_err("it is too large");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("8388608"), "{error}");
    assert_eq!(spool.segments(), 4, "what is larger than a segment has one of its own");
    for again in [false, true] {
        if again {
            drop(spool);
            spool = open_with(directory.path(), limits);
        }
        let all = drain(&mut spool);
        assert_eq!(all.len(), lens.len());
        let same = all.iter().zip(&bodies).all(|(a, b)| a.batch.bytes() == b.bytes());
        assert!(same);
        assert!(spool.window.capacity() <= 512 << 10, "the memory is given back");
    }
}

#[test]
fn marks_are_written_by_themselves_when_they_are_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let places: Vec<_> = (0..5_000).map(|_| append(&mut spool, "a", "x", State::Held)).collect();
    for place in &places[..4_999] {
        spool.settle(*place).expect("it settles");
    }
    assert!(spool.pending_marks < 4_096);
    drop(spool);
    let mut spool = open(directory.path());
    assert_eq!(spool.records(), 904);
    assert_eq!(drain(&mut spool).len(), 904);
}

#[test]
fn files_of_others_are_left_alone_and_those_of_other_versions_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("note.txt"), "mine").expect("it can be written");
    drop(open(directory.path()));
    assert_eq!(names(directory.path()), ["lock", "note.txt"]);
    let refused = |name: &str| {
        std::fs::write(file(name), "").expect("it can be written");
        let disk = Directory::open(directory.path()).expect("nobody else has it");
        let error = Spool::open(disk, LIMITS).expect_err("it is refused");
        std::fs::remove_file(file(name)).expect("it is there");
        error.to_string()
    };
    let words = refused("v2-1.records");
    assert!(words.contains("v2-1.records: another version of the relay wrote it"), "{words}");
    append(&mut open(directory.path()), "a", "x", State::Held);
    let words = refused("v1-00000000000000000001-0123456789abcdef.records");
    assert!(words.contains("two segments with its number"), "{words}");
}

#[test]
fn the_oldest_segment_says_how_old_the_oldest_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    assert_eq!(spool.oldest_s(), None);
    for kept_s in [9, 8, 10] {
        let record = Record { destination: &to("a"), batch: &batch("x"), kept_s };
        spool.append(&record, State::Held).expect("there is room");
    }
    assert_eq!(spool.oldest_s(), Some(8));
}
