//! UDP out: how lines are packed into datagrams, and what an unreachable backend costs.

use crate::harness::{Relay, UdpSink, UdpSource, numbered, udp_listener, udp_output, wait_until};

#[test]
fn lines_are_packed_up_to_the_mtu_of_each_output() {
    let (small, large) = (UdpSink::start(), UdpSink::start());
    let outputs = [
        udp_output("small", small.addr(), "mtu = 200"),
        udp_output("large", large.addr(), "mtu = 1400"),
    ];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let lines = numbered("pack", 2_000);
    // What comes in one datagram is one batch at the least.
    let datagrams: Vec<_> = lines.chunks(100).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    for (sink, mtu) in [(&small, 200), (&large, 1_400)] {
        assert_eq!(sink.wait_for_lines(lines.len()), lines);
        let sizes: Vec<_> = sink.datagrams().iter().map(Vec::len).collect();
        let largest = sizes.iter().copied().max().unwrap_or_default();
        assert!(largest <= mtu + 1, "a trailing newline is not counted: {largest} > {mtu}");
        let all: usize = lines.iter().map(|line| line.len() + 1).sum();
        let least = all.div_ceil(mtu + 1);
        assert!(sizes.len() < 2 * least, "{} datagrams where {least} would do", sizes.len());
    }
    relay.finish();
}

#[test]
fn a_line_longer_than_the_mtu_is_dropped_alone() {
    let (small, large) = (UdpSink::start(), UdpSink::start());
    let outputs = [
        udp_output("small", small.addr(), "mtu = 100"),
        udp_output("large", large.addr(), "mtu = 1000"),
    ];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let line = |bytes: usize| {
        let rest = "m f=\"\" 1".len();
        format!("m f=\"{}\" 1", "x".repeat(bytes - rest))
    };
    let sent = [line(20), line(101), line(100), line(500), line(30)];
    UdpSource::new(&relay, "in").send_all(&[sent.join("\n")]);
    assert_eq!(large.wait_for_lines(5), sent);
    assert_eq!(small.wait_for_lines(3), [line(20), line(100), line(30)]);
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.books("in", "small").dropped("overlong"), 2);
    assert_eq!(metrics.books("in", "large").dropped("overlong"), 0);
    relay.finish();
}

#[test]
fn a_dead_udp_backend_changes_nothing_for_the_other() {
    let alive = UdpSink::start();
    let (dead, _port) = UdpSink::dead();
    let outputs = [udp_output("dead", dead, ""), udp_output("alive", alive.addr(), "")];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let lines = numbered("half", 1_000);
    let datagrams: Vec<_> = lines.chunks(5).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    assert_eq!(alive.wait_for_lines(lines.len()), lines);
    let metrics = relay.wait_until_settled();
    let books = metrics.books("in", "dead");
    assert_eq!(books.taken, lines.len() as u64);
    relay.finish();
}

#[test]
fn a_udp_backend_that_comes_back_gets_what_comes_then() {
    let (addr, port) = UdpSink::dead();
    let outputs = [udp_output("flapping", addr, "")];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let source = UdpSource::new(&relay, "in");
    source.send_all(&numbered("lost", 10));
    relay.wait_until_settled();
    drop(port);
    let sink = UdpSink::start_at(addr);
    wait_until("a line to arrive", || {
        source.send_all(&["back f=1 1"]);
        !sink.lines().is_empty()
    });
    assert!(sink.lines().iter().all(|line| line == "back f=1 1"));
    relay.finish();
}

#[test]
fn a_name_that_is_not_there_ends_nothing_and_costs_the_others_nothing() {
    let alive = UdpSink::start();
    let names = [
        "name = \"nowhere\"\nlocation = \"nowhere.invalid:8089\"\n".to_owned(),
        format!("name = \"alive\"\nlocation = \"localhost:{}\"\n", alive.addr().port()),
    ];
    let relay = Relay::start(&udp_listener("in", "", &names));
    let lines = numbered("half", 100);
    UdpSource::new(&relay, "in").send_all(&lines);
    assert_eq!(alive.wait_for_lines(lines.len()), lines);
    let tells_why = || {
        let status = relay.client("admin").get("/status").text();
        status.contains("\"why\":\"cannot send: failed to lookup address information")
    };
    wait_until("the last error to be told", tells_why);
    let books = relay.finish().books("in", "nowhere");
    assert_eq!((books.taken, books.delivered), (100, 0));
    assert_eq!(books.dropped.values().sum::<u64>(), 100, "{books:?}");
}
