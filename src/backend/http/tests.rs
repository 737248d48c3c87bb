//! The sender on real sockets, against scripted backends.

mod change;
mod flush;
mod harness;
mod kept;
mod odd;
mod places;
mod poison;
mod spooled;
mod tls;

use super::*;
use crate::write::Answer;
use harness::*;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Requests, channel};
use std::thread;

#[test]
fn a_request_says_where_it_goes_and_connections_are_kept() {
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let sender = start(target(address));
    for n in 0..3 {
        let line = format!("a f={n} 1");
        assert!(matches!(settled(sender.write("d", &line)), Answer::Delivered));
        let request = next(&requests);
        assert_eq!((request.connection, request.body), (0, format!("{line}\n")));
        let lines: Vec<_> = request.head.lines().collect();
        assert_eq!(lines[0], "POST /write?db=d HTTP/1.1");
        assert!(lines.contains(&format!("host: {address}").as_str()), "{lines:?}");
        assert!(lines.contains(&"content-type: text/plain; charset=utf-8"), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("user-agent: ringrelay/")), "{lines:?}");
    }
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), metrics.requests[0].get()), (3, 3));
    assert_eq!(metrics.latency.counts().iter().sum::<u64>(), 3);
}

/// A script's wrapper that holds the first request until the gate says so.
fn gated(script: impl Script) -> (impl Script, std::sync::mpsc::Sender<()>) {
    let (open, gate) = channel();
    let gate = std::sync::Mutex::new(gate);
    let script = move |number: usize, body: &str| {
        if number == 0 {
            let gate = gate.lock().expect("nobody panics with it");
            gate.recv_timeout(DEADLINE).expect("the test opens the gate");
        }
        script(number, body)
    };
    (script, open)
}

#[test]
fn what_waits_for_a_busy_destination_is_merged_in_order_and_others_pass() {
    let (script, gate) = gated(|_, _| answer("204 No Content"));
    let (address, requests) = backend(script);
    let sender = start(target(address));
    let mut first = sender.write("slow", "a f=0 1");
    assert_eq!(next(&requests).body, "a f=0 1\n");
    let waiting: Vec<_> = (10..30).map(|n| sender.write("slow", &format!("a f={n} 1"))).collect();
    assert!(matches!(settled(sender.write("other", "b f=1 1")), Answer::Delivered));
    assert_eq!(next(&requests).body, "b f=1 1\n");
    assert!(first.try_recv().is_none(), "the first request is still open");
    gate.send(()).expect("the backend waits");
    for answer in waiting {
        assert!(matches!(settled(answer), Answer::Delivered));
    }
    let metrics = sender.finish();
    let rest: Vec<_> = requests.try_iter().map(|request| request.body).collect();
    assert_eq!(rest.iter().map(String::len).collect::<Vec<_>>(), [99, 81], "merged up to 100");
    let expected: String = (10..30).map(|n| format!("a f={n} 1\n")).collect();
    assert_eq!(rest.concat(), expected, "in order");
    assert_eq!(metrics.delivered.get(), 22);
}

#[test]
fn a_refused_merge_is_sent_again_in_halves() {
    let (script, gate) = gated(|_, body: &str| {
        if body.contains("bad") {
            let body = "{\"error\":\"partial write\"}";
            let length = body.len();
            return Some(format!(
                "HTTP/1.1 400 Bad Request\r\nX-Influxdb-Error: partial write\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }
        answer("204 No Content")
    });
    let (address, requests) = backend(script);
    let sender = start(target(address));
    let lines = ["a f=0 1", "a f=1 1", "bad f=2 1", "a f=3 1"];
    let mut answers = vec![sender.write("d", lines[0])];
    let mut bodies = vec![next(&requests).body];
    answers.extend(lines[1..].iter().map(|line| sender.write("d", line)));
    gate.send(()).expect("the backend waits");
    for (line, answer) in lines.iter().zip(answers) {
        match settled(answer) {
            Answer::Refused(refusal) if line.starts_with("bad") => {
                assert_eq!(refusal.status, 400);
                assert_eq!(refusal.body, "{\"error\":\"partial write\"}");
                assert_eq!(refusal.error.as_deref(), Some(&b"partial write"[..]));
                assert_eq!(refusal.content_type.as_deref(), Some(&b"application/json"[..]));
            }
            Answer::Delivered if !line.starts_with("bad") => {}
            other => panic!("{line}: {other:?}"),
        }
    }
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Refused)), (3, 1));
    bodies.extend(requests.try_iter().map(|request| request.body));
    let halves = ["a f=1 1\nbad f=2 1\n", "a f=1 1\n", "bad f=2 1\n", "a f=3 1\n"];
    assert_eq!(bodies[0], "a f=0 1\n");
    assert_eq!(bodies[1], "a f=1 1\nbad f=2 1\na f=3 1\n", "merged first");
    assert_eq!(bodies[2..], halves);
}

#[test]
fn errors_and_redirects_leave_nobody_waiting() {
    for status in ["500 Internal Server Error", "302 Found", "429 Too Many Requests"] {
        let (address, _requests) = match status.as_bytes()[0] {
            b'5' => backend(|_, _| answer("500 Internal Server Error")),
            b'3' => backend(|_, _| answer("302 Found")),
            _ => backend(|_, _| answer("429 Too Many Requests")),
        };
        let sender = start(target(address));
        assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Unavailable), "{status}");
        let metrics = sender.finish();
        assert_eq!(dropped(&metrics, Drop::Unavailable), 1, "{status}");
    }
}

#[test]
fn a_dead_backend_fails_fast_and_is_not_hammered() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let sender = start(target(address));
    let started = Instant::now();
    for n in 0..300 {
        let answer = settled(sender.write("d", &format!("a f={n} 1")));
        assert!(matches!(answer, Answer::Unavailable), "{answer:?}");
    }
    let took = started.elapsed();
    let metrics = sender.finish();
    assert_eq!(dropped(&metrics, Drop::Unavailable), 300);
    let tries = metrics.requests[STATUS_CLASSES].get();
    let tries_max = 2 + took.as_millis() / 100;
    assert!(u128::from(tries) <= tries_max, "{tries} connects in {took:?}");
}

#[test]
fn a_name_is_resolved_and_all_its_addresses_are_tried() {
    // Where the name has an IPv6 address too, nobody listens there.
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let mut target = target(address);
    target.authority = format!("localhost:{}", address.port());
    let sender = start(target);
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Delivered));
    assert!(next(&requests).head.contains(&format!("host: localhost:{}", address.port())));
    sender.finish();
}

#[test]
fn a_backend_that_comes_back_is_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let sender = start(target(address));
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Unavailable));
    let listener = TcpListener::bind(address).expect("the port is still free");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        while read_request(&mut stream).is_some() {
            let answer = answer("204 No Content").expect("it has one");
            stream.write_all(answer.as_bytes()).expect("the sender reads");
        }
    });
    let end = Instant::now() + DEADLINE;
    while !matches!(settled(sender.write("d", "a f=1 1")), Answer::Delivered) {
        assert!(Instant::now() < end, "it is not found again");
    }
    sender.finish();
}

#[test]
fn a_kept_connection_that_was_closed_costs_nothing() {
    // Every second request finds the connection closed, without an answer to it.
    let (address, requests) = backend(|number, _| match number % 2 {
        0 => answer("204 No Content"),
        _ => None,
    });
    let sender = start(target(address));
    for n in 0..5 {
        let answer = settled(sender.write("d", &format!("a f={n} 1")));
        assert!(matches!(answer, Answer::Delivered), "{n}: {answer:?}");
    }
    let metrics = sender.finish();
    assert_eq!(metrics.delivered.get(), 5);
    let connections: Vec<_> = requests.try_iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1, 2, 2, 3, 3, 4]);
}

#[test]
fn a_fresh_connection_that_breaks_is_a_failure() {
    let (address, _requests) = backend(|_, _| None);
    let sender = start(target(address));
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Unavailable));
    let metrics = sender.finish();
    assert_eq!(metrics.requests[STATUS_CLASSES].get(), 1);
}

#[test]
fn a_silent_backend_is_given_up_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut target = target(listener.local_addr().expect("it is bound"));
    target.timeout = Duration::from_millis(100);
    let sender = start(target);
    let started = Instant::now();
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Unavailable));
    assert!(started.elapsed() >= Duration::from_millis(100));
    let (mut peer, _) = listener.accept().expect("it connected");
    peer.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    let mut got = Vec::new();
    peer.read_to_end(&mut got).expect("its connection was closed in order");
    assert!(got.ends_with(b"a f=1 1\n"));
    sender.finish();
}

#[test]
fn at_the_deadline_what_is_left_is_dropped_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let sender = start(target(listener.local_addr().expect("it is bound")));
    let answers: Vec<_> = (0..5).map(|n| sender.write("d", &format!("a f={n} 1"))).collect();
    sender.stopper.stop(Instant::now() + Duration::from_millis(100));
    for answer in answers {
        assert!(matches!(settled(answer), Answer::Unavailable));
    }
    let metrics = sender.finish();
    assert_eq!(dropped(&metrics, Drop::Shutdown), 5);
}

#[test]
fn what_is_queued_before_the_end_is_still_sent() {
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let sender = start(target(address));
    for n in 0..50 {
        drop(sender.write(&format!("d{}", n % 7), &format!("a f={n} 1")));
    }
    sender.stopper.stop(Instant::now() + DEADLINE);
    assert_eq!(sender.finish().delivered.get(), 50);
    let lines: usize = requests.try_iter().map(|request| request.body.lines().count()).sum();
    assert_eq!(lines, 50);
}
