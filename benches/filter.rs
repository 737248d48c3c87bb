//! What a filter costs, beside what splitting and validating the same lines costs.
//! `cargo bench --bench filter`
//!
//! An output without a filter never gets here: it shares the batch.

use divan::{Bencher, black_box, counter::ItemsCount};
use ringrelay::batch::{Batch, BatchBuilder, Pool};
use ringrelay::filter::{Expression, Filter};
use ringrelay::line::{Item, Lines};
use ringrelay::timestamp::Precision;
use std::sync::Arc;

fn main() {
    divan::main();
}

const LINES: usize = 500;

/// Ten measurements in turn, three tags each, about 110 bytes a line: as an agent sends them.
fn batch() -> Arc<Batch> {
    let mut builder = BatchBuilder::new(Pool::new(1, 1 << 20), None);
    for n in 0..LINES {
        let name =
            ["cpu", "disk", "diskio", "kernel", "mem", "net", "netstat", "proc", "swap", "sys"];
        let line = format!(
            "{},host=server{:02},region=eu-west,core={} usage_user={}.5,usage_idle={}.25,ctx={n}i \
             1434055562000000000",
            name[n % name.len()],
            n % 100,
            n % 64,
            n % 97,
            n % 89,
        );
        assert!(builder.push(line.as_bytes(), None));
    }
    builder.seal().expect("there are lines")
}

#[divan::bench]
fn split_and_validate(bencher: Bencher<'_, '_>) {
    let batch = batch();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let lines = Lines::new(black_box(batch.bytes()), Precision::Nanosecond);
        lines.filter(|item| matches!(black_box(item), Item::Line(_))).count()
    });
}

/// Measurement expression, tag expression, and how many of the lines pass.
const CASES: &[(&str, &str, usize)] = &[
    ("", "^[a-z]+$", LINES),
    ("^[a-z]+$", "", LINES),
    ("^[a-z]+$", "^[a-z]+$", LINES),
    ("^(cpu|mem|net|proc|sys)$", "", LINES / 2),
    ("^(cpu|mem|net|proc|sys)$", "^.{0,6}$", LINES / 2),
    ("^never$", "", 0),
];

#[divan::bench(args = CASES)]
fn select(bencher: Bencher<'_, '_>, &(measurement, tag, passing): &(&str, &str, usize)) {
    let batch = batch();
    let expressions = |text: &str| {
        let given = Some(text).filter(|text| !text.is_empty());
        given.map(|text| Expression::parse(text).expect("it is valid")).into_iter().collect()
    };
    let filter = Filter { measurement: expressions(measurement), tag: expressions(tag) };
    assert_eq!(filter.select(&batch).map_or(0, |batch| batch.ends().len()), passing);
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| filter.select(black_box(&batch)));
}
