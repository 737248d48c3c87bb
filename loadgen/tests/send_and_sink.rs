//! `loadgen send` and `loadgen sink` as two processes over loopback: nothing is lost at modest
//! rates, by UDP (plain and GSO) and by HTTP, and exit codes say what was wrong.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};

/// By HTTP: 50 requests of 10 lines in the half second, on one connection.
const ONE_BY_ONE: [&str; 6] = ["--rate", "1000", "--lines-per-write", "10", "--sources", "1"];

struct Sink {
    child: Child,
    address: String,
}

impl Sink {
    /// Starts a sink on a free port and waits until it says where it listens.
    fn start(protocol: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["sink", "--json", "--idle", "1s", "--duration", "30s"])
            .args([&format!("--{protocol}"), "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("loadgen starts");
        let mut ready = String::new();
        let stderr = child.stderr.take().expect("stderr is piped");
        BufReader::new(stderr).read_line(&mut ready).expect("the sink says a line");
        let address = ready.trim_end().rsplit(' ').next().expect("it ends in the address");
        Self { child, address: address.into() }
    }

    /// Ends it by SIGTERM.
    fn stop(self) -> (Option<i32>, Value) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the sink still runs");
        self.end()
    }

    /// Its exit code and its report, once it has ended by its bounds.
    fn end(self) -> (Option<i32>, Value) {
        let output = self.child.wait_with_output().expect("the sink ends");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a JSON report");
        (output.status.code(), report[0].clone())
    }
}

fn send(url: &str, more: &[&str]) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["send", "--json", "--to", url, "--duration", "500ms"])
        .args(more)
        .output()
        .expect("loadgen starts");
    let error = String::from_utf8_lossy(&stderr);
    let report = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{error}"));
    (status.code(), report)
}

#[track_caller]
fn nothing_is_lost(protocol: &str, lines: u64, more: &[&str]) {
    let sink = Sink::start(protocol, &["--expect-lines", &lines.to_string()]);
    let (code, sent) = send(&format!("{protocol}://{}", sink.address), more);
    assert_eq!((code, sent["lines"].as_u64()), (Some(0), Some(lines)), "{sent:#}");
    let (code, received) = sink.end();
    assert_eq!((code, received["lines"].as_u64()), (Some(0), Some(lines)), "{received:#}");
    for defect in ["missing", "duplicate", "reordered", "unplaced"] {
        assert_eq!(received["total"][defect], 0, "{defect}: {received:#}");
    }
    assert_eq!(received["altered"], 0);
    assert!(received["latency"]["p50_us"].as_u64().is_some_and(|us| us < 1_000_000));
}

#[test]
fn plain_datagrams_of_two_sources() {
    nothing_is_lost("udp", 5_000, &["--rate", "10000", "--lines-per-write", "5", "--sources", "2"]);
}

#[test]
fn one_line_per_datagram_without_timestamps() {
    let more = ["--rate", "4000", "--lines-per-write", "1", "--timestamps", "no"];
    nothing_is_lost("udp", 2_000, &more);
}

#[test]
fn trains_of_datagrams() {
    let more = ["--rate", "100000", "--lines-per-write", "10", "--gso", "--burst", "50"];
    nothing_is_lost("udp", 50_000, &more);
}

#[test]
fn requests_of_four_connections() {
    let more = ["--rate", "20000", "--lines-per-write", "50", "--sources", "4"];
    nothing_is_lost("http", 10_000, &more);
}

#[test]
fn a_count_ends_a_run_before_its_duration() {
    let more = ["--rate", "0", "--lines", "1000", "--lines-per-write", "10"];
    nothing_is_lost("udp", 1_000, &more);
}

#[test]
fn a_sink_that_gets_less_than_it_expects_fails() {
    let sink = Sink::start("udp", &["--expect-lines", "3000"]);
    send(&format!("udp://{}", sink.address), &["--rate", "4000"]);
    let (code, received) = sink.end();
    assert_eq!((code, received["lines"].as_u64()), (Some(1), Some(2_000)));
}

#[test]
fn a_sink_that_gets_a_foreign_line_fails_and_shows_it() {
    let sink = Sink::start("udp", &["--expect-lines", "1"]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.send_to(b"cpu,host=a value=1 2\n", &sink.address).expect("loopback takes it");
    let (code, received) = sink.end();
    assert_eq!((code, received["altered"].as_u64()), (Some(1), Some(1)));
    assert_eq!(received["altered_sample"], "cpu,host=a value=1 2");
}

#[test]
fn refused_requests_are_told_and_their_lines_not_taken() {
    let sink = Sink::start("http", &["--status", "500"]);
    let (code, sent) = send(&format!("http://{}", sink.address), &ONE_BY_ONE);
    assert_eq!(code, Some(1));
    assert_eq!((&sent["lines_told_lost"], &sent["answers"]["500"]), (&sent["lines"], &50.into()));
    let (code, received) = sink.stop();
    assert_eq!(code, Some(0), "it got nothing, and nothing was expected");
    assert_eq!((&received["lines"], &received["answers"]["500"]), (&0.into(), &50.into()));
}

#[test]
fn a_slow_sink_shows_as_latency_of_what_was_due() {
    let sink = Sink::start("http", &["--delay-ms", "20"]);
    // 100 requests a second fall due for half a second, but one connection gets 50 answers.
    let (_, sent) = send(&format!("http://{}", sink.address), &ONE_BY_ONE);
    assert_eq!(sent["lines"], 500, "being late leaves nothing out");
    assert!(sent["lateness"]["max_us"].as_u64().is_some_and(|us| us > 400_000), "{sent:#}");
    assert!(sent["request"]["max_us"].as_u64().is_some_and(|us| us > 400_000), "{sent:#}");
    let (code, received) = sink.end();
    assert_eq!((code, received["lines"].as_u64()), (Some(0), Some(500)));
}

#[test]
fn nonsense_is_refused_with_status_2() {
    for arguments in [
        &["send", "--to", "ftp://127.0.0.1:1"][..],
        &["send", "--to", "udp://127.0.0.1:1", "--lines-per-write", "0"],
        &["send", "--to", "udp://127.0.0.1:1", "--source", "100"],
        &["send", "--to", "udp://127.0.0.1:1", "--lines", "9"],
        &["send", "--to", "http://127.0.0.1:1", "--gso"],
        &["sink"],
        &["sink", "--http", "127.0.0.1:0", "--status", "99"],
        &["bench", "--outputs", "0"],
        &["demo", "--udp-rate", "0"],
        &["fly"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(arguments)
            .output()
            .expect("loadgen starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
