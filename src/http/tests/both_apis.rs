//! Clients and backends of both write APIs, in every pairing.

use super::harness::*;
use crate::config::{Ack, Dialect};
use std::sync::Arc;

fn v2(bucket: Option<&str>) -> Dialect {
    Dialect::V2 { org: "acme".to_owned(), bucket: bucket.map(str::to_owned) }
}

/// A front to a backend of 1.x and to two of 2.x, the last with a bucket of its own.
fn front(script: Script) -> Front {
    let dialects = [Dialect::V1, v2(None), v2(Some("all"))];
    start_with(Ack::All, dialects.into_iter().map(|dialect| (script, dialect, None)).collect())
}

/// Query, authorization and lines of the one write that each backend got.
fn each_got(front: Front) -> Vec<(String, String, String)> {
    let got = front.got.iter().map(Arc::clone).collect::<Vec<_>>();
    front.stop();
    let one = got.iter().map(|got| {
        let got = got.lock().expect("nobody panics with it");
        let [(query, authorization, lines)] = &got[..] else { panic!("one write, not {got:?}") };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (query.clone(), text(authorization.as_deref().unwrap_or_default()), text(lines))
    });
    one.collect()
}

fn row(query: &str, authorization: &str, lines: &str) -> (String, String, String) {
    (query.to_owned(), authorization.to_owned(), lines.to_owned())
}

#[test]
fn a_v1_write_reaches_backends_of_both() {
    let front = front(delivered);
    let target = "/write?db=my+db&rp=r&precision=ms&u=me&p=x";
    assert_eq!(front.post(target, "", b"a f=1 1\n").status, 204);
    let expected = [
        row("db=my+db&rp=r&precision=ms&u=me&p=x", "", "a f=1 1\n"),
        row("org=acme&bucket=my+db%2Fr&precision=ms", "Token me:x", "a f=1 1\n"),
        row("org=acme&bucket=all&precision=ms", "Token me:x", "a f=1 1\n"),
    ];
    assert_eq!(each_got(front), expected);
}

#[test]
fn a_v2_write_reaches_backends_of_both() {
    let front = front(delivered);
    let target = "/api/v2/write?org=theirs&bucket=d%2Fr&precision=us";
    let token = "Authorization: Token me:x\r\n";
    assert_eq!(front.post(target, token, b"a f=1 1\n").status, 204);
    let expected = [
        row("db=d&rp=r&precision=u", "Basic bWU6eA==", "a f=1 1\n"),
        row("org=acme&bucket=d%2Fr&precision=us", "Token me:x", "a f=1 1\n"),
        row("org=acme&bucket=all&precision=us", "Token me:x", "a f=1 1\n"),
    ];
    assert_eq!(each_got(front), expected);
}

#[test]
fn minutes_and_hours_reach_v2_in_seconds() {
    for (precision, seconds) in [("m", 60), ("h", 3_600)] {
        let front = front(delivered);
        let target = format!("/write?db=d&rp=r&precision={precision}");
        assert_eq!(front.post(&target, "", b"a f=1 7\na f=1 -2\n").status, 204);
        let lines = format!("a f=1 {}\na f=1 {}\n", 7 * seconds, -2 * seconds);
        let expected = [
            row(&format!("db=d&rp=r&precision={precision}"), "", "a f=1 7\na f=1 -2\n"),
            row("org=acme&bucket=d%2Fr&precision=s", "", &lines),
            row("org=acme&bucket=all&precision=s", "", &lines),
        ];
        assert_eq!(each_got(front), expected);
    }
}

#[test]
fn errors_of_v2_writes_have_its_form() {
    let front = front(delivered);
    let large = vec![b'x'; 10_001];
    let line = &b"a f=1 1\n"[..];
    let cases: [(&str, &[u8], u16, &str); 5] = [
        ("/api/v2/write", line, 400, r#"{"code":"invalid","message":"bucket is required: "#),
        ("/api/v2/write?bucket=b&precision=m", line, 400, r#"{"code":"invalid","message":"inv"#),
        ("/api/v2/write?bucket=b", &large, 413, r#"{"code":"request too large","message":"the"#),
        (
            "/api/v2/write?bucket=b",
            b"a f=1 1\nb f=\n",
            400,
            r#"{"code":"invalid","line":2,"message":"unable to parse 'b f=': missing field value"#,
        ),
        ("/api/v2/delete", line, 404, r#"{"error":"not found: "#),
    ];
    for (target, body, status, start) in cases {
        let reply = front.post(target, "", body);
        assert_eq!(reply.status, status, "{target}: {reply:?}");
        assert!(reply.body.starts_with(start), "{reply:?}");
    }
    let put = front.ask("PUT /api/v2/write?bucket=b HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!(put.status, 405);
    assert!(put.body.starts_with(r#"{"code":"method not allowed""#), "{put:?}");
    assert!(put.head.contains("x-platform-error-code: method not allowed"), "{put:?}");
    assert_eq!(front.post("/api/v2/write?bucket=b", "", b"").status, 204, "an empty body");
    front.stop();
}

#[test]
fn a_refusal_is_told_in_the_clients_form() {
    // The backends refuse in the form of 1.x; the words of one of 2.x are passed on to 2.x as are.
    let v1 = r#"{"error":"database not found"}"#;
    let v2_words = "{\"code\":\"not found\",\"message\":\"database not found\"}\n";
    for (target, dialect, body) in [
        ("/write?db=d", Dialect::V1, v1),
        ("/write?db=d", v2(None), "{\"error\":\"database not found\"}\n"),
        ("/api/v2/write?bucket=d", Dialect::V1, v2_words),
        ("/api/v2/write?bucket=d", v2(None), v1),
    ] {
        let front = start_with(Ack::Any, vec![(refusing, dialect.clone(), None)]);
        let reply = front.post(target, "", b"a f=1 1\n");
        assert_eq!((reply.status, reply.body.as_str()), (404, body), "{target} {dialect:?}");
        front.stop();
        let front = start_with(Ack::Any, vec![(unavailable, dialect, None)]);
        assert_eq!(front.post(target, "", b"a f=1 1\n").status, 503);
        front.stop();
    }
}
