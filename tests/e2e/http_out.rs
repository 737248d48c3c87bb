//! HTTP out: connections, and what the relay takes a backend's answers for.

use crate::harness::{HttpBackend, Relay, Reply, http_listener, http_output, numbered, wait_until};
use std::time::Duration;

#[test]
fn connections_are_kept_alive() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&http_listener("in", "", &[http_output("only", backend.addr(), "")]));
    let mut client = relay.client("in");
    let lines = numbered("alive", 100);
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    assert_eq!(backend.wait_for_lines(lines.len()), lines);
    assert_eq!(backend.connections(), 1, "one is enough, and it is kept");
    relay.finish();
}

#[test]
fn no_more_requests_than_max_in_flight_are_open_whatever_the_databases() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("only", backend.addr(), "max-in-flight = 3")];
    let listener = http_listener("in", "", &outputs);
    let relay = Relay::start(&format!("http-threads = 1\n{listener}"));
    let lines = numbered("many", 10);
    std::thread::scope(|scope| {
        for (n, line) in lines.iter().enumerate() {
            let mut client = relay.client("in");
            scope.spawn(move || assert_eq!(client.write(&format!("db=d{n}"), line).status(), 204));
        }
        wait_until("all to wait", || relay.metrics().accepted("in") == 10);
        backend.wait_for_requests(3);
        assert_eq!(backend.requests().len(), 3);
        gate.open();
    });
    assert_eq!(backend.wait_for_lines(10).len(), 10);
    assert_eq!(backend.connections(), 3, "each with one request at a time");
    relay.finish();
}

#[test]
fn a_connection_that_the_backend_closed_costs_no_write() {
    let backend = HttpBackend::closing();
    let relay = Relay::start(&http_listener("in", "", &[http_output("only", backend.addr(), "")]));
    let mut client = relay.client("in");
    let lines = numbered("closing", 50);
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    assert_eq!(backend.wait_for_lines(lines.len()), lines);
    relay.finish();
}

#[test]
fn writes_of_many_clients_all_arrive() {
    let backends = [HttpBackend::healthy(), HttpBackend::slow(Duration::from_millis(5))];
    let outputs =
        [http_output("quick", backends[0].addr(), ""), http_output("slow", backends[1].addr(), "")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let sources: Vec<_> = (0..8).map(|n| numbered(&format!("client{n}"), 100)).collect();
    std::thread::scope(|scope| {
        for lines in &sources {
            let mut client = relay.client("in");
            scope.spawn(move || {
                for line in lines {
                    assert_eq!(client.write("db=d", line).status(), 204);
                }
            });
        }
    });
    for backend in &backends {
        let got = backend.wait_for_lines(800);
        assert_eq!(got.len(), 800, "none twice");
        for sent in &sources {
            let source = sent[0].split(' ').next().expect("a series");
            let of_source: Vec<_> =
                got.iter().filter(|line| line.split(' ').next() == Some(source)).collect();
            assert_eq!(of_source, sent.iter().collect::<Vec<_>>(), "in order");
        }
    }
    relay.finish();
}
