//! Sockets that the service manager has bound and passes on: socket activation.
//!
//! `main` takes them first of all, `relay` finds those of each listener by transport and address.
//! They stay open in the service manager when this process ends, with all that is queued in them.

use crate::sys;
use socket2::{Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// What was passed and has found no listener yet.
#[derive(Debug, Default)]
pub struct Passed(Vec<One>);

#[derive(Debug)]
struct One {
    what: Descriptor,
    kind: Type,
    address: SocketAddr,
    socket: Socket,
}

/// A passed descriptor, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    number: i32,
    /// `FileDescriptorName=`, or the unit's name.
    name: String,
}

/// What is wrong with what was passed.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// The environment contradicts itself.
    #[error(
        "socket activation: {0}; LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES must be as the service \
         manager sets them"
    )]
    Environment(io::Error),
    /// It is nothing that a listener can have.
    #[error(
        "socket activation: {0} is neither a UDP socket nor a listening TCP socket with an IP \
         address; write ListenDatagram= or ListenStream= with an address and a port"
    )]
    NoListener(Descriptor),
    /// No listener has the address.
    #[error(
        "socket activation: {what} is a {transport} socket at {address}, which is the bind-addr \
         of no {sections}; write the same address in the .socket unit and in the configuration, or \
         take one of them out"
    )]
    Unclaimed {
        /// The descriptor.
        what: Descriptor,
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// Where it is bound.
        address: SocketAddr,
        /// The tables that could have it.
        sections: &'static str,
    },
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "descriptor {} ({:?})", self.number, self.name)
    }
}

impl Passed {
    /// Takes over what was passed to this process; none without a service manager.
    ///
    /// # Errors
    /// The first thing that is no socket of a listener.
    pub fn take() -> Result<Self, PassedError> {
        let passed = sys::passed_sockets().map_err(PassedError::Environment)?;
        let each = passed.into_iter().map(|(number, name, socket)| {
            let what = Descriptor { number, name };
            One::read(what.clone(), socket).ok_or(PassedError::NoListener(what))
        });
        Ok(Self(each.collect::<Result<_, _>>()?))
    }

    /// The UDP sockets at an address.
    pub fn udp(&mut self, address: SocketAddr) -> Vec<UdpSocket> {
        self.claim(Type::DGRAM, address).map(UdpSocket::from).collect()
    }

    /// The listening TCP sockets at an address.
    pub fn tcp(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.claim(Type::STREAM, address).map(TcpListener::from).collect()
    }

    fn claim(&mut self, kind: Type, address: SocketAddr) -> impl Iterator<Item = Socket> {
        let is_its = |one: &One| one.kind == kind && same(one.address, address);
        let (its, left) = std::mem::take(&mut self.0).into_iter().partition(is_its);
        self.0 = left;
        let its: Vec<One> = its;
        its.into_iter().map(|one| one.socket)
    }

    /// To be called when every listener has claimed its own.
    ///
    /// # Errors
    /// What nobody has claimed: a client that sends there would wait for ever.
    pub fn all_claimed(&self) -> Result<(), PassedError> {
        let Some(One { what, kind, address, .. }) = self.0.first() else { return Ok(()) };
        let (transport, sections) = match *kind {
            Type::DGRAM => ("UDP", "[[udp]]"),
            _ => ("TCP", "[[http]] and not of [admin]"),
        };
        let (what, address) = (what.clone(), *address);
        Err(PassedError::Unclaimed { what, transport, address, sections })
    }
}

impl One {
    fn read(what: Descriptor, socket: Socket) -> Option<Self> {
        let kind = socket.r#type().ok()?;
        let is_right = match kind {
            Type::DGRAM => true,
            Type::STREAM => socket.is_listener().ok()?,
            _ => false,
        };
        let address = socket.local_addr().ok()?.as_socket().filter(|_| is_right)?;
        Some(Self { what, kind, address, socket })
    }
}

/// IPv4 written as IPv6 is the same; `[::]` and `0.0.0.0` are not: the one takes more.
fn same(passed: SocketAddr, configured: SocketAddr) -> bool {
    let ip = |address: SocketAddr| match address.ip() {
        IpAddr::V6(ip) => ip.to_canonical(),
        ip @ IpAddr::V4(_) => ip,
    };
    passed.port() == configured.port() && ip(passed) == ip(configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(socket: impl Into<Socket>) -> Option<One> {
        One::read(Descriptor { number: 3, name: "relay.socket".to_owned() }, socket.into())
    }

    fn bound(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address).expect("loopback has free ports");
        let address = socket.local_addr().expect("it is bound");
        (socket, address)
    }

    #[test]
    fn a_socket_goes_to_the_listener_of_its_transport_and_address() {
        let ((a, at_a), (b, at_b)) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
        let mut passed = Passed(vec![one(a).expect("UDP"), one(b).expect("UDP")]);
        assert!(passed.tcp(at_a).is_empty());
        assert_eq!(passed.udp(at_a).len(), 1);
        assert!(passed.udp(at_a).is_empty(), "it is claimed");
        let error = passed.all_claimed().expect_err("one is left").to_string();
        let said = [
            "descriptor 3 (\"relay.socket\") is a UDP socket",
            &at_b.to_string(),
            "of no [[udp]];",
        ];
        assert!(said.iter().all(|said| error.contains(said)), "{error}");
        assert_eq!(passed.udp(at_b).len(), 1);
        assert!(passed.all_claimed().is_ok());
    }

    #[test]
    fn what_no_listener_can_have_is_no_socket_for_one() {
        let listening = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listening.local_addr().expect("it is bound");
        let connected = std::net::TcpStream::connect(address).expect("it listens");
        assert!(one(listening).is_some());
        assert!(one(connected).is_none());
        let (unix, _other) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        assert!(one(unix).is_none());
        let file = std::fs::File::open("/dev/null").expect("every Linux has it");
        assert!(one(std::os::fd::OwnedFd::from(file)).is_none());
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(same(at("[::ffff:10.0.0.1]:80"), at("10.0.0.1:80")));
        assert!(!same(at("10.0.0.1:80"), at("10.0.0.1:81")));
        assert!(!same(at("[::]:80"), at("0.0.0.0:80")), "one of them takes less");
    }
}
