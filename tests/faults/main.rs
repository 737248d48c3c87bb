//! Faults: schedules drawn from seeds, over the real relay, between sources that know what they
//! wrote and backends that know what they stored.
//!
//! ```text
//! seed -> schedule -> run: sources -> relay, life after life -> backends
//!                       |                                          |
//!                       +--> what was written, the books --> judge <-- what was stored
//! ```
//!
//! One schedule takes two to four seconds and waits for most of it; many run side by side
//! (`suite`). It moves on by what the sources have written (`pace`), so a seed gives the same
//! steps between the same lines everywhere; which request a step falls into is up to the machine.
//!
//!     cargo test --test faults                                                   all of them
//!     RINGRELAY_FAULT_SCHEDULES=5000 cargo test --release --test faults          thousands
//!     RINGRELAY_FAULT_SEED=17 cargo test --test faults schedules_lose            one again
//!
//! What is claimed of every schedule, whatever happened in it (`judge`, `store`):
//!
//! - The lines of a source come first in their order, and the one that was stored last of each
//!   series is its newest.
//! - A line comes twice only if the backend did not say that it had stored it (`untold`), or if
//!   the relay had closed the connection without reading that (`unheard`, which the relay's own
//!   count of requests without an answer must confirm). One that was sent ahead of a write under
//!   suspicion comes again behind it, in schedules with answers of 500; where its connection was
//!   closed meanwhile, that looks as if its answer had not been read.
//! - What is acknowledged, and missing at a backend, is counted as dropped in the relay's closing
//!   books, for a reason that the schedule gives. `refused` is for the lines that the backend
//!   refuses, `shutdown` for a stop amid an outage; full backlogs are for schedules with small
//!   ones, and poison is for those with answers of 500. In any other schedule nothing is missing.
//! - More is never counted as delivered than is stored. The books close.
//! - No client is told off without a cause, every backend has the same stamp of a line, and the
//!   relay ends with success and without an error in its log.
//!
//! A backlog in memory alone ends with SIGKILL: of a life that ended so, order, repeats and
//! stamps are judged, and that every backend without a fault in it has what `ack = "all"`
//! acknowledged.
//!
//! With a spool, more is claimed (`judge/spooled`): whatever SIGTERM and SIGKILL leave is there
//! after the next start. Nothing that is acknowledged is missing but what the books count, and
//! the lines
//! of records that were damaged on disk (`spool`). A line
//! comes again in a later life if the backend had not told of it, if its request was one of the
//! few in flight, or if its write had been cut. With `fsync` of "interval" and "never" too: the
//! page cache outlives the relay.
//!
//! A backend does not store a request whose sender has hung up by then. One that did could
//! overwrite what came meanwhile with older values, and no relay can prevent that: its `timeout`
//! must be longer than the backend may take.

mod backend;
mod counted;
mod fault;
mod harness;
mod judge;
mod line;
mod pace;
mod run;
mod schedule;
mod seed;
mod source;
mod spool;
mod store;
mod suite;
mod surroundings;
mod tally;

use schedule::Kind;

/// All tests' shares are of so many schedules, unless `RINGRELAY_FAULT_SCHEDULES` says so.
const SCHEDULES: u64 = 200;
/// With fewer, a test need not have met everything that it is for.
const SOME: usize = 20;

#[test]
fn schedules_lose_nothing_and_keep_the_order() {
    let tally = suite::run(Kind::Plain, &seed::seeds(SCHEDULES, 120));
    if tally.schedules >= SOME {
        assert!(tally.untold > 0 && tally.dropped > 0 && tally.killed > 0, "{tally:?}");
    }
}

#[test]
fn an_overwritten_point_ends_with_its_last_value() {
    // 50 points in each schedule: 1000 in all.
    let tally = suite::run(Kind::Overwrites, &seed::seeds(SCHEDULES, 20));
    assert!(tally.series >= 2 * 50 * tally.schedules, "{tally:?}");
    if tally.schedules >= SOME {
        assert!(tally.outages > 0 && tally.untold > 0, "{tally:?}");
    }
}

#[test]
fn names_that_do_not_resolve_lose_nothing() {
    let tally = suite::run(Kind::Names, &seed::seeds(SCHEDULES, 20));
    if tally.schedules >= SOME {
        assert!(tally.unresolved > 0, "{tally:?}");
    }
}

#[test]
fn a_clock_that_is_set_loses_nothing() {
    suite::run(Kind::Clock, &seed::seeds(SCHEDULES, 20));
}

#[test]
fn spools_lose_nothing_and_keep_the_order() {
    let tally = suite::run(Kind::Spool, &seed::seeds(SCHEDULES, 120));
    if tally.schedules >= SOME {
        assert!(tally.killed > 0 && tally.restored > 0 && tally.damaged > 0, "{tally:?}");
        assert!(tally.spool_full > 0, "{tally:?}");
    }
}

#[test]
fn an_overwritten_point_ends_with_its_last_value_through_restarts() {
    // 50 points in each schedule: 1000 in all.
    let tally = suite::run(Kind::SpooledOverwrites, &seed::seeds(SCHEDULES, 20));
    assert!(tally.series >= 2 * 50 * tally.schedules, "{tally:?}");
    if tally.schedules >= SOME {
        assert!(tally.outages > 0 && tally.lives > tally.schedules, "{tally:?}");
    }
}

#[test]
fn a_clock_that_is_set_drops_from_a_spool_what_is_too_old_alone() {
    suite::run(Kind::SpooledClock, &seed::seeds(SCHEDULES, 20));
}

#[test]
fn a_disk_that_fails_loses_nothing_that_was_promised() {
    let tally = suite::run(Kind::Disk, &seed::seeds(SCHEDULES, 20));
    if tally.schedules >= SOME {
        assert!(tally.disk_failed > 0, "{tally:?}");
    }
}
