//! UDP in, HTTP out: datagrams become batched writes to a database.

use crate::harness::{
    HttpBackend, Relay, UdpSink, UdpSource, http_output, numbered, udp_listener, udp_output,
};

#[test]
fn points_reach_the_database_and_retention_policy_of_each_output() {
    let (plain, detailed) = (HttpBackend::healthy(), HttpBackend::healthy());
    let sink = UdpSink::start();
    let outputs = [
        http_output("plain", plain.addr(), "database = \"metrics\""),
        http_output(
            "detailed",
            detailed.addr(),
            "database = \"my metrics\"\nretention-policy = \"one week\"",
        ),
        udp_output("udp", sink.addr(), ""),
    ];
    let relay = Relay::start(&udp_listener("in", "precision = \"ms\"", &outputs));
    let mut lines = numbered("web", 1_000);
    for line in &mut lines {
        line.truncate(line.len() - 6);
    }
    let datagrams: Vec<_> = lines.chunks(10).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    assert_eq!(plain.wait_for_lines(lines.len()), lines);
    assert_eq!(detailed.wait_for_lines(lines.len()), lines);
    assert_eq!(sink.wait_for_lines(lines.len()), lines);
    for (backend, database, policy) in
        [(&plain, "metrics", None), (&detailed, "my metrics", Some("one week"))]
    {
        for request in backend.requests() {
            assert_eq!((request.method(), request.path()), ("POST", "/write"));
            let query: Vec<_> = parameters(request.query());
            let of =
                |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
            assert_eq!(of("db"), Some(database));
            assert_eq!(of("rp"), policy);
            assert_eq!(of("precision"), Some("ms"));
        }
    }
    relay.finish();
}

/// Splits and decodes a query string.
fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| text.replace('+', " ").replace("%20", " ");
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

#[test]
fn what_waits_for_a_busy_database_leaves_in_few_requests() {
    let (backend, gate) = HttpBackend::gated(|_| crate::harness::Reply::status(204));
    let outputs = [http_output("db", backend.addr(), "database = \"metrics\"")];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let lines = numbered("burst", 1_000);
    UdpSource::new(&relay, "in").send_all(&lines);
    gate.open();
    assert_eq!(backend.wait_for_lines(lines.len()), lines);
    let requests = backend.requests().len();
    assert!(requests <= 3, "{requests} requests for what waited behind the first");
    relay.finish();
}
