//! The floor as a relay, and relays in turns, over the real binary: what the floor forwards is
//! whole, and comparisons have their figures or say why not.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

const WORK: [&str; 8] =
    ["--lines-per-write", "5", "--rate", "4000", "--warm-up", "100ms", "--duration", "400ms"];

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .env("FAULT", "none")
        .output()
        .expect("loadgen starts")
}

/// A relay that works, built beside the binaries by `cargo test`.
fn other_relay() -> String {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_loadgen"));
    let path = beside.with_file_name("examples").join("faulty_relay");
    assert!(path.is_file(), "{} is missing: cargo build --examples", path.display());
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[track_caller]
fn report(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    serde_json::from_slice(&output.stdout).expect("a JSON report")
}

#[track_caller]
fn floor_is_whole(more: &[&str]) {
    let base = ["bench", "--json", "--relay", "floor", "--warm-up", "100ms", "--duration", "400ms"];
    let report = report(&loadgen(&[&base, more].concat()));
    assert_eq!(report["proven"], true, "{report:#}");
    for backend in report["listeners"][0]["backends"].as_array().expect("backends") {
        assert_eq!(backend["sink"]["lines"], report["listeners"][0]["sent"]["lines"]);
        assert_eq!(backend["sink"]["altered"], 0, "{report:#}");
        assert_eq!(backend["sink"]["total"]["reordered"], 0, "{report:#}");
    }
}

#[test]
fn the_floor_forwards_every_line_unaltered_and_in_order() {
    floor_is_whole(&["--rate", "4000", "--lines-per-write", "1"]);
    floor_is_whole(&["--rate", "100000", "--gso", "--lines-per-write", "3", "--outputs", "3"]);
}

#[test]
fn the_floor_sends_on_as_they_are_datagrams_longer_than_the_mtu() {
    floor_is_whole(&["--rate", "4000", "--lines-per-write", "20", "--mtu", "1000"]);
}

#[test]
fn the_relay_and_the_floor_take_turns() {
    let relay = other_relay();
    let base = ["bench", "--json", "--versus-floor", "--rounds", "2", "--relay", &relay];
    let report = report(&loadgen(&[&base[..], &WORK].concat()));
    assert_eq!((&report["baseline"], &report["rounds"]), (&"floor".into(), &2.into()));
    let [relay, floor] = &report["contenders"].as_array().expect("contenders")[..] else {
        panic!("not two contenders: {report:#}")
    };
    assert_eq!(relay["turns"].as_array().map(Vec::len), Some(2), "{report:#}");
    assert!(relay["cpu_ratio"]["median"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report:#}");
    assert!(floor["cpu_ratio"].is_null(), "it is the measure: {report:#}");
    assert!(floor["cpu_ns_per_line"]["min"].as_f64().is_some_and(|ns| ns > 10.0), "{report:#}");
}

#[test]
fn relays_are_compared_by_name_to_the_first_and_loss_without_counters_fails() {
    let relay = other_relay();
    let (one, two) = (format!("one={relay}"), format!("two={relay}"));
    let base = ["compare", "--rounds", "1", "--relay", &one, "--relay", &two];
    let output = loadgen(&[&base[..], &WORK].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("two uses ") && text.contains("the CPU per line of one"), "{text}");

    // As fast as possible into the smallest buffer: the floor must lose, and can prove nothing.
    let base = ["compare", "--json", "--rounds", "1", "--relay", &one, "--relay", "floor"];
    let flood = ["--rate", "0", "--read-buffer", "1", "--warm-up", "100ms", "--duration", "400ms"];
    let output = loadgen(&[&base[..], &flood].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("a JSON report");
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let failures = report["contenders"][1]["turns"][0]["failures"].to_string();
    assert!(failures.contains("the relay keeps no counters"), "{report:#}");
}

#[test]
fn what_lies_in_the_sockets_of_a_stopped_relay_is_worked_off() {
    let base = ["drain", "--json", "--relay", "floor", "--rate", "0", "--read-buffer", "4000000"];
    let report = report(&loadgen(&[&base[..], &["--lines", "2000"]].concat()));
    assert_eq!(report["lines"], 2_000);
    assert!(report["lines_per_second"].as_f64().is_some_and(|rate| rate > 1_000.0), "{report:#}");
    assert!(report["lines_dropped"].is_null(), "the floor counts nothing: {report:#}");

    let output = loadgen(&["drain", "--relay", "floor", "--rate", "0", "--read-buffer", "1"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--lines") && error.contains("--read-buffer"), "{error}");
}

#[test]
fn a_picture_is_drawn_of_what_was_measured_and_of_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let (measured, svg) = (directory.path().join("measured.json"), directory.path().join("a.svg"));
    let draw = |text: &str| {
        std::fs::write(&measured, text).expect("it can be written");
        let paths = [&measured, &svg].map(|path| path.to_str().expect("a path in UTF-8"));
        loadgen(&["plot", "--figure", "loss", paths[0], "--svg", paths[1]])
    };
    let points = r#"{"relay": "one", "rate": 10, "cpu_ns": 5, "loss": 0},
                    {"relay": "one", "rate": 100, "cpu_ns": 5, "loss": LOSS}"#;
    let whole = r#"{"foot": "here", "panels": [{"title": "t", "x": "x", "points": [POINTS]}]}"#;
    let whole = whole.replace("POINTS", points);
    assert!(draw(&whole.replace("LOSS", "0.5")).status.success());
    let drawn = std::fs::read_to_string(&svg).expect("a picture");
    assert!(drawn.starts_with("<svg ") && drawn.contains(">one</text>"), "{drawn}");
    for bad in [whole.replace("LOSS", "2"), "{}".into()] {
        assert_eq!(draw(&bad).status.code(), Some(2), "{bad}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_remedy() {
    for (arguments, remedy) in [
        (&["compare", "--relay", "a=b"][..], "2 to 8 times"),
        (&["compare", "--relay", "floor", "--relay", "floor"], "NAME=PATH"),
        (&["bench", "--versus-floor", "--relay", "floor"], "another --relay"),
        (&["bench", "--rounds", "2"], "--versus-floor"),
        (&["bench", "--relay", "floor", "--scenario", "udp-http"], "--scenario udp-udp"),
        (&["bench", "--relay", "go:/bin/true", "--scenario", "udp-http"], "--scenario udp-udp"),
        (&["bench", "--relay", "go:"], "go:PATH"),
        (&["floor", "--listen", "127.0.0.1:0"], "--to"),
    ] {
        let output = loadgen(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(remedy), "{arguments:?}: {error}");
    }
}
