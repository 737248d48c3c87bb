//! Disks that are full, read-only or broken: an error, nothing half-done, and then it goes on.

use super::model::{Fate, Model, Random};
use super::{LIMITS, append, batch, bodies, drain, to};
use crate::spool::{Limits, Record, Spool, State, Trimmed, Why};
use std::io::ErrorKind;

fn open(model: &Model) -> Spool<Model> {
    let mut spool = Spool::open(model.clone(), LIMITS).expect("it lists");
    spool.recover().expect("it recovers");
    spool
}

fn fails_to_append(spool: &mut Spool<Model>) -> ErrorKind {
    let record = Record { destination: &to("x"), batch: &batch("bb"), kept_s: 7 };
    spool.append(&record, State::Held).expect_err("the disk fails").kind()
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    for cut_fails in [false, true] {
        for len in 0..200 {
            let model = Model::default();
            let mut spool = open(&model);
            append(&mut spool, "x", "a", State::Unread);
            model.faults(|faults| faults.full_after.set(Some(len)));
            model.faults(|faults| faults.cut.set(cut_fails));
            let bytes = spool.bytes();
            fails_to_append(&mut spool);
            assert_eq!((spool.records(), spool.bytes()), (1, bytes));
            append(&mut spool, "x", "c", State::Unread);
            assert_eq!(spool.segments(), if cut_fails { 2 } else { 1 });
            spool.flush_marks().expect("it writes");
            let expected: [&[u8]; 2] = [b"a f=1 1\n", b"c f=1 1\n"];
            assert_eq!(bodies(&drain(&mut spool)), expected);
            drop(spool);
            assert_eq!(bodies(&drain(&mut open(&model))), expected, "after {len} bytes");
        }
    }
}

#[test]
fn a_first_write_that_fails_leaves_an_empty_directory() {
    for cut_fails in [false, true] {
        let model = Model::default();
        let mut spool = open(&model);
        model.faults(|faults| faults.full_after.set(Some(3)));
        model.faults(|faults| faults.cut.set(cut_fails));
        let cursor = spool.head();
        assert_eq!(fails_to_append(&mut spool), ErrorKind::StorageFull);
        assert!(spool.is_at_end(&cursor), "nothing came behind it");
        spool.flush_marks().expect("it removes");
        assert_eq!((model.names().len(), spool.bytes()), (0, 0));
    }
}

#[test]
fn marks_that_could_not_be_written_are_written_later() {
    let model = Model::default();
    let mut spool = open(&model);
    let place = append(&mut spool, "x", "a", State::Held);
    append(&mut spool, "x", "b", State::Held);
    for len in [0, 3, 8] {
        model.faults(|faults| faults.full_after.set(Some(len)));
        spool.settle(place).expect("nothing is written yet");
        spool.flush_marks().expect_err("the disk fails");
        assert_eq!(spool.records(), 1, "it is settled all the same");
    }
    spool.flush_marks().expect("there is room again");
    drop(spool);
    assert_eq!(bodies(&drain(&mut open(&model))), [b"b f=1 1\n"]);
}

#[test]
fn a_segment_that_could_not_be_removed_is_removed_later() {
    let model = Model::default();
    let mut spool = open(&model);
    let place = append(&mut spool, "x", "a", State::Held);
    spool.settle(place).expect("nothing is written yet");
    model.faults(|faults| faults.remove.set(true));
    assert_eq!(spool.flush_marks().expect_err("it fails").kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!((spool.segments(), spool.records()), (1, 0));
    spool.flush_marks().expect("it can be written again");
    assert_eq!((spool.segments(), model.names().len()), (0, 0));
}

#[test]
fn what_cannot_be_trimmed_stays_and_no_more_comes() {
    let model = Model::default();
    let limits = Limits { bytes_max: 2_000, age_max: None };
    let mut spool = Spool::open(model.clone(), limits).expect("it lists");
    spool.segment_bytes = 1_000;
    let mut appended = 0;
    let record = Record { destination: &to("x"), batch: &batch("bb"), kept_s: 7 };
    let error = loop {
        match spool.append(&record, State::Unread) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        model.faults(|faults| faults.remove.set(true));
        assert_eq!(spool.trim(0), None);
        assert!(appended < 1_000);
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    model.faults(|faults| faults.remove.set(false));
    let before = spool.unread_records();
    let trimmed = spool.trim(0).expect("it can be removed");
    assert_eq!(trimmed.why, Why::Size);
    assert_eq!(spool.unread_records(), before - trimmed.unread_records);
    assert_eq!(trimmed.unread_lines, trimmed.unread_records * 2);
    spool.append(&record, State::Unread).expect("there is room");
}

#[test]
fn a_segment_that_failed_to_sync_gets_no_more() {
    let model = Model::default();
    let mut spool = open(&model);
    let first = append(&mut spool, "x", "a", State::Unread);
    let commit = spool.unsynced().expect("it opens").expect("something was written");
    assert!(commit.covers(first));
    assert!(spool.unsynced().expect("it opens").is_none(), "one at a time");
    let second = append(&mut spool, "x", "b", State::Unread);
    assert!(!commit.covers(second));
    model.faults(|faults| faults.sync.set(true));
    commit.sync().expect_err("the disk fails");
    spool.sync_failed(commit);
    let third = append(&mut spool, "x", "c", State::Unread);
    assert_eq!(first.segment(), second.segment());
    assert_ne!(second.segment(), third.segment());
    let commit = spool.unsynced().expect("it opens").expect("something was written");
    assert_eq!(commit.files().len(), 3, "both segments, and the directory");
    assert!(commit.covers(third));
    commit.sync().expect("it works again");
    spool.synced(commit);
    assert!(spool.unsynced().expect("it opens").is_none());
    assert_eq!(drain(&mut spool).len(), 3);
    let after = Model::after(&model.log(), Fate::Lost, &Random::new(1));
    assert_eq!(drain(&mut open(&after)).len(), 3);
}

#[test]
fn a_commit_has_so_many_files_and_covers_no_more() {
    let model = Model::default();
    let mut spool = open(&model);
    spool.segment_bytes = 1;
    let places: Vec<_> = (0..40).map(|_| append(&mut spool, "x", "a", State::Held)).collect();
    let covered = |commit: &crate::spool::Commit<_>| {
        places.iter().filter(|&&place| commit.covers(place)).count()
    };
    for (files, places) in [(17, 16), (16, 32), (8, 40)] {
        let commit = spool.unsynced().expect("it opens").expect("something was written");
        assert_eq!((commit.files().len(), covered(&commit)), (files, places));
        commit.sync().expect("nothing fails");
        spool.synced(commit);
    }
    assert!(spool.unsynced().expect("it opens").is_none());
    // Marks in many segments, and few files open.
    let all: Vec<_> = places.iter().map(|place| place.segment()).collect();
    assert!(all.is_sorted_by(|a, b| a < b), "one each");
    assert!(spool.handles.len() <= 16);
}

#[test]
fn the_oldest_go_when_they_are_too_many_or_too_old() {
    let model = Model::default();
    let age_max = Some(std::time::Duration::from_secs(60));
    let mut spool =
        Spool::open(model.clone(), Limits { bytes_max: 1_000, age_max }).expect("it lists");
    spool.segment_bytes = 200;
    let mut appended = 0;
    let first = loop {
        append(&mut spool, "x", "ab", State::Unread);
        appended += 1;
        if let Some(trimmed) = spool.trim(10) {
            break trimmed;
        }
    };
    assert!(spool.bytes() <= 1_000 && spool.bytes() > 800 - 100);
    assert_eq!(
        first,
        Trimmed {
            segment: 1,
            unread_records: 2,
            unread_lines: 4,
            unread_opaque: 0,
            why: Why::Size
        }
    );
    assert_eq!(spool.trim(67), None, "they were taken in second 7");
    let mut gone = 0;
    while let Some(trimmed) = spool.trim(68) {
        assert_eq!(trimmed.why, Why::Age);
        gone += trimmed.unread_records;
    }
    assert_eq!((gone, spool.segments(), model.names().len()), (appended - 2, 0, 0));
    assert_eq!(spool.trim(u64::MAX), None);
}
