//! `loadgen bench` over the real binary and a relay with known faults (`examples/faulty_relay`):
//! it says "proven" when all is well, and fails for every kind of loss and damage.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Examples are built beside the binaries by `cargo test`.
fn faulty_relay() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_loadgen"));
    let path = beside.with_file_name("examples").join("faulty_relay");
    assert!(path.is_file(), "{} is missing: cargo build --examples", path.display());
    path
}

fn bench(fault: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["bench", "--json", "--lines-per-write", "5"])
        .args(["--warm-up", "100ms", "--duration", "400ms", "--relay"])
        .arg(faulty_relay())
        .args(if more.contains(&"--rate") { &[][..] } else { &["--rate", "4000"] })
        .args(more)
        .env("FAULT", fault)
        .output()
        .expect("loadgen starts")
}

fn report(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {error}"))
}

#[track_caller]
fn fails_with(fault: &str, words: &str, more: &[&str]) {
    let output = bench(fault, more);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let failures = report["findings"]["failures"].to_string();
    assert!(failures.contains(words), "{fault}: {failures}");
}

#[test]
fn proves_a_relay_that_loses_nothing_and_measures_it() {
    let output = bench("none", &[]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["proven"], true);
    assert_eq!(report["listeners"][0]["sent"]["lines"], 2_000);
    for backend in 0..2 {
        assert_eq!(report["listeners"][0]["backends"][backend]["sink"]["lines"], 2_000);
    }
    assert!(report["cpu"]["ns_per_line"].as_f64().is_some_and(|ns| ns > 100.0), "{report:#}");
    assert!(report["memory_peak_kib"].as_u64().is_some_and(|kib| kib > 500), "{report:#}");
}

#[test]
fn a_datagram_dropped_in_silence_fails() {
    fails_with("drop", "5 lines lost in silence", &[]);
}

#[test]
fn a_datagram_dropped_and_counted_is_accounted_for() {
    let output = bench("drop-counted", &[]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert!(report["findings"]["notes"].to_string().contains("queue_full"), "{report:#}");
    assert_eq!(report["listeners"][0]["backends"][0]["sink"]["total"]["missing"], 5);
}

#[test]
fn kernel_drops_that_the_relay_does_not_say_fail() {
    // As fast as possible is faster than one system call per datagram and backend.
    fails_with("none", "the relay says 0", &["--rate", "0", "--read-buffer", "4096"]);
}

#[test]
fn a_duplicate_fails() {
    fails_with("duplicate", "5 lines duplicate", &[]);
}

#[test]
fn a_swap_fails() {
    fails_with("swap", "lines reordered", &[]);
}

#[test]
fn an_altered_line_fails() {
    fails_with("alter", "1 lines altered", &[]);
}

#[test]
fn backends_with_different_timestamps_fail() {
    fails_with("stamp", "different timestamps", &["--timestamps", "no"]);
}

#[test]
fn a_relay_that_ends_by_itself_is_an_error_with_its_last_words() {
    let output = bench("die", &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("ended by itself") && error.contains("told to die"), "{error}");
}

#[test]
fn a_missing_relay_is_an_error_that_names_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["bench", "--relay", "/nonexistent/relay"])
        .output()
        .expect("loadgen starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--relay"));
}
