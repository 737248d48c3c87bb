//! The units of `packaging/systemd`: systemd finds nothing wrong with them, they give little away,
//! and the relay runs under their filter of system calls, and under that of `packaging/docker`.

use crate::harness::{
    Client, HttpBackend, Relay, UdpSink, UdpSource, binary, config_file, http_listener,
    http_output, require, run, script, udp_listener, udp_output,
};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `systemd-analyze security` times ten: 12 with systemd 252. Others weigh a little differently.
const EXPOSURE_MAX: &str = "20";

/// Copies of the units whose service runs the relay under test.
fn units() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let mut copies = Vec::new();
    for unit in std::fs::read_dir(root).expect("the units are there").flatten() {
        let text = std::fs::read_to_string(unit.path()).expect("a unit is text");
        let copy = dir.path().join(unit.file_name());
        let text = text.replace("/usr/bin/ringrelay", &binary().display().to_string());
        std::fs::write(&copy, text).expect("a temporary file");
        copies.push(copy);
    }
    assert_eq!(copies.len(), 3, "{copies:?}");
    (dir, copies)
}

fn service(copies: &[PathBuf]) -> &Path {
    let is_service = |path: &&PathBuf| path.extension().is_some_and(|end| end == "service");
    copies.iter().find(is_service).expect("there is one")
}

#[test]
fn systemd_finds_nothing_wrong_with_them() {
    if !require(&["systemd-analyze"]) {
        return;
    }
    let (_dir, copies) = units();
    let mut command = Command::new("systemd-analyze");
    let output = run(command.args(["verify", "--man=no"]).args(&copies));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--no-pager", "--threshold", EXPOSURE_MAX]);
    let output = run(command.arg(service(&copies)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_relay_runs_under_the_filter_of_the_service() {
    if require(&["systemd-analyze", "python3"]) {
        let (_dir, copies) = units();
        runs_under(service(&copies));
    }
}

#[test]
fn the_relay_runs_under_the_profile_for_containers() {
    if require(&["python3"]) {
        runs_under(&profile());
    }
}

fn profile() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/docker/seccomp.json")
}

/// A call that the filter does not let pass kills the relay.
fn runs_under(filter: &Path) {
    let (backend, sink) = (HttpBackend::healthy(), UdpSink::start());
    let kept = tempfile::tempdir().expect("a temporary directory");
    let more = format!(
        "buffer-size-mb = 1\ndead-letter-dir = {0:?}\nspool-dir = {0:?}\nfsync = \"always\"",
        kept.path()
    );
    // A name, so that the resolver runs too.
    let db = http_output("db", backend.addr(), &more).replace("127.0.0.1", "localhost");
    let udp = [udp_output("sink", sink.addr(), "").replace("127.0.0.1", "localhost")];
    let toml = http_listener("web", "", &[db]) + &udp_listener("in", "read-buffer = 262144", &udp);
    let mut command = Command::new("python3");
    command.arg(script("under_filter.py")).arg(filter).arg(binary());
    let relay = Relay::start_as(command, &toml);
    UdpSource::new(&relay, "in").send_all(&["m f=1 1", "m f=2"]);
    assert_eq!(relay.client("web").write("db=d", "m f=1 1").status(), 204);
    let answers: Vec<_> = ["/health", "/status", "/metrics"]
        .map(|path| Client::get(&mut relay.client("web"), path).status())
        .into();
    assert_eq!(answers, [200, 200, 200]);
    sink.wait_for_lines(2);
    relay.finish();
}

#[test]
fn a_filter_without_io_uring_keeps_the_relay_from_running() {
    if !require(&["systemd-analyze", "python3"]) {
        return;
    }
    let (dir, copies) = units();
    let unit = service(&copies);
    let text = std::fs::read_to_string(unit).expect("it was written just now");
    std::fs::write(unit, text + "[Service]\nSystemCallFilter=~io_uring_setup\n")
        .expect("a temporary file");
    let text = std::fs::read_to_string(profile()).expect("the profile is there");
    let without = dir.path().join("without.json");
    std::fs::write(&without, text.replace("\"io_uring_setup\"", "\"uname\"")).expect("a file");
    for filter in [unit, &without] {
        let output = udp_output("out", "127.0.0.1:9".parse().expect("an address"), "");
        let (_config, file) = config_file(&udp_listener("in", "", &[output]));
        let mut command = Command::new("python3");
        command.arg(script("under_filter.py")).arg(filter).arg(binary());
        let output = run(command.arg("-config").arg(&file));
        // Killed, by SIGSYS: so the filter holds, and the other tests show what they seem to.
        assert_eq!(output.status.signal(), Some(31), "{filter:?}");
    }
}
