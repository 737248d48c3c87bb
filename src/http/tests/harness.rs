//! A front on a real socket, its backends played by threads that settle what they pop, and a
//! client that speaks HTTP by hand.

use crate::backend::{Outcome, settle};
use crate::bad_senders::Notes;
use crate::config;
use crate::fanout::Output;
use crate::filter::Filter;
use crate::http::*;
use crate::metrics::{Backend, Drop as Dropped, HttpListener};
use crate::queue::{Limits, bounded};
use crate::stop::Stopper;
use crate::write::{Api, Destination, Refusal, Write as Written};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tokio::sync::watch::channel;

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// What a backend does with each write: settles it, or keeps it until the end.
pub(super) type Script = fn(&Written) -> Option<Outcome>;

/// Query, authorization and lines of a write.
pub(super) type Got = (String, Option<Bytes>, Vec<u8>);

pub(super) struct Front {
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) stopper: Stopper,
    pub(super) thread: JoinHandle<io::Result<()>>,
    pub(super) metrics: Arc<CachePadded<HttpWorker>>,
    pub(super) bodies: Arc<Budget>,
    pub(super) backends: Vec<(Arc<Backend>, JoinHandle<()>)>,
    /// What each backend got.
    pub(super) got: Vec<Arc<Mutex<Vec<Got>>>>,
}

pub(super) fn delivered(_: &Written) -> Option<Outcome> {
    Some(Outcome::Delivered)
}

pub(super) fn unavailable(_: &Written) -> Option<Outcome> {
    Some(Outcome::Dropped(Dropped::Unavailable))
}

pub(super) fn refusing(_: &Written) -> Option<Outcome> {
    Some(Outcome::Refused(Refusal {
        status: 404,
        content_type: Some(Bytes::from_static(b"application/json")),
        error: Some(Bytes::from_static(b"database not found")),
        body: Bytes::from_static(b"{\"error\":\"database not found\"}"),
    }))
}

pub(super) fn hanging(_: &Written) -> Option<Outcome> {
    None
}

pub(super) fn config(bind: SocketAddr) -> config::HttpListener {
    config::HttpListener {
        name: "test".into(),
        bind,
        tls: None,
        ping_status: 204,
        default_retention_policy: Some("week".into()),
        ack: config::Ack::Any,
        body_bytes_max: 10_000,
        bodies_bytes_max: 100_000,
        connections: config::Connections::default(),
        request_rate: None,
        line_rate: None,
        admin_allow: Vec::new(),
        health_timeout: DEADLINE,
        health_critical_status: 200,
        outputs: Vec::new(),
    }
}

/// A backend: what it does, the API that it speaks, and its filter.
pub(super) type Playing = (Script, config::Dialect, Option<Filter>);

pub(super) fn start(scripts: &[Script]) -> Front {
    start_changed(scripts, |_| {})
}

/// As [`start`], with a listener that `change` has changed.
pub(super) fn start_changed(
    scripts: &[Script],
    change: impl FnOnce(&mut config::HttpListener),
) -> Front {
    let plain = |&script: &Script| (script, config::Dialect::V1, None);
    start_all(scripts.iter().map(plain).collect(), change)
}

pub(super) fn start_with(ack: config::Ack, playing: Vec<Playing>) -> Front {
    start_all(playing, |config| config.ack = ack)
}

fn start_all(playing: Vec<Playing>, change: impl FnOnce(&mut config::HttpListener)) -> Front {
    let (mut outputs, mut backends) = (Vec::new(), Vec::new());
    let mut got = Vec::new();
    for (i, (script, dialect, filter)) in playing.into_iter().enumerate() {
        let (queue, writes) = bounded::<Written>(Limits { items_max: 100, bytes_max: 1 << 20 });
        let owed = Arc::clone(queue.owed());
        let metrics = Arc::new(Backend::new("test".into(), i.to_string().into(), owed));
        let destination = Arc::new(Destination::default());
        let (counters, filter) = (Arc::clone(&metrics), filter.map(Arc::new));
        outputs.push(Output {
            queue,
            metrics: counters,
            direct: None,
            filter,
            dialect,
            destination,
            apis: vec![Api::Lines],
            control: None,
        });
        let (counted, mine) = (Arc::clone(&metrics), Arc::<Mutex<Vec<Got>>>::default());
        got.push(Arc::clone(&mine));
        backends.push((
            metrics,
            thread::spawn(move || {
                let mut kept = Vec::new();
                while let Some(write) = writes.pop_blocking() {
                    mine.lock().expect("nobody panics with it").push((
                        write.destination.query.clone(),
                        write.destination.authorization.clone(),
                        write.batch.bytes().to_vec(),
                    ));
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
    let mut config = config(address);
    change(&mut config);
    let config = Arc::new(config);
    let metrics = Arc::<CachePadded<HttpWorker>>::default();
    let shared = Shared::new(&config);
    let bodies = Arc::clone(&shared.bodies);
    let tls = config.tls.clone();
    let fanout = Fanout::new(outputs);
    let (_, serving) = channel(Arc::new(Serving { config, fanout, shared }));
    let registry = Arc::new(Registry {
        http: vec![HttpListener {
            name: "test".into(),
            workers: vec![Arc::clone(&metrics)],
            tls: tls.into(),
        }],
        backends: backends.iter().map(|(b, _)| Arc::clone(b)).collect::<Vec<_>>().into(),
        ..Registry::default()
    });
    let listener = Listener {
        socket,
        stays_open: false,
        serving,
        metrics: Arc::clone(&metrics),
        bad_senders: Arc::new(Notes::new("test".into())),
    };
    let stopper = Stopper::default();
    let stop = stopper.watch();
    let admin = Admin {
        socket: admin,
        stays_open: false,
        registry: Arc::clone(&registry),
        stopping: stop.clone(),
        stop: stop.clone(),
    };
    let thread = thread::spawn(move || {
        let runtime = || tokio_uring::Runtime::new(&tokio_uring::builder());
        let admin = thread::spawn(move || run_admin(&runtime()?, admin));
        run(&runtime()?, vec![listener], &registry, &stop)?;
        admin.join().expect("the admin address does not panic")
    });
    Front { address, admin: admin_address, stopper, thread, metrics, bodies, backends, got }
}

impl Front {
    pub(super) fn client(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends one request on a connection of its own.
    pub(super) fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut client = self.client();
        client.write_all(request.as_ref()).expect("the front reads");
        reply(&mut client)
    }

    pub(super) fn post(&self, target: &str, headers: &str, body: &[u8]) -> Reply {
        self.ask(post(target, headers, body))
    }

    /// Stops, and checks that all came to an end and the books close.
    pub(super) fn stop(self) {
        self.stopper.stop(Instant::now() + Duration::from_millis(200));
        self.thread.join().expect("the front does not panic").expect("io_uring works");
        for (backend, thread) in self.backends {
            thread.join().expect("the front lets go of the queue");
            let ended = backend.delivered.get() + backend.dropped_total();
            assert_eq!(backend.taken.get(), ended + backend.owed.lines(), "the books close");
            assert_eq!(backend.owed.lines(), 0);
            assert_eq!(self.metrics.lines.get(), backend.taken.get() + backend.filtered.get());
        }
        assert_eq!(self.bodies.held(), 0, "no body is held any more");
    }
}

pub(super) fn wait(condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "it does not come about");
        thread::yield_now();
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("the front listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    client
}

pub(super) fn post(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: relay\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// Reads one answer, and no byte more.
pub(super) fn reply(client: &mut impl Read) -> Reply {
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
