//! HTTP in: which request gets which answer, and what goes on to the backends.

use crate::harness::{HttpBackend, Relay, http_listener, http_output, names, numbered};

/// A relay from one HTTP listener, `in`, to two healthy backends, `a` and `b`.
fn relay(more: &str) -> (Relay, [HttpBackend; 2]) {
    let backends = [HttpBackend::healthy(), HttpBackend::healthy()];
    let outputs =
        [http_output("a", backends[0].addr(), ""), http_output("b", backends[1].addr(), "")];
    (Relay::start(&http_listener("in", more, &outputs)), backends)
}

/// Ends a test in which nothing may have reached a backend.
#[track_caller]
fn nothing_was_forwarded(relay: Relay, backends: &[HttpBackend; 2]) {
    assert_eq!(relay.metrics().accepted("in"), 0);
    relay.finish();
    for backend in backends {
        assert!(backend.requests().is_empty(), "{:?}", backend.requests());
    }
}

#[test]
fn a_write_reaches_both_backends_as_the_bytes_that_came_in() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    let lines = numbered("one", 500);
    for body in lines.chunks(20) {
        let answer = client.write("db=metrics", body.join("\n") + "\n");
        assert_eq!((answer.status(), answer.body.len()), (204, 0));
    }
    for backend in &backends {
        assert_eq!(backend.wait_for_lines(lines.len()), lines);
        for request in backend.requests() {
            assert_eq!((request.method(), request.path()), ("POST", "/write"));
            assert_eq!(request.query(), "db=metrics");
            assert_eq!(request.header("authorization"), None);
        }
    }
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.accepted("in"), 500);
    relay.finish();
}

#[test]
fn parameters_and_credentials_are_passed_on() {
    let (relay, backends) = relay("");
    let query = "db=my+db&rp=one%20week&precision=ms&consistency=quorum&u=writer&p=a%26b%3D%2B";
    let authorization = ("Authorization", "Basic dXNlcjpwYXNz");
    let target = format!("/write?{query}");
    let answer =
        relay.client("in").request("POST", &target, &[authorization], b"m f=1 1700000000000");
    assert_eq!(answer.status(), 204);
    for backend in &backends {
        backend.wait_for_lines(1);
        let requests = backend.requests();
        let mut sent: Vec<_> = query.split('&').collect();
        let mut got: Vec<_> = requests[0].query().split('&').collect();
        sent.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, sent);
        assert_eq!(requests[0].header("authorization"), Some(authorization.1));
    }
    relay.finish();
}

#[test]
fn the_default_retention_policy_fills_in_for_a_missing_one() {
    let (relay, backends) = relay("default-retention-policy = \"short\"");
    let mut client = relay.client("in");
    assert_eq!(client.write("db=d", "m f=1 1").status(), 204);
    // Order holds within one destination only, and each retention policy is one.
    backends[0].wait_for_lines(1);
    assert_eq!(client.write("db=d&rp=long", "m f=1 2").status(), 204);
    backends[0].wait_for_lines(2);
    let queries: Vec<_> = backends[0].requests().iter().map(|r| r.query().to_owned()).collect();
    assert_eq!(queries, ["db=d&rp=short", "db=d&rp=long"]);
    relay.finish();
}

#[test]
fn a_missing_timestamp_is_added_in_the_precision_of_the_request() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    let digits = [("", 19), ("ns", 19), ("u", 16), ("ms", 13), ("s", 10), ("m", 8), ("h", 6)];
    for (turn, (precision, _)) in digits.iter().enumerate() {
        let query = format!("db=d&precision={precision}");
        assert_eq!(client.write(&query, "m,n=0 f=1\nm,n=1 f=1 42\nm,n=2 f=1\n").status(), 204);
        // Order holds within one destination only, and each precision is one.
        for backend in &backends {
            backend.wait_for_lines((turn + 1) * 3);
        }
    }
    let [a, b] = backends.each_ref().map(HttpBackend::lines);
    assert_eq!(a, b, "replicas agree");
    for (lines, (precision, digits)) in a.chunks(3).zip(digits) {
        assert_eq!(lines[1], "m,n=1 f=1 42");
        let stamp = lines[0].strip_prefix("m,n=0 f=1 ").expect("the line, then its stamp");
        assert_eq!(stamp.len(), digits, "{precision}: {lines:?}");
        assert_eq!(lines[2], format!("m,n=2 f=1 {stamp}"), "one stamp for one request");
    }
    relay.finish();
}

#[test]
fn a_missing_database_and_an_unknown_precision_are_400() {
    let (relay, backends) = relay("");
    for query in ["", "db=", "rp=week", "db=d&precision=days"] {
        let answer = relay.client("in").write(query, "m f=1 1");
        assert_eq!(answer.status(), 400, "{query}");
        let wanted = if query.contains("days") { "precision" } else { "database is required" };
        assert!(answer.error().contains(wanted), "{query}: {}", answer.error());
    }
    nothing_was_forwarded(relay, &backends);
}

#[test]
fn an_empty_write_is_204_and_goes_nowhere() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    for body in ["", "\n", "# a comment", "\r\n  \n# one\n#two\n"] {
        assert_eq!(client.write("db=d", body).status(), 204, "{body:?}");
    }
    nothing_was_forwarded(relay, &backends);
}

#[test]
fn a_bad_line_refuses_the_write_and_says_which() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    let answer = client.write("db=d", "good f=1 1\n# comment\nbad line here\ngood f=1 2\nbad\n");
    assert_eq!(answer.status(), 400);
    let error = answer.error();
    assert!(error.contains("unable to parse 'bad line here'"), "{error}");
    assert!(error.contains("line 3"), "{error}");
    assert_eq!(answer.header("x-influxdb-error"), Some(error.as_str()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let refused = relay.metrics().of(names::HTTP_REFUSED, &[("listener", "in")]);
    assert!(refused >= 2, "{refused}");
    nothing_was_forwarded(relay, &backends);
}

#[test]
fn other_methods_are_405_and_name_the_ones_that_there_are() {
    let (relay, backends) = relay("");
    for (target, methods) in [
        ("/write?db=d", &["GET", "HEAD", "PUT", "DELETE", "PATCH", "BREW"][..]),
        ("/ping", &["POST", "PUT", "DELETE"]),
        ("/metrics", &["POST", "PUT", "DELETE"]),
    ] {
        for method in methods {
            let answer = relay.client("in").request(method, target, &[], b"");
            assert_eq!(answer.status(), 405, "{method} {target}");
            let allowed = answer.header("allow").unwrap_or_default();
            assert!(!allowed.is_empty() && !allowed.contains(method), "{method}: {allowed}");
        }
    }
    nothing_was_forwarded(relay, &backends);
}

#[test]
fn options_on_a_write_is_204_and_nothing_else() {
    let (relay, backends) = relay("");
    let answer = relay.client("in").request("OPTIONS", "/write?db=d", &[], b"m f=1 1");
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    nothing_was_forwarded(relay, &backends);
}

#[test]
fn ping_answers_for_the_relay() {
    for (more, status) in [("", 204), ("default-ping-response = 200", 200)] {
        let (relay, backends) = relay(more);
        let mut client = relay.client("in");
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, "/ping", &[], b"");
            assert_eq!(answer.status(), status, "{method}");
            assert_eq!(answer.header("x-influxdb-version"), Some("relay"));
        }
        nothing_was_forwarded(relay, &backends);
    }
}

#[test]
fn metrics_are_served_beside_the_writes() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    assert_eq!(client.write("db=d", "m f=1 1\nm f=1 2").status(), 204);
    let answer = client.get("/metrics");
    assert_eq!(answer.status(), 200);
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let text = answer.text();
    let counted = format!("{}{{listener=\"in\"}} 2", names::HTTP_ACCEPTED);
    assert!(text.lines().any(|line| line == counted), "{text}");
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap_or_default();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no HELP");
    }
    backends[1].wait_for_lines(2);
    relay.finish();
}

#[test]
fn anything_else_is_404() {
    let (relay, backends) = relay("");
    let mut client = relay.client("in");
    for target in ["/", "/writes?db=d", "/write/", "/query?q=x", "/api/v2/delete", "//write"] {
        let answer = client.request("POST", target, &[], b"m f=1 1");
        assert_eq!(answer.status(), 404, "{target}");
        assert!(!answer.error().is_empty());
    }
    nothing_was_forwarded(relay, &backends);
}

#[test]
fn the_original_relays_form_of_an_output_is_taken() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&format!(
        "[[http]]\nname = \"in\"\nbind-addr = \"127.0.0.1:0\"\noutput = [\n  \
         {{ name = \"local1\", location = \"http://{}/a/write\", timeout = \"10s\" }},\n]\n",
        backend.addr()
    ));
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    backend.wait_for_lines(1);
    assert_eq!(backend.requests()[0].path(), "/a/write");
    relay.finish();
}

#[test]
fn two_listeners_keep_their_lines_apart() {
    let backends = [HttpBackend::healthy(), HttpBackend::healthy()];
    let toml = ["one", "two"].iter().zip(&backends);
    let toml = toml
        .map(|(name, backend)| http_listener(name, "", &[http_output("same", backend.addr(), "")]));
    // Output names are unique per listener, not in the file.
    let relay = Relay::start(&toml.collect::<String>());
    let [one, two] = [numbered("one", 50), numbered("two", 30)];
    for (name, lines) in [("one", &one), ("two", &two)] {
        assert_eq!(relay.client(name).write("db=d", lines.join("\n")).status(), 204);
    }
    assert_eq!(backends[0].wait_for_lines(50), one);
    assert_eq!(backends[1].wait_for_lines(30), two);
    relay.finish();
}
