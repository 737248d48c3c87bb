//! What the log says of bad senders and of backends that come and go: who, how much, what, and
//! never more than a few lines a minute.

use crate::certificates::self_signed;
use crate::harness::{
    HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, names, udp_listener,
    udp_output, wait_for, wait_until,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// The lines of a log about a bad sender.
fn told(log: &[String]) -> Vec<String> {
    log.iter().filter(|line| line.contains("lines refused: no line")).cloned().collect()
}

/// The number behind `lines=`.
fn lines_of(line: &str) -> u64 {
    let number = line.split(" lines=").nth(1).and_then(|rest| rest.split(' ').next());
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number of lines: {line}"))
}

#[test]
fn a_bad_sender_is_told_with_its_address_the_count_and_the_first_bytes() {
    let sink = UdpSink::start();
    let relay = Relay::start(&udp_listener("in", "", &[udp_output("out", sink.addr(), "")]));
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let from = sender.local_addr().expect("it is bound");
    let garbage = [&b"m f=1 1\n\x1b[31mgarbage\xff,\x07"[..], &[b'x'; 200], b"\nworse\n"].concat();
    let started = Instant::now();
    sender.send_to(&garbage, relay.addr("in")).expect("loopback takes it");
    let line = wait_for("a line about the sender", || told(&relay.log()).first().cloned());
    let first = format!("first=\\u{{1b}}[31mgarbage\\xff,\\u{{7}}{}...", "x".repeat(85));
    let who = format!("relay=\"in\" from={from} lines=2 reason=\"missing tag value\"");
    assert!(line.ends_with(&format!("{who} {first}")), "{line}");

    // All that comes in the minute that follows is told later, together.
    let good = [&b"m f=2 2"[..]; 4];
    UdpSource::new(&relay, "in").send_all(&good);
    for _ in 0..3 {
        sender.send_to(b"again", relay.addr("in")).expect("loopback takes it");
    }
    wait_until("all to be refused", || relay.metrics().of(names::UDP_REFUSED, &[]) == 5);
    let stopped = relay.finish();
    let told = told(&stopped.log);
    if started.elapsed() < Duration::from_secs(55) {
        assert_eq!(told.len(), 2, "one at once, and what was held back at the end: {told:#?}");
    }
    assert_eq!(told.iter().map(|line| lines_of(line)).sum::<u64>(), 5);
    assert!(told[1].ends_with("first=again"), "{}", told[1]);
    assert_eq!(sink.lines().len(), 5, "good lines are nobody's business");
}

#[test]
fn a_flood_from_ten_thousand_addresses_is_a_few_lines() {
    let sink = UdpSink::start();
    let relay = Relay::start(&udp_listener("in", "", &[udp_output("out", sink.addr(), "")]));
    let started = Instant::now();
    let refused = || relay.metrics().of(names::UDP_REFUSED, &[]);
    for n in 1..=10_000_u32 {
        // All of 127.0.0.0/8 is this host's.
        let address = Ipv4Addr::from(0x7f01_0000 + n);
        let sender = UdpSocket::bind((address, 0)).expect("an address of this host");
        sender.send_to(b"garbage", relay.addr("in")).expect("loopback takes it");
        if n % 32 == 0 {
            wait_until("the relay to take datagrams", || refused() >= u64::from(n));
        }
    }
    wait_until("the relay to take all", || refused() == 10_000);
    let stopped = relay.finish();
    let minutes = usize::try_from(started.elapsed().as_secs() / 60).expect("a few") + 1;
    let senders = told(&stopped.log);
    assert!((1..=30 * (minutes + 1)).contains(&senders.len()), "{}", senders.len());
    let others = stopped.log.iter().filter(|line| line.contains("refused of other senders"));
    let others: Vec<_> = others.cloned().collect();
    assert!((1..=minutes).contains(&others.len()), "{others:#?}");
    let lines = senders.iter().chain(&others).map(|line| lines_of(line)).sum::<u64>();
    assert_eq!(lines, 10_000, "each is told once, by its sender or with the others");
}

#[test]
fn a_bad_client_is_told_by_its_address() {
    let backend = HttpBackend::healthy();
    let output = http_output("out", backend.addr(), "");
    let relay = Relay::start(&http_listener("web", "", &[output]));
    let mut client = relay.client("web");
    for _ in 0..3 {
        assert_eq!(client.write("db=d", "m f=1 1\nno \"fields\"\n\x1b[2J\n").status(), 400);
    }
    let line = wait_for("a line about the client", || told(&relay.log()).first().cloned());
    assert!(line.contains(" WARN ") && line.contains("relay=\"web\" from=127.0.0.1 lines="));
    assert!(line.ends_with(" first=no \"fields\""), "{line}");
    let told = told(&relay.finish().log);
    assert_eq!(told.iter().map(|line| lines_of(line)).sum::<u64>(), 6, "{told:#?}");
}

#[test]
fn a_failed_handshake_names_the_client() {
    let (dir, backend) = (tempfile::tempdir().expect("a directory"), HttpBackend::healthy());
    let pem = dir.path().join("relay.pem");
    std::fs::write(&pem, self_signed(&["localhost"], false)).expect("a temporary file");
    let output = http_output("out", backend.addr(), "");
    let relay =
        Relay::start(&http_listener("tls", &format!("ssl-combined-pem = {pem:?}"), &[output]));
    let mut client = TcpStream::connect(relay.addr("tls")).expect("it listens");
    client.write_all(b"GET /ping HTTP/1.1\r\n\r\n").expect("it is open");
    client.read_to_end(&mut Vec::new()).expect("an alert, then the end");
    wait_until("a line about the client", || {
        let named = |line: &String| {
            line.contains("handshake failed") && line.contains("from=127.0.0.1 unsaid=0")
        };
        relay.log().iter().any(named)
    });
    relay.finish();
}

#[test]
fn a_backend_by_udp_that_nobody_is_at_is_told_once() {
    let (dead, _port) = UdpSink::dead();
    let relay = Relay::start(&udp_listener("in", "", &[udp_output("out", dead, "")]));
    let source = UdpSource::new(&relay, "in");
    let down = |log: &[String]| {
        let words = "backend is down: nobody listens at its UDP port relay=\"in\" backend=\"out\"";
        log.iter().filter(|line| line.ends_with(words)).count()
    };
    wait_until("the backend to be down", || {
        source.send_all(&["m f=1 1"]);
        down(&relay.log()) > 0
    });
    source.send_all(&["m f=1 1"; 50]);
    assert_eq!(down(&relay.finish().log), 1);
}
