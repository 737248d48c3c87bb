//! Clients that mean harm, many at a time, beside one that behaves: all of its writes are answered
//! and delivered in order, and the relay's memory stays within what its configuration allows.

use crate::certificates::Authority;
use crate::harness::{
    Client, HttpBackend, Metrics, Relay, gzip, http_listener, http_output, numbered, wait_until,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// No write of the client that behaves may take longer,
const PATIENCE: Duration = Duration::from_secs(5);
/// but where all places are taken by bodies, which are given some time before they make room.
const PATIENCE_WITH_BODIES: Duration = Duration::from_secs(15);

/// A relay under attack. `keys` are the listener's.
struct Siege {
    relay: Relay,
    backend: HttpBackend,
    /// The largest memory that the relay has had before the attack.
    before: u64,
}

impl Siege {
    fn start(keys: &str) -> Self {
        let backend = HttpBackend::healthy();
        let output = http_output("a", backend.addr(), "queue-size-mb = 1");
        let listener = http_listener("in", keys, &[output]);
        let relay = Relay::start(&format!("http-threads = 1\n{listener}"));
        // The first request of each kind fills pools that stay.
        assert_eq!(relay.client("in").get("/metrics").status(), 200);
        let before = relay.peak_bytes();
        Self { relay, backend, before }
    }

    fn addr(&self) -> SocketAddr {
        self.relay.addr("in")
    }

    /// Ends the attack: the client that behaves had all of its writes taken, each in time, and
    /// the relay's memory has never grown by more than `bound` bytes.
    #[track_caller]
    fn end(self, good: Good, patience: Duration, bound: u64) -> Metrics {
        let (sent, slowest) = good.end();
        let metrics = self.relay.metrics();
        assert!(slowest < patience, "a good write took {slowest:?}");
        let grown = self.relay.peak_bytes().saturating_sub(self.before);
        assert!(grown <= bound, "grown by {} KiB of {}", grown / 1024, bound / 1024);
        self.relay.finish();
        assert!(sent.len() >= 20, "it could write little: {}", sent.len());
        assert_eq!(self.backend.lines(), sent, "all of its lines, and no others");
        metrics
    }
}

/// What connections may hold, from the configuration, each: 32 KiB while it is idle (the docs say
/// about 28), 64 KiB for the read in flight and as much to throw away what is refused, and hyper's
/// buffer, twice while it grows: 64 KiB, or the largest head and half of that.
fn connections_bytes(count: u64, header_kb: u64) -> u64 {
    count * (32 + 2 * 64 + 2 * (header_kb + 32).max(64)) * 1024
}

/// What bodies may hold, from the configuration: their limit; and, from measuring, what the
/// allocator keeps of the blocks that small bodies have had, its segments, and stacks that were
/// never as deep before.
fn bodies_bytes(limit_mb: u64) -> u64 {
    (limit_mb + 8) * MIB
}

/// A client that behaves, on a thread of its own: it writes one line after another.
struct Good {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<String>, Duration)>,
}

impl Good {
    fn start(addr: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sent, mut slowest) = (Vec::new(), Duration::ZERO);
            let mut client = Client::connect(addr);
            for line in numbered("good", 1_000_000) {
                if stopped.load(Ordering::Acquire) && sent.len() >= 20 {
                    break;
                }
                let started = Instant::now();
                let answer = client.write("db=d", &line);
                assert_eq!(answer.status(), 204, "{}", answer.text());
                slowest = slowest.max(started.elapsed());
                sent.push(line);
            }
            (sent, slowest)
        });
        Self { stop, thread }
    }

    fn end(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the client that behaves was served")
    }
}

/// A connection from an address of loopback of its own.
fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a file descriptor is left");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("a port of it is free");
    socket.connect(&to.into()).expect("the relay listens");
    socket.into()
}

fn connect(to: SocketAddr) -> TcpStream {
    connect_from(Ipv4Addr::new(127, 0, 0, 2), to)
}

/// Whether the relay has ended the connection. Does not wait.
fn is_cut(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket option");
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Sends one byte on each connection, if it takes it.
fn drip(streams: &mut [TcpStream], byte: u8) {
    for stream in streams {
        stream.set_nonblocking(true).expect("a socket option");
        // One that was cut takes none.
        drop(stream.write(&[byte]));
    }
}

#[test]
fn slow_heads_are_cut_in_time() {
    const COUNT: usize = 400;
    let siege = Siege::start("header-timeout = \"1s\"");
    let good = Good::start(siege.addr());
    let mut slow: Vec<_> = (0..COUNT).map(|_| connect(siege.addr())).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /write?db=d HTTP/1.1\r\nX: ").expect("the relay reads");
    }
    let started = Instant::now();
    let mut left = slow;
    // A byte now and then is no progress.
    wait_until("all of them to be cut", || {
        drip(&mut left, b'x');
        left.retain_mut(|stream| !is_cut(stream));
        left.is_empty()
    });
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let metrics = siege.end(good, PATIENCE, connections_bytes(COUNT as u64, 16));
    let expired = metrics.of("ringrelay_http_connections_expired_total", &[]);
    assert_eq!(expired, COUNT as u64);
}

#[test]
fn slow_bodies_keep_nobody_out() {
    const COUNT: usize = 40;
    // All places are taken by those who send a byte of a body now and then.
    let siege = Siege::start(&format!("max-connections = {COUNT}"));
    let mut slow: Vec<_> = (0..COUNT).map(|_| connect(siege.addr())).collect();
    for stream in &mut slow {
        let head = "POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("the relay reads");
    }
    let attack = Arc::<AtomicBool>::default();
    let over = Arc::clone(&attack);
    let dripping = std::thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            drip(&mut slow, b'x');
            std::thread::sleep(Duration::from_millis(20));
        }
        slow.iter_mut().filter_map(|stream| is_cut(stream).then_some(())).count()
    });
    let good = Good::start(siege.addr());
    wait_until("good writes", || siege.backend.lines().len() >= 50);
    attack.store(true, Ordering::Release);
    let cut = dripping.join().expect("it only sends");
    assert!((1..COUNT).contains(&cut), "{cut} were cut: no more than had to make room");
    siege.end(good, PATIENCE_WITH_BODIES, connections_bytes(COUNT as u64, 16));
}

#[test]
fn bodies_that_stop_short_give_way_to_others() {
    let siege = Siege::start("max-body-size-mb = 1\nmax-bodies-size-mb = 2");
    let mut slow: Vec<_> = (0..2).map(|_| connect(siege.addr())).collect();
    // Nearly all bytes that bodies may hold together.
    for stream in &mut slow {
        let bytes = (1 << 20) - 1;
        let head =
            format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {bytes}\r\n\r\n");
        let body = [head.as_bytes(), &vec![b'x'; bytes - 100_000]].concat();
        stream.write_all(&body).expect("the relay reads");
    }
    // More than they leave, once all of theirs has come.
    let (mut cut, long) = (0, "#".repeat(300_000));
    wait_until("one to give way", || {
        drip(&mut slow, b'x');
        // Its beginning waits for room; what comes later, and finds none, is refused at once.
        let status = siege.relay.client("in").write("db=d", &long).status();
        assert!([204, 503].contains(&status), "{status}");
        slow.retain_mut(|stream| !is_cut(stream));
        cut = 2 - slow.len();
        cut > 0
    });
    let good = Good::start(siege.addr());
    assert_eq!(cut, 1, "as many as had to");
    assert_eq!(siege.relay.client("in").write("db=d", &long).status(), 204);
    drop(slow);
    siege.end(good, PATIENCE, bodies_bytes(2) + connections_bytes(3, 16));
}

#[test]
fn handshakes_that_never_end_keep_nobody_out() {
    const COUNT: usize = 40;
    let (authority, dir) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    let pem = write("relay.pem", &authority.issue(&["localhost"]));
    let ca = write("ca.pem", &authority.pem());
    let keys = format!("max-connections = {COUNT}\nssl-combined-pem = {pem:?}");
    let backend = HttpBackend::healthy();
    let listener = http_listener("tls", &keys, &[http_output("a", backend.addr(), "")]);
    let server = Relay::start(&format!("http-threads = 1\n{listener}"));
    let mut silent: Vec<_> = (0..COUNT).map(|_| connect(server.addr("tls"))).collect();
    // The beginning of a ClientHello, from each second one.
    for stream in silent.iter_mut().step_by(2) {
        stream.write_all(&[22, 3, 1, 1, 0, 1]).expect("the relay reads");
    }
    // The client that behaves goes by another relay.
    let location = format!("https://localhost:{}/", server.addr("tls").port());
    let output = format!("name = \"out\"\nlocation = \"{location}\"\nca-file = {ca:?}\n");
    let relay = Relay::start(&http_listener("in", "", &[output]));
    let started = Instant::now();
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}: without waiting for the end of a handshake");
    drop(silent);
    relay.finish();
    server.finish();
    assert_eq!(backend.lines(), ["m f=1 1"]);
}

#[test]
fn ten_thousand_idle_connections_cost_what_the_docs_say() {
    const WANTED: u64 = 10_000;
    // Besides them: those of other tests in this process.
    const OTHERS: u64 = 3_000;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a soft limit may go up to the hard one");
    let may = limit.maximum.map_or(WANTED, |hard| hard.saturating_sub(OTHERS).min(WANTED));
    if may < WANTED {
        // Straight to the descriptor: libtest keeps what a passing test prints.
        let said = format!("only {may} idle connections: more files may not be open here\n");
        std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    }
    let siege = Siege::start(&format!("max-connections = {}", WANTED + 100));
    let good = Good::start(siege.addr());
    let mut idle = Vec::new();
    for n in 0..may {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + n % 20).expect("small"));
        let mut stream = connect_from(source, siege.addr());
        // Each third has been served before it idles, each third has begun a request.
        let said: &[u8] = match n % 3 {
            0 => b"GET /ping HTTP/1.1\r\nHost: r\r\n\r\n",
            1 => b"GET /ping HT",
            _ => b"",
        };
        stream.write_all(said).expect("the relay reads");
        idle.push(stream);
    }
    let open = || siege.relay.open_files() as u64;
    wait_until("all to be accepted", || open() >= may);
    assert!(idle.iter_mut().all(|stream| !is_cut(stream)), "and all are let be");
    siege.end(good, PATIENCE, may * 32 * 1024);
}

/// `body` as one that a client sends.
fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {length}\r\n");
    [format!("{head}{headers}\r\n").as_bytes(), body].concat()
}

/// Many at once send these bytes on a connection of their own, `rounds` times each, and read what
/// they get. Gives the statuses.
fn flood(addr: SocketAddr, clients: usize, rounds: usize, bytes: &Arc<Vec<u8>>) -> Vec<u16> {
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let bytes = Arc::clone(bytes);
            std::thread::spawn(move || {
                let mut statuses = Vec::new();
                for _ in 0..rounds {
                    let mut client = Client::connect(addr);
                    // The relay may hang up before it has read everything.
                    if client.send(&bytes).is_ok() {
                        client.end();
                    }
                    while let Ok(Some(answer)) = client.receive() {
                        statuses.push(answer.status());
                    }
                }
                statuses
            })
        })
        .collect();
    let joined = threads.into_iter().map(|thread| thread.join().expect("it only asks"));
    joined.flatten().collect()
}

#[test]
fn gzip_bombs_and_large_bodies_stay_within_the_bound() {
    let keys = "max-body-size-mb = 4\nmax-bodies-size-mb = 8\nmax-connections = 64";
    let siege = Siege::start(keys);
    let good = Good::start(siege.addr());
    let plain = b"m f=1 1\n".repeat(64 << 17);
    assert_eq!(plain.len() as u64, 64 * MIB);
    let bomb = Arc::new(post("Content-Encoding: gzip\r\n", &gzip(&plain)));
    let statuses = flood(siege.addr(), 16, 4, &bomb);
    assert!(statuses.contains(&413), "{statuses:?}");
    // 503 where others hold the budget just then.
    assert!(statuses.iter().all(|status| [413, 503].contains(status)), "{statuses:?}");
    assert_eq!(statuses.len(), 64, "each is told");
    // Within the limit, and no line protocol in it: it takes its share of the budget, no more.
    let large = Arc::new(post("Content-Encoding: gzip\r\n", &gzip(&vec![b'x'; 4 << 20])));
    let statuses = flood(siege.addr(), 16, 4, &large);
    assert!(statuses.iter().all(|status| [400, 503].contains(status)), "{statuses:?}");
    // Lines that are all rewritten, for they lack a timestamp, up to the last, which is none.
    let lines = [&b"m f=1\n".repeat(200_000)[..], b"m f="].concat();
    let statuses = flood(siege.addr(), 16, 4, &Arc::new(post("", &lines)));
    assert!(statuses.contains(&400), "{statuses:?}");
    assert!(statuses.iter().all(|status| [400, 503].contains(status)), "{statuses:?}");
    siege.end(good, PATIENCE, bodies_bytes(8) + connections_bytes(17, 16));
}

#[test]
fn oversized_heads_are_refused_within_the_bound() {
    let siege = Siege::start("max-header-size-kb = 16\nmax-connections = 64");
    let good = Good::start(siege.addr());
    let one = format!("POST /write?db=d HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4 << 20));
    let many = format!("POST /write?db=d HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(700_000));
    let target = format!("POST /write?db={} HTTP/1.1\r\n\r\n", "d".repeat(4 << 20));
    for head in [one, many, target] {
        let statuses = flood(siege.addr(), 16, 2, &Arc::new(head.into_bytes()));
        assert!(statuses.iter().all(|status| [400, 414, 431].contains(status)), "{statuses:?}");
    }
    siege.end(good, PATIENCE, connections_bytes(17, 16));
}

#[test]
fn pipelined_garbage_ends_its_own_connection_alone() {
    let siege = Siege::start("max-connections = 64");
    let good = Good::start(siege.addr());
    let ping = b"GET /ping HTTP/1.1\r\nHost: r\r\n\r\n";
    let empty = post("", b"# nothing\n");
    let garbage: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let bytes = [&ping.repeat(50)[..], &empty, &post("", b"m f="), &garbage].concat();
    let statuses = flood(siege.addr(), 16, 10, &Arc::new(bytes));
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert!(count(204) >= 51 && count(400) >= 1, "{} answers", statuses.len());
    assert_eq!(count(204) + count(400), statuses.len(), "{statuses:?}");
    siege.end(good, PATIENCE, connections_bytes(17, 16));
}

#[test]
fn those_who_ask_and_never_listen_fill_nothing() {
    const COUNT: usize = 16;
    let siege = Siege::start("max-connections = 64");
    let good = Good::start(siege.addr());
    let ask = b"GET /metrics HTTP/1.1\r\nHost: r\r\n\r\n".repeat(10_000);
    let mut deaf: Vec<_> = (0..COUNT).map(|_| connect(siege.addr())).collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        for stream in &mut deaf {
            stream.set_nonblocking(true).expect("a socket option");
            // As much as the relay takes. It does not take what it cannot answer.
            drop(stream.write(&ask));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Besides: what is written at once, up to 256 KiB (an answer of /metrics is far less).
    siege.end(good, PATIENCE, connections_bytes(COUNT as u64 + 1, 16) + COUNT as u64 * MIB / 4);
}
