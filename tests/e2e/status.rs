//! What the relay says of itself and of its backends: `/status`, `/health`, `/ready`, `/ping`.

use crate::harness::{
    HttpBackend, Relay, Reply, UdpSink, http_listener, http_output, numbered, udp_listener,
    udp_output, wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// An output with the default endpoints, but for the write endpoint.
fn output(name: &str, addr: SocketAddr) -> String {
    http_output(name, addr, "")
}

fn ask(relay: &Relay, target: &str) -> (u16, Value) {
    let answer = relay.client("in").get(target);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
    (answer.status(), serde_json::from_slice(&answer.body).expect("JSON"))
}

#[test]
fn status_names_every_backend_and_what_became_of_its_lines() {
    let (healthy, refusing) = (HttpBackend::healthy(), HttpBackend::refusing(400, "{}"));
    let outputs = [output("a", healthy.addr()), output("b", refusing.addr())];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    assert_eq!(relay.client("in").write("db=d", "m f=1 1\nm f=2 2").status(), 204);
    relay.wait_until_settled();
    let (status, body) = ask(&relay, "/status");
    assert_eq!(status, 200);
    let (a, b) = (&body["status"]["a"], &body["status"]["b"]);
    assert_eq!(a["location"], format!("http://{}/write", healthy.addr()));
    assert_eq!((&a["lines"]["taken"], &a["lines"]["delivered"]), (&json!(2), &json!(2)));
    assert_eq!(
        (&b["lines"]["delivered"], &b["lines"]["dropped"]["refused"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(a["queue"], json!({ "lines": 0, "bytes": 0, "bytes-max": 16 << 20 }));
    assert_eq!(relay.client("in").request("DELETE", "/status", &[], b"").status(), 405);
    relay.finish();
}

#[test]
fn status_shows_what_waits() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = Relay::start(&http_listener("in", "", &[output("a", backend.addr())]));
    let mut client = relay.client("in");
    let body = "m f=1 1\n";
    let head = format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {}", body.len());
    client.send(format!("{head}\r\n\r\n{body}").as_bytes()).expect("the relay reads");
    backend.wait_for_requests(1);
    let (_, status) = ask(&relay, "/status");
    assert_eq!(status["status"]["a"]["queue"]["lines"], 1);
    gate.open();
    assert_eq!(client.receive().expect("an answer").expect("not the end").status(), 204);
    relay.finish();
}

#[test]
fn status_tells_the_queue_from_the_backlog() {
    let (backend, up) = HttpBackend::down_until_told();
    let outputs = [http_output("a", backend.addr(), "buffer-size-mb = 2")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    assert_eq!(relay.client("in").write("db=d", "m f=1 1\nm f=2 2").status(), 204);
    // The client is answered before the outage is shown.
    let mut body = serde_json::Value::Null;
    wait_until("the outage to be seen", || {
        body = ask(&relay, "/status").1;
        body["status"]["a"]["backlog"]["since"] != 0
    });
    let a = &body["status"]["a"];
    assert_eq!(a["queue"], json!({ "lines": 0, "bytes": 0, "bytes-max": 16 << 20 }));
    let (mut backlog, size) = (a["backlog"].clone(), &a["size"]);
    assert!(size.as_u64().expect("a number") > 0);
    let number = |value: serde_json::Value| value.as_u64().expect("a number");
    assert!(number(backlog["oldest"].take()) > 1_700_000_000, "{a}");
    assert!(number(backlog["since"].take()) > 1_700_000_000, "{a}");
    assert!(number(backlog["retries"].take()) >= 1, "{a}");
    let (none, lines) = (serde_json::Value::Null, 2);
    let expected = json!({
        "lines": lines, "bytes": size, "bytes-max": 2 << 20,
        "oldest": none, "since": none, "retries": none,
    });
    assert_eq!(backlog, expected);
    up.store(true, Ordering::Release);
    relay.finish();
}

#[test]
fn the_admin_address_shows_the_whole_relay() {
    let (backend, up) = HttpBackend::down_until_told();
    let sink = UdpSink::start();
    let toml = http_listener("in", "", &[output("a", backend.addr())])
        + &udp_listener("udp", "", &[udp_output("b", sink.addr(), "")]);
    let relay = Relay::start(&toml);
    let whole = || -> Value {
        let answer = relay.client("admin").get("/status");
        assert_eq!((answer.status(), answer.header("cache-control")), (200, Some("no-store")));
        serde_json::from_slice(&answer.body).expect("JSON")
    };
    let a = |whole: &Value| {
        let all = whole["backends"].as_array().expect("a list").iter();
        all.clone().find(|backend| backend["name"] == "a").expect("it is there").clone()
    };
    let fresh = a(&whole());
    assert_eq!((&fresh["state"], &fresh["last-error"]), (&json!("up"), &json!(null)));
    assert_eq!(relay.client("in").write("db=d", "m f=1 1\nm f=2 2").status(), 503);
    wait_until("the backend to be down", || a(&whole())["state"] == "down");
    let down = a(&whole());
    assert_eq!(down["lines"]["dropped"], json!({ "unavailable": 2 }), "no other reason");
    assert_eq!((&down["relay"], &down["transport"]), (&json!("in"), &json!("http")));
    assert_eq!(down["location"], format!("http://{}/write", backend.addr()));
    assert_eq!(down["last-error"]["why"], "it answers 503");
    up.store(true, Ordering::Release);
    assert_eq!(relay.client("in").write("db=d", "m f=1 1\nbad").status(), 400);
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    wait_until("the backend to be up", || a(&whole())["state"] == "up");
    assert_eq!(a(&whole())["last-error"], down["last-error"], "it is kept");
    let status = whole();
    let (http, udp) = (&status["http"][0], &status["udp"][0]);
    assert_eq!(
        (&http["name"], &http["lines"], &http["refused-beside"]),
        (&json!("in"), &json!(3), &json!(1))
    );
    assert_eq!(http["requests"], json!({ "2xx": 1, "3xx": 0, "4xx": 1, "5xx": 1 }));
    assert_eq!(
        (&udp["name"], &udp["kernel-drops"], &udp["refused"]),
        (&json!("udp"), &json!(0), &json!({}))
    );
    let numbers = ["started", "now-ms"].map(|key| status[key].as_u64().expect("a number"));
    assert!(numbers[1] / 1000 - numbers[0] < 600, "both by the same clock: {numbers:?}");
    assert!(status["process"]["resident-bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    relay.finish();
}

#[test]
fn the_status_page_is_on_the_admin_address_alone() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&http_listener("in", "", &[output("a", backend.addr())]));
    let page = relay.client("admin").get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("it has one");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("-inline"), "{policy}");
    let outside =
        ["http://", "https://", "//cdn", "@import"].map(|link| page.text().matches(link).count());
    assert_eq!(outside, [2, 0, 0, 0], "but for the name of SVG: in the icon, and in the script");
    let head = relay.client("admin").request("HEAD", "/", &[], b"");
    assert_eq!((head.status(), head.text()), (200, String::new()));
    for (listener, method, status) in
        [("admin", "POST", 405), ("in", "GET", 404), ("in", "POST", 404)]
    {
        assert_eq!(relay.client(listener).request(method, "/", &[], b"").status(), status);
    }
    assert_eq!(relay.client("admin").get("/index.html").status(), 404);
    relay.finish();
}

#[test]
fn health_asks_the_ping_endpoint_of_each() {
    let up = HttpBackend::start(|request| {
        Reply::status(if request.path() == "/ping" { 204 } else { 500 })
    });
    let other = HttpBackend::start(|request| {
        // With a body, which must neither disturb nor keep a connection open.
        let right = request.path() == "/base/health" && request.method() == "GET";
        Reply { body: "x".repeat(70_000), ..Reply::status(if right { 200 } else { 404 }) }
    });
    let outputs = [
        output("up", up.addr()),
        format!(
            "name = \"other\"\nlocation = \"http://{}/base\"\n\
             endpoints = {{ write = \"/write\", ping = \"/health\" }}\n",
            other.addr()
        ),
    ];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    for _ in 0..50 {
        let (status, body) = ask(&relay, "/health");
        assert_eq!((status, &body["status"]), (200, &json!("healthy")), "{body}");
        for name in ["up", "other"] {
            let words = body["healthy"][name].as_str().expect("words");
            assert!(words.starts_with("OK. Time taken ") && words.ends_with('s'), "{words}");
        }
        assert!(body.get("problem").is_none(), "{body}");
    }
    assert_eq!(sockets_to(other.addr()), 0, "none is left open");
    assert_eq!(relay.client("in").request("POST", "/health", &[], b"").status(), 405);
    relay.finish();
}

/// Connections of this network namespace that are established to `addr`.
fn sockets_to(addr: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = format!(":{:04X}", addr.port());
    let established = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        columns.next().is_some_and(|remote| remote.ends_with(&port)) && columns.next() == Some("01")
    };
    table.lines().filter(established).count()
}

#[test]
fn health_says_who_has_a_problem_and_when_it_is_critical() {
    let up = HttpBackend::healthy();
    let failing = HttpBackend::refusing(503, "{}");
    let (dead, _socket) = HttpBackend::dead();
    let outputs =
        [output("up", up.addr()), output("failing", failing.addr()), output("dead", dead)];
    let relay = Relay::start(&http_listener("in", "health-critical-status = 503", &outputs));
    let (status, body) = ask(&relay, "/health");
    assert_eq!((status, &body["status"]), (200, &json!("problem")), "{body}");
    assert_eq!(body["problem"]["failing"], "KO. Unexpected error code 503");
    let words = body["problem"]["dead"].as_str().expect("words");
    assert!(words.starts_with("KO. cannot connect: "), "{words}");
    relay.finish();
    for (more, expected) in [("", 200), ("health-critical-status = 503", 503)] {
        let relay = Relay::start(&http_listener("in", more, &[output("dead", dead)]));
        let (status, body) = ask(&relay, "/health");
        assert_eq!((status, &body["status"]), (expected, &json!("critical")), "{body}");
        assert!(body.get("healthy").is_none(), "{body}");
        relay.finish();
    }
}

#[test]
fn health_waits_no_longer_than_it_may_and_asks_all_at_once() {
    let slow = [(); 3].map(|()| HttpBackend::gated(|_| Reply::status(204)));
    let outputs: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(&slow)
        .map(|(name, (backend, _))| output(name, backend.addr()))
        .collect();
    let relay = Relay::start(&http_listener("in", "health-timeout-ms = 400", &outputs));
    let started = Instant::now();
    let (_, body) = ask(&relay, "/health");
    let took = started.elapsed();
    assert_eq!(body["status"], "critical", "{body}");
    assert_eq!(body["problem"]["a"], "KO. no answer within 400ms");
    assert!((Duration::from_millis(400)..Duration::from_millis(1_150)).contains(&took), "{took:?}");
    slow.iter().for_each(|(_, gate)| gate.open());
    relay.finish();
}

#[test]
fn many_who_ask_for_health_cost_a_backend_one_question_at_a_time() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = Relay::start(&http_listener("in", "", &[output("a", backend.addr())]));
    let mut clients: Vec<_> = (0..40).map(|_| relay.client("in")).collect();
    for client in &mut clients {
        client.send(b"GET /health HTTP/1.1\r\nHost: r\r\n\r\n").expect("the relay reads");
    }
    backend.wait_for_requests(1);
    // Writes pass by. The thread that took this one has read what was sent before it, too.
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().expect("an answer").expect("not the end").status(), 200);
    }
    let asked = backend.requests().len();
    assert!(asked < 40, "{asked} questions for 40 clients");
    relay.finish();
}

#[test]
fn ready_until_it_stops() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = Relay::start(&http_listener("in", "", &[output("a", backend.addr())]));
    for listener in ["in", "admin"] {
        let ready = relay.client(listener).get("/ready");
        assert_eq!((ready.status(), ready.text().as_str()), (200, "{\"status\":\"ready\"}\n"));
        assert_eq!(relay.client(listener).request("POST", "/ready", &[], b"").status(), 405);
    }
    // A write in flight keeps the relay from ending.
    let mut writing = relay.client("in");
    let write = "POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 7\r\n\r\nm f=1 1";
    writing.send(write.as_bytes()).expect("the relay reads");
    backend.wait_for_requests(1);
    relay.signal(Signal::TERM);
    let ready = || relay.client("admin").get("/ready");
    wait_until("the relay to stop", || ready().status() == 503);
    assert_eq!(ready().error(), "stopping");
    assert_eq!(relay.client("admin").get("/metrics").status(), 200, "it is watched to its end");
    wait_until("the listener to refuse", || TcpStream::connect(relay.addr("in")).is_err());
    gate.open();
    assert_eq!(writing.receive().expect("an answer").expect("not the end").status(), 204);
    assert!(relay.wait().status.success());
}

#[test]
fn defaults_of_ping_and_retention_policy_are_the_listeners() {
    let backend = HttpBackend::healthy();
    let more = "default-ping-response = 200\ndefault-retention-policy = \"one week\"";
    let relay = Relay::start(&http_listener("in", more, &[output("a", backend.addr())]));
    for method in ["GET", "HEAD"] {
        let ping = relay.client("in").request(method, "/ping", &[], b"");
        assert_eq!((ping.status(), ping.header("x-influxdb-version")), (200, Some("relay")));
        assert_eq!(ping.text(), "");
    }
    let lines = numbered("a", 3);
    let mut client = relay.client("in");
    for (query, line) in ["db=d", "db=d&rp=mine", "db=d&rp="].iter().zip(&lines) {
        assert_eq!(client.write(query, line).status(), 204);
    }
    let queries: Vec<_> = backend.requests().iter().map(|r| r.query().to_owned()).collect();
    assert_eq!(queries, ["db=d&rp=one+week", "db=d&rp=mine", "db=d&rp=one+week"]);
    relay.finish();
}

#[test]
fn names_are_addresses_where_none_is_given() {
    let backend = HttpBackend::healthy();
    let taken = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let listener = taken.expect("a free port");
    let location = format!("http://{}/", backend.addr());
    let relay = Relay::start(&format!(
        "[[http]]\nbind-addr = \"{listener}\"\n[[http.output]]\nlocation = \"{location}\"\n"
    ));
    let name = format!("http://{listener}");
    assert_eq!(relay.client(&name).write("db=d", "m f=1 1").status(), 204);
    let answer = relay.client(&name).get("/status");
    let status: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(status["status"][&location]["lines"]["taken"], 1, "{status}");
    assert_eq!(relay.finish().books(&name, &location).delivered, 1);
}
