//! A connected socket to one backend, and its system calls: datagrams alone, or in segments.
//!
//! Called by `backend::udp`, by several threads at a time. Says what became of each line; counts
//! datagrams and what failed.

use super::pack::Datagram;
use super::{SEGMENTS_MAX, SEND_BYTES_MAX};
use crate::batch::Batch;
use crate::metrics;
use crate::ring::cmsg;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SendFlags;
use socket2::{MsgHdr, SockRef};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// No send may outlast this: the socket's buffer empties as fast as the network card.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// What a send may leave in the kernel's hands.
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// How many reports of earlier datagrams one send may meet.
const REFUSALS_MAX: usize = 16;

/// Fills up datagrams of one GSO send that are shorter than their siblings: line protocol allows
/// empty lines.
static PADDING: [u8; SEND_BYTES_MAX] = [b'\n'; SEND_BYTES_MAX];

#[derive(Debug)]
pub(super) struct Connected {
    pub(super) socket: UdpSocket,
    has_gso: AtomicBool,
    /// A send failed for what a new socket may mend: the host's address or route has changed.
    broken: AtomicBool,
}

/// What became of a batch that was to leave in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Sent,
    /// The socket's buffer has no room for it at the moment.
    Full,
    /// It cannot leave like this.
    Unfit,
}

/// What became of the lines of one batch.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) delivered: u64,
    pub(super) overlong: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
}

impl Connected {
    pub(super) fn open(location: &str) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in location.to_socket_addrs()? {
            match Self::connect(address) {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect(address: SocketAddr) -> io::Result<Self> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        let has_gso = AtomicBool::new(sys::has_gso(&socket));
        Ok(Self { socket, has_gso, broken: AtomicBool::new(false) })
    }

    /// Whether it takes a new socket to go on.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn has_gso(&self) -> bool {
        self.has_gso.load(Ordering::Relaxed)
    }

    /// Whether at least half of the send buffer is free (net/sock.h, `sock_writeable`): then it
    /// takes one batch without blocking, for a batch is smaller than half of the smallest buffer
    /// that the kernel's defaults grant.
    pub(super) fn is_writable(&self) -> bool {
        let mut poll = [PollFd::new(&self.socket, PollFlags::OUT)];
        let now = Timespec::default();
        matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1))
            && poll[0].revents().contains(PollFlags::OUT)
    }

    /// Sends a batch that is laid out in segments of the `mtu` as it lies, in one call. One that is
    /// unfit is to be sent datagram by datagram, and each failure has its count.
    pub(super) fn send_laid_out(
        &self,
        batch: &Batch,
        mtu: usize,
        metrics: &metrics::Backend,
        flags: SendFlags,
    ) -> Whole {
        let segments = batch.bytes().len().div_ceil(mtu);
        if segments > 1 && (!self.has_gso() || segments > SEGMENTS_MAX) {
            return Whole::Unfit;
        }
        let slices = [IoSlice::new(batch.bytes())];
        match self.send_slices(&slices, segments, mtu, metrics, flags) {
            Ok(()) => {
                metrics.datagrams.add(segments as u64);
                Whole::Sent
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Whole::Full,
            Err(_) => Whole::Unfit,
        }
    }

    /// Sends the datagrams of `run`, all in one call where the kernel can.
    pub(super) fn send_run(
        &self,
        bytes: &[u8],
        run: &[Datagram],
        metrics: &metrics::Backend,
        tally: &mut Tally,
    ) {
        if self.has_gso() && run.len() > 1 {
            match self.send_segments(bytes, run, metrics) {
                Ok(()) => return tally.deliver(run, metrics),
                Err(error) if is_segmentation_failure(&error) => {
                    if self.has_gso.swap(false, Ordering::Relaxed) {
                        tracing::info!(%error, "no segmented sends here: one call a datagram");
                    }
                }
                Err(error) => {
                    self.failed(&error, metrics);
                    return tally.fail(run);
                }
            }
        }
        for datagram in run {
            let one = std::slice::from_ref(datagram);
            match self.send_segments(bytes, one, metrics) {
                Ok(()) => tally.deliver(one, metrics),
                Err(error) => {
                    self.failed(&error, metrics);
                    tally.fail(one);
                }
            }
        }
    }

    fn failed(&self, error: &io::Error, metrics: &metrics::Backend) {
        metrics.send_errors.add(1);
        // Nobody listens there, or no memory is left at the moment: that is not the socket's.
        let passing = matches!(
            error.raw_os_error(),
            Some(libc::ECONNREFUSED | libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)
        );
        if !passing {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// One system call: `run` as segments of one size, the shorter ones padded with newlines.
    fn send_segments(
        &self,
        bytes: &[u8],
        run: &[Datagram],
        metrics: &metrics::Backend,
    ) -> io::Result<()> {
        let segment = run.iter().map(Datagram::payload_len).max().unwrap_or_default();
        let mut slices = [IoSlice::new(&[]); 2 * SEGMENTS_MAX];
        let mut count = 0;
        for (index, datagram) in run.iter().enumerate() {
            let data = &bytes[datagram.start..datagram.end.min(datagram.start + segment)];
            slices[count] = IoSlice::new(data);
            count += 1;
            if data.len() < segment && index + 1 < run.len() {
                slices[count] = IoSlice::new(&PADDING[..segment - data.len()]);
                count += 1;
            }
        }
        self.send_slices(&slices[..count], run.len(), segment, metrics, SendFlags::empty())
    }

    /// One system call: `slices` are `segments` datagrams of `bytes` each, the last maybe shorter.
    fn send_slices(
        &self,
        slices: &[IoSlice<'_>],
        segments: usize,
        bytes: usize,
        metrics: &metrics::Backend,
        flags: SendFlags,
    ) -> io::Result<()> {
        let control = cmsg::gso_segment(u16::try_from(bytes).unwrap_or(u16::MAX));
        let mut message = MsgHdr::new().with_buffers(slices);
        if segments > 1 {
            message = message.with_control(&control);
        }
        let socket = SockRef::from(&self.socket);
        let mut refusals = 0;
        loop {
            match socket.sendmsg(&message, flags.bits().cast_signed()) {
                // The kernel reports the fate of an earlier datagram, maybe of another thread's,
                // and has not sent this one.
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused
                        && refusals < REFUSALS_MAX =>
                {
                    refusals += 1;
                    metrics.udp_refused.add(1);
                }
                result => return result.map(drop),
            }
        }
    }
}

/// The route cannot segment: offload is missing, or a segment is larger than its packets.
fn is_segmentation_failure(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE))
}

impl Tally {
    fn deliver(&mut self, run: &[Datagram], metrics: &metrics::Backend) {
        metrics.datagrams.add(run.len() as u64);
        self.delivered += run.iter().map(|datagram| datagram.lines).sum::<u64>();
        self.bytes +=
            run.iter().map(|datagram| (datagram.end - datagram.start) as u64).sum::<u64>();
    }

    fn fail(&mut self, run: &[Datagram]) {
        self.failed += run.iter().map(|datagram| datagram.lines).sum::<u64>();
    }
}
