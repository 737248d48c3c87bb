//! Runs many schedules side by side, and says how to run one again that fails.

use crate::judge::judge;
use crate::run::{self, End};
use crate::schedule::{Kind, Schedule};
use crate::surroundings;
use crate::tally::Tally;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Schedules that run at once for each core: each waits most of its time.
const AT_ONCE: usize = 5;
/// Files that may be open: one schedule has about 50.
const FILES_MAX: u64 = 8_192;
/// Failures that are shown. The first is the one to look at.
const SHOWN_MAX: usize = 3;
/// Lines of each log that are shown.
const LOG_LINES_MAX: usize = 40;

/// Runs the schedules of these seeds.
///
/// # Panics
/// If one breaks a promise of the relay.
pub(crate) fn run(kind: Kind, seeds: &[u64]) -> Tally {
    if !surroundings::can(kind) {
        return Tally::default();
    }
    let limits = getrlimit(Resource::Nofile);
    let files = FILES_MAX.min(limits.maximum.unwrap_or(FILES_MAX));
    if limits.current.is_some_and(|current| current < files) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(files), ..limits })
            .expect("up to the maximum it may be raised");
    }
    let at_once = AT_ONCE * std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let found = Mutex::new((Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (tally, failure) = run_one(kind, seed);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.0 += tally;
                    found.1.extend(failure.map(|failure| (seed, failure)));
                }
            });
        }
    });
    let (tally, mut failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Straight to the descriptor: libtest keeps what a passing test prints.
    let said = format!("{kind:?} in {:.1} s: {tally:?}\n", started.elapsed().as_secs_f64());
    std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    failures.sort();
    let all: Vec<_> = failures.iter().map(|(seed, _)| *seed).collect();
    let shown: Vec<_> = failures.into_iter().take(SHOWN_MAX).map(|(_, text)| text).collect();
    assert!(
        all.is_empty(),
        "{} of {} schedules failed, those of the seeds {all:?}\n{}\n\
         RINGRELAY_FAULT_SEED={} runs the first of them again",
        all.len(),
        seeds.len(),
        shown.join("\n"),
        all[0]
    );
    tally
}

fn run_one(kind: Kind, seed: u64) -> (Tally, Option<String>) {
    let schedule = Schedule::draw(kind, seed);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let record = run::run(&schedule);
        let (tally, defects) = judge(&schedule, &record);
        (tally, defects, record)
    }));
    match ran {
        Ok((tally, defects, _)) if defects.is_empty() => (tally, None),
        Ok((tally, defects, record)) => {
            let defects = defects[..defects.len().min(20)].join("\n  ");
            let logs = logs(&record.lives);
            (tally, Some(format!("{schedule}it broke:\n  {defects}\n{logs}")))
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map_or("see above", |text| text);
            (Tally::default(), Some(format!("{schedule}it panicked: {text}\n")))
        }
    }
}

fn logs(lives: &[End]) -> String {
    let mut text = String::new();
    for (life, end) in lives.iter().enumerate() {
        let (how, log) = match end {
            End::Stopped(stopped, _) => ("stopped", &stopped.log),
            End::Killed(log) => ("killed", log),
        };
        let tail = &log[log.len().saturating_sub(LOG_LINES_MAX)..];
        text += &format!("life {life}, {how}:\n    {}\n", tail.join("\n    "));
    }
    text
}
