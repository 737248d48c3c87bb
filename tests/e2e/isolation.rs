//! One backend's trouble is its own: the others get everything, and what it lost is counted.

use crate::harness::{
    HttpBackend, Relay, Reply, UdpSink, UdpSource, http_listener, http_output, numbered,
    udp_listener, udp_output,
};

#[test]
fn by_udp_a_dead_and_a_stuck_backend_change_nothing_for_the_third() {
    let healthy = UdpSink::start();
    let (dead, _port) = HttpBackend::dead();
    let (stuck, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [
        http_output("dead", dead, "database = \"d\"\nqueue-size-mb = 1"),
        http_output(
            "stuck",
            stuck.addr(),
            "database = \"d\"\nqueue-size-mb = 1\ntimeout = \"60s\"",
        ),
        udp_output("healthy", healthy.addr(), ""),
    ];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    // Twice what the stuck backend's queue holds.
    let lines = numbered("isolated", 36_000);
    let datagrams: Vec<_> = lines.chunks(20).map(|lines| lines.join("\n")).collect();
    assert!(datagrams.iter().map(String::len).sum::<usize>() > 2 << 20);
    UdpSource::new(&relay, "in").send_all(&datagrams);
    assert_eq!(healthy.wait_for_lines(lines.len()), lines, "all, while the other is stuck");

    gate.open();
    let metrics = relay.wait_until_settled();
    let sent = lines.len() as u64;
    assert_eq!(metrics.books("in", "healthy").delivered, sent);
    let books = metrics.books("in", "dead");
    assert_eq!((books.taken, books.delivered), (sent, 0));
    assert!(books.dropped("unavailable") > 0, "{books:?}");

    let books = metrics.books("in", "stuck");
    let got = stuck.lines();
    assert!(books.dropped("queue_full") > 0, "{books:?}");
    assert_eq!(books.delivered, got.len() as u64, "counted exactly");
    assert_eq!(books.dropped("queue_full"), sent - books.delivered, "{books:?}");
    // What did get through kept its order.
    let mut rest = lines.iter();
    assert!(got.iter().all(|line| rest.any(|sent| sent == line)));
    relay.finish();
}

#[test]
fn by_http_clients_wait_for_the_first_backend_only() {
    let healthy = HttpBackend::healthy();
    let (dead, _port) = HttpBackend::dead();
    let (stuck, gate) = HttpBackend::gated(|_| Reply::status(204));
    let outputs = [
        http_output("dead", dead, ""),
        http_output("stuck", stuck.addr(), "timeout = \"60s\""),
        http_output("healthy", healthy.addr(), ""),
    ];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let lines = numbered("isolated", 300);
    let mut client = relay.client("in");
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204, "the gate is still closed");
    }
    assert_eq!(healthy.wait_for_lines(lines.len()), lines);
    assert!(stuck.lines().is_empty());
    gate.open();
    assert_eq!(stuck.wait_for_lines(lines.len()), lines);
    let metrics = relay.wait_until_settled();
    let dead = metrics.books("in", "dead");
    assert_eq!(dead.dropped("unavailable"), lines.len() as u64, "{dead:?}");
    relay.finish();
}

#[test]
fn a_flapping_backend_loses_what_it_refused_and_keeps_the_order() {
    let (flapping, healthy) = (HttpBackend::flapping(), HttpBackend::healthy());
    let outputs =
        [http_output("flapping", flapping.addr(), ""), http_output("healthy", healthy.addr(), "")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let lines = numbered("flap", 200);
    let mut client = relay.client("in");
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    assert_eq!(healthy.wait_for_lines(lines.len()), lines);
    let metrics = relay.wait_until_settled();
    let (books, got) = (metrics.books("in", "flapping"), flapping.lines());
    assert_eq!(books.delivered, got.len() as u64);
    assert_eq!(books.dropped("unavailable"), (lines.len() - got.len()) as u64, "{books:?}");
    assert!(books.delivered > 0 && books.dropped("unavailable") > 0, "{books:?}");
    let mut rest = lines.iter();
    assert!(got.iter().all(|line| rest.any(|sent| sent == line)));
    relay.finish();
}
