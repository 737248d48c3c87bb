//! What a service manager is told: ready, alive, stopping.

use crate::harness::{
    HttpBackend, Manager, Relay, UdpSink, UdpSource, http_listener, http_output, require, script,
    udp_listener, udp_output, wait_until,
};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[test]
fn ready_and_stopping_are_told() {
    let (sink, manager) = (UdpSink::start(), Manager::start());
    let toml = udp_listener("in", "", &[udp_output("out", sink.addr(), "")]);
    let relay = Relay::start_as(manager.command(), &toml);
    manager.wait_for("READY=1");
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    assert!(!manager.told().iter().any(|text| text.contains("WATCHDOG")), "nobody asked for it");
    relay.finish();
    let last = manager.wait_for("STOPPING=1");
    // The 10 s that queues may drain, and some for the rest.
    assert!(last.lines().any(|line| line == "EXTEND_TIMEOUT_USEC=20000000"), "{last}");
}

/// A thread that stands still as long as this lives.
struct Held(Child);

impl Held {
    fn hold(relay: &Relay, thread: &str) -> Self {
        let mut child = Command::new("python3")
            .arg(script("hold_thread.py"))
            .arg(relay.thread(thread).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test required python3");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[test]
fn any_thread_that_hangs_ends_the_signs_of_life() {
    if !require(&["python3"]) {
        return;
    }
    let (backend, sink, manager) = (HttpBackend::healthy(), UdpSink::start(), Manager::start());
    let web = http_listener("web", "", &[http_output("db", backend.addr(), "")]);
    let udp = udp_listener("in", "workers = 1", &[udp_output("sink", sink.addr(), "")]);
    let mut command = manager.command();
    // A sign of life each 100 ms.
    command.env("WATCHDOG_USEC", "300000");
    let relay = Relay::start_as(command, &format!("http-threads = 1\n{web}{udp}"));
    for thread in ["udp-in-0", "http-0", "out-db", "out-sink", "admin"] {
        wait_until("a sign of life", || manager.hears(Duration::from_secs(1)));
        let held = Held::hold(&relay, thread);
        // What was on its way when it was held; then silence for longer than the limit.
        wait_until("silence", || !manager.hears(Duration::from_millis(600)));
        let complaint = format!("[\"{thread}\"]");
        wait_until("the log to name it", || relay.log().iter().any(|l| l.contains(&complaint)));
        drop(held);
    }
    wait_until("a sign of life", || manager.hears(Duration::from_secs(1)));
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    relay.finish();
}
