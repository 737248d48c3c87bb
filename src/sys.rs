//! Sockets and threads as the relay wants them: the system calls behind `relay`, `udp` and
//! `backend`, with the kernel's errors left for them to put into words. No ring here: see `ring`.
#![expect(unsafe_code, reason = "socket options that no safe wrapper offers")]

mod pages;
mod ready;

pub use pages::Pages;
pub(crate) use pages::map;
pub use ready::ReadyListener;

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Connections that may wait for `accept`; the kernel caps it at `net.core.somaxconn`.
const LISTEN_BACKLOG: i32 = 1024;
/// How long a port may stay taken before the bind fails.
const TAKEN_PORT_PATIENCE: Duration = Duration::from_millis(500);
/// linux/sock_diag.h: the places of `SO_MEMINFO` up to the count of dropped datagrams.
const SK_MEMINFO_VARS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;

/// Nanoseconds since the epoch, by the system's clock.
#[must_use]
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Seconds since the epoch, by the system's clock.
#[must_use]
pub fn now_s() -> u64 {
    u64::try_from(now_ns() / 1_000_000_000).unwrap_or_default()
}

/// Cores this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pins the calling thread to the `n`-th core (modulo their number) that this process may use.
///
/// # Errors
/// The kernel's, for example inside a container that forbids it.
pub fn pin_thread(n: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let Some(&core) = cores.get(n % cores.len().max(1)) else {
        return Ok(());
    };
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// Raises this process' limit on open files as far as it may go, which is what a Go program's
/// runtime does: the usual 1024 are soon taken by clients, and then no backend can be connected to.
///
/// # Errors
/// The kernel's.
pub fn raise_file_limit() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// How many files this process may have open; `None` is no limit.
#[must_use]
pub fn file_limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

/// The sockets that the service manager has passed to this process, each with the descriptor's
/// number and its name. They can be had once; later there are none.
///
/// # Errors
/// The service manager has said something else than it did.
pub fn passed_sockets() -> io::Result<Vec<(RawFd, String, Socket)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    Ok(passed
        .map(|(fd, name)| {
            // SAFETY: the service manager opened it for this process alone (`LISTEN_PID`), it is
            // open (its flags were set just now), and only this call, once, makes an owner of it.
            let owned = unsafe { OwnedFd::from_raw_fd(fd) };
            (fd, name, Socket::from(owned))
        })
        .collect())
}

/// Binds `count` UDP sockets to one address with `SO_REUSEPORT`; port 0 is chosen once.
///
/// # Errors
/// `AddrInUse` if anybody else has the port, though `SO_REUSEPORT` would let us share it, and
/// whatever the kernel says.
pub fn bind_udp(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let bind = |address| bind_shared(address, Type::DGRAM, Protocol::UDP);
    let sockets = bind_all(address, count, Type::DGRAM, Protocol::UDP, bind)?;
    Ok(sockets.into_iter().map(UdpSocket::from).collect())
}

/// Binds `count` listening TCP sockets to one address with `SO_REUSEPORT`; see [`bind_udp`].
///
/// # Errors
/// As [`bind_udp`].
pub fn bind_tcp(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let bind = |address| {
        let socket = bind_shared(address, Type::STREAM, Protocol::TCP)?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(socket)
    };
    let sockets = bind_all(address, count, Type::STREAM, Protocol::TCP, bind)?;
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

fn bind_all(
    address: SocketAddr,
    count: usize,
    kind: Type,
    protocol: Protocol,
    bind: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Vec<Socket>> {
    let address = usable(address)?;
    if address.port() != 0 {
        probe(address, kind, protocol)?;
    }
    let first = bind(address)?;
    let bound = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(bound)?);
    }
    Ok(sockets)
}

/// Makes sure that nobody has the address: without `SO_REUSEPORT` a bind fails where another
/// process holds the port, shared or not. The kernel lets go of the sockets of a killed process'
/// rings a moment after the process is gone, hence the patience.
fn probe(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<()> {
    let give_up = Instant::now() + TAKEN_PORT_PATIENCE;
    loop {
        let probe = socket_for(address, kind, protocol)?;
        probe.set_reuse_address(kind == Type::STREAM)?;
        match probe.bind(&SockAddr::from(address)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(TAKEN_PORT_PATIENCE / 20);
            }
            result => return result,
        }
    }
}

/// All addresses of both families where the host has IPv6, else all of IPv4.
fn usable(address: SocketAddr) -> io::Result<SocketAddr> {
    let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    match Socket::new(Domain::for_address(address), Type::DGRAM, None) {
        Err(error) if any_v6 && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        Err(error) => Err(error),
        Ok(_) => Ok(address),
    }
}

fn socket_for(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

fn bind_shared(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = socket_for(address, kind, protocol)?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Asks for `bytes` of receive buffer and answers how many the kernel granted.
///
/// # Errors
/// The kernel's.
pub fn set_read_buffer(socket: &UdpSocket, bytes: usize) -> io::Result<usize> {
    let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
    // FORCE passes over net.core.rmem_max and needs CAP_NET_ADMIN: without it, the plain option.
    if set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted).is_err() {
        set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, wanted)?;
    }
    read_buffer(socket)
}

/// How many bytes of receive buffer a socket has.
///
/// # Errors
/// The kernel's.
pub fn read_buffer(socket: &UdpSocket) -> io::Result<usize> {
    // The kernel doubles what was asked to allow for its own bookkeeping (socket(7)).
    Ok(socket2::SockRef::from(socket).recv_buffer_size()? / 2)
}

/// Lets the kernel join datagrams of one flow (GRO) and report its drops with each receive.
///
/// # Errors
/// The kernel's.
pub fn set_receive_options(socket: &UdpSocket) -> io::Result<()> {
    set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    set_int(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// Whether the kernel can cut one send into equal segments (GSO) on this socket.
#[must_use]
pub fn has_gso(socket: &UdpSocket) -> bool {
    set_int(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Refuses every datagram from now on; what is queued already can still be read. The kernel
/// counts what it refuses among the socket's drops.
///
/// # Errors
/// The kernel's.
pub fn refuse_datagrams(socket: &UdpSocket) -> io::Result<()> {
    // linux/filter.h: "return 0 bytes of the packet".
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    socket2::SockRef::from(socket).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
}

/// Datagrams that the kernel has dropped at this socket so far: a running `u32` that wraps.
///
/// # Errors
/// The kernel's.
pub fn kernel_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0u32; SK_MEMINFO_VARS];
    let mut length = size_in_bytes(&info);
    // SAFETY: `info` and `length` live through the call, and `length` is the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(info[SK_MEMINFO_DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// What is known of the other end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// As far as the kernel knows it is there.
    There,
    /// It sends nothing more. It may wait for what we send, or be gone.
    Finished,
    /// It is gone: the connection is no more.
    Gone,
}

/// How the other end of a TCP connection stands, whatever is still to be read.
#[must_use]
pub fn peer(connection: &impl AsRawFd) -> Peer {
    // linux/tcp.h: `tcpi_state` is the first byte of `tcp_info`; the kernel fills what fits
    // (net/ipv4/tcp.c). The states are those of net/tcp_states.h.
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    let mut state = 0_u8;
    let mut length = size_in_bytes(&state);
    // SAFETY: `state` and `length` live through the call, and `length` is the size of `state`.
    let result = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    match state {
        CLOSE if result == 0 => Peer::Gone,
        CLOSE_WAIT if result == 0 => Peer::Finished,
        _ => Peer::There,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "socket options have a few bytes")]
fn size_in_bytes<T>(value: &T) -> libc::socklen_t {
    size_of_val(value) as libc::socklen_t
}

fn set_int(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` lives through the call and its size is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_in_bytes(&value),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_port_that_somebody_has_is_not_shared() {
        let ours = bind_udp(LOOPBACK, 2).expect("loopback has free ports");
        let address = ours[0].local_addr().expect("it is bound");
        assert_eq!(address, ours[1].local_addr().expect("it is bound"));
        let error = bind_udp(address, 1).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let ours = bind_tcp(LOOPBACK, 2).expect("loopback has free ports");
        let address = ours[0].local_addr().expect("it is bound");
        let error = bind_tcp(address, 1).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_closed_filter_keeps_what_was_queued_and_counts_the_rest() {
        let socket = bind_udp(LOOPBACK, 1).expect("loopback has free ports").remove(0);
        let address = socket.local_addr().expect("it is bound");
        let sender = UdpSocket::bind(LOOPBACK).expect("loopback has free ports");
        sender.send_to(b"before", address).expect("loopback takes it");
        refuse_datagrams(&socket).expect("the kernel has socket filters");
        sender.send_to(b"after", address).expect("loopback takes it");
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).expect("one datagram was queued");
        assert_eq!(&buffer[..length], b"before");
        assert_eq!(kernel_drops(socket.as_fd()).expect("the kernel has SO_MEMINFO"), 1);
    }

    #[test]
    fn the_other_end_is_there_then_finished_or_gone() {
        let listener = bind_tcp(LOOPBACK, 1).expect("loopback has free ports").remove(0);
        let address = listener.local_addr().expect("it is bound");
        let pair = || {
            let client = std::net::TcpStream::connect(address).expect("it listens");
            (client, listener.accept().expect("it is connected").0)
        };
        let wait_for = |ours: &std::net::TcpStream, expected| {
            let end = Instant::now() + Duration::from_secs(10);
            while peer(ours) != expected {
                assert!(Instant::now() < end, "{:?}", peer(ours));
                std::thread::yield_now();
            }
        };
        let (mut client, ours) = pair();
        assert_eq!(peer(&ours), Peer::There);
        // Unread bytes do not hide it.
        std::io::Write::write_all(&mut client, b"x").expect("there is room");
        client.shutdown(std::net::Shutdown::Write).expect("it is open");
        wait_for(&ours, Peer::Finished);
        let (client, ours) = pair();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a TCP option");
        drop(client);
        wait_for(&ours, Peer::Gone);
    }

    #[test]
    fn the_limit_on_open_files_is_raised_as_far_as_it_may_go() {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut low = getrlimit(Resource::Nofile);
        low.current = low.maximum.map(|most| most - 1);
        setrlimit(Resource::Nofile, low).expect("lower is always allowed");
        raise_file_limit().expect("up to the maximum is allowed");
        assert_eq!(getrlimit(Resource::Nofile).current, low.maximum);
    }

    #[test]
    fn the_read_buffer_is_read_back() {
        let socket = bind_udp(LOOPBACK, 1).expect("loopback has free ports").remove(0);
        let granted = set_read_buffer(&socket, 65_536).expect("64 KiB are always granted");
        assert_eq!(granted, 65_536);
    }
}
