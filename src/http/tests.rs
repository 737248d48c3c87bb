//! The front on a real socket, its backends played by threads that settle what they pop.

use super::*;
use crate::backend::{Outcome, settle};
use crate::fanout::Output;
use crate::metrics::{Backend, Drop as Dropped, HttpListener};
use crate::queue::{Limits, bounded};
use crate::stop::Stopper;
use crate::write::{Destination, Refusal, Write as Written};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(10);

/// What a backend does with each write: settles it, or keeps it until the end.
type Script = fn(&Written) -> Option<Outcome>;

/// Query, authorization and lines of a write.
type Got = (String, Option<Bytes>, Vec<u8>);

struct Front {
    address: SocketAddr,
    admin: SocketAddr,
    stopper: Stopper,
    thread: JoinHandle<io::Result<()>>,
    metrics: Arc<CachePadded<HttpWorker>>,
    bodies: Arc<Budget>,
    backends: Vec<(Arc<Backend>, JoinHandle<()>)>,
    /// What the first backend got.
    got: Arc<Mutex<Vec<Got>>>,
}

fn delivered(_: &Written) -> Option<Outcome> {
    Some(Outcome::Delivered)
}

fn unavailable(_: &Written) -> Option<Outcome> {
    Some(Outcome::Dropped(Dropped::Unavailable))
}

fn refusing(_: &Written) -> Option<Outcome> {
    Some(Outcome::Refused(Refusal {
        status: 404,
        content_type: Some(Bytes::from_static(b"application/json")),
        error: Some(Bytes::from_static(b"database not found")),
        body: Bytes::from_static(b"{\"error\":\"database not found\"}"),
    }))
}

fn hanging(_: &Written) -> Option<Outcome> {
    None
}

fn config(bind: SocketAddr) -> config::HttpListener {
    config::HttpListener {
        name: "test".into(),
        bind,
        ping_status: 204,
        default_retention_policy: Some("week".into()),
        body_bytes_max: 10_000,
        bodies_bytes_max: 100_000,
        outputs: Vec::new(),
    }
}

fn start(scripts: &[Script]) -> Front {
    let (mut outputs, mut backends) = (Vec::new(), Vec::new());
    let got = Arc::<Mutex<Vec<Got>>>::default();
    for (i, &script) in scripts.iter().enumerate() {
        let (queue, writes) = bounded::<Written>(Limits { items_max: 100, bytes_max: 1 << 20 });
        let owed = Arc::clone(queue.owed());
        let metrics = Arc::new(Backend::new("test".into(), i.to_string().into(), owed));
        let destination = Arc::new(Destination::default());
        outputs.push(Output { queue, metrics: Arc::clone(&metrics), destination });
        let (counted, got) = (Arc::clone(&metrics), Arc::clone(&got));
        backends.push((
            metrics,
            thread::spawn(move || {
                let mut kept = Vec::new();
                while let Some(write) = writes.pop_blocking() {
                    if i == 0 {
                        got.lock().expect("nobody panics with it").push((
                            write.destination.query.clone(),
                            write.destination.authorization.clone(),
                            write.batch.bytes().to_vec(),
                        ));
                    }
                    match script(&write) {
                        Some(outcome) => settle(&counted, &write, outcome),
                        None => kept.push(write),
                    }
                }
                for write in kept {
                    settle(&counted, &write, Outcome::Dropped(Dropped::Shutdown));
                }
            }),
        ));
    }
    let [socket, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [address, admin_address] = [&socket, &admin].map(|s| s.local_addr().expect("it is bound"));
    let config = Arc::new(config(address));
    let metrics = Arc::<CachePadded<HttpWorker>>::default();
    let bodies = Arc::new(Budget::new(config.bodies_bytes_max));
    let registry = Arc::new(Registry {
        http: vec![HttpListener { name: "test".into(), workers: vec![Arc::clone(&metrics)] }],
        backends: backends.iter().map(|(backend, _)| Arc::clone(backend)).collect(),
        ..Registry::default()
    });
    let listener = Listener {
        socket,
        config,
        fanout: Fanout::new(outputs),
        metrics: Arc::clone(&metrics),
        bodies: Arc::clone(&bodies),
    };
    let stopper = Stopper::default();
    let stop = stopper.watch();
    let thread =
        thread::spawn(move || run(vec![listener], Some(Admin { socket: admin }), registry, stop));
    Front { address, admin: admin_address, stopper, thread, metrics, bodies, backends, got }
}

impl Front {
    fn client(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends one request on a connection of its own.
    fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut client = self.client();
        client.write_all(request.as_ref()).expect("the front reads");
        reply(&mut client)
    }

    fn post(&self, target: &str, headers: &str, body: &[u8]) -> Reply {
        self.ask(post(target, headers, body))
    }

    /// Stops, and checks that all came to an end and the books close.
    fn stop(self) {
        self.stopper.stop(Instant::now() + Duration::from_millis(200));
        self.thread.join().expect("the front does not panic").expect("io_uring works");
        for (backend, thread) in self.backends {
            thread.join().expect("the front lets go of the queue");
            let ended = backend.delivered.get() + backend.dropped_total();
            assert_eq!(backend.taken.get(), ended + backend.owed.lines(), "the books close");
            assert_eq!(backend.owed.lines(), 0);
            assert_eq!(self.metrics.lines.get(), backend.taken.get());
        }
        assert_eq!(self.bodies.held(), 0, "no body is held any more");
    }
}

fn wait(condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "it does not come about");
        thread::yield_now();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("the front listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    client
}

fn post(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: relay\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

/// Reads one answer, and no byte more.
fn reply(client: &mut TcpStream) -> Reply {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the front answers");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is ASCII").to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length = field("content-length: ").map_or(0, |n| n.parse().expect("a number"));
    let mut body = vec![0; length];
    client.read_exact(&mut body).expect("the whole body comes");
    let status = head[9..12].parse().expect("a status");
    Reply { status, body: String::from_utf8(body).expect("text"), head }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

#[test]
fn a_write_reaches_the_backends_with_its_query_and_credentials() {
    let front = start(&[delivered, delivered]);
    let mut client = front.client();
    let request = post("/write?db=a&u=me&precision=s", "Authorization: Token x\r\n", b"a f=1 1\n");
    client.write_all(&request).expect("the front reads");
    let first = reply(&mut client);
    assert_eq!((first.status, first.body.as_str()), (204, ""));
    client.write_all(&post("/write?db=b&rp=r", "", b"b f=2 2")).expect("kept alive");
    assert_eq!(reply(&mut client).status, 204);
    let chunked = "POST /write?db=c HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\na f=\r\n6\r\n1 1\nb \r\n6\r\nf=2 2\n\r\n0\r\n\r\n";
    client.write_all(chunked.as_bytes()).expect("kept alive");
    assert_eq!(reply(&mut client).status, 204);
    let packed = gzip(b"z f=1 1\n");
    let request = post("/write?db=d", "Content-Encoding: GZIP\r\n", &packed);
    client.write_all(&request).expect("kept alive");
    assert_eq!(reply(&mut client).status, 204);
    let token = Some(Bytes::from_static(b"Token x"));
    let expected = [
        ("db=a&u=me&precision=s&rp=week".into(), token, b"a f=1 1\n".to_vec()),
        ("db=b&rp=r".into(), None, b"b f=2 2\n".to_vec()),
        ("db=c&rp=week".into(), None, b"a f=1 1\nb f=2 2\n".to_vec()),
        ("db=d&rp=week".into(), None, b"z f=1 1\n".to_vec()),
    ];
    assert_eq!(*front.got.lock().expect("nobody panics with it"), expected);
    assert_eq!(front.metrics.connections.get(), 1);
    assert_eq!(front.metrics.lines.get(), 5);
    front.stop();
}

#[test]
fn answers_what_is_wrong_and_forwards_nothing() {
    let front = start(&[delivered]);
    let large = vec![b'x'; 10_001];
    let bomb = gzip(&vec![b'x'; 10_001]);
    let (zip, line) = ("Content-Encoding: gzip\r\n", &b"a f=1 1\n"[..]);
    let cases: [(&str, &str, &[u8], u16, &str); 9] = [
        ("/write", "", line, 400, "database is required"),
        ("/write?db=a&precision=d", "", line, 400, "invalid precision 'd'"),
        ("/write?db=a", "", &large, 413, "larger than 10000 bytes"),
        ("/write?db=a", zip, &bomb, 413, "larger than 10000 bytes"),
        ("/write?db=a", zip, line, 400, "not gzip"),
        ("/write?db=a", zip, &bomb[..30], 400, "not gzip"),
        ("/write?db=a", "Content-Encoding: br\r\n", line, 415, "Content-Encoding"),
        ("/nothing", "", line, 404, "not found"),
        ("/ping", "", line, 405, "method not allowed"),
    ];
    for (target, headers, body, status, words) in cases {
        let reply = front.post(target, headers, body);
        assert_eq!(reply.status, status, "{target}: {reply:?}");
        assert!(reply.body.starts_with("{\"error\":\"") && reply.body.contains(words), "{reply:?}");
        assert!(reply.head.contains("x-influxdb-error: "), "{reply:?}");
    }
    assert_eq!(front.post("/write?db=a", "", b"").status, 204, "an empty body");
    let put = front.ask("PUT /write?db=a HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!(put.status, 405);
    assert!(put.head.contains("allow: post, options"), "{put:?}");
    let options = front.ask("OPTIONS /write HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!((options.status, options.body.as_str()), (204, ""));
    assert_eq!(front.metrics.unreadable.get(), 7);
    assert!(front.got.lock().expect("nobody panics with it").is_empty());
    front.stop();
}

#[test]
fn a_refused_body_that_is_still_coming_does_not_take_the_answer_away() {
    let front = start(&[delivered]);
    let mut client = front.client();
    let head = "POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: 8000000\r\n\r\n";
    client.write_all(head.as_bytes()).expect("the front reads");
    client.write_all(&vec![b'x'; 8_000_000]).expect("it is thrown away, not reset");
    assert_eq!(reply(&mut client).status, 413);
    assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
    front.stop();
}

#[test]
fn heads_that_are_no_http_or_too_large_are_answered_and_counted() {
    let front = start(&[delivered]);
    let large = format!("GET /ping HTTP/1.1\r\nHost: r\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(front.ask(large).status, 431);
    assert_eq!(front.ask("\x16\x03\x01 no http\r\n\r\n").status, 400);
    wait(|| front.metrics.unreadable.get() == 2);
    front.stop();
}

#[test]
fn ping_and_metrics_answer_on_their_addresses() {
    let front = start(&[delivered]);
    let ping = front.ask("GET /ping HTTP/1.1\r\nHost: r\r\n\r\n");
    assert_eq!(ping.status, 204);
    assert!(ping.head.contains("x-influxdb-version: relay"), "{ping:?}");
    let mut admin = connect(front.admin);
    admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: r\r\n\r\n").expect("the front reads");
    let metrics = reply(&mut admin);
    let line =
        "ringrelay_http_requests_total{listener=\"test\",endpoint=\"ping\",code=\"2xx\"} 1\n";
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains(line), "{}", metrics.body);
    admin.write_all(b"GET /ping HTTP/1.1\r\nHost: r\r\n\r\n").expect("kept alive");
    assert_eq!(reply(&mut admin).status, 404, "the admin address only has metrics");
    front.stop();
}

#[test]
fn the_answer_is_that_of_the_backend_that_took_it_or_of_the_first_that_refused() {
    let cases: [(&[Script], u16); 4] = [
        (&[hanging, delivered], 204),
        (&[refusing, delivered], 204),
        (&[unavailable, refusing], 404),
        (&[unavailable, unavailable], 503),
    ];
    for (scripts, status) in cases {
        let front = start(scripts);
        let reply = front.post("/write?db=a", "", b"a f=1 1\n");
        assert_eq!(reply.status, status, "{reply:?}");
        if status == 404 {
            assert_eq!(reply.body, "{\"error\":\"database not found\"}");
            assert!(reply.head.contains("x-influxdb-error: database not found"), "{reply:?}");
            assert!(reply.head.contains("content-type: application/json"), "{reply:?}");
        }
        front.stop();
    }
}

#[test]
fn clients_that_leave_disturb_nobody() {
    let front = start(&[delivered]);
    let half = b"POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\na f=1 1\nb f";
    for cut in [10, 40, half.len()] {
        let mut client = front.client();
        client.write_all(&half[..cut]).expect("the front reads");
        drop(client);
    }
    let mut client = front.client();
    client.write_all(half).expect("the front reads");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_eq!(reply(&mut client).status, 400, "a cut body");
    let mut client = front.client();
    client.write_all(&post("/write?db=a", "", b"a f=1 1\n")).expect("the front reads");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_eq!(reply(&mut client).status, 204, "half closed, and still answered");
    front.stop();
}

#[test]
fn bodies_over_the_budget_wait_for_another_time() {
    let front = start(&[delivered]);
    let mut slow = Vec::new();
    for _ in 0..15 {
        let mut client = front.client();
        let head = "POST /write?db=a HTTP/1.1\r\nHost: r\r\nContent-Length: 10000\r\n\r\n";
        client.write_all(head.as_bytes()).expect("the front reads");
        client.write_all(&[b'x'; 6_500]).expect("the front reads");
        slow.push(client);
    }
    wait(|| front.bodies.held() >= 90_000);
    let busy = front.post("/write?db=a", "", &b"a f=1 1\n".repeat(1_249));
    assert_eq!(busy.status, 503, "{busy:?}");
    assert!(busy.head.contains("retry-after: 1"), "{busy:?}");
    drop(slow);
    wait(|| front.bodies.held() == 0);
    assert_eq!(front.post("/write?db=a", "", b"a f=1 1\n").status, 204);
    front.stop();
}

#[test]
fn stopping_answers_open_requests_and_closes_idle_connections() {
    let front = start(&[hanging]);
    let mut idle = front.client();
    idle.write_all(b"GET /ping HTTP/1.1\r\nHost: r\r\n\r\n").expect("the front reads");
    assert_eq!(reply(&mut idle).status, 204);
    let mut open = front.client();
    open.write_all(&post("/write?db=a", "", b"a f=1 1\n")).expect("the front reads");
    wait(|| !front.got.lock().expect("nobody panics with it").is_empty());
    let asked = thread::spawn(move || reply(&mut open));
    let address = front.address;
    front.stop();
    assert_eq!(asked.join().expect("it is answered").status, 503, "nobody delivered it");
    assert_eq!(idle.read(&mut [0]).expect("an orderly end"), 0);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
