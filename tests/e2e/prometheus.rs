//! Prometheus remote writes: relayed as they came, to the backends that take them.

use crate::harness::{HttpBackend, Relay, Reply, gzip, http_listener, http_output, wait_until};
use std::net::SocketAddr;

const HEADERS: [(&str, &str); 5] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ("Authorization", "Bearer secret"),
    ("X-Other", "stays here"),
];
const TARGET: &str = "/api/v1/prom/write?db=d";

/// An output that takes line protocol and Prometheus writes.
fn both(name: &str, addr: SocketAddr) -> String {
    format!(
        "name = \"{name}\"\nlocation = \"http://{addr}/\"\n\
         endpoints = {{ write = \"/write\", write_prom = \"/api/v1/prom/write\" }}\n"
    )
}

/// Bytes that are no text and hold newlines.
fn snappy(seed: u8) -> Vec<u8> {
    (0..=255_u8).cycle().skip(seed.into()).take(700).collect()
}

/// Bodies taken, delivered and dropped.
fn opaque(relay: &Relay, backend: &str) -> [u64; 3] {
    let books = relay.metrics().opaque_books("in", backend);
    [books.taken, books.delivered, books.dropped.values().sum()]
}

#[test]
fn goes_as_it_came_to_those_that_take_it() {
    let (takes, lines_only) = (HttpBackend::healthy(), HttpBackend::healthy());
    let old = HttpBackend::healthy();
    let outputs = [
        both("takes", takes.addr()),
        http_output("lines", lines_only.addr(), ""),
        format!(
            "name = \"old\"\nlocation = \"http://{}/receive\"\ntype = \"prometheus\"\n",
            old.addr()
        ),
    ];
    let more = "default-retention-policy = \"week\"";
    let relay = Relay::start(&http_listener("in", more, &outputs));
    let answer = relay.client("in").request("POST", TARGET, &HEADERS, &snappy(0));
    assert_eq!((answer.status(), answer.text().as_str()), (204, ""));
    wait_until("both backends", || !takes.requests().is_empty() && !old.requests().is_empty());
    for (backend, path) in [(&takes, "/api/v1/prom/write"), (&old, "/receive")] {
        let got = &backend.requests()[0];
        assert_eq!((got.method(), got.path(), got.query()), ("POST", path, "db=d&rp=week"));
        assert_eq!(got.body(), snappy(0));
        for (name, value) in &HEADERS[..4] {
            assert_eq!(got.header(name), Some(*value), "{name}");
        }
        assert_eq!(got.header("x-other"), None);
    }
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    wait_until("the line", || lines_only.requests().len() == 1 && takes.requests().len() == 2);
    assert_eq!(lines_only.requests().len(), 1, "no Prometheus body");
    assert_eq!(old.requests().len(), 1, "no line protocol");
    assert_eq!(opaque(&relay, "takes"), [1, 1, 0]);
    assert_eq!(opaque(&relay, "lines"), [0, 0, 0]);
    relay.finish();
}

#[test]
fn is_never_merged_with_anything() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = Relay::start(&http_listener("in", "", &[both("a", backend.addr())]));
    let mut clients: Vec<_> = (0..20).map(|_| relay.client("in")).collect();
    for (n, client) in (0..).zip(&mut clients) {
        let (target, body) = if n % 2 == 0 {
            ("/api/v1/prom/write?db=d", snappy(n))
        } else {
            ("/write?db=d", format!("m f={n} {n}\n").into_bytes())
        };
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: r\r\nContent-Length: {length}\r\n\r\n");
        client.send(&[head.as_bytes(), &body].concat()).expect("the relay reads");
    }
    wait_until("all to be taken", || {
        relay.metrics().accepted("in") == 10 && opaque(&relay, "a")[0] == 10
    });
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().expect("an answer").expect("not the end").status(), 204);
    }
    let requests = backend.requests();
    let prom = requests.iter().filter(|request| request.path() == "/api/v1/prom/write");
    let mut bodies: Vec<_> = prom.map(|request| request.body().to_vec()).collect();
    let mut sent: Vec<_> = (0..20).step_by(2).map(snappy).collect();
    bodies.sort();
    sent.sort();
    assert_eq!(bodies, sent, "each alone, and whole");
    assert_eq!(requests.iter().filter(|r| r.path() == "/write").count() + 10, requests.len());
    assert_eq!(opaque(&relay, "a"), [10, 10, 0]);
    relay.finish();
}

#[test]
fn is_answered_as_a_write_is() {
    let said = "{\"error\":\"out of order sample\"}";
    let (refusing, down) = (HttpBackend::refusing(400, said), HttpBackend::refusing(503, "{}"));
    let relay = Relay::start(&http_listener("in", "", &[both("a", refusing.addr())]));
    let answer = relay.client("in").request("POST", TARGET, &HEADERS, &snappy(0));
    assert_eq!((answer.status(), answer.text().as_str()), (400, said));
    assert_eq!(opaque(&relay, "a"), [1, 0, 1]);
    relay.finish();
    let relay = Relay::start(&http_listener("in", "", &[both("a", down.addr())]));
    let answer = relay.client("in").request("POST", TARGET, &HEADERS, &snappy(0));
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("1")));
    relay.finish();
}

#[test]
fn is_refused_with_reason() {
    let backend = HttpBackend::healthy();
    let more = "max-body-size-mb = 1";
    let relay = Relay::start(&http_listener("in", more, &[both("a", backend.addr())]));
    let mut client = relay.client("in");
    let mut post = |target: &str, body: &[u8]| client.request("POST", target, &HEADERS, body);
    assert_eq!(post("/api/v1/prom/write", &snappy(0)).status(), 400, "no database");
    assert_eq!(post(TARGET, b"").status(), 204, "nothing to forward");
    let options = relay.client("in").request("OPTIONS", TARGET, &[], b"");
    assert_eq!((options.status(), options.text().as_str()), (204, ""));
    let get = relay.client("in").get(TARGET);
    assert_eq!((get.status(), get.header("allow")), (405, Some("POST, OPTIONS")));
    let large = relay.client("in").request("POST", TARGET, &HEADERS, &vec![0; (1 << 20) + 1]);
    assert_eq!(large.status(), 413);
    assert!(backend.requests().is_empty());
    let packed = gzip(b"anything");
    let headers = [("Content-Encoding", "gzip")];
    assert_eq!(relay.client("in").request("POST", TARGET, &headers, &packed).status(), 204);
    assert_eq!(backend.requests()[0].body(), packed, "gzip is not taken off either");
    relay.finish();

    let relay = Relay::start(&http_listener("in", "", &[http_output("a", backend.addr(), "")]));
    let nobody = relay.client("in").request("POST", TARGET, &HEADERS, &snappy(0));
    assert_eq!(nobody.status(), 404);
    assert!(nobody.error().contains("endpoints.write_prom"), "{}", nobody.text());
    relay.finish();

    let only =
        format!("name = \"a\"\nlocation = \"http://{}/\"\ntype = \"prometheus\"\n", backend.addr());
    let relay = Relay::start(&http_listener("in", "", &[only]));
    let nobody = relay.client("in").write("db=d", "m f=1 1");
    assert_eq!(nobody.status(), 404);
    assert!(nobody.error().contains("endpoints.write"), "{}", nobody.text());
    let answer = relay.client("in").request("POST", TARGET, &HEADERS, &snappy(0));
    assert_eq!(answer.status(), 204);
    assert_eq!(backend.requests().last().expect("it came").path(), "/api/v1/prom/write");
    relay.finish();
}
