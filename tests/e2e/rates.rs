//! Rate limits: in requests and in lines.

use crate::harness::{
    HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, numbered, udp_listener,
    udp_output, wait_until,
};
use std::time::Instant;

#[test]
fn requests_over_the_limit_are_429_and_watchers_still_get_answers() {
    let backend = HttpBackend::healthy();
    let more = "rate-limit = 1\nburst-limit = 3";
    let relay = Relay::start(&http_listener("in", more, &[http_output("a", backend.addr(), "")]));
    let mut client = relay.client("in");
    let started = Instant::now();
    let mut statuses = Vec::new();
    for line in numbered("a", 20) {
        let answer = client.write("db=d", line);
        if answer.status() == 429 {
            assert!(answer.error().starts_with("rate-limit: "), "{}", answer.text());
            let seconds = answer.header("retry-after").map(str::parse::<u64>);
            assert_eq!(seconds, Some(Ok(1)));
        }
        statuses.push(answer.status());
    }
    let taken = statuses.iter().filter(|status| **status == 204).count();
    assert_eq!(statuses[..3], [204; 3], "the burst");
    assert!(taken as u64 <= 3 + started.elapsed().as_secs() + 1, "{statuses:?}");
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    for target in ["/ping", "/health", "/ready", "/metrics", "/status"] {
        for _ in 0..5 {
            assert!(client.get(target).status() < 300, "{target}");
        }
    }
    assert_eq!(backend.lines().len(), taken, "what was refused is not forwarded");
    wait_until("the limit to let one through", || client.write("db=d", "m f=1 1").status() == 204);
    relay.finish();
}

#[test]
fn the_request_that_goes_over_the_limit_in_lines_is_429() {
    let backend = HttpBackend::healthy();
    let more = "rate-limit-lines = 10";
    let relay = Relay::start(&http_listener("in", more, &[http_output("a", backend.addr(), "")]));
    let mut client = relay.client("in");
    assert_eq!(client.write("db=d", numbered("a", 8).join("\n")).status(), 204);
    let over = client.write("db=d", numbered("b", 8).join("\n"));
    assert_eq!(over.status(), 429);
    assert!(over.error().starts_with("rate-limit-lines: "), "{}", over.text());
    assert_eq!(over.header("retry-after"), Some("1"));
    assert_eq!(backend.wait_for_lines(8), numbered("a", 8), "all of a request or nothing");
    let refused = [("reason", "rate_limited")];
    assert_eq!(relay.metrics().of("ringrelay_http_lines_refused_total", &refused), 8);
    let later = || client.write("db=d", numbered("b", 8).join("\n")).status() == 204;
    let mut later = later;
    wait_until("the limit to let it through", &mut later);
    relay.finish();
}

#[test]
fn lines_over_the_limit_that_come_by_udp_are_dropped_and_counted() {
    let sink = UdpSink::start();
    let more = "rate-limit-lines = 100\nworkers = 2";
    let relay = Relay::start(&udp_listener("in", more, &[udp_output("a", sink.addr(), "")]));
    let lines = numbered("a", 1_000);
    let started = Instant::now();
    let source = UdpSource::new(&relay, "in");
    let datagrams: Vec<_> = lines.chunks(10).map(|lines| lines.join("\n")).collect();
    source.send_all(&datagrams);
    let metrics = relay.wait_until_settled();
    let refused = metrics.of("ringrelay_udp_lines_refused_total", &[("reason", "rate_limited")]);
    let taken = metrics.accepted("in");
    assert_eq!(taken + refused, 1_000, "every line is accounted for");
    let most = 100 + 100 * (started.elapsed().as_secs() + 1);
    assert!((100..=most).contains(&taken), "{taken} of at most {most}");
    let taken = usize::try_from(taken).expect("few");
    assert_eq!(sink.wait_for_lines(taken).len(), taken);
    relay.finish();
}
