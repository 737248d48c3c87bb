//! InfluxDB 2: its write API in and out, and what stands for what between it and 1.x.

use crate::harness::{
    HttpBackend, Relay, Reply, UdpSource, http_listener, http_output, udp_listener, v2_output,
};
use serde_json::{Value, json};

const V2: &str = "/api/v2/write";

/// A relay from one HTTP listener, `in`, to a backend of 1.x, `old`, and one of 2, `new`. Clients
/// are answered when both have a write.
fn relay(more: &str) -> (Relay, [HttpBackend; 2]) {
    let backends = [HttpBackend::healthy(), HttpBackend::healthy()];
    let outputs =
        [http_output("old", backends[0].addr(), ""), v2_output("new", backends[1].addr(), "")];
    (Relay::start(&http_listener("in", &format!("ack = \"all\"\n{more}"), &outputs)), backends)
}

/// Path, query and authorization of the last request.
fn last(backend: &HttpBackend) -> [String; 3] {
    let requests = backend.requests();
    let request = requests.last().expect("there was a request");
    [request.path(), request.query(), request.header("authorization").unwrap_or_default()]
        .map(str::to_owned)
}

#[test]
fn writes_of_both_apis_reach_backends_of_both() {
    let (relay, [old, new]) = relay("default-retention-policy = \"week\"");
    let mut client = relay.client("in");
    let basic = ("Authorization", "Basic bWU6c2VjcmV0");
    let answer = client.request("POST", "/write?db=d&precision=u", &[basic], b"m f=1 1");
    assert_eq!(answer.status(), 204, "{}", answer.text());
    assert_eq!(last(&old), ["/write", "db=d&precision=u&rp=week", "Basic bWU6c2VjcmV0"]);
    assert_eq!(last(&new), [V2, "org=acme&bucket=d%2Fweek&precision=us", "Token me:secret"]);

    let target = format!("{V2}?org=theirs&bucket=d%2Fr&precision=us");
    let token = ("Authorization", "Token me:secret");
    let answer = client.request("POST", &target, &[token], b"m f=1 2");
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    assert_eq!(last(&old), ["/write", "db=d&rp=r&precision=u", "Basic bWU6c2VjcmV0"]);
    assert_eq!(last(&new), [V2, "org=acme&bucket=d%2Fr&precision=us", "Token me:secret"]);

    let bearer = ("Authorization", "Token abc==");
    let answer = client.request("POST", &format!("{V2}?bucket=d"), &[bearer], b"m f=1 3");
    assert_eq!(answer.status(), 204, "{}", answer.text());
    assert_eq!(last(&old), ["/write", "db=d&rp=week&precision=ns", "Token abc=="]);
    assert_eq!(last(&new), [V2, "org=acme&bucket=d&precision=ns", "Token abc=="]);
    assert_eq!(old.lines(), ["m f=1 1", "m f=1 2", "m f=1 3"]);
    assert_eq!(new.lines(), old.lines());
    relay.finish();
}

#[test]
fn coarse_timestamps_reach_influxdb_2_in_seconds() {
    let (relay, [old, new]) = relay("");
    let mut client = relay.client("in");
    for (precision, factor) in [("m", 60), ("h", 3_600)] {
        let body = "m,n=0 f=1 7\nm,n=1 f=1 -7\nm,n=2 f=1";
        assert_eq!(client.write(&format!("db=d&precision={precision}"), body).status(), 204);
        let (coarse, fine) = (old.lines().split_off(old.lines().len() - 3), new.lines());
        let fine = &fine[fine.len() - 3..];
        assert_eq!(coarse[..2], ["m,n=0 f=1 7", "m,n=1 f=1 -7"]);
        let both = coarse.iter().zip(fine).map(|(coarse, fine)| (stamp(coarse), stamp(fine)));
        for (coarse, fine) in both {
            assert_eq!(coarse * factor, fine, "{precision}");
        }
        assert!(last(&new)[1].ends_with("&precision=s"), "{:?}", last(&new));
    }
    relay.finish();
}

fn stamp(line: &str) -> i64 {
    line.rsplit(' ').next().and_then(|stamp| stamp.parse().ok()).expect("a line with a timestamp")
}

#[test]
fn mistakes_are_told_in_the_form_of_influxdb_2() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    let cut = "x".repeat(100);
    let long = format!("{cut}xyz f=");
    let bad_line = format!("unable to parse '{cut}...': missing field value (line 3)");
    for (query, body, status, wanted) in [
        (
            "",
            "m f=1 1",
            400,
            json!({"code": "invalid", "message": "bucket is required: add \
            bucket=NAME to the query"}),
        ),
        (
            "?bucket=b&precision=m",
            "m f=1 1",
            400,
            json!({"code": "invalid",
            "message": "invalid precision 'm': use ns, us, ms or s"}),
        ),
        (
            "?bucket=b",
            &format!("m f=1 1\n\n{long}\nm f=1 2"),
            400,
            json!({"code": "invalid", "line": 3, "message": bad_line}),
        ),
        (
            "?bucket=b",
            &format!("m f=\"{}\" 1", "x".repeat(33 << 20)),
            413,
            json!({"code": "request too large", "message": "the body is larger than 33554432 \
            bytes: send it in smaller parts"}),
        ),
    ] {
        let answer = client.request("POST", &format!("{V2}{query}"), &[], body.as_bytes());
        assert_eq!(answer.status(), status, "{query}");
        let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(said, wanted, "{query}");
        assert_eq!(answer.header("x-platform-error-code"), wanted["code"].as_str());
        client = relay.client("in");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = relay.client("in").request(method, V2, &[], b"");
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    }
    assert_eq!(relay.client("in").request("OPTIONS", V2, &[], b"").status(), 204);
    assert_eq!(
        client.request("POST", &format!("{V2}?bucket=b"), &[], b"# no point\n").status(),
        204
    );
    relay.finish();
    assert!(backends.iter().all(|backend| backend.requests().is_empty()));
}

#[test]
fn a_refusal_is_told_in_the_clients_form() {
    let (old_words, new_words) =
        (r#"{"error":"no such db"}"#, r#"{"code":"not found","message":"no such bucket"}"#);
    let old = HttpBackend::start(|_| Reply::json(404, old_words));
    let new = HttpBackend::start(|_| Reply::json(404, new_words));
    let old = (http_output("old", old.addr(), ""), old);
    let new = (v2_output("new", new.addr(), ""), new);
    for (target, output, wanted) in [
        ("/write?db=d", &old.0, old_words),
        ("/write?db=d", &new.0, r#"{"error":"no such bucket"}"#),
        ("/api/v2/write?bucket=d", &new.0, new_words),
        ("/api/v2/write?bucket=d", &old.0, r#"{"code":"not found","message":"no such db"}"#),
    ] {
        let relay = Relay::start(&http_listener("in", "", std::slice::from_ref(output)));
        let answer = relay.client("in").request("POST", target, &[], b"m f=1 1");
        assert_eq!((answer.status(), answer.text().trim()), (404, wanted), "{target}");
        relay.finish();
    }
}

#[test]
fn points_that_came_by_udp_reach_a_bucket() {
    let (named, mapped) = (HttpBackend::healthy(), HttpBackend::healthy());
    let outputs = [
        v2_output("named", named.addr(), "bucket = \"my bucket\""),
        v2_output("mapped", mapped.addr(), "database = \"d\"\nretention-policy = \"r\""),
    ];
    let relay = Relay::start(&udp_listener("in", "precision = \"m\"", &outputs));
    UdpSource::new(&relay, "in").send_all(&["m f=1 1", "m f=1 2"]);
    assert_eq!(named.wait_for_lines(2), ["m f=1 60", "m f=1 120"]);
    assert_eq!(mapped.wait_for_lines(2), ["m f=1 60", "m f=1 120"]);
    assert_eq!(last(&named), [V2, "org=acme&bucket=my+bucket&precision=s", ""]);
    assert_eq!(last(&mapped), [V2, "org=acme&bucket=d%2Fr&precision=s", ""]);
    relay.finish();
}
