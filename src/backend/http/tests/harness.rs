//! Scripted backends, and a sender that writes to them.

use super::super::*;
use crate::answers;
use crate::batch::Batch;
use crate::config::Dialect;
use crate::control::{self, Control};
use crate::metrics::Backend;
use crate::queue::{self, Limits, bounded};
use crate::stop::Stopper;
use crate::write::{Answer, Api, Client};
use bytes::Bytes;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Requests, channel};
use std::thread::{self, JoinHandle};

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Makes the answer to a request, from its number (from 0) and its body. `None` hangs up.
pub(super) trait Script: Fn(usize, &str) -> Option<String> + Send + Sync + 'static {}
impl<F: Fn(usize, &str) -> Option<String> + Send + Sync + 'static> Script for F {}

/// A request as a backend got it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: String,
    /// On which of the backend's connections, from 0.
    pub(super) connection: usize,
}

/// A backend that answers by `script` and hands over what it got, before it answers.
pub(super) fn backend(script: impl Script) -> (SocketAddr, Requests<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (got, requests) = channel();
    let script = Arc::new(script);
    thread::spawn(move || {
        let count = Arc::new(AtomicUsize::new(0));
        for (connection, stream) in listener.incoming().enumerate() {
            let (got, count, script) = (got.clone(), Arc::clone(&count), Arc::clone(&script));
            thread::spawn(move || {
                let mut stream = stream.expect("a connection");
                while let Some((head, body)) = read_request(&mut stream) {
                    let body = String::from_utf8(body).expect("text");
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let request = Request { head, body: body.clone(), connection };
                    // A test that has seen enough is no error.
                    drop(got.send(request));
                    let answer = script(number, &body);
                    let Some(answer) = answer else { return };
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, requests)
}

pub(super) fn read_request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a known length").parse().expect("a number")];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

pub(super) fn answer(status: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
}

pub(super) struct Sending {
    pub(super) queue: Option<queue::Sender<Write>>,
    pub(super) control: Control,
    pub(super) change: mpsc::Sender<Change>,
    pub(super) metrics: Arc<Backend>,
    pub(super) stopper: Stopper,
    pub(super) thread: JoinHandle<io::Result<()>>,
}

pub(super) fn target(address: SocketAddr) -> HttpTarget {
    HttpTarget {
        authority: address.to_string(),
        tls: None,
        authorization: None,
        gzip: false,
        write_path: Some("/write".into()),
        write_prom_path: Some("/api/v1/prom/write".into()),
        ping_path: "/ping".into(),
        query_path: "/query".into(),
        dialect: Dialect::V1,
        timeout: DEADLINE,
        batch_bytes_max: 100,
        in_flight_max: 2,
        database: None,
        backlog: None,
    }
}

pub(super) fn start(target: HttpTarget) -> Sending {
    let open = |metrics: &Backend| match &target.backlog {
        Some(backlog) => Files::open(backlog, "relay", "out", metrics).expect("they open"),
        None => Files::default(),
    };
    let (queue, writes) = bounded(Limits { items_max: 1_000, bytes_max: 1 << 20 });
    let metrics = Arc::new(Backend::new("relay".into(), "out".into(), Arc::clone(queue.owed())));
    let files = open(&metrics);
    let stopper = Stopper::default();
    let (control, commands) = control::channel();
    let (change, changes) = mpsc::channel(1);
    let (stop, counted) = (stopper.watch(), Arc::clone(&metrics));
    let thread = thread::spawn(move || {
        let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
        run(&runtime, writes, Way { target, files, commands, changes }, counted, stop);
        Ok(())
    });
    Sending { queue: Some(queue), control, change, metrics, stopper, thread }
}

impl Sending {
    /// Queues a line, or several, for a database; gives where the answer comes.
    pub(super) fn write(&self, database: &str, line: &str) -> answers::Receiver {
        let query = format!("db={database}");
        self.write_to(Destination { query, ..Destination::default() }, line)
    }

    /// The same for any destination.
    pub(super) fn write_to(&self, destination: Destination, line: &str) -> answers::Receiver {
        let line = format!("{line}\n");
        let ends = memchr::memchr_iter(b'\n', line.as_bytes());
        let ends = ends.map(|end| u32::try_from(end + 1).expect("a short line")).collect();
        let (answers, answer) = answers::channel();
        let write = Write {
            batch: Batch::from_body(Bytes::from(line), ends),
            destination: Arc::new(destination),
            client: Some(Client { output: 0, answers }),
        };
        self.push(write);
        answer
    }

    /// Queues an opaque body; gives where the answer comes.
    pub(super) fn write_opaque(&self, body: &'static str) -> answers::Receiver {
        let (answers, answer) = answers::channel();
        let destination = Destination { api: Api::Prometheus, ..Destination::default() };
        self.push(Write {
            batch: Batch::opaque(Bytes::from_static(body.as_bytes())),
            destination: Arc::new(destination),
            client: Some(Client { output: 0, answers }),
        });
        answer
    }

    fn push(&self, write: Write) {
        self.metrics.take(&write.batch);
        let queue = self.queue.as_ref().expect("not finished yet");
        queue.try_push(write).expect("the queue has room");
        queue.wake();
    }

    /// Closes the queue, waits for the end, and checks that the books close.
    pub(super) fn finish(mut self) -> Arc<Backend> {
        self.queue = None;
        let end = Instant::now() + DEADLINE;
        while !self.thread.is_finished() {
            assert!(Instant::now() < end, "the sender does not end");
            thread::yield_now();
        }
        self.thread.join().expect("the sender does not panic").expect("io_uring works");
        let metrics = self.metrics;
        let came = metrics.taken.get() + metrics.spool.restored.get();
        let left = metrics.spool.left.get();
        assert_eq!(came, metrics.delivered.get() + metrics.dropped_total() + left);
        assert_eq!((metrics.owed.lines(), metrics.owed.bytes()), (0, 0), "the books close");
        assert_eq!((metrics.opaque.queued.get(), metrics.backlog.oldest_s()), (0, None));
        metrics
    }
}

pub(super) fn dropped(metrics: &Backend, why: Drop) -> u64 {
    metrics.dropped[why as usize].get()
}

pub(super) fn next(requests: &Requests<Request>) -> Request {
    requests.recv_timeout(DEADLINE).expect("a request comes")
}

pub(super) fn settled(mut answer: answers::Receiver) -> Answer {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some((_, answer)) = answer.try_recv() {
            return answer;
        }
        assert!(Instant::now() < end, "no answer comes");
        thread::yield_now();
    }
}
