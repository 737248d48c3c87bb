//! The floor: the least work that a UDP relay can do on this kernel, as a measure for a real one.
//!
//! One thread receives by the relay's own ring (multishot, GRO) with the relay's own waiting, so
//! that both are given the same latency, packs datagrams into segments of `mtu` bytes and sends
//! them on by GSO. It looks at no line, keeps no queue and no books: what it loses, it loses.
//! `loadgen bench --relay floor` runs it as a process of its own.

mod packing;

use crate::interrupt::Interrupt;
use anyhow::{Context, Result, ensure};
use packing::Packing;
use ringrelay::ring::{Event, ReceiveRing, Received, cmsg};
use ringrelay::segment::datagrams;
use ringrelay::sys;
use ringrelay::udp::gather::{Gather, Turn};
use ringrelay::udp::{RECEIVE_BUFFERS, room_bytes};
use socket2::{MsgHdr, SockRef};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// As the relay's `batch-wait-us` by default.
pub const BATCH_WAIT_US: u32 = 2_000;
/// As the relay: half of the receive buffers end a wait.
const WANT_MAX: usize = RECEIVE_BUFFERS as usize / 2;
/// How often an idle floor looks whether it should stop, if the signal did not wake it.
const IDLE: Duration = Duration::from_millis(500);
/// What a send may leave in the kernel's hands, as the relay's.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// What to forward.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to receive.
    pub listen: SocketAddr,
    /// Where to send every datagram to.
    pub to: Vec<SocketAddr>,
    /// Bytes of a segment.
    pub mtu: u16,
    /// Bytes of receive buffer to ask for.
    pub read_buffer: usize,
    /// How long datagrams may gather.
    pub batch_wait: Duration,
}

/// What was forwarded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwarded {
    /// Datagrams received.
    pub datagrams: u64,
    /// Sends to all targets together.
    pub sends: u64,
    /// Those that the kernel refused.
    pub failed: u64,
}

/// Forwards until a signal says stop.
///
/// # Errors
/// If a socket or the ring cannot be had, or receiving fails.
pub fn run(plan: &Plan) -> Result<Forwarded> {
    let interrupt = Interrupt::watch()?;
    let mut forwarder = Forwarder::new(plan)?;
    let socket = receiver(plan).with_context(|| format!("cannot bind UDP {}", plan.listen))?;
    // As the relay pins its workers; where that is forbidden, both run unpinned.
    sys::pin_thread(0).ok();
    let mut ring = ReceiveRing::new(socket, RECEIVE_BUFFERS).context("no io_uring ring")?;
    let mut gather = Gather::new(plan.batch_wait, WANT_MAX, room_bytes(&ring));
    let mut woken = Instant::now();
    while !interrupt.came() {
        let want = gather.want();
        let started = Instant::now();
        ring.wait(want, gather.wait(), IDLE).context("waiting for datagrams")?;
        let waited = started.elapsed();
        let since = woken.elapsed();
        woken += since;
        let (mut datagrams, mut bytes) = (0, 0);
        let mut failure = None;
        let completions = ring.drain(2 * want, |event| match event {
            Event::Datagrams(received) => {
                datagrams += received.datagrams();
                bytes += received.payload.len();
                forwarder.take(&received);
            }
            Event::BuffersExhausted => {}
            Event::Failed(error) => failure = Some(error),
        });
        let turn = Turn { waited, since, completions, datagrams, bytes };
        if gather.turned(&turn) {
            forwarder.flush();
        }
        failure.map_or(Ok(()), Err).context("receiving")?;
    }
    forwarder.flush();
    Ok(forwarder.forwarded)
}

fn receiver(plan: &Plan) -> io::Result<UdpSocket> {
    let socket = sys::bind_udp(plan.listen, 1)?.remove(0);
    sys::set_receive_options(&socket)?;
    if plan.read_buffer > 0 {
        sys::set_read_buffer(&socket, plan.read_buffer)?;
    }
    Ok(socket)
}

struct Forwarder {
    packing: Packing,
    targets: Vec<UdpSocket>,
    mtu: u16,
    forwarded: Forwarded,
}

impl Forwarder {
    fn new(plan: &Plan) -> Result<Self> {
        ensure!(!plan.to.is_empty(), "the floor needs a target");
        let connect = |&to: &SocketAddr| {
            connect(to).with_context(|| format!("cannot send to udp://{to} by GSO"))
        };
        let targets = plan.to.iter().map(connect).collect::<Result<_>>()?;
        let packing = Packing::new(usize::from(plan.mtu));
        Ok(Self { packing, targets, mtu: plan.mtu, forwarded: Forwarded::default() })
    }

    fn take(&mut self, received: &Received<'_>) {
        for datagram in datagrams(received.payload, received.stride) {
            self.forwarded.datagrams += 1;
            if !self.packing.push(datagram) {
                self.flush();
                if !self.packing.push(datagram) {
                    // Longer than a segment: it goes on as it came.
                    self.send(datagram, None);
                }
            }
        }
    }

    fn flush(&mut self) {
        let packed = self.packing.take();
        let control = cmsg::gso_segment(self.mtu);
        let segmented = packed.len() > usize::from(self.mtu);
        if !packed.is_empty() {
            self.send(&packed, segmented.then_some(&control));
        }
        self.packing.put_back(packed);
    }

    fn send(&mut self, bytes: &[u8], control: Option<&[u8]>) {
        let slices = [IoSlice::new(bytes)];
        let mut message = MsgHdr::new().with_buffers(&slices);
        if let Some(control) = control {
            message = message.with_control(control);
        }
        for target in &self.targets {
            let target = SockRef::from(target);
            self.forwarded.sends += 1;
            let sent = match target.sendmsg(&message, 0) {
                // The fate of an earlier datagram; this one has not been sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    target.sendmsg(&message, 0)
                }
                sent => sent,
            };
            self.forwarded.failed += u64::from(sent.is_err());
        }
    }
}

fn connect(to: SocketAddr) -> Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES)?;
    ensure!(sys::has_gso(&socket), "this kernel has no UDP_SEGMENT");
    Ok(socket)
}
