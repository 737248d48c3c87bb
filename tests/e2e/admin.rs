//! `/admin` and `/admin/flush`: who may, what the backends get, what the client learns.

use crate::harness::{
    Client, HttpBackend, Relay, Reply, http_listener, http_output, numbered, wait_until,
};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

#[test]
fn a_query_reaches_every_backend_as_it_was_sent() {
    let answer = "{\"results\":[{\"statement_id\":0}]}";
    let (a, b) = (HttpBackend::refusing(200, answer), HttpBackend::healthy());
    let outputs = [
        http_output("a", a.addr(), ""),
        format!(
            "name = \"b\"\nlocation = \"http://{}/base/\"\n\
             endpoints = {{ write = \"/write\", query = \"/api/query\" }}\n",
            b.addr()
        ),
    ];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let headers = [FORM, ("Authorization", "Basic dTpw")];
    let mut client = relay.client("in");
    let body = b"q=CREATE+DATABASE+%22x%22";
    let taken = client.request("POST", "/admin?u=me&p=a%26b", &headers, body);
    assert_eq!((taken.status(), taken.text().as_str()), (204, ""));
    let empty = client.request("POST", "/admin?q=CREATE+DATABASE+y", &[], b"");
    assert_eq!(empty.status(), 204);
    for (backend, path) in [(&a, "/query"), (&b, "/base/api/query")] {
        let got = backend.requests();
        assert_eq!((got[0].method(), got[0].path()), ("POST", path));
        assert_eq!((got[0].query(), got[0].body()), ("u=me&p=a%26b", &body[..]));
        assert_eq!(got[0].header("authorization"), Some("Basic dTpw"));
        assert_eq!(got[0].header("content-type"), Some(FORM.1));
        assert_eq!((got[1].query(), got[1].body()), ("q=CREATE+DATABASE+y", &b""[..]));
    }
    let get = client.get("/admin?q=DROP+DATABASE+x");
    assert_eq!((get.status(), get.header("allow")), (405, Some("POST")));
    assert_eq!(a.requests().len(), 2, "and a GET reaches nobody");
    relay.finish();
}

#[test]
fn a_query_that_fails_anywhere_says_where_and_why() {
    let inside = r#"{"results":[{"statement_id":0,"error":"retention policy not found"}]}"#;
    let (good, bad) = (HttpBackend::refusing(200, "{}"), HttpBackend::refusing(200, inside));
    let denied = HttpBackend::refusing(401, "{\"error\":\"who are you?\"}");
    let moved = HttpBackend::start(|_| Reply::status(302));
    let (slow, gate) = HttpBackend::gated(|_| Reply::status(204));
    let (dead, _socket) = HttpBackend::dead();
    let backends =
        [("bad", bad.addr()), ("denied", denied.addr()), ("moved", moved.addr()), ("dead", dead)];
    let expected = [400, 401, 502, 503];
    for ((name, addr), expected) in backends.into_iter().zip(expected) {
        let outputs = [http_output("good", good.addr(), ""), http_output(name, addr, "")];
        let relay = Relay::start(&http_listener("in", "", &outputs));
        let answer = relay.client("in").request("POST", "/admin", &[FORM], b"q=x");
        assert_eq!(answer.status(), expected, "{name}: {}", answer.text());
        assert!(answer.header("x-influxdb-error").is_some());
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["outputs"]["good"], json!({ "status": 200 }));
        let words = body["outputs"][name]["error"].as_str().expect("words");
        match name {
            "bad" => assert_eq!(words, "retention policy not found"),
            "denied" => assert_eq!(words, "who are you?"),
            "dead" => assert!(words.starts_with("cannot connect: "), "{words}"),
            _ => assert_eq!(body["outputs"][name]["status"], 302),
        }
        relay.finish();
    }
    let outputs = [
        http_output("denied", denied.addr(), ""),
        http_output("slow", slow.addr(), "timeout = \"300ms\""),
    ];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let answer = relay.client("in").request("POST", "/admin", &[FORM], b"q=x");
    assert_eq!(answer.status(), 503, "the worst of all: {}", answer.text());
    assert!(answer.text().contains("no answer within 300ms"), "{}", answer.text());
    gate.open();
    relay.finish();
}

#[test]
fn only_allowed_addresses_may() {
    let backend = HttpBackend::healthy();
    let outputs = [http_output("a", backend.addr(), "")];
    for (more, status) in [
        ("admin-allow = []", 403),
        ("admin-allow = [\"10.0.0.0/8\", \"127.0.0.2\", \"::/0\"]", 403),
        ("admin-allow = [\"127.0.0.1\"]", 204),
        ("admin-allow = [\"::ffff:127.0.0.1\"]", 204),
        ("admin-allow = [\"127.0.0.0/31\"]", 204),
        ("", 204),
    ] {
        let relay = Relay::start(&http_listener("in", more, &outputs));
        let answer = relay.client("in").request("POST", "/admin", &[FORM], b"q=x");
        assert_eq!(answer.status(), status, "{more}: {}", answer.text());
        let flush = relay.client("in").request("POST", "/admin/flush", &[], b"");
        assert_eq!(flush.status(), if status == 403 { 403 } else { 200 }, "{more}");
        if status == 403 {
            assert!(answer.error().starts_with("127.0.0.1 may not"), "{}", answer.text());
        }
        relay.finish();
    }
    assert_eq!(backend.requests().len(), 4, "the refused ones reached nobody");
}

#[test]
fn a_web_page_in_an_allowed_browser_may_not() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&http_listener("in", "", &[http_output("a", backend.addr(), "")]));
    let own = format!("http://{}", relay.addr("in"));
    for origin in ["http://evil.example", "null", &own] {
        for path in ["/admin", "/admin/flush"] {
            let headers = [FORM, ("Origin", origin)];
            let answer = relay.client("in").request("POST", path, &headers, b"q=x");
            assert_eq!(answer.status(), 403, "{path} {origin}: {}", answer.text());
            assert!(answer.error().contains("Origin"), "{}", answer.text());
        }
        let written = relay.client("in").request("POST", "/write?db=d", &[("Origin", origin)], b"");
        assert_eq!(written.status(), 204, "a write may come from anywhere");
    }
    assert!(backend.requests().is_empty(), "it reached nobody");
    relay.finish();
}

/// Writes that wait: each on a connection of its own, in this order.
fn write_without_answer(relay: &Relay, lines: &[String]) -> Vec<Client> {
    let mut clients = Vec::new();
    for line in lines {
        let before = relay.metrics().accepted("in");
        let mut client = relay.client("in");
        let head =
            format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {}", line.len());
        client.send(format!("{head}\r\n\r\n{line}").as_bytes()).expect("the relay reads");
        clients.push(client);
        wait_until("the write to be taken", || relay.metrics().accepted("in") > before);
    }
    clients
}

#[test]
fn a_flush_drops_what_waits_now_and_nothing_later() {
    let (slow, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [http_output("slow", slow.addr(), "max-in-flight = 1")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let lines = numbered("a", 6);
    let mut clients = write_without_answer(&relay, &lines[..1]);
    slow.wait_for_requests(1);
    clients.extend(write_without_answer(&relay, &lines[1..5]));
    let get = relay.client("in").get("/admin/flush");
    assert_eq!((get.status(), get.header("allow")), (405, Some("POST")), "by POST only");
    let answer = relay.client("in").request("POST", "/admin/flush", &[], b"");
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let bytes: usize = lines[1..5].iter().map(|line| line.len() + 1).sum();
    let expected = json!({ "slow": { "writes": 4, "lines": 4, "bytes": bytes } });
    assert_eq!(body["flushed"], expected, "all but the one in flight");
    for client in &mut clients[1..] {
        let answer = client.receive().expect("an answer").expect("not the end");
        assert_eq!(answer.status(), 503, "the client knows that it is not stored");
    }
    let answer = relay.client("in").request("POST", "/admin/flush", &[], b"");
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["flushed"]["slow"]["writes"], 0, "nothing is left");
    gate.open();
    assert_eq!(clients[0].receive().expect("an answer").expect("not the end").status(), 204);
    assert_eq!(relay.client("in").write("db=d", &lines[5]).status(), 204, "the next one passes");
    assert_eq!(slow.lines(), [lines[0].clone(), lines[5].clone()]);
    let books = relay.finish().books("in", "slow");
    assert_eq!((books.taken, books.delivered, books.dropped("flushed")), (6, 2, 4));
}

#[test]
fn a_flush_drops_the_backlog_and_status_shows_it() {
    let (backend, up) = HttpBackend::down_until_told();
    let more = "buffer-size-mb = 1\nmax-delay-interval = \"500ms\"";
    let paths = "endpoints = { write = \"/write\", write_prom = \"/prom\" }";
    let location = format!("name = \"a\"\nlocation = \"http://{}/\"\n", backend.addr());
    let output = format!("{location}{paths}\n{more}\n");
    let relay = Relay::start(&http_listener("in", "", &[output]));
    for line in numbered("lost", 5) {
        assert_eq!(relay.client("in").write("db=d", line).status(), 204, "it is kept");
    }
    let prom = ("POST", "/api/v1/prom/write?db=d");
    let kept = relay.client("in").request(prom.0, prom.1, &[], b"opaque");
    assert_eq!(kept.status(), 204, "it is kept too");
    let status = || -> Value {
        let answer = relay.client("in").get("/status");
        serde_json::from_slice(&answer.body).expect("JSON")
    };
    let before = &status()["status"]["a"];
    assert_eq!((&before["buffering"], &before["maxSize"]), (&json!(1), &json!(1 << 20)));
    assert!(before["size"].as_u64().is_some_and(|bytes| bytes > 300), "{before}");
    wait_until("nothing to be in flight", || {
        let answer = relay.client("in").request("POST", "/admin/flush", &[], b"");
        assert_eq!(answer.status(), 200);
        status()["status"]["a"]["size"] == 0
    });
    assert_eq!(status()["status"]["a"]["size"], 0);
    up.store(true, Ordering::Release);
    let later = numbered("later", 3);
    for line in &later {
        assert_eq!(relay.client("in").write("db=d", line).status(), 204);
    }
    wait_until("the backend to be up", || status()["status"]["a"]["buffering"] == 0);
    assert_eq!(backend.wait_for_lines(3), later, "nothing that came later is eaten");
    assert_eq!(relay.metrics().opaque_books("in", "a").dropped("flushed"), 1);
    let books = relay.finish().books("in", "a");
    assert_eq!((books.taken, books.delivered, books.dropped("flushed")), (8, 3, 5));
}
