//! Bodies: how they may be framed and packed, and what happens to those that are cut or too large.

use crate::harness::{Client, HttpBackend, Relay, gzip, http_listener, http_output, numbered};

const LIMIT_BYTES: usize = 1 << 20;

/// A relay with one healthy backend and bodies of at most 1 MiB.
fn relay() -> (Relay, HttpBackend) {
    let backend = HttpBackend::healthy();
    let outputs = [http_output("only", backend.addr(), "")];
    (Relay::start(&http_listener("in", "max-body-size-mb = 1", &outputs)), backend)
}

#[track_caller]
fn nothing_was_forwarded(relay: Relay, backend: &HttpBackend) {
    assert_eq!(relay.metrics().accepted("in"), 0);
    relay.finish();
    assert!(backend.requests().is_empty(), "{:?}", backend.requests());
}

fn post(client: &mut Client, header: (&str, &str), body: &[u8]) -> (u16, String) {
    let answer = client.request("POST", "/write?db=d", &[header], body);
    (answer.status(), answer.text())
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in body.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

#[test]
fn gzip_bodies_are_inflated_and_go_on_plain() {
    let (relay, backend) = relay();
    let mut client = relay.client("in");
    let lines = numbered("packed", 600);
    for body in lines.chunks(200) {
        let packed = gzip(body.join("\n").as_bytes());
        let (status, text) = post(&mut client, ("Content-Encoding", "gzip"), &packed);
        assert_eq!(status, 204, "{text}");
    }
    assert_eq!(backend.wait_for_lines(lines.len()), lines);
    for request in backend.requests() {
        assert_eq!(request.header("content-encoding"), None);
    }
    relay.finish();
}

#[test]
fn chunks_may_cut_anywhere() {
    let (relay, backend) = relay();
    let mut client = relay.client("in");
    let lines = numbered("chunked", 7 * 20);
    for (size, body) in [1, 2, 7, 59, 60, 61, 100_000].into_iter().zip(lines.chunks(20)) {
        let framed = chunked(body.join("\n").as_bytes(), size);
        let (status, text) = post(&mut client, ("Transfer-Encoding", "chunked"), &framed);
        assert_eq!(status, 204, "{text}");
    }
    assert_eq!(backend.wait_for_lines(lines.len()), lines);
    relay.finish();
}

#[test]
fn a_body_in_many_small_packets_is_one_body() {
    let (relay, backend) = relay();
    let mut client = relay.client("in");
    let body = numbered("trickle", 5).join("\n");
    let head =
        format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {}\r\n\r\n", body.len());
    for byte in (head + &body).as_bytes() {
        client.send(std::slice::from_ref(byte)).expect("the relay reads");
    }
    let answer = client.receive().expect("an answer").expect("before the connection ends");
    assert_eq!(answer.status(), 204);
    assert_eq!(backend.wait_for_lines(5), numbered("trickle", 5));
    relay.finish();
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let (relay, backend) = relay();
    let mut client = relay.client("in");
    let head =
        "POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n";
    client.send(head.as_bytes()).expect("the relay reads");
    let interim = client.receive().expect("an answer").expect("before the connection ends");
    assert_eq!(interim.status(), 100);
    client.send(b"m f=1 1").expect("the relay reads");
    let answer = client.receive().expect("an answer").expect("before the connection ends");
    assert_eq!(answer.status(), 204);
    backend.wait_for_lines(1);
    relay.finish();
}

#[test]
fn bad_gzip_is_400() {
    let (relay, backend) = relay();
    let packed = gzip(b"m f=1 1\nm f=1 2\n");
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    let cut = &packed[..packed.len() - 1];
    for body in [&b"m f=1 1"[..], cut, &damaged, b""] {
        let (status, text) = post(&mut relay.client("in"), ("Content-Encoding", "gzip"), body);
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("gzip"), "{text}");
    }
    nothing_was_forwarded(relay, &backend);
}

#[test]
fn a_truncated_body_goes_nowhere() {
    let (relay, backend) = relay();
    let whole_lines = "m f=1 1\nm f=1 2\n";
    for framing in ["Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n10\r\n"] {
        let mut client = relay.client("in");
        let request = format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\n{framing}{whole_lines}");
        client.send(request.as_bytes()).expect("the relay reads");
        assert!(client.end(), "the connection is open");
        let answer = client.receive().expect("an answer").expect("before the connection ends");
        assert_eq!(answer.status(), 400, "{framing:?}");
    }
    nothing_was_forwarded(relay, &backend);
}

#[test]
fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let (relay, backend) = relay();
    let line = "m f=1 1\n";
    let fits = line.repeat(LIMIT_BYTES / line.len());
    let over = fits.clone() + "\n";
    assert_eq!(fits.len(), LIMIT_BYTES);

    let (packed, framed) = (gzip(over.as_bytes()), chunked(over.as_bytes(), 10_000));
    let requests: [(&str, &str, &[u8]); 3] = [
        ("X-Plain", "1", over.as_bytes()),
        ("Content-Encoding", "gzip", &packed),
        ("Transfer-Encoding", "chunked", &framed),
    ];
    for (name, value, body) in requests {
        let (status, text) = post(&mut relay.client("in"), (name, value), body);
        assert_eq!(status, 413, "{name}: {text}");
    }
    assert_eq!(relay.metrics().accepted("in"), 0);
    assert!(backend.requests().is_empty());

    assert_eq!(relay.client("in").write("db=d", &fits).status(), 204, "the limit itself is taken");
    relay.finish();
}

#[test]
fn a_body_announced_over_the_limit_is_refused_before_it_is_sent() {
    let (relay, backend) = relay();
    let mut client = relay.client("in");
    let head = "POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 999999999999\r\n\r\n";
    client.send(head.as_bytes()).expect("the relay reads");
    let answer = client.receive().expect("an answer").expect("before the connection ends");
    assert_eq!(answer.status(), 413);
    nothing_was_forwarded(relay, &backend);
}

#[test]
fn an_unknown_encoding_is_415() {
    let (relay, backend) = relay();
    let (status, text) = post(&mut relay.client("in"), ("Content-Encoding", "br"), b"m f=1 1");
    assert_eq!(status, 415, "{text}");
    nothing_was_forwarded(relay, &backend);
}
