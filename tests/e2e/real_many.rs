//! Several relays, on hosts of their own, behind a real nginx; one is killed under load. What a
//! client was told is counted against what the backends have.

use crate::harness::{
    Client, HttpBackend, Network, Nginx, Relay, Reply, UdpSink, http_output, require, wait_for,
    wait_until,
};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

/// The file that the documentation shows, with the addresses of this network.
fn nginx(network: &Network, relays: u8, listeners: &[u16]) -> Nginx {
    let shown = include_str!("../../packaging/load-balancer/nginx.conf");
    let (here, mut text) = (network.here(), String::new());
    for line in shown.lines().map(str::trim) {
        let Some(rest) = line.strip_prefix("server 10.0.0.1") else {
            text += &format!("{}\n", line.replace("10.0.0.10:", &format!("{here}:")));
            continue;
        };
        let (host, rest) = rest.split_once(':').expect("a port");
        let host = host.parse::<u8>().expect("a number") - 1;
        if host < relays {
            text += &format!("server {}:{rest}\n", network.address(host));
        }
    }
    // A second listener by HTTP is as the first.
    for port in &listeners[1..] {
        let upstream = text.split("upstream relays_http {").nth(1).expect("it has one");
        let upstream = upstream.split('}').next().expect("it ends");
        let upstream = upstream.replace("9096", &port.to_string());
        let end = text.rfind('}').expect("it ends");
        text.truncate(end);
        text += &format!("upstream more_{port} {{ {upstream} }}\n");
        text += &format!("server {{ listen {here}:{port}; proxy_pass more_{port}; }}\n}}\n");
    }
    Nginx::start(&text, (here, listeners[0]).into())
}

/// Writes lines of its own until it is told to stop, each until it is acknowledged. Gives them.
fn write(to: SocketAddr, source: usize, stop: &AtomicBool, count: &AtomicUsize) -> Vec<String> {
    let (mut client, mut acknowledged) = (None::<Client>, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let number = acknowledged.len();
        let line = format!("m,source={source} n={number}i {}", 1_700_000_000 + number);
        let head =
            format!("POST /write?db=d HTTP/1.1\r\nHost: h\r\nContent-Length: {}", line.len());
        let request = format!("{head}\r\n\r\n{line}");
        let answer = client.take().or_else(|| Client::try_connect(to).ok()).and_then(|mut open| {
            open.send(request.as_bytes()).ok()?;
            let answer = open.receive().ok()??;
            client = Some(open);
            Some(answer.status())
        });
        if answer == Some(204) {
            acknowledged.push(line);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

/// Stops the clients, also where the test fails: a scope waits for its threads.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn joined(clients: Vec<ScopedJoinHandle<'_, Vec<String>>>) -> BTreeSet<String> {
    clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
}

fn missing(of: &BTreeSet<String>, at: &HttpBackend) -> usize {
    let there: BTreeSet<_> = at.lines().into_iter().collect();
    of.difference(&there).count()
}

const SOURCES: usize = 24;
const ROUNDS: usize = 1_800;
/// As in the file of nginx.
const REBOUND_DATAGRAMS: usize = 32;
/// Far less than its receive buffer.
const WAITING_BYTES: u64 = 128 * 1024;

/// What waits at a socket by UDP, in bytes, and what it has dropped. The kernel's table may leave a
/// socket out while others come and go.
fn waiting_and_dropped(at: SocketAddrV4) -> Option<(u64, u64)> {
    let address = u32::from_ne_bytes(at.ip().octets());
    let address = format!("{address:08X}:{:04X}", at.port());
    let table = std::fs::read_to_string("/proc/net/udp").expect("the kernel's table");
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&address.as_str()))?;
    let waiting = u64::from_str_radix(row[4].split_once(':')?.1, 16).ok()?;
    Some((waiting, row.last()?.parse().ok()?))
}

/// Sends datagrams of many sources in rounds, at most one each millisecond, and no faster than
/// nginx takes them: what it drops is not the matter here. Calls `at_a_third`.
fn send_datagrams(to: SocketAddrV4, at_a_third: impl FnOnce()) {
    let bound = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let sources: Vec<_> = (0..SOURCES).map(|_| bound()).collect();
    let mut at_a_third = Some(at_a_third);
    for round in 0..ROUNDS {
        if round == ROUNDS / 3 {
            at_a_third.take().expect("it comes once")();
        }
        for (number, source) in sources.iter().enumerate() {
            let datagram = format!("u,source={number} n={round}i {}", 1_700_000_000 + round);
            source.send_to(datagram.as_bytes(), to).expect("the kernel takes a datagram");
        }
        thread::sleep(Duration::from_millis(1));
        wait_until("nginx to take datagrams", || {
            waiting_and_dropped(to).is_some_and(|(waiting, _)| waiting < WAITING_BYTES)
        });
    }
    let dropped = wait_for("nginx to take all", || {
        waiting_and_dropped(to).filter(|(waiting, _)| *waiting == 0).map(|(_, dropped)| dropped)
    });
    assert_eq!(dropped, 0, "nginx dropped none");
}

#[test]
fn a_relay_is_killed_under_load() {
    if !require(&["nginx", "nginx-stream", "ip", "netns"]) {
        return;
    }
    let network = Network::start(3);
    let here = network.here();
    let healthy = || HttpBackend::start_at(here, |_| Reply::status(204));
    let (all, any) = ([healthy(), healthy()], healthy());
    let slow = HttpBackend::start_at(here, |_| {
        thread::sleep(Duration::from_millis(20));
        Reply::status(204)
    });
    let sink = UdpSink::start_at((here, 0).into());
    let start = |host: u8| {
        let address = network.address(host);
        let listener = |port: u16, ack: &str, backends: [&HttpBackend; 2]| {
            let output = |(name, backend): (&str, &HttpBackend)| {
                format!("[[http.output]]\n{}", http_output(name, backend.addr(), ""))
            };
            let outputs: String = ["one", "two"].into_iter().zip(backends).map(output).collect();
            format!(
                "[[http]]\nname = \"{ack}\"\nbind-addr = \"{address}:{port}\"\n\
                 ack = \"{ack}\"\n{outputs}"
            )
        };
        let toml = format!(
            "{}{}[[udp]]\nname = \"udp\"\nbind-addr = \"{address}:8089\"\n\
             read-buffer = 4194304\n[[udp.output]]\nname = \"sink\"\nlocation = \"{}\"\n",
            listener(9096, "all", [&all[0], &all[1]]),
            listener(9097, "any", [&any, &slow]),
            sink.addr()
        );
        Relay::start_at(address, network.relay(host), &toml)
    };
    let mut relays: Vec<_> = (0..3).map(start).collect();
    let nginx = nginx(&network, 3, &[9096, 9097]);

    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (of_all, of_any) = thread::scope(|scope| {
        let running = StopAtEnd(&stop);
        let client = |number: usize, port: u16| {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || write((here, port).into(), number, stop, count))
        };
        let of_all: Vec<_> = (0..6).map(|number| client(number, 9096)).collect();
        let of_any: Vec<_> = (0..6).map(|number| client(number, 9097)).collect();
        send_datagrams(SocketAddrV4::new(here, 8089), || {
            wait_until("all clients to write", || count.load(Ordering::Relaxed) > 120);
            let killed = relays.swap_remove(0);
            killed.signal(Signal::KILL);
            drop(killed);
        });
        let before = count.load(Ordering::Relaxed);
        wait_until("clients to go on", || count.load(Ordering::Relaxed) > before + 120);
        drop(running);
        (joined(of_all), joined(of_any))
    });
    for relay in &relays {
        let metrics = relay.wait_until_settled();
        assert_eq!(metrics.of("ringrelay_udp_kernel_drops_total", &[]), 0);
    }

    // Who waits for all backends, and sends again what was not acknowledged, misses nothing.
    assert_eq!([missing(&of_all, &all[0]), missing(&of_all, &all[1])], [0, 0]);
    // Who waits for any has each write at one; another had some in the memory that is gone.
    let both: BTreeSet<_> = any.lines().into_iter().chain(slow.lines()).collect();
    assert_eq!(of_any.difference(&both).count(), 0);
    let at_one_alone = missing(&of_any, &any) + missing(&of_any, &slow);

    // Of each source that was with the killed relay: what was in it, and until nginx knew.
    wait_until("the sink to be quiet", || {
        let forwarded: u64 =
            relays.iter().map(|relay| relay.metrics().books("udp", "sink").delivered).sum();
        u64::try_from(sink.lines().len()).expect("few") >= forwarded
    });
    let arrived = sink.lines();
    let distinct: BTreeSet<_> = arrived.iter().cloned().collect();
    assert_eq!(arrived.len(), distinct.len(), "none came twice");
    let of = |number: usize| format!("u,source={number} ");
    let lost: Vec<_> = (0..SOURCES)
        .map(|number| ROUNDS - distinct.iter().filter(|line| line.starts_with(&of(number))).count())
        .collect();
    eprintln!(
        "acknowledged by all {}, by any {} ({at_one_alone} of them at one backend alone); \
         datagrams {}, lost by source {lost:?}",
        of_all.len(),
        of_any.len(),
        SOURCES * ROUNDS
    );
    let unharmed = lost.iter().filter(|lost| **lost == 0).count();
    assert!(unharmed >= SOURCES / 4, "{lost:?}\n{}", nginx.log());
    // One rebinding while nginx learns, what was in the relay, and one source's try later.
    assert!(lost.iter().all(|lost| *lost <= 4 * REBOUND_DATAGRAMS), "{lost:?}\n{}", nginx.log());
    for relay in relays {
        relay.finish();
    }
}

#[test]
fn what_a_killed_relay_kept_on_disk_comes_when_it_is_back() {
    if !require(&["nginx", "nginx-stream", "ip", "netns"]) {
        return;
    }
    let network = Network::start(2);
    let here = network.here();
    let up = std::sync::Arc::<AtomicBool>::default();
    let is_up = std::sync::Arc::clone(&up);
    let backend = HttpBackend::start_at(here, move |_| {
        Reply::status(if is_up.load(Ordering::Acquire) { 204 } else { 503 })
    });
    let spools = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let start = |host: u8| {
        let (address, spool) = (network.address(host), spools[usize::from(host)].path().display());
        let keys =
            format!("buffer-size-mb = 4\nmax-delay-interval = \"50ms\"\nspool-dir = \"{spool}\"\n");
        let output = http_output("late", backend.addr(), &keys);
        let toml = format!(
            "[[http]]\nname = \"in\"\nbind-addr = \"{address}:9096\"\n[[http.output]]\n{output}"
        );
        Relay::start_at(address, network.relay(host), &toml)
    };
    let (first, second) = (start(0), start(1));
    let _nginx = nginx(&network, 2, &[9096]);

    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged = thread::scope(|scope| {
        let running = StopAtEnd(&stop);
        let client = |number: usize| {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || write((here, 9096).into(), number, stop, count))
        };
        let clients: Vec<_> = (0..6).map(client).collect();
        let spooled =
            |relay: &Relay| relay.metrics().of("ringrelay_backend_lines_spooled_total", &[]);
        wait_until("both to keep writes", || spooled(&first) > 100 && spooled(&second) > 100);
        first.signal(Signal::KILL);
        drop(first);
        let before = count.load(Ordering::Relaxed);
        wait_until("clients to go on", || count.load(Ordering::Relaxed) > before + 100);
        drop(running);
        joined(clients)
    });
    up.store(true, Ordering::Release);
    second.wait_until_settled();
    let before = missing(&acknowledged, &backend);
    assert!(before >= 100, "only the killed relay has them: {before}");
    let first = start(0);
    first.wait_until_settled();
    assert_eq!(missing(&acknowledged, &backend), 0, "of {}", acknowledged.len());
    let restored = first.finish().books("in", "late").restored;
    eprintln!("acknowledged {}, of which {before} were with the killed relay", acknowledged.len());
    assert!(restored >= before as u64, "{restored} restored");
    second.finish();
}
