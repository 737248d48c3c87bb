//! The backlog in memory: what a failing backend misses reaches it later, all of it and in order.

use crate::harness::{
    HttpBackend, Relay, Reply, UdpSource, http_listener, http_output, numbered, udp_listener,
    wait_until,
};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const KEYS: &str = "buffer-size-mb = 16\nmax-delay-interval = \"20ms\"\ndatabase = \"d\"";
const HTTP_KEYS: &str = "buffer-size-mb = 16\nmax-delay-interval = \"20ms\"";

fn state(relay: &Relay, backend: &str) -> BTreeMap<String, u64> {
    relay.metrics().by("ringrelay_backend_state", "state", &[("backend", backend)])
}

#[test]
fn an_outage_costs_nothing_and_keeps_the_order() {
    let (late, up) = HttpBackend::down_until_told();
    let steady = HttpBackend::healthy();
    let http = [
        http_output("late", late.addr(), HTTP_KEYS),
        http_output("steady", steady.addr(), HTTP_KEYS),
    ];
    let relay = Relay::start(&http_listener("in", "", &http));
    let mut client = relay.client("in");
    let lines = numbered("outage", 200);
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    assert_eq!(steady.wait_for_lines(lines.len()), lines);
    wait_until("the backend to be seen down", || state(&relay, "late").contains_key("down"));
    let of_late = [("backend", "late")];
    let kept = relay.metrics();
    assert_eq!(kept.of("ringrelay_backend_backlog_lines", &of_late), 200);
    assert!(kept.of("ringrelay_backend_backlog_bytes", &of_late) > 200 * 60);
    assert!(kept.of("ringrelay_backend_backlog_oldest_timestamp_seconds", &of_late) > 0);
    up.store(true, Ordering::Relaxed);
    assert_eq!(late.wait_for_lines(lines.len()), lines);
    wait_until("the backlog to be empty", || state(&relay, "late").contains_key("up"));
    let said = |what: &str| relay.log().iter().filter(|line| line.contains(what)).count();
    wait_until("its end to be logged", || said("backend is back") == 1);
    assert_eq!(said("backend is down"), 1);
    relay.finish();
}

#[test]
fn a_sole_backend_that_is_down_lets_clients_go_on() {
    let (late, up) = HttpBackend::down_until_told();
    let relay =
        Relay::start(&http_listener("in", "", &[http_output("late", late.addr(), HTTP_KEYS)]));
    let mut client = relay.client("in");
    let lines = numbered("sole", 50);
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    up.store(true, Ordering::Relaxed);
    assert_eq!(late.wait_for_lines(lines.len()), lines);
    relay.finish();
}

#[test]
fn what_came_by_udp_is_kept_too() {
    let (late, up) = HttpBackend::down_until_told();
    let relay = Relay::start(&udp_listener("in", "", &[http_output("late", late.addr(), KEYS)]));
    let lines = numbered("udp", 1_000);
    let datagrams: Vec<_> = lines.chunks(10).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    wait_until("the backend to be seen down", || state(&relay, "late").contains_key("down"));
    up.store(true, Ordering::Relaxed);
    assert_eq!(late.wait_for_lines(lines.len()), lines);
    relay.finish();
}

#[test]
fn a_backlog_drains_while_the_relay_stops() {
    let (late, up) = HttpBackend::down_until_told();
    let outputs = [http_output("late", late.addr(), "buffer-size-mb = 16")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let mut client = relay.client("in");
    let lines = numbered("stop", 50);
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    let tries = late.requests().len();
    relay.signal(Signal::TERM);
    late.wait_for_requests(tries + 1);
    up.store(true, Ordering::Relaxed);
    let stopped = relay.wait();
    assert_eq!(late.lines(), lines);
    assert_eq!(stopped.books("in", "late").delivered, 50);
}

#[test]
fn a_backlog_that_does_not_drain_in_time_is_dropped_and_said() {
    let (late, _up) = HttpBackend::down_until_told();
    let listener = http_listener("in", "", &[http_output("late", late.addr(), HTTP_KEYS)]);
    let relay = Relay::start(&format!("shutdown-timeout = \"100ms\"\n{listener}"));
    let mut client = relay.client("in");
    for line in numbered("lost", 30) {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    relay.signal(Signal::TERM);
    let stopped = relay.wait();
    assert_eq!(stopped.books("in", "late").dropped("shutdown"), 30);
    let said = |line: &String| line.contains("the backlog is dropped at shutdown");
    assert_eq!(stopped.log.iter().filter(|line| said(line)).count(), 1);
}

/// The same point is written with rising values while the backend comes and goes, each time it
/// takes a seeded number of requests and refuses a seeded number: the last value must stand.
#[test]
fn the_last_value_of_a_point_stands_after_any_outage() {
    const SCHEDULES: u64 = 20;
    for seed in 0..SCHEDULES {
        let count = AtomicU64::new(0);
        let backend = HttpBackend::start(move |_| {
            let at = count.fetch_add(1, Ordering::Relaxed);
            let status =
                [500, 503, 404, 429, 302, 204, 204, 204][usize::from(fate(seed, at / 3) % 8)];
            // Not so many in a row with 500 that a write would be taken for poison.
            Reply::status(if status == 500 && at % 3 == 2 { 503 } else { status })
        });
        let outputs = [http_output("flaps", backend.addr(), HTTP_KEYS)];
        let relay = Relay::start(&http_listener("in", "", &outputs));
        let mut client = relay.client("in");
        let lines: Vec<_> = (0..60).map(|n| format!("cpu value={n}i 1700000000")).collect();
        for line in &lines {
            let status = client.write("db=d", line).status();
            // 404 is told, and kept.
            assert!([204, 404].contains(&status), "schedule {seed}: {status}");
        }
        assert_eq!(backend.wait_for_lines(lines.len()), lines, "schedule {seed}");
        relay.finish();
    }
}

/// A byte from a seed and a position, evenly spread.
fn fate(seed: u64, at: u64) -> u8 {
    let mixed = (seed << 32 | at).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_be_bytes()[0]
}
