//! Faults: schedules drawn from seeds, over the real relay, between sources that know what they
//! wrote and backends that know what they stored.

mod backend;
mod fault;
mod harness;
mod judge;
mod line;
mod pace;
mod run;
mod schedule;
mod seed;
mod source;
mod store;
mod suite;
mod surroundings;

use schedule::Kind;

/// How many seeds the largest test has by default.
const SCHEDULES: u64 = 200;

#[test]
fn schedules_lose_nothing_and_keep_the_order() {
    suite::run(Kind::Plain, &seed::seeds(SCHEDULES, SCHEDULES));
}

#[test]
fn an_overwritten_point_ends_with_its_last_value() {
    let tally = suite::run(Kind::Overwrites, &seed::seeds(SCHEDULES, 20));
    assert!(tally.series >= 50 * tally.schedules, "{tally:?}");
}

#[test]
fn names_that_do_not_resolve_lose_nothing() {
    suite::run(Kind::Names, &seed::seeds(SCHEDULES, 30));
}

#[test]
fn a_clock_that_is_set_loses_nothing() {
    suite::run(Kind::Clock, &seed::seeds(SCHEDULES, 30));
}
