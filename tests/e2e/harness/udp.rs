//! UDP in both directions: sinks that record datagrams, and sources that pace themselves by what
//! the relay says it took, so that no test depends on the size of a socket buffer.

use super::{Relay, lines, names, wait_until};
use rustix::net::sockopt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RECEIVE_BYTES: usize = 16 << 20;

/// A backend by UDP. It stops listening when it is dropped.
pub(crate) struct UdpSink {
    addr: SocketAddr,
    datagrams: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
}

impl UdpSink {
    pub(crate) fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(crate) fn start_at(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind(addr).expect("a free port");
        // So that a sink that is not scheduled for a while loses nothing. Without privileges the
        // system's limit holds, which does unless the machine is very busy.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES).expect("a socket option");
        }
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a valid timeout");
        let addr = socket.local_addr().expect("it is bound");
        let datagrams = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (record, stopped) = (Arc::clone(&datagrams), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                match socket.recv(&mut buffer) {
                    Ok(n) => record.lock().expect("nobody panics").push(buffer[..n].to_vec()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("a sink cannot receive: {error}"),
                }
            }
        });
        Self { addr, datagrams, stop }
    }

    /// An address at which nobody listens, for as long as the socket lives: the kernel answers
    /// with "port unreachable".
    pub(crate) fn dead() -> (SocketAddr, UdpSocket) {
        let socket = bind();
        // Bound, so that nobody else gets the port; connected, so that it takes from one peer only.
        socket.connect((Ipv4Addr::LOCALHOST, 9)).expect("UDP connects to anything");
        (socket.local_addr().expect("it is bound"), socket)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn datagrams(&self) -> Vec<Vec<u8>> {
        self.datagrams.lock().expect("nobody panics").clone()
    }

    /// All lines so far, in the order in which they came.
    pub(crate) fn lines(&self) -> Vec<String> {
        let datagrams = self.datagrams.lock().expect("nobody panics");
        datagrams.iter().flat_map(|datagram| lines(datagram)).collect()
    }

    /// Waits for `count` lines.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<String> {
        wait_until(&format!("{count} lines at a sink"), || self.lines().len() >= count);
        self.lines()
    }
}

impl Drop for UdpSink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

/// Sends datagrams to one listener of a relay, from one port.
pub(crate) struct UdpSource<'a> {
    socket: UdpSocket,
    relay: &'a Relay,
    listener: &'a str,
}

/// How many datagrams, and bytes, may be on their way: well within any receive buffer.
const WINDOW_DATAGRAMS: u64 = 32;
const WINDOW_BYTES: usize = 64 * 1024;

impl<'a> UdpSource<'a> {
    pub(crate) fn new(relay: &'a Relay, listener: &'a str) -> Self {
        let socket = bind();
        socket.connect(relay.addr(listener)).expect("UDP connects to anything");
        Self { socket, relay, listener }
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, datagram: impl AsRef<[u8]>) {
        let datagram = datagram.as_ref();
        let sent = self.socket.send(datagram).expect("loopback takes a datagram");
        assert_eq!(sent, datagram.len());
    }

    /// Sends many, waiting whenever a window full of them is not taken yet. Nothing else may send
    /// to this listener meanwhile. All are taken when it returns.
    #[track_caller]
    pub(crate) fn send_all<D: AsRef<[u8]>>(&self, datagrams: &[D]) {
        let before = self.taken();
        let (mut sent, mut bytes) = (0, 0);
        for datagram in datagrams {
            self.send(datagram);
            sent += 1;
            bytes += datagram.as_ref().len();
            if sent % WINDOW_DATAGRAMS == 0 || bytes >= WINDOW_BYTES {
                self.wait_for_taken(before + sent);
                bytes = 0;
            }
        }
        self.wait_for_taken(before + sent);
    }

    /// Waits until the listener has taken this many datagrams since it started.
    #[track_caller]
    pub(crate) fn wait_for_taken(&self, datagrams: u64) {
        wait_until("the relay to take datagrams", || self.taken() >= datagrams);
    }

    fn taken(&self) -> u64 {
        let labels = [("listener", self.listener)];
        self.relay.metrics().of(names::UDP_DATAGRAMS, &labels)
    }
}
