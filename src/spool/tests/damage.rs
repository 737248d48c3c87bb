//! Damaged files: what is whole is given, what is not is counted, and nothing is made up.

use super::model::{Model, Random};
use super::{LIMITS, append, batch, bodies, drain, to};
use crate::batch::Batch;
use crate::spool::{Kept, Record, Recovered, Spool, State, Tally};
use proptest::prelude::*;

fn open(model: &Model) -> (Spool<Model>, Recovered) {
    let mut spool = Spool::open(model.clone(), LIMITS).expect("it lists");
    let recovered = spool.recover().expect("it recovers");
    (spool, recovered)
}

/// Records with one, two and three lines.
fn three() -> Model {
    let model = Model::default();
    let (mut spool, _) = open(&model);
    for lines in ["a", "bb", "ccc"] {
        append(&mut spool, "x", lines, State::Held);
    }
    model
}

fn settle_all(model: &Model, spool: &mut Spool<Model>, kept: &[Kept]) {
    for kept in kept {
        spool.settle(kept.place).expect("it settles");
    }
    spool.flush_marks().expect("it removes");
    assert_eq!(model.names(), [] as [&str; 0]);
    assert_eq!((spool.records(), spool.lines(), spool.unread_lines()), (0, 0, 0));
}

fn file_len(model: &Model) -> usize {
    let mut len = 0;
    model.harm(".records", |bytes| len = bytes.len());
    len
}

#[test]
fn a_flipped_bit_costs_one_record() {
    for at in 0..file_len(&three()) {
        let model = three();
        model.harm(".records", |bytes| bytes[at] ^= 1 << (at % 8));
        let (mut spool, recovered) = open(&model);
        assert_eq!(recovered.records, 2, "byte {at}");
        assert_eq!(recovered.corrupt + u64::from(recovered.torn_bytes > 0), 1, "byte {at}");
        let all = drain(&mut spool);
        assert_eq!(all.len(), 2);
        assert_eq!(spool.take_lost(), Tally::default(), "it was never counted as there");
        settle_all(&model, &mut spool, &all);
    }
}

#[test]
fn a_bit_that_flips_later_is_found_when_it_is_read() {
    for at in 0..file_len(&three()) {
        let model = three();
        let (mut spool, recovered) = open(&model);
        assert_eq!((recovered.records, recovered.lines, recovered.corrupt), (3, 6, 0));
        model.harm(".records", |bytes| bytes[at] ^= 1 << (at % 8));
        let all = drain(&mut spool);
        assert_eq!(all.len(), 2, "byte {at}");
        let lines: u64 = all.iter().map(|kept| kept.batch.lines()).sum();
        assert_eq!(spool.take_lost(), Tally { records: 1, lines: 6 - lines, opaque: 0 });
        assert_eq!((spool.corrupt(), spool.records(), spool.unread_lines()), (1, 2, 0));
        assert_eq!(drain(&mut spool).len(), 0, "once is enough");
        assert_eq!(spool.corrupt(), 1);
        settle_all(&model, &mut spool, &all);
    }
}

#[test]
fn what_the_owner_holds_is_not_lost_with_the_disk() {
    let model = Model::default();
    let (mut spool, _) = open(&model);
    let held = append(&mut spool, "x", "a", State::Held);
    append(&mut spool, "x", "bb", State::Unread);
    append(&mut spool, "x", "ccc", State::Unread);
    model.harm(".records", |bytes| bytes[..100].fill(0));
    let all = drain(&mut spool);
    assert_eq!(bodies(&all).len(), 1);
    assert_eq!(spool.take_lost(), Tally { records: 1, lines: 2, opaque: 0 });
    assert_eq!(spool.records(), 2);
    spool.settle(held).expect("it settles");
    settle_all(&model, &mut spool, &all);
}

#[test]
fn a_file_that_vanishes_takes_its_unread_records_along() {
    let model = three();
    let (mut spool, _) = open(&model);
    append(&mut spool, "x", "d", State::Unread);
    model.vanish(".records");
    let all = drain(&mut spool);
    assert_eq!(bodies(&all), [b"d f=1 1\n"]);
    assert_eq!(spool.take_lost(), Tally { records: 3, lines: 6, opaque: 0 });
    settle_all(&model, &mut spool, &all);
}

#[test]
fn a_page_that_cannot_be_read_costs_the_records_on_it() {
    let model = Model::default();
    let (mut spool, _) = open(&model);
    let lines = "x".repeat(200);
    for _ in 0..8 {
        append(&mut spool, "x", &lines, State::Unread);
    }
    // A record takes some 2450 bytes: this touches those from 4900 to 9800.
    model.faults(|faults| faults.unreadable.set(Some((5_000, 8_000))));
    assert_eq!(drain(&mut spool).len(), 6);
    assert_eq!(spool.take_lost(), Tally { records: 2, lines: 400, opaque: 0 });
    drop(spool);
    let (mut spool, recovered) = open(&model);
    assert_eq!((recovered.records, recovered.corrupt), (6, 2));
    assert_eq!(drain(&mut spool).len(), 6);
}

/// A client that sends the bytes of a record does not get them taken for one, not even where the
/// damage is such that they are searched.
#[test]
fn a_record_within_a_record_is_none() {
    let model = three();
    let mut inner = Vec::new();
    model.harm(".records", |bytes| inner.clone_from(bytes));
    let (mut spool, _) = open(&model);
    let body = Batch::opaque(inner.repeat(3).into());
    let record = Record { destination: &to("y"), batch: &body, kept_s: 1 };
    spool.append(&record, State::Unread).expect("there is room");
    append(&mut spool, "x", "d", State::Unread);
    drop(spool);
    model.vanish(".records");
    model.harm(".records", |bytes| bytes[12] ^= 1);
    let (mut spool, recovered) = open(&model);
    assert_eq!((recovered.records, recovered.corrupt), (1, 1));
    assert_eq!(bodies(&drain(&mut spool)), [b"d f=1 1\n"]);
}

#[test]
fn marks_that_are_torn_or_wrong_say_nothing() {
    let model = three();
    let (mut spool, _) = open(&model);
    let all = drain(&mut spool);
    spool.settle(all[1].place).expect("it settles");
    spool.flush_marks().expect("it writes");
    drop(spool);
    // A torn one behind it, and then the next process writes its own.
    model.harm(".settled", |bytes| bytes.extend([1, 2, 3]));
    let (mut spool, recovered) = open(&model);
    assert_eq!((recovered.records, recovered.lines), (2, 4));
    let all = drain(&mut spool);
    spool.settle(all[0].place).expect("it settles");
    spool.flush_marks().expect("it writes");
    drop(spool);
    let (spool, recovered) = open(&model);
    assert_eq!((recovered.records, recovered.lines), (1, 3));
    drop(spool);
    model.harm(".settled", |bytes| bytes[0] ^= 1);
    let (_, recovered) = open(&model);
    assert_eq!(recovered.records, 2, "the wrong one says nothing, the other stands");
}

#[test]
fn marks_without_records_and_records_without_bytes_go() {
    let model = three();
    let (mut spool, _) = open(&model);
    let all = drain(&mut spool);
    spool.settle(all[1].place).expect("it settles");
    spool.flush_marks().expect("it writes");
    drop(spool);
    model.vanish(".records");
    let (spool, recovered) = open(&model);
    assert_eq!(recovered, Recovered::default());
    assert_eq!((model.names().len(), spool.bytes()), (0, 0));
    let model = three();
    model.harm(".records", Vec::clear);
    open(&model);
    assert_eq!(model.names().len(), 0);
}

#[test]
fn a_damaged_end_is_torn_in_the_last_segment_only() {
    for (segments, torn, corrupt) in [(1, 30, 0), (2, 0, 1)] {
        let model = three();
        let (mut spool, _) = open(&model);
        if segments == 2 {
            append(&mut spool, "x", "d", State::Unread);
        }
        drop(spool);
        model.harm(".records", |bytes| bytes.extend([7; 30]));
        let (mut spool, recovered) = open(&model);
        assert_eq!((recovered.torn_bytes, recovered.corrupt), (torn, corrupt));
        assert_eq!(drain(&mut spool).len(), 2 + segments);
        assert_eq!(spool.take_lost(), Tally::default());
    }
}

#[derive(Clone, Debug)]
enum Harm {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    /// A piece of it once more, elsewhere.
    Repeat(prop::sample::Index, prop::sample::Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, bits)| Harm::Flip(at, bits)),
        index().prop_map(Harm::Cut),
        (index(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(a, b)| Harm::Insert(a, b)),
        (index(), index(), 1..200usize).prop_map(|(a, b, len)| Harm::Repeat(a, b, len)),
    ]
}

impl Harm {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &prop::sample::Index, len: usize| index.index(len + 1);
        match self {
            Self::Flip(index, bits) => {
                let at = at(index, bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Cut(index) => bytes.truncate(at(index, bytes.len())),
            Self::Insert(index, piece) => {
                let at = at(index, bytes.len());
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Repeat(from, to, len) => {
                let from = at(from, bytes.len());
                let piece = bytes[from..bytes.len().min(from + len)].to_vec();
                let to = at(to, bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_the_files(
        records in prop::collection::vec(harm(), 0..4),
        marks in prop::collection::vec(harm(), 0..2),
        later in prop::collection::vec(harm(), 0..3),
        seed: u64,
    ) {
        let model = Model::default();
        let (mut spool, _) = open(&model);
        let random = Random::new(seed);
        let bodies: Vec<String> = (0..12).map(|n| {
            let letter = char::from(b'a' + n);
            letter.to_string().repeat(1 + random.below(5))
        }).collect();
        for (n, lines) in bodies.iter().enumerate() {
            let place = append(&mut spool, "x", lines, State::Held);
            if n % 4 == 1 {
                spool.settle(place).expect("it settles");
            }
        }
        spool.flush_marks().expect("it writes");
        drop(spool);
        model.harm(".records", |bytes| records.iter().for_each(|harm| harm.apply(bytes)));
        model.harm(".settled", |bytes| marks.iter().for_each(|harm| harm.apply(bytes)));
        let (mut spool, recovered) = open(&model);
        if recovered.records == 0 {
            return Ok(());
        }
        model.harm(".records", |bytes| later.iter().for_each(|harm| harm.apply(bytes)));
        let all = drain(&mut spool);
        let lost = spool.take_lost();
        assert_eq!(all.len() as u64 + lost.records, recovered.records);
        let lines: u64 = all.iter().map(|kept| kept.batch.lines()).sum();
        assert_eq!(lines + lost.lines, recovered.lines);
        let known: Vec<_> = bodies.iter().map(|lines| batch(lines).bytes().to_vec()).collect();
        let place = |kept: &Kept| known.iter().position(|body| body == kept.batch.bytes());
        let places: Vec<_> = all.iter().map(|kept| place(kept).expect("none is made up")).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        settle_all(&model, &mut spool, &all);
    }
}
