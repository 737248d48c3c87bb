//! A backend that misbehaves on demand, on plain threads, and keeps its port while it is away.

use crate::fault::{End, Fate, Fault};
use crate::harness;
use crate::line::Line;
use crate::seed::Numbers;
use crate::store::{Store, Told};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What a backend does with requests that hold a line marked as bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Nothing is wrong with it.
    Taken,
    /// 400, and nothing is stored.
    Refused,
    /// 400, and the other lines are stored, as InfluxDB does.
    Partial,
}

/// A backend. It ends when it is dropped.
pub(crate) struct Backend {
    /// Bound and never listening: keeps the port.
    _port: Socket,
    addr: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    shared: Arc<Shared>,
}

struct Shared {
    bad: Bad,
    state: Mutex<State>,
    store: Mutex<Store>,
    /// The relay's life, which the schedule counts.
    life: Arc<AtomicUsize>,
}

struct State {
    fault: Fault,
    numbers: Numbers,
    /// Requests since the fault was set.
    seen: usize,
    connections: Vec<Weak<TcpStream>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    pub(crate) fn start(
        host: Ipv4Addr,
        numbers: Numbers,
        bad: Bad,
        life: &Arc<AtomicUsize>,
    ) -> Self {
        let port = bind((host, 0).into());
        let addr = port.local_addr().ok().and_then(|addr| addr.as_socket());
        let addr = addr.expect("it is bound to an IP address");
        let connections = Vec::new();
        let state = State { fault: Fault::None, numbers, seen: 0, connections };
        let (state, store, life) = (Mutex::new(state), Mutex::default(), Arc::clone(life));
        let shared = Arc::new(Shared { bad, state, store, life });
        let backend = Self { _port: port, addr, listener: Mutex::default(), shared };
        backend.listen();
        backend
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Behaves like this from now on.
    pub(crate) fn set(&self, fault: Fault) {
        let was = {
            let mut state = lock(&self.shared.state);
            state.seen = 0;
            std::mem::replace(&mut state.fault, fault)
        };
        if fault == Fault::Refused {
            self.hang_up();
        } else if was == Fault::Refused {
            self.listen();
        }
    }

    /// How many requests, or connections without one, there were since then.
    pub(crate) fn seen(&self) -> usize {
        lock(&self.shared.state).seen
    }

    /// Ends all connections, and goes on listening.
    pub(crate) fn disconnect(&self) {
        for connection in lock(&self.shared.state).connections.drain(..) {
            if let Some(connection) = connection.upgrade() {
                // The other end may have been faster.
                drop(connection.shutdown(Shutdown::Both));
            }
        }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }

    fn listen(&self) {
        let socket = bind(self.addr);
        socket.listen(64).expect("the port is ours");
        let listener = TcpListener::from(socket);
        let accepting = listener.try_clone().expect("a file descriptor is left");
        *lock(&self.listener) = Some(listener);
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            // Ends when the listener is shut down.
            while let Ok((stream, _)) = accepting.accept() {
                let stream = Arc::new(stream);
                let mut state = lock(&shared.state);
                state.connections.retain(|connection| connection.strong_count() > 0);
                state.connections.push(Arc::downgrade(&stream));
                drop(state);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
    }

    fn hang_up(&self) {
        if let Some(listener) = lock(&self.listener).take() {
            // It stops listening at once, whoever else has it open.
            SockRef::from(&listener).shutdown(Shutdown::Both).expect("it listens");
        }
        self.disconnect();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn bind(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket option");
    socket.bind(&addr.into()).expect("the port is free or ours");
    socket
}

impl Shared {
    fn serve(&self, stream: &Arc<TcpStream>) {
        let mut reader = BufReader::new(&**stream);
        // The relay may end a connection at any time; that is no failure of the backend.
        while reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
            let fault = {
                let mut state = lock(&self.state);
                state.seen += 1;
                let fault = state.fault;
                fault.of_one_request(&mut state.numbers)
            };
            if fault == Fault::Reset {
                return reset(stream);
            }
            let Ok(Some(request)) = harness::read(&mut reader, false) else { return };
            if !self.answer(stream, fault, &request.start, &request.text()) {
                return;
            }
        }
    }

    /// Whether the connection may be used again.
    fn answer(&self, stream: &Arc<TcpStream>, fault: Fault, start: &str, body: &str) -> bool {
        let lines: Option<Vec<_>> =
            body.split('\n').filter(|line| !line.is_empty()).map(Line::parse).collect();
        let Some(lines) = lines else {
            lock(&self.store).defects.push(format!("a request that no source wrote: {body:.200}"));
            return false;
        };
        let database = start.split_once("db=d").and_then(|(_, db)| db.chars().next());
        let database = database.and_then(|digit| digit.to_digit(10)).unwrap_or_default() as usize;
        let fate = fault.fate(&mut lock(&self.state).numbers, lines.len(), database);
        std::thread::sleep(fate.delay);
        let (lines, Fate { stored, end, .. }) = self.without_bad(lines, fate);
        let told = match end {
            End::Answer(400, _) => Told::Partly,
            end if end.tells() => Told::All,
            _ => Told::Nothing,
        };
        let life = self.life.load(Ordering::SeqCst);
        if stored && !lock(&self.store).commit(stream, life, &lines, told) {
            return false;
        }
        finish(stream, end)
    }

    fn without_bad(&self, mut lines: Vec<(Line, i64)>, fate: Fate) -> (Vec<(Line, i64)>, Fate) {
        let bad = |lines: &[(Line, i64)]| lines.iter().any(|(line, _)| line.bad);
        if self.bad == Bad::Taken || !fate.stored || !bad(&lines) {
            return (lines, fate);
        }
        lines.retain(|(line, _)| !line.bad && self.bad == Bad::Partial);
        let end = if fate.end.tells() { End::Answer(400, None) } else { fate.end };
        (lines, Fate { end, ..fate })
    }
}

fn finish(stream: &TcpStream, end: End) -> bool {
    let mut writer = stream;
    let mut write = |text: &str| writer.write_all(text.as_bytes()).is_ok();
    match end {
        End::Answer(status, wait) => {
            let wait = wait.map_or_else(String::new, |s| format!("Retry-After: {s}\r\n"));
            let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
            write(&format!("HTTP/1.1 {status} Scripted\r\n{wait}{length}\r\n"))
        }
        End::HalfBody(status) => {
            write(&format!("HTTP/1.1 {status} Scripted\r\nContent-Length: 99\r\n\r\nhalf"));
            false
        }
        End::ResetInAnswer => {
            write("HTTP/1.1 20");
            reset(stream);
            false
        }
        End::Close => false,
        End::Garbage => {
            write("220 mail.example ESMTP\r\n\r\n");
            false
        }
        End::Stall => {
            // Until the relay, or the end of this backend, closes it.
            drop(stream.set_read_timeout(Some(Duration::from_secs(60))));
            let mut reader = stream;
            let mut byte = [0];
            while reader.read(&mut byte).is_ok_and(|read| read > 0) {}
            false
        }
    }
}

/// The last reference that is dropped sends a reset.
fn reset(stream: &TcpStream) {
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}
