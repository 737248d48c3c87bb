//! Socket activation: sockets that outlive the relay, and what comes while no relay runs.

use crate::harness::{
    DEADLINE, HttpBackend, Relay, UdpSink, UdpSource, binary, config_file, http_listener,
    http_output, lines, names, numbered, require, run, script, udp_listener, udp_output,
    wait_until,
};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a service manager gives its sockets: room for all that comes during a restart.
const RECEIVE_BYTES: usize = 64 << 20;

/// Whether a thread that sends shall stop.
#[derive(Default)]
struct Stop(AtomicBool);

impl Stop {
    fn said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Says stop when it is dropped: a test that fails ends, too.
struct Stops<'a>(&'a Stop);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.say();
    }
}

/// A UDP socket of the service manager.
fn udp() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES).expect("a socket option");
    }
    let addr = socket.local_addr().expect("it is bound");
    (socket, addr)
}

/// A command that passes these sockets to the relay, as long as `with` runs.
fn passing<T>(sockets: &[BorrowedFd<'_>], with: impl FnOnce(Command) -> T) -> T {
    let keep = |flags| {
        for socket in sockets {
            fcntl_setfd(socket, flags).expect("a flag of an open socket");
        }
    };
    let numbers: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd().to_string()).collect();
    let mut command = Command::new("python3");
    command.arg(script("pass_sockets.py")).arg(numbers.join(",")).arg(binary());
    keep(FdFlags::empty());
    let result = with(command);
    keep(FdFlags::CLOEXEC);
    result
}

fn start(toml: &str, sockets: &[BorrowedFd<'_>]) -> Relay {
    passing(sockets, |command| Relay::start_as(command, toml))
}

fn at(toml: &str, addr: SocketAddr) -> String {
    toml.replace("127.0.0.1:0", &addr.to_string())
}

#[test]
fn a_restart_under_load_loses_no_datagram() {
    if !require(&["python3"]) {
        return;
    }
    let ((socket, addr), sink) = (udp(), UdpSink::start());
    let toml = at(&udp_listener("in", "", &[udp_output("out", sink.addr(), "")]), addr);
    let stop = Stop::default();
    let sent = std::thread::scope(|scope| {
        // 20 datagrams each 5 ms: whatever the relay does, they come.
        let sending = scope.spawn(|| {
            let source = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            let lines = numbered("steady", 400_000);
            let mut sent = 0;
            while !stop.said() {
                for line in &lines[sent..sent + 20] {
                    source.send_to(line.as_bytes(), addr).expect("loopback takes it");
                }
                sent += 20;
                std::thread::sleep(Duration::from_millis(5));
            }
            lines[..sent].to_vec()
        });
        let _stops = Stops(&stop);
        for restart in 1..=4 {
            let relay = start(&toml, &[socket.as_fd()]);
            let before = sink.datagrams().len();
            wait_until("some lines", || sink.datagrams().len() > before + 3);
            if restart == 4 {
                stop.say();
                let sent = sending.join().expect("the sender does not panic");
                wait_until("all lines", || sink.lines().len() >= sent.len());
                relay.finish();
                return sent;
            }
            relay.signal(Signal::TERM);
            let stopped = relay.wait();
            let log = stopped.log.join("\n");
            assert!(stopped.status.success(), "{}\n{log}", stopped.status);
            stopped.books_close();
            let books = stopped.books("in", "out");
            assert_eq!(books.taken, books.delivered, "{log}");
        }
        unreachable!("the last relay returns")
    });
    assert_eq!(sink.lines(), sent, "each once, and in order");
}

#[test]
fn a_restart_keeps_clients_waiting_and_refuses_none() {
    if !require(&["python3"]) {
        return;
    }
    let (backend, socket) = (HttpBackend::healthy(), TcpListener::bind("127.0.0.1:0"));
    let socket = socket.expect("a free port");
    let addr = socket.local_addr().expect("it is bound");
    let toml = at(&http_listener("in", "", &[http_output("db", backend.addr(), "")]), addr);
    let toml = format!("http-threads = 2\n{toml}");
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for line in numbered("posted", 100_000) {
                if stop.said() {
                    break;
                }
                // A relay that stops may end a connection whose request it has not read.
                while !post(addr, &line) {
                    if stop.said() {
                        return acknowledged;
                    }
                }
                acknowledged.push(line);
            }
            acknowledged
        });
        let _stops = Stops(&stop);
        for restart in 1..=3 {
            let relay = start(&toml, &[socket.as_fd()]);
            let before = backend.lines().len();
            wait_until("some lines", || backend.lines().len() > before + 20);
            if restart == 3 {
                stop.say();
                let acknowledged = sending.join().expect("no client was refused");
                let taken = backend.lines();
                assert!(acknowledged.iter().all(|line| taken.contains(line)));
                relay.finish();
                return;
            }
            relay.signal(Signal::TERM);
            assert!(relay.wait().status.success());
        }
    });
}

/// Posts a line on a connection of its own; `false` if that ended without an answer.
fn post(addr: SocketAddr, line: &str) -> bool {
    let mut stream = TcpStream::connect(addr).expect("the service manager's socket listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    let length = line.len();
    let head = format!("POST /write?db=d HTTP/1.1\r\nHost: relay\r\nContent-Length: {length}\r\n");
    let request = format!("{head}Connection: close\r\n\r\n{line}");
    let mut answer = String::new();
    let sent =
        stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    if sent.is_err() || answer.is_empty() {
        return false;
    }
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    true
}

#[test]
fn as_many_workers_run_as_sockets_were_passed() {
    if !require(&["python3"]) {
        return;
    }
    let (sink, (socket, addr), (dead, _dead)) = (UdpSink::start(), udp(), HttpBackend::dead());
    let toml = udp_listener("in", "workers = 3", &[udp_output("out", sink.addr(), "")]);
    let web = http_listener("web", "", &[http_output("db", dead, "")]);
    // The listener that nothing is passed for is bound as ever.
    let relay = start(&format!("{}{web}", at(&toml, addr)), &[socket.as_fd()]);
    assert_eq!(relay.addr("in"), addr);
    assert_eq!(relay.client("web").get("/ping").status(), 204);
    let log = relay.log().join("\n");
    assert!(log.contains("as many workers run as sockets were passed"), "{log}");
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    assert_eq!(relay.metrics().of(names::UDP_DATAGRAMS, &[]), 1);
    relay.finish();
}

#[test]
fn what_no_listener_has_is_an_error_that_names_it() {
    if !require(&["python3"]) {
        return;
    }
    let ((socket, addr), (other, other_addr)) = (udp(), udp());
    let output = udp_output("out", "127.0.0.1:9".parse().expect("an address"), "");
    let toml = at(&udp_listener("in", "", &[output]), addr);
    let (_dir, file) = config_file(&toml);
    let sockets = [socket.as_fd(), other.as_fd()];
    let output = passing(&sockets, |mut command| run(command.arg("-config").arg(&file)));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    for said in ["descriptor 4", "test-1", &other_addr.to_string(), "bind-addr", "[[udp]]"] {
        assert!(error.contains(said), "no {said:?} in: {error}");
    }
    assert!(lines(output.stdout.as_slice()).is_empty());
}
