//! Scripted HTTP backends. They record what they were sent and answer as their script says.

use super::http::{self, Message};
use super::{lines, wait_until};
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A request as a backend got it.
#[derive(Clone, Debug)]
pub(crate) struct Request(Message);

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.0.start.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// Behind the `?`.
    pub(crate) fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.0.body
    }

    pub(crate) fn text(&self) -> String {
        self.0.text()
    }

    fn target(&self) -> &str {
        self.0.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// What a backend answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: String,
    /// In seconds.
    pub(crate) retry_after: Option<u32>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, content_type: None, body: String::new(), retry_after: None }
    }

    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self {
            content_type: Some("application/json"),
            body: body.to_owned(),
            ..Self::status(status)
        }
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    /// Lines of requests that were answered 2xx, in the order of their answers.
    taken: Vec<String>,
    connections: usize,
}

/// A backend on a free port, of loopback if nothing else is said. It stops listening when it is
/// dropped.
pub(crate) struct HttpBackend {
    addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl HttpBackend {
    /// A backend that answers what `script` says, each connection on a thread of its own.
    pub(crate) fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, script)
    }

    /// As [`start`](Self::start), on a free port of this address.
    pub(crate) fn start_at(
        host: Ipv4Addr,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(host, usize::MAX, script)
    }

    /// Closes each connection after its first answer, without having said so.
    pub(crate) fn closing() -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST, 1, |_| Reply::status(204))
    }

    fn start_with(
        host: Ipv4Addr,
        answers_max: usize,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (script, seen_by, stopped) = (Arc::new(script), Arc::clone(&seen), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen_by));
                let stream = stream.expect("accepting on loopback");
                seen.lock().expect("no thread panicked").connections += 1;
                std::thread::spawn(move || serve(&stream, answers_max, &*script, &seen));
            }
        });
        Self { addr, seen, stop }
    }

    /// Answers 204.
    pub(crate) fn healthy() -> Self {
        Self::start(|_| Reply::status(204))
    }

    /// Answers 204 after `delay`.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self::start(move |_| {
            std::thread::sleep(delay);
            Reply::status(204)
        })
    }

    /// Answers every request with this status and JSON body.
    pub(crate) fn refusing(status: u16, body: &'static str) -> Self {
        Self::start(move |_| Reply::json(status, body))
    }

    /// Answers every other request 503, the first one 204.
    pub(crate) fn flapping() -> Self {
        let down = AtomicBool::new(false);
        Self::start(move |_| {
            let down = down.fetch_xor(true, Ordering::Relaxed);
            Reply::status(if down { 503 } else { 204 })
        })
    }

    /// Answers 503 until the flag is set, and 204 then.
    pub(crate) fn down_until_told() -> (Self, Arc<AtomicBool>) {
        let up = Arc::<AtomicBool>::default();
        let is_up = Arc::clone(&up);
        let backend = Self::start(move |_| {
            Reply::status(if is_up.load(Ordering::Acquire) { 204 } else { 503 })
        });
        (backend, up)
    }

    /// Answers as `script` says, but nothing before the gate is opened.
    pub(crate) fn gated(
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let waits_at = Arc::clone(&gate);
        let backend = Self::start(move |request| {
            waits_at.wait();
            script(request)
        });
        (backend, gate)
    }

    /// An address that refuses connections for as long as the socket lives.
    pub(crate) fn dead() -> (SocketAddr, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        // Bound and not listening: nobody else gets the port, and nobody gets through.
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        (addr.expect("it is bound to an IP address"), socket)
    }

    /// An address whose server answers every connection with something that is not HTTP.
    pub(crate) fn nonsense() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // A relay that hangs up has read enough.
                drop(stream.write_all(b"220 mail.example ESMTP\r\n\r\n"));
                let mut rest = Vec::new();
                drop(stream.read_to_end(&mut rest));
            }
        });
        addr
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().expect("no thread panicked").connections
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// All requests so far, answered or not.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("no thread panicked").requests.clone()
    }

    /// The lines of all requests that were answered 2xx, in the order of their answers.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen.lock().expect("no thread panicked").taken.clone()
    }

    /// Waits for `count` lines.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let taken = || self.seen.lock().expect("no thread panicked").taken.len();
        wait_until(&format!("{count} lines at a backend"), || taken() >= count);
        self.lines()
    }

    /// Waits for `count` requests.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) {
        let asked = || self.seen.lock().expect("no thread panicked").requests.len();
        wait_until(&format!("{count} requests at a backend"), || asked() >= count);
    }
}

impl Drop for HttpBackend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts. If that fails it is awake already.
        drop(TcpStream::connect(self.addr));
    }
}

fn serve(stream: &TcpStream, answers_max: usize, script: &Script, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream);
    for _ in 0..answers_max {
        // The relay may end a connection at any time; that is no failure of the backend.
        let Ok(Some(message)) = http::read(&mut reader, false) else { return };
        let request = Request(message);
        seen.lock().expect("no thread panicked").requests.push(request.clone());
        let reply = script(&request);
        if (200..300).contains(&reply.status) {
            let mut seen = seen.lock().expect("no thread panicked");
            seen.taken.extend(lines(request.body()));
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
        if let Some(content_type) = reply.content_type {
            head += &format!("Content-Type: {content_type}\r\n");
        }
        if let Some(seconds) = reply.retry_after {
            head += &format!("Retry-After: {seconds}\r\n");
        }
        if reply.status != 204 {
            head += &format!("Content-Length: {}\r\n", reply.body.len());
        }
        let mut writer = stream;
        if writer.write_all(format!("{head}\r\n{}", reply.body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Holds back a backend's answers until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(open, |open| !*open));
    }
}
