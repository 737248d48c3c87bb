//! Which answer a client gets when its backends do not agree.

use crate::harness::{HttpBackend, Relay, http_listener, http_output};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Writes one line through a relay to these backends, and gives the answer, its body and the
/// relay. Timeouts are 300 ms.
#[track_caller]
fn write(backends: &[SocketAddr]) -> (u16, String, Relay) {
    let names = ["a", "b", "c"];
    let outputs: Vec<_> = backends
        .iter()
        .zip(names)
        .map(|(&addr, name)| http_output(name, addr, "timeout = \"300ms\""))
        .collect();
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let answer = relay.client("in").write("db=d", "m f=1 1");
    if answer.status() >= 400 {
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    (answer.status(), answer.text(), relay)
}

const PARTIAL: &str = "{\"error\":\"partial write: field type conflict\"}\n";

#[test]
fn one_success_is_enough() {
    let healthy = HttpBackend::healthy();
    let others = [
        HttpBackend::refusing(400, PARTIAL),
        HttpBackend::refusing(500, "{}"),
        HttpBackend::refusing(503, "{}"),
    ];
    for other in &others {
        let (status, body, relay) = write(&[other.addr(), healthy.addr()]);
        assert_eq!(status, 204, "{body}");
        relay.finish();
        let (status, body, relay) = write(&[healthy.addr(), other.addr()]);
        assert_eq!(status, 204, "{body}");
        relay.finish();
    }
}

#[test]
fn a_refusal_is_passed_on_word_for_word() {
    let not_found = "{\"error\":\"database not found: \\\"d\\\"\"}\n";
    let unauthorized = "{\"error\":\"authorization failed\"}\n";
    for (status, said) in [(400, PARTIAL), (404, not_found), (401, unauthorized)] {
        let refusing = HttpBackend::refusing(status, said);
        let failing = HttpBackend::refusing(500, "{\"error\":\"engine\"}");
        let (got, body, relay) = write(&[failing.addr(), refusing.addr()]);
        assert_eq!((got, body.as_str()), (status, said));
        let metrics = relay.wait_until_settled();
        assert_eq!(metrics.books("in", "a").dropped("unavailable"), 1);
        assert_eq!(metrics.books("in", "b").dropped("refused"), 1);
        relay.finish();
    }
}

#[test]
fn no_backend_at_all_is_503() {
    let failing = HttpBackend::refusing(500, "{\"error\":\"engine\"}");
    let slow = HttpBackend::slow(Duration::from_secs(2));
    let (dead, _port) = HttpBackend::dead();
    let (status, body, relay) = write(&[failing.addr(), slow.addr(), dead]);
    assert_eq!(status, 503);
    assert!(body.contains("error"), "{body}");
    let metrics = relay.wait_until_settled();
    for backend in ["a", "b", "c"] {
        let books = metrics.books("in", backend);
        assert_eq!((books.taken, books.dropped("unavailable")), (1, 1), "{backend}");
    }
    relay.finish();
}

#[test]
fn a_timeout_bounds_how_long_a_client_waits() {
    let slow = HttpBackend::slow(Duration::from_secs(3));
    let started = Instant::now();
    let (status, body, relay) = write(&[slow.addr()]);
    assert_eq!(status, 503, "{body}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    relay.finish();
}

#[test]
fn a_backend_that_talks_nonsense_is_unavailable() {
    let (status, body, relay) = write(&[HttpBackend::nonsense()]);
    assert_eq!(status, 503, "{body}");
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.books("in", "a").dropped("unavailable"), 1);
    relay.finish();
}
