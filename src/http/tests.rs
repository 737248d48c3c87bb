//! The front, asked as clients ask it.

mod both_apis;
mod filters_and_acks;
mod harness;
mod tls;

use crate::metrics::Counter;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use harness::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

#[test]
fn a_write_reaches_the_backends_with_its_query_and_credentials() {
    let front = start(&[delivered, delivered]);
    let mut client = front.client();
    let request = post("/write?db=a&u=me&precision=s", "Authorization: Token x\r\n", b"a f=1 1\n");
    client.write_all(&request).expect("the front reads");
    let first = reply(&mut client);
    assert_eq!((first.status, first.body.as_str()), (204, ""));
    client.write_all(&post("/write?db=b&rp=r", "", b"b f=2 2")).expect("kept alive");
    assert_eq!(reply(&mut client).status, 204);
    let chunked = "POST /write?db=c HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\na f=\r\n6\r\n1 1\nb \r\n6\r\nf=2 2\n\r\n0\r\n\r\n";
    client.write_all(chunked.as_bytes()).expect("kept alive");
    assert_eq!(reply(&mut client).status, 204);
    let packed = gzip(b"z f=1 1\n");
    let request = post("/write?db=d", "Content-Encoding: GZIP\r\n", &packed);
    client.write_all(&request).expect("kept alive");
    assert_eq!(reply(&mut client).status, 204);
    let token = Some(Bytes::from_static(b"Token x"));
    let expected = [
        ("db=a&u=me&precision=s&rp=week".into(), token, b"a f=1 1\n".to_vec()),
        ("db=b&rp=r".into(), None, b"b f=2 2\n".to_vec()),
        ("db=c&rp=week".into(), None, b"a f=1 1\nb f=2 2\n".to_vec()),
        ("db=d&rp=week".into(), None, b"z f=1 1\n".to_vec()),
    ];
    assert_eq!(front.metrics.connections.get(), 1);
    assert_eq!(front.metrics.lines.get(), 5);
    let got = Arc::clone(&front.got[0]);
    // The client knows as soon as one backend has it; the first may still be on its way.
    front.stop();
    assert_eq!(*got.lock().expect("nobody panics with it"), expected);
}

#[test]
fn lines_without_a_timestamp_get_one_for_all_backends() {
    let front = start(&[delivered, delivered]);
    let body = b"# two\na f=1\nb f=2 77\nc f=3\n";
    assert_eq!(front.post("/write?db=a&precision=s", "", body).status, 204);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_secs();
    let (one, two) = (Arc::clone(&front.got[0]), Arc::clone(&front.got[1]));
    front.stop();
    let (one, two) = (one.lock().expect("no panic"), two.lock().expect("no panic"));
    let lines = String::from_utf8(one[0].2.clone()).expect("text");
    assert_eq!(one[0].2, two[0].2, "the same bytes for all");
    let stamp = lines.lines().next().and_then(|line| line.strip_prefix("a f=1 "));
    let stamp: u64 = stamp.expect("a stamp").parse().expect("a number");
    assert!(now.abs_diff(stamp) <= 10, "{stamp} is seconds");
    assert_eq!(lines, format!("a f=1 {stamp}\nb f=2 77\nc f=3 {stamp}\n"));
}

#[test]
fn a_bad_line_refuses_the_request_and_says_why() {
    let front = start(&[delivered]);
    let reply = front.post("/write?db=a", "", b"a f=1 1\nb f=\nc f=3\n");
    assert_eq!(reply.status, 400);
    assert!(reply.body.starts_with("{\"error\":\"unable to parse 'b f=': "), "{reply:?}");
    assert!(reply.body.ends_with("(line 2)\"}\n"), "{reply:?}");
    assert!(reply.head.contains("x-influxdb-error: unable to parse 'b f=': "), "{reply:?}");
    assert_eq!(front.post("/write?db=a", "", b"# only a comment\n").status, 204);
    assert_eq!(front.metrics.refused_beside.get(), 2);
    assert_eq!(front.metrics.refused.iter().map(Counter::get).sum::<u64>(), 1);
    assert!(front.got[0].lock().expect("no panic").is_empty());
    front.stop();
}

#[test]
fn answers_what_is_wrong_and_forwards_nothing() {
    let front = start(&[delivered]);
    let large = vec![b'x'; 10_001];
    let bomb = gzip(&vec![b'x'; 10_001]);
    let (zip, line) = ("Content-Encoding: gzip\r\n", &b"a f=1 1\n"[..]);
    let cases: [(&str, &str, &[u8], u16, &str); 9] = [
        ("/write", "", line, 400, "database is required"),
        ("/write?db=a&precision=d", "", line, 400, "invalid precision 'd'"),
        ("/write?db=a", "", &large, 413, "larger than 10000 bytes"),
        ("/write?db=a", zip, &bomb, 413, "larger than 10000 bytes"),
        ("/write?db=a", zip, line, 400, "not gzip"),
        ("/write?db=a", zip, &bomb[..30], 400, "not gzip"),
        ("/write?db=a", "Content-Encoding: br\r\n", line, 415, "Content-Encoding"),
        ("/nothing", "", line, 404, "not found"),
        ("/ping", "", line, 405, "method not allowed"),
    ];
    for (target, headers, body, status, words) in cases {
        let reply = front.post(target, headers, body);
        assert_eq!(reply.status, status, "{target}: {reply:?}");
        assert!(reply.body.starts_with("{\"error\":\"") && reply.body.contains(words), "{reply:?}");
        assert!(reply.head.contains("x-influxdb-error: "), "{reply:?}");
    }
    assert_eq!(front.post("/write?db=a", "", b"").status, 204, "an empty body");
    let put = front.ask("PUT /write?db=a HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!(put.status, 405);
    assert!(put.head.contains("allow: post, options"), "{put:?}");
    let options = front.ask("OPTIONS /write HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!((options.status, options.body.as_str()), (204, ""));
    assert_eq!(front.metrics.unreadable.get(), 7);
    assert!(front.got[0].lock().expect("nobody panics with it").is_empty());
    front.stop();
}

#[test]
fn a_refused_body_that_is_still_coming_does_not_take_the_answer_away() {
    let front = start(&[delivered]);
    let mut client = front.client();
    let head = "POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: 8000000\r\n\r\n";
    client.write_all(head.as_bytes()).expect("the front reads");
    client.write_all(&vec![b'x'; 8_000_000]).expect("it is thrown away, not reset");
    let refused = reply(&mut client);
    assert_eq!(refused.status, 413);
    assert!(refused.head.contains("connection: close"), "{refused:?}");
    assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
    front.stop();
}

#[test]
fn heads_that_are_no_http_or_too_large_are_answered_and_counted() {
    let front = start(&[delivered]);
    let large = format!("GET /ping HTTP/1.1\r\nHost: r\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(front.ask(large).status, 431);
    assert_eq!(front.ask("\x16\x03\x01 no http\r\n\r\n").status, 400);
    wait(|| front.metrics.unreadable.get() == 2);
    front.stop();
}

#[test]
fn ping_and_metrics_answer_on_their_addresses() {
    let front = start(&[delivered]);
    let ping = front.ask("GET /ping HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!(ping.status, 204);
    assert!(ping.head.contains("x-influxdb-version: relay"), "{ping:?}");
    let mut admin = connect(front.admin);
    admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: r\r\n\r\n").expect("the front reads");
    let metrics = reply(&mut admin);
    let line =
        "ringrelay_http_requests_total{listener=\"test\",endpoint=\"ping\",code=\"2xx\"} 1\n";
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains(line), "{}", metrics.body);
    admin.write_all(b"GET /ping HTTP/1.1\r\nHost: r\r\n\r\n").expect("kept alive");
    assert_eq!(reply(&mut admin).status, 204);
    admin.write_all(&post("/write?db=a", "", b"a f=1 1\n")).expect("kept alive");
    assert_eq!(reply(&mut admin).status, 404, "nothing is written through the admin address");
    front.stop();
}

#[test]
fn the_answer_is_that_of_the_backend_that_took_it_or_of_the_first_that_refused() {
    let cases: [(&[Script], u16); 4] = [
        (&[hanging, delivered], 204),
        (&[refusing, delivered], 204),
        (&[unavailable, refusing], 404),
        (&[unavailable, unavailable], 503),
    ];
    for (scripts, status) in cases {
        let front = start(scripts);
        let reply = front.post("/write?db=a", "", b"a f=1 1\n");
        assert_eq!(reply.status, status, "{reply:?}");
        if status == 404 {
            assert_eq!(reply.body, "{\"error\":\"database not found\"}");
            assert!(reply.head.contains("x-influxdb-error: database not found"), "{reply:?}");
            assert!(reply.head.contains("content-type: application/json"), "{reply:?}");
        }
        front.stop();
    }
}

#[test]
fn clients_that_leave_disturb_nobody() {
    let front = start(&[delivered]);
    let half = b"POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\na f=1 1\nb f";
    for cut in [10, 40, half.len()] {
        let mut client = front.client();
        client.write_all(&half[..cut]).expect("the front reads");
        drop(client);
    }
    let mut client = front.client();
    client.write_all(half).expect("the front reads");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_eq!(reply(&mut client).status, 400, "a cut body");
    let mut client = front.client();
    client.write_all(&post("/write?db=a", "", b"a f=1 1\n")).expect("the front reads");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_eq!(reply(&mut client).status, 204, "half closed, and still answered");
    front.stop();
}

#[test]
fn short_bodies_over_the_budget_wait_for_slow_ones_to_give_way() {
    let front = start(&[delivered]);
    let mut slow = Vec::new();
    for _ in 0..15 {
        let mut client = front.client();
        let head = "POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: 10000\r\n\r\n";
        client.write_all(head.as_bytes()).expect("the front reads");
        client.write_all(&[b'x'; 6_500]).expect("the front reads");
        slow.push(client);
    }
    wait(|| front.bodies.held() >= 90_000);
    let short = front.post("/write?db=a", "", &b"a f=1 1\n".repeat(1_249));
    assert_eq!(short.status, 204, "{short:?}");
    let cut = slow.iter_mut().find_map(|client| {
        client.set_nonblocking(true).expect("a socket option");
        let mut said = String::new();
        // Those that were not answered have nothing to read.
        drop(client.read_to_string(&mut said));
        (!said.is_empty()).then_some(said)
    });
    let cut = cut.expect("one gave way").to_ascii_lowercase();
    assert!(cut.starts_with("http/1.1 503 ") && cut.contains("retry-after: 1"), "{cut}");
    drop(slow);
    wait(|| front.bodies.held() == 0);
    assert_eq!(front.post("/write?db=a", "", b"a f=1 1\n").status, 204);
    front.stop();
}

#[test]
fn a_body_that_waits_for_room_gives_way_too() {
    let front = start(&[delivered]);
    let begin = |bytes: usize, first: usize| {
        let mut client = front.client();
        let head = "POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: ";
        client.write_all(format!("{head}{bytes}\r\n\r\n").as_bytes()).expect("the front reads");
        client.write_all(&vec![b'x'; first]).expect("the front reads");
        client
    };
    let mut largest = begin(10_000, 8_000);
    let _others: Vec<_> = (0..22).map(|_| begin(9_000, 3_000)).collect();
    wait(|| front.bodies.held() > 98_000);
    // More than it has memory for, and than the budget has left.
    largest.write_all(&[b'x'; 1_500]).expect("the front reads");
    let cut = reply(&mut largest);
    assert!(cut.status == 503 && cut.body.contains("too slowly"), "{cut:?}");
    front.stop();
}

#[test]
fn stopping_answers_open_requests_and_closes_idle_connections() {
    let front = start(&[hanging]);
    let mut idle = front.client();
    idle.write_all(b"GET /ping HTTP/1.1\r\nHost: r\r\n\r\n").expect("the front reads");
    assert_eq!(reply(&mut idle).status, 204);
    let mut open = front.client();
    open.write_all(&post("/write?db=a", "", b"a f=1 1\n")).expect("the front reads");
    wait(|| !front.got[0].lock().expect("nobody panics with it").is_empty());
    let asked = thread::spawn(move || reply(&mut open));
    let address = front.address;
    front.stop();
    assert_eq!(asked.join().expect("it is answered").status, 503, "nobody delivered it");
    assert_eq!(idle.read(&mut [0]).expect("an orderly end"), 0);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
