//! Stopping: the fronts first, then the queues, then the closing books and exit status 0.

use crate::harness::{
    HttpBackend, Relay, Reply, UdpSink, UdpSource, http_listener, http_output, names, numbered,
    udp_listener, udp_output, wait_until,
};
use rustix::process::Signal;
use std::net::TcpStream;

#[test]
fn sigterm_drains_what_is_queued() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("db", backend.addr(), "database = \"d\"\ntimeout = \"60s\"")];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let lines = numbered("drain", 2_000);
    let datagrams: Vec<_> = lines.chunks(10).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    wait_until("all lines to be queued", || relay.metrics().of(names::QUEUED, &[]) == 2_000);
    let addr = relay.addr("admin");
    relay.signal(Signal::TERM);
    wait_until("the listeners to close", || TcpStream::connect(addr).is_err());
    assert!(backend.lines().is_empty());
    gate.open();
    let stopped = relay.wait();
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log.join("\n"));
    assert_eq!(backend.lines(), lines);
    let books = stopped.books("in", "db");
    assert_eq!((books.taken, books.delivered), (2_000, 2_000));
}

#[test]
fn a_signal_that_comes_twice_at_once_still_drains() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("db", backend.addr(), "database = \"d\"\ntimeout = \"60s\"")];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    backend.wait_for_requests(1);
    let addr = relay.addr("in");
    relay.signal(Signal::TERM);
    // As `timeout` does: the process, then its group.
    wait_until("the first to be taken", || {
        relay.log().iter().any(|line| line.contains("stopping"))
    });
    relay.signal(Signal::TERM);
    // By then the second has been taken too.
    wait_until("the listener to close", || std::net::UdpSocket::bind(addr).is_ok());
    gate.open();
    let stopped = relay.wait();
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log.join("\n"));
    assert_eq!(stopped.books("in", "db").delivered, 1);
}

#[test]
fn sigint_does_the_same() {
    let sink = UdpSink::start();
    let relay = Relay::start(&udp_listener("in", "", &[udp_output("sink", sink.addr(), "")]));
    let lines = numbered("interrupt", 500);
    UdpSource::new(&relay, "in").send_all(&lines);
    relay.signal(Signal::INT);
    let stopped = relay.wait();
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log.join("\n"));
    assert_eq!(sink.wait_for_lines(500), lines);
    assert_eq!(stopped.books("in", "sink").delivered, 500);
}

#[test]
fn what_the_deadline_leaves_is_counted() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("db", backend.addr(), "database = \"d\"\ntimeout = \"60s\"")];
    let toml = udp_listener("in", "", &outputs);
    let relay = Relay::start(&format!("shutdown-timeout = \"200ms\"\n{toml}"));
    UdpSource::new(&relay, "in").send_all(&numbered("left", 300));
    wait_until("all lines to be queued", || relay.metrics().of(names::QUEUED, &[]) == 300);
    relay.signal(Signal::TERM);
    let stopped = relay.wait();
    gate.open();
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log.join("\n"));
    let books = stopped.books("in", "db");
    assert_eq!((books.taken, books.dropped("shutdown")), (300, 300));
}

#[test]
fn a_client_that_waits_is_answered_before_the_end() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("only", backend.addr(), "timeout = \"60s\"")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let mut client = relay.client("in");
    let addr = relay.addr("in");
    let waiting = std::thread::spawn(move || client.write("db=d", "m f=1 1").status());
    backend.wait_for_requests(1);
    relay.signal(Signal::TERM);
    wait_until("the listener to close", || TcpStream::connect(addr).is_err());
    gate.open();
    assert_eq!(waiting.join().expect("it got an answer"), 204);
    let stopped = relay.wait();
    assert!(stopped.status.success(), "{}", stopped.log.join("\n"));
}

#[test]
fn idle_connections_do_not_delay_the_end() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&http_listener("in", "", &[http_output("only", backend.addr(), "")]));
    let mut idle = relay.client("in");
    assert_eq!(idle.write("db=d", "m f=1 1").status(), 204);
    let started = std::time::Instant::now();
    relay.finish();
    // The drain deadline is 10 s.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
