//! What waits for a busy backend leaves together, and every client still gets its own answer.

use crate::harness::{
    Gate, HttpBackend, Relay, Reply, http_listener, http_output, names, wait_until,
};
use std::sync::Arc;

const CLIENTS: usize = 40;

/// A relay with one gated backend that refuses every body with `poison` in it, and that is busy
/// with a first request.
fn busy() -> (Relay, HttpBackend, Arc<Gate>, std::thread::JoinHandle<u16>) {
    let (backend, gate) = HttpBackend::gated(|request| {
        if request.text().contains("poison") {
            Reply::json(400, "{\"error\":\"partial write: poison\"}\n")
        } else {
            Reply::status(204)
        }
    });
    let outputs = [http_output("only", backend.addr(), "timeout = \"60s\"")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let mut client = relay.client("in");
    let first = std::thread::spawn(move || client.write("db=d", "first f=1 1").status());
    backend.wait_for_requests(1);
    (relay, backend, gate, first)
}

/// Writes the bodies from a client each, all at once, opens the gate when all wait, and gives
/// the status and body of each answer.
fn write_all(relay: &Relay, gate: &Gate, writes: &[(String, String)]) -> Vec<(u16, String)> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = writes
            .iter()
            .map(|(query, body)| {
                let mut client = relay.client("in");
                scope.spawn(move || {
                    let answer = client.write(query, body);
                    (answer.status(), answer.text())
                })
            })
            .collect();
        wait_until("all writes to wait", || {
            relay.metrics().of(names::QUEUED, &[]) == writes.len() as u64 + 1
        });
        gate.open();
        clients.into_iter().map(|client| client.join().expect("it got an answer")).collect()
    })
}

#[test]
fn many_client_requests_become_few_backend_requests() {
    let (relay, backend, gate, first) = busy();
    let writes: Vec<_> =
        (0..CLIENTS).map(|n| ("db=d".to_owned(), format!("m,client={n} f=1 {n}"))).collect();
    for (status, body) in write_all(&relay, &gate, &writes) {
        assert_eq!(status, 204, "{body}");
    }
    assert_eq!(first.join().expect("it got an answer"), 204);
    assert_eq!(backend.wait_for_lines(CLIENTS + 1).len(), CLIENTS + 1);
    assert_eq!(backend.requests().len(), 2, "the first, then all that waited");
    relay.finish();
}

#[test]
fn writes_to_different_destinations_are_never_merged() {
    let (relay, backend, gate, first) = busy();
    let queries = ["db=d&precision=s", "db=e", "db=d&rp=week", "db=d&consistency=all", "db=d&u=me"];
    let writes: Vec<_> = (0..CLIENTS)
        .map(|n| (queries[n % queries.len()].to_owned(), format!("m,client={n} f=1 {n}")))
        .collect();
    for (status, body) in write_all(&relay, &gate, &writes) {
        assert_eq!(status, 204, "{body}");
    }
    first.join().expect("it got an answer");
    for request in backend.requests() {
        let expected = |line: &str| {
            writes.iter().any(|(query, body)| query == request.query() && body == line)
                || line == "first f=1 1"
        };
        let text = request.text();
        assert!(text.lines().all(expected), "{}: {text}", request.query());
    }
    relay.finish();
}

#[test]
fn a_refused_merged_request_is_taken_apart() {
    let (relay, backend, gate, first) = busy();
    let writes: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let measurement = if n == 17 { "poison" } else { "m" };
            ("db=d".to_owned(), format!("{measurement},client={n} f=1 {n}"))
        })
        .collect();
    let answers = write_all(&relay, &gate, &writes);
    first.join().expect("it got an answer");
    for (n, (status, body)) in answers.iter().enumerate() {
        if n == 17 {
            assert_eq!((*status, body.trim()), (400, "{\"error\":\"partial write: poison\"}"));
        } else {
            assert_eq!(*status, 204, "client {n}: {body}");
        }
    }
    let mut got = backend.wait_for_lines(CLIENTS);
    got.sort();
    got.dedup();
    assert_eq!(got.len(), CLIENTS, "the first and all but the refused one, none twice");
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.books("in", "only").dropped("refused"), 1);
    relay.finish();
}

#[test]
fn a_merged_request_is_no_larger_than_allowed() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("only", backend.addr(), "timeout = \"60s\"\nmax-batch-kb = 2")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let mut client = relay.client("in");
    let first = std::thread::spawn(move || client.write("db=d", "first f=1 1").status());
    backend.wait_for_requests(1);
    let line = |n: usize| format!("m,client={n} f=\"{}\" {n}", "x".repeat(500));
    let writes: Vec<_> = (0..CLIENTS).map(|n| ("db=d".to_owned(), line(n))).collect();
    assert!(write_all(&relay, &gate, &writes).iter().all(|(status, _)| *status == 204));
    assert_eq!(first.join().expect("it got an answer"), 204);
    let sizes: Vec<_> = backend.requests().iter().map(|request| request.body().len()).collect();
    assert!(sizes.iter().all(|bytes| *bytes <= 2 * 1024), "{sizes:?}");
    // Three of them fit; a fourth does not.
    assert!(sizes.len() <= 1 + CLIENTS.div_ceil(3), "{sizes:?}");
    relay.finish();
}
