//! The UDP sink: receives trains of datagrams (GRO), cuts them, feeds the ledger, and tells its
//! own losses apart from the relay's.

use super::Shared;
use crate::kernel;
use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Wide enough for a stall of the sink's thread under full load; what the system grants is used.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;
/// A train of datagrams is at most 64 KiB.
const BUFFER_BYTES: usize = 1 << 16;
/// How often an idle sink looks whether it should stop.
const IDLE_MS: u16 = 20;
/// A busy sink lets datagrams gather, so that waking it costs the sender little. Latency does not
/// suffer: the kernel stamps datagrams as they arrive.
const GATHER: Duration = Duration::from_micros(500);

/// Binds a socket with a large receive buffer, GRO and arrival timestamps.
pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).context("a UDP socket")?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        // Without CAP_NET_ADMIN the system's limit holds; a loss it leads to is counted and said.
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).context("SO_RCVBUF")?;
    }
    setsockopt(&socket, sockopt::UdpGroSegment, &true).context("UDP_GRO")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("SO_TIMESTAMPNS")?;
    socket.bind(&address.into()).with_context(|| format!("cannot bind UDP {address}"))?;
    Ok(socket.into())
}

/// Receives until told to stop and nothing is left.
pub(super) fn receive(socket: &UdpSocket, shared: &Shared) -> Result<()> {
    let port = socket.local_addr()?.port();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut control = cmsg_space!(i32, TimeSpec);
    loop {
        let stopping = shared.stopping();
        let mut readable = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut readable, PollTimeout::from(IDLE_MS)) {
            Ok(0) if stopping => break,
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error).context("poll"),
        }
        std::thread::sleep(GATHER);
        drain(socket, &mut buffer, &mut control, shared)?;
    }
    shared.kernel_drops.store(kernel::udp_drops(port)?, Ordering::Relaxed);
    Ok(())
}

fn drain(socket: &UdpSocket, buffer: &mut [u8], control: &mut [u8], shared: &Shared) -> Result<()> {
    let mut ledger = shared.ledger();
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(control), flags);
        let (bytes, stride, arrived_ns) = match message {
            Ok(message) => {
                let (mut stride, mut arrived) = (message.bytes, None);
                for control in message.cmsgs().context("UDP control messages")? {
                    match control {
                        ControlMessageOwned::UdpGroSegments(n) => stride = usize::try_from(n)?,
                        ControlMessageOwned::ScmTimestampns(at) => arrived = Some(at),
                        _ => {}
                    }
                }
                let arrived = arrived.context("the kernel gave no arrival timestamp")?;
                (message.bytes, stride, u64::try_from(Duration::from(arrived).as_nanos())?)
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error).context("recvmsg"),
        };
        let (mut lines, mut messages) = (0, 0);
        for datagram in buffer[..bytes].chunks(stride.max(1)) {
            lines += ledger.take(datagram, arrived_ns);
            messages += 1;
        }
        shared.lines.fetch_add(lines, Ordering::Relaxed);
        shared.messages.fetch_add(messages, Ordering::Relaxed);
    }
}
