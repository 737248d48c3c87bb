//! `ringrelay top`: what it shows of a running relay, in a terminal and without one.

use crate::certificates::self_signed;
use crate::harness::{
    HttpBackend, Relay, Reply, Terminal, UdpSink, UdpSource, binary, config_file, http_listener,
    http_output, run, udp_listener, udp_output, wait_for, wait_until,
};
use rustix::process::Signal;
use std::fs;
use std::process::{Command, Output, Stdio};

const ENTERS: &str = "\x1b[?1049h";
const LEAVES: &str = "\x1b[?1049l";
const SHOWS_CURSOR: &str = "\x1b[?25h";

fn top(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("top").args(arguments).env("LC_ALL", "C.UTF-8");
    command
}

fn once(arguments: &[&str]) -> Output {
    run(top(&["-interval", "200ms", "-once"]).args(arguments))
}

/// In ASCII, so that every byte of what is drawn is a character.
fn fast(url: &str) -> Command {
    top(&["-ascii", "-interval", "200ms", url])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A relay from `in` by UDP and `web` by HTTP to a sink, and to a backend that is down.
fn relay() -> (Relay, UdpSink, HttpBackend) {
    let (sink, down) = (UdpSink::start(), HttpBackend::start(|_| Reply::status(503)));
    let udp = udp_listener("in", "", &[udp_output("sink", sink.addr(), "")]);
    let output = http_output("dead-db", down.addr(), "buffer-size-mb = 1");
    let relay = Relay::start(&(udp + &http_listener("web", "", &[output])));
    (relay, sink, down)
}

fn url(relay: &Relay) -> String {
    format!("http://{}", relay.addr("admin"))
}

/// The row of a frame whose name begins so, in words.
#[track_caller]
fn words(frame: &str, name: &str) -> Vec<String> {
    let row = frame.lines().find(|line| line.starts_with(name));
    let row = row.unwrap_or_else(|| panic!("no {name:?} in:\n{frame}"));
    row.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn one_frame_is_text_for_scripts() {
    let (relay, _sink, _down) = relay();
    UdpSource::new(&relay, "in").send_all(&["m f=1 1\nno line\nnor this", "m f=2 2"]);
    assert_eq!(relay.client("web").write("db=d", "m f=1 1").status(), 204, "it is kept");
    let frame = || {
        let output = once(&[&url(&relay)]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    };
    let is_seen = |frame: &String| frame.contains("x DOWN");
    let frame = wait_for("the backend to be seen down", || Some(frame()).filter(is_seen));
    assert!(frame.starts_with(concat!("ringrelay ", env!("CARGO_PKG_VERSION"), "  http://")));
    assert!(!frame.contains('\x1b'), "plain text: {frame:?}");
    // LINES/s BYTES/s REFUSED/s REFUSED KDROPS/s KDROPS
    assert_eq!(words(&frame, "udp in")[2..8], ["0", "0", "0", "2", "0", "0"]);
    let down = words(&frame, "dead-db");
    // STATE LINES/s DROPS/s DROPPED BACKLOG AGE QUEUED
    assert_eq!((&*down[2], &*down[6], &*down[8]), ("DOWN", "1", "1"), "{frame}");
    assert!(down[7].ends_with('s'), "its age: {frame}");
    assert_eq!(words(&frame, "sink")[1], "up");
}

#[test]
fn without_a_terminal_it_says_so_and_prints_one_frame() {
    let (relay, _sink, _down) = relay();
    let output = run(&mut top(&["-interval=200ms", &url(&relay)]));
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("standard output is no terminal"));
    assert!(text(&output.stdout).contains("udp in"));
}

#[test]
fn a_configuration_tells_where_to_look_and_tls_is_spoken() {
    let (dir, backend) = (tempfile::tempdir().expect("a directory"), HttpBackend::healthy());
    let pem = dir.path().join("relay.pem");
    std::fs::write(&pem, self_signed(&["127.0.0.1", "localhost"], false)).expect("a file");
    let more = format!("ssl-combined-pem = {pem:?}");
    let output = http_output("out", backend.addr(), "");
    let relay = Relay::start(&http_listener("tls", &more, std::slice::from_ref(&output)));
    let bound = relay.addr("tls").to_string();
    let (_dir, file) =
        config_file(&http_listener("tls", &more, &[output]).replace("127.0.0.1:0", &bound));
    let (file, pem) = (file.display().to_string(), pem.display().to_string());
    for (arguments, sees) in [
        (vec!["-config", &*file, "-skip-tls-verification"], true),
        (vec!["-config", &*file, "-ca-file", &*pem], true),
        (vec!["-config", &*file], false),
    ] {
        let output = once(&arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.success(), sees, "{arguments:?}: {said}");
        assert!(said.contains(if sees { "http tls" } else { "no answer from https://" }), "{said}");
    }
    std::fs::write(&file, "[[http]]\n").expect("a file");
    let output = once(&["-config", &file]);
    assert_eq!(output.status.code(), Some(2), "as the relay: {}", text(&output.stderr));
}

#[test]
fn what_cannot_be_seen_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = free.local_addr().expect("it is bound").to_string();
    drop(free);
    for (arguments, code, said) in [
        (vec![&*addr], 1, "nobody listens there"),
        (vec!["ftp://relay"], 2, "its scheme is neither http nor https"),
        (vec!["-onse"], 2, "did you mean -once?"),
        (vec!["-ca-file", "/nowhere", "https://localhost"], 2, "-ca-file"),
    ] {
        let output = once(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("ringrelay: ") && error.contains(said), "{error}");
    }
}

#[test]
fn in_a_terminal_it_is_drawn_obeys_keys_and_leaves_the_terminal_as_it_was() {
    let (relay, _sink, _down) = relay();
    let mut terminal = Terminal::start(&fast(&url(&relay)), (80, 24));
    terminal.wait_for(ENTERS, 0);
    terminal.wait_for("udp", 0);
    terminal.wait_for("quit", 0);
    assert!(!terminal.is_as_a_shell_wants_it(), "keys come one by one");
    let at = terminal.written().len();
    terminal.press("s");
    terminal.wait_for("file", at);
    let at = terminal.written().len();
    terminal.resize((40, 10));
    let at = terminal.wait_for("REFUSED/s", at);
    assert!(!terminal.written()[at..].contains("BYTES/s"), "no room for it in 40 columns");
    terminal.press("q");
    assert!(terminal.wait().success());
    let at = terminal.wait_for(LEAVES, at);
    terminal.wait_for(SHOWS_CURSOR, at);
    assert!(terminal.is_as_a_shell_wants_it());
}

#[test]
fn signals_and_control_c_leave_the_terminal_as_it_was() {
    let (relay, _sink, _down) = relay();
    let stops: [fn(&mut Terminal); 3] = [
        |terminal| terminal.press("\x03"),
        |terminal| terminal.signal(Signal::TERM),
        |terminal| terminal.signal(Signal::INT),
    ];
    for stop in stops {
        let mut terminal = Terminal::start(&fast(&url(&relay)), (80, 24));
        terminal.wait_for("LISTENER", 0);
        stop(&mut terminal);
        assert!(terminal.wait().success());
        terminal.wait_for(LEAVES, 0);
        assert!(terminal.is_as_a_shell_wants_it());
    }
}

#[test]
fn a_relay_that_goes_away_and_comes_back_is_seen_again() {
    let web = HttpBackend::healthy();
    let listener = |addr: &str| {
        let listener = http_listener("web", "", &[http_output("out", web.addr(), "")]);
        listener.replace("127.0.0.1:0", addr)
    };
    let first = Relay::start(&listener("127.0.0.1:0"));
    let addr = first.addr("web");
    let url = format!("http://{addr}");
    let mut terminal = Terminal::start(&fast(&url), (80, 24));
    let at = terminal.wait_for("web", 0);
    first.finish();
    let at = terminal.wait_for("ANSWER", at);
    let second = Relay::start(&listener(&addr.to_string()));
    terminal.wait_for("lines/s", at);
    terminal.press("q");
    assert!(terminal.wait().success());
    second.finish();
}

#[test]
fn it_ends_with_its_terminal_even_if_no_signal_tells_it() {
    let (relay, _sink, _down) = relay();
    let run = format!("trap '' HUP; exec '{}' top {}", binary().display(), url(&relay));
    let mut script = Command::new("script")
        .args(["-qec", &run, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script is everywhere");
    let children = format!("/proc/{0}/task/{0}/children", script.id());
    let top = wait_for("top to be drawn", || {
        let children = fs::read_to_string(&children).unwrap_or_default();
        let pid = children.split_whitespace().next()?.to_owned();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let names = tasks.map(|task| fs::read_to_string(task.path().join("comm")));
        names.flatten().any(|name| name.trim() == "hangup").then_some(pid)
    });
    script.kill().expect("our child");
    script.wait().expect("our child");
    wait_until("top to end", || {
        // Nobody may be there to wait for it.
        let stat = fs::read_to_string(format!("/proc/{top}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

#[test]
fn every_flag_is_documented() {
    let page = include_str!("../../docs/top.md");
    let usage = text(&run(&mut top(&["-h"])).stdout);
    let flags = usage.lines().filter_map(|line| line.trim_start().strip_prefix('-'));
    let flags: Vec<_> =
        flags.map(|line| line.split([' ', ',']).next().unwrap_or_default()).collect();
    assert!(flags.len() >= 8, "{usage}");
    for flag in flags {
        assert!(page.contains(&format!("`-{flag}")), "docs/top.md does not tell of -{flag}");
    }
}
