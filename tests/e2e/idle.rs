//! Connections that do nothing, or too little: bounded in number, in time and in memory.

use crate::harness::{Client, HttpBackend, Relay, http_listener, http_output, wait_until};
use std::time::{Duration, Instant};

fn relay(more: &str) -> (Relay, HttpBackend) {
    let backend = HttpBackend::healthy();
    let outputs = [http_output("a", backend.addr(), "")];
    (Relay::start(&format!("http-threads = 1\n{}", http_listener("in", more, &outputs))), backend)
}

fn expired(relay: &Relay) -> u64 {
    relay.metrics().of("ringrelay_http_connections_expired_total", &[])
}

/// Whether the relay has ended the connection.
fn is_ended(client: &mut Client) -> bool {
    !matches!(client.receive(), Ok(Some(_)))
}

#[test]
fn idle_connections_make_room_for_others() {
    let (relay, _backend) = relay("max-connections = 5");
    let mut idle: Vec<_> = (0..5).map(|_| relay.client("in")).collect();
    for client in &mut idle[1..] {
        assert_eq!(client.get("/ping").status(), 204);
    }
    // More than there may be: each gets an answer once the longest idle has made room.
    for _ in 0..3 {
        let mut client = relay.client("in");
        assert_eq!(client.write("db=d", "m f=1 1").status(), 204);
        idle.push(client);
    }
    assert_eq!(expired(&relay), 3);
    for (n, client) in idle.iter_mut().enumerate().take(3) {
        assert!(is_ended(client), "connection {n} was idle longest");
    }
    assert_eq!(idle[7].get("/ping").status(), 204, "the latest is still open");
    relay.finish();
}

#[test]
fn heads_that_dawdle_are_ended_and_idle_connections_later() {
    let (relay, _backend) = relay("header-timeout = \"300ms\"\nidle-timeout = \"1500ms\"");
    let started = Instant::now();
    let (mut idle, mut used) = (relay.client("in"), relay.client("in"));
    assert_eq!(used.get("/ping").status(), 204);
    let mut slow = relay.client("in");
    slow.send(b"GET /ping HTTP/1.1\r\nX: ").expect("the relay reads");
    let mut again = relay.client("in");
    assert_eq!(again.get("/ping").status(), 204);
    again.send(b"G").expect("the relay reads");
    assert!(is_ended(&mut slow) && is_ended(&mut again));
    let took = started.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_millis(1_400)).contains(&took), "{took:?}");
    assert_eq!(expired(&relay), 2);
    assert!(is_ended(&mut idle) && is_ended(&mut used));
    assert!(started.elapsed() >= Duration::from_millis(1_500));
    assert_eq!(expired(&relay), 4);
    relay.finish();
}

#[test]
fn a_slowloris_keeps_nobody_out() {
    let (relay, _backend) = relay("max-connections = 20");
    let mut slow: Vec<_> = (0..60).map(|_| relay.client("in")).collect();
    for client in &mut slow {
        // The relay may have ended some of them already.
        drop(client.send(b"POST /write?db=d HTTP/1.1\r\nHost: r\r\nX: "));
    }
    let started = Instant::now();
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}: without waiting for header-timeout");
    drop(slow);
    relay.finish();
}

#[test]
fn heads_up_to_the_limit_are_taken() {
    for kb in [1, 16, 200] {
        let (relay, _backend) = relay(&format!("max-header-size-kb = {kb}"));
        let ask = |bytes: usize| {
            let mut client = relay.client("in");
            client.request("GET", "/ping", &[("X", &"x".repeat(bytes))], b"").status()
        };
        assert_eq!(ask(kb * 1024 - 200), 204, "{kb}");
        assert_eq!(ask(kb * 1024 + 200), 431, "{kb}");
        relay.finish();
    }
}

#[test]
fn a_thousand_idle_connections_cost_little() {
    const COUNT: u64 = 1_000;
    let (relay, _backend) = relay("");
    let before = relay.resident_bytes();
    let mut idle: Vec<_> = (0..COUNT).map(|_| relay.client("in")).collect();
    for client in &mut idle {
        assert_eq!(client.get("/ping").status(), 204);
    }
    let each = relay.resident_bytes().saturating_sub(before) / COUNT;
    assert!(each < 32 * 1024, "{each} bytes each");
    drop(idle);
    wait_until("all to be gone", || relay.open_files() < 100);
    relay.finish();
}
