//! A backend by UDP: packs the lines of a batch into datagrams up to the `mtu` and sends up to 64
//! of them in one system call (GSO).
//!
//! `delivered` means handed to the kernel: UDP knows no more. What the kernel reports later (that
//! nobody listens there) is counted apart.

pub mod pack;

use crate::batch::{Batch, Segments};
use crate::config::UdpTarget;
use crate::fanout::Direct;
use crate::metrics::{self, Drop};
use crate::pulse::Pulse;
use crate::queue::{Receiver, Weigh};
use crate::ring::cmsg;
use crate::stop::Stop;
use crate::sys;
use crate::write::Write;
use pack::{Datagram, Packer};
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{MsgHdr, SockRef};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// linux/udp.h: `UDP_MAX_SEGMENTS` of the oldest kernel that is served.
const SEGMENTS_MAX: usize = 64;
/// The largest payload of one send, by UDP over IPv4.
const SEND_BYTES_MAX: usize = 65_507;
/// No send may outlast this: the socket's buffer empties as fast as the network card.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// A name that could not be resolved, or an address that could not be used, is tried again after.
const RETRY: Duration = Duration::from_secs(1);
/// What a send may leave in the kernel's hands.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Fills up datagrams of one GSO send that are shorter than their siblings: line protocol allows
/// empty lines.
static PADDING: [u8; SEND_BYTES_MAX] = [b'\n'; SEND_BYTES_MAX];

/// One UDP backend. Its socket is used by one thread at a time: by the sender thread for what was
/// queued, or by a front directly while nothing is queued. Its counters are written under the lock.
#[derive(Debug)]
pub struct Transport(Mutex<Backend>);

#[derive(Debug)]
struct Backend {
    target: UdpTarget,
    metrics: Arc<metrics::Backend>,
    socket: Option<Connected>,
    tried: Option<Instant>,
    /// The log was told that it cannot be used.
    told: bool,
}

#[derive(Debug)]
struct Connected {
    socket: UdpSocket,
    has_gso: bool,
    /// A send failed for what a new socket may mend: the host's address or route has changed.
    broken: bool,
}

impl Transport {
    /// A backend that connects when it is first used.
    #[must_use]
    pub fn new(target: UdpTarget, metrics: Arc<metrics::Backend>) -> Self {
        Self(Mutex::new(Backend { target, metrics, socket: None, tried: None, told: false }))
    }

    fn lock(&self) -> MutexGuard<'_, Backend> {
        self.0.lock().expect("a sender that panicked has ended the relay")
    }
}

impl Direct for Transport {
    fn try_send(&self, write: &Write) -> bool {
        let Ok(mut backend) = self.0.try_lock() else { return false };
        let writable = backend.socket.as_ref().is_some_and(Connected::is_writable);
        if writable {
            backend.send(write);
        }
        writable
    }
}

/// Sends everything that comes through `queue` until the fronts are gone, or until the drain
/// deadline: what is left then is dropped and counted. The body of a thread `out-<backend>`.
pub fn run(queue: &Receiver<Write>, transport: &Transport, stop: &Stop, pulse: &Pulse) {
    // The system's resolver may take its time.
    pulse.away(|| transport.lock().connect());
    while let Some(write) = queue.pop_or(|| pulse.beat()) {
        pulse.beat();
        let mut backend = transport.lock();
        if stop.deadline().is_some_and(|deadline| Instant::now() > deadline) {
            backend.metrics.drop_lines(Drop::Shutdown, write.lines());
        } else {
            if backend.wants_socket() {
                pulse.away(|| backend.connect());
            }
            backend.send(&write);
        }
        queue.owed().settle(write.bytes(), write.lines());
    }
}

/// The layout of a batch that leaves in one segmented send of datagrams of `mtu` bytes.
#[must_use]
pub fn layout(mtu: NonZeroUsize) -> Segments {
    let count_max = (SEND_BYTES_MAX / mtu.get()).clamp(1, SEGMENTS_MAX);
    Segments { bytes: mtu, count_max }
}

/// What became of the lines of one batch.
#[derive(Default)]
struct Tally {
    delivered: u64,
    overlong: u64,
    failed: u64,
    bytes: u64,
}

impl Backend {
    /// Sends one batch and counts what became of its lines.
    fn send(&mut self, write: &Write) {
        let Some(connected) = &mut self.socket else {
            return self.metrics.drop_lines(Drop::Unavailable, write.lines());
        };
        let mut tally = Tally::default();
        let bytes = write.batch.bytes();
        let laid_out = write.batch.segment().is_some_and(|bytes| bytes.get() == self.target.mtu);
        if laid_out && connected.send_laid_out(&write.batch, self.target.mtu, &self.metrics) {
            tally.delivered = write.lines();
            tally.bytes = bytes.len() as u64;
            return self.count(&tally);
        }
        let mut packer = Packer::new(write.batch.ends(), self.target.mtu);
        let mut run = [Datagram::default(); SEGMENTS_MAX];
        loop {
            let count = packer.fill(&mut run, SEND_BYTES_MAX);
            if count == 0 {
                break;
            }
            connected.send_run(bytes, &run[..count], &self.metrics, &mut tally);
        }
        tally.overlong = packer.overlong();
        self.count(&tally);
    }

    fn count(&self, tally: &Tally) {
        let metrics = &self.metrics;
        metrics.delivered.add(tally.delivered);
        metrics.delivered_bytes.add(tally.bytes);
        if tally.overlong > 0 {
            metrics.drop_lines(Drop::Overlong, tally.overlong);
        }
        if tally.failed > 0 {
            metrics.drop_lines(Drop::Unavailable, tally.failed);
        }
    }

    /// Whether it is time for a new socket.
    fn wants_socket(&self) -> bool {
        let works = self.socket.as_ref().is_some_and(|connected| !connected.broken);
        !works && self.tried.is_none_or(|tried| tried.elapsed() >= RETRY)
    }

    /// Connects if that was not done, or again if what is there is broken; that one is used for
    /// as long as there is no better.
    fn connect(&mut self) {
        if !self.wants_socket() {
            return;
        }
        self.tried = Some(Instant::now());
        let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
        match Connected::open(&self.target.location) {
            Ok(connected) => {
                self.socket = Some(connected);
                if std::mem::take(&mut self.told) {
                    tracing::info!(relay, backend, "backend is back: it can be sent to");
                }
            }
            Err(error) if self.told => tracing::debug!(%error, "still cannot send"),
            Err(error) => {
                self.told = true;
                tracing::warn!(
                    relay,
                    backend,
                    location = %self.target.location,
                    %error,
                    "cannot send to this backend; its lines are dropped and counted until it \
                     resolves"
                );
            }
        }
    }
}

impl Connected {
    fn open(location: &str) -> io::Result<Self> {
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
        let has_gso = sys::has_gso(&socket);
        Ok(Self { socket, has_gso, broken: false })
    }

    /// Whether at least half of the send buffer is free (net/sock.h, `sock_writeable`): then it
    /// takes one batch without blocking, for a batch is smaller than half of the smallest buffer
    /// that the kernel's defaults grant. What is broken is for the sender thread to mend.
    fn is_writable(&self) -> bool {
        if self.broken {
            return false;
        }
        let mut poll = [PollFd::new(&self.socket, PollFlags::OUT)];
        let now = Timespec::default();
        matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1))
            && poll[0].revents().contains(PollFlags::OUT)
    }

    /// Sends a batch that is laid out in segments of the `mtu` as it lies, in one call. Answers
    /// whether the kernel took it; if not, the batch is sent datagram by datagram, and each failure
    /// has its count.
    fn send_laid_out(&self, batch: &Batch, mtu: usize, metrics: &metrics::Backend) -> bool {
        let segments = batch.bytes().len().div_ceil(mtu);
        let fits = segments == 1 || self.has_gso && segments <= SEGMENTS_MAX;
        let slices = [IoSlice::new(batch.bytes())];
        let sent = fits && self.send_slices(&slices, segments, mtu, metrics).is_ok();
        if sent {
            metrics.datagrams.add(segments as u64);
        }
        sent
    }

    /// Sends the datagrams of `run`, all in one call where the kernel can.
    fn send_run(
        &mut self,
        bytes: &[u8],
        run: &[Datagram],
        metrics: &metrics::Backend,
        tally: &mut Tally,
    ) {
        if self.has_gso && run.len() > 1 {
            match self.send_segments(bytes, run, metrics) {
                Ok(()) => return tally.deliver(run, metrics),
                Err(error) if is_segmentation_failure(&error) => {
                    tracing::info!(%error, "no segmented sends on this route: one call a datagram");
                    self.has_gso = false;
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

    fn failed(&mut self, error: &io::Error, metrics: &metrics::Backend) {
        metrics.send_errors.add(1);
        // Nobody listens there, or no memory is left at the moment: that is not the socket's.
        let passing = matches!(
            error.raw_os_error(),
            Some(libc::ECONNREFUSED | libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)
        );
        self.broken |= !passing;
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
        self.send_slices(&slices[..count], run.len(), segment, metrics)
    }

    /// One system call: `slices` are `segments` datagrams of `bytes` each, the last maybe shorter.
    fn send_slices(
        &self,
        slices: &[IoSlice<'_>],
        segments: usize,
        bytes: usize,
        metrics: &metrics::Backend,
    ) -> io::Result<()> {
        let control = cmsg::gso_segment(u16::try_from(bytes).unwrap_or(u16::MAX));
        let mut message = MsgHdr::new().with_buffers(slices);
        if segments > 1 {
            message = message.with_control(&control);
        }
        let socket = SockRef::from(&self.socket);
        match socket.sendmsg(&message, 0) {
            // The kernel reports the fate of an earlier datagram and has not sent this one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                metrics.udp_refused.add(1);
                socket.sendmsg(&message, 0).map(drop)
            }
            result => result.map(drop),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::queue::Owed;
    use bytes::Bytes;
    use std::net::Shutdown;

    #[test]
    fn a_socket_that_can_send_no_more_is_replaced() {
        let sink = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
        sink.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid timeout");
        let location = sink.local_addr().expect("it is bound").to_string();
        let owed = Arc::<Owed>::default();
        let metrics = Arc::new(metrics::Backend::new("relay".into(), "backend".into(), owed));
        let target = UdpTarget { location, mtu: 1_024 };
        let transport = Transport::new(target, Arc::clone(&metrics));
        let batch = Batch::from_body(Bytes::from_static(b"m f=1 1\n"), vec![8]);
        let write = Write { batch, destination: Arc::default(), client: None };

        transport.lock().connect();
        assert!(transport.try_send(&write));
        // As when the address that it sends from was taken off the host: every send fails.
        let broken = transport
            .lock()
            .socket
            .as_ref()
            .map(|connected| SockRef::from(&connected.socket).shutdown(Shutdown::Write));
        assert!(matches!(broken, Some(Ok(()))), "{broken:?}");
        assert!(transport.try_send(&write));
        assert_eq!(metrics.dropped[Drop::Unavailable as usize].get(), 1);
        assert!(!transport.try_send(&write), "it is for the sender thread now");

        transport.lock().tried = None;
        transport.lock().connect();
        assert!(transport.try_send(&write));
        assert_eq!((metrics.delivered.get(), metrics.dropped_total()), (2, 1));
        for _ in 0..2 {
            assert_eq!(sink.recv(&mut [0; 64]).expect("it arrives"), 7);
        }
    }
}
