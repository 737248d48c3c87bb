//! A backend by UDP: packs the lines of a batch into datagrams up to the `mtu` and sends up to 64
//! of them in one system call (GSO).
//!
//! `delivered` means handed to the kernel: UDP knows no more. What the kernel reports later (that
//! nobody listens there) is counted apart.

mod connected;
pub mod pack;

use crate::batch::Segments;
use crate::config::UdpTarget;
use crate::fanout::Direct;
use crate::metrics::{self, Drop};
use crate::pulse::Pulse;
use crate::queue::{Receiver, Weigh};
use crate::stop::Stop;
use crate::sys;
use crate::write::Write;
use connected::{Connected, Tally, Whole};
use pack::{Datagram, Packer};
use rustix::net::SendFlags;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// linux/udp.h: `UDP_MAX_SEGMENTS` of the oldest kernel that is served.
const SEGMENTS_MAX: usize = 64;
/// The largest payload of one send, by UDP over IPv4.
const SEND_BYTES_MAX: usize = 65_507;
/// A name that could not be resolved, or an address that could not be used, is tried again after.
const RETRY: Duration = Duration::from_secs(1);

/// One UDP backend. Its socket is used by the sender thread for what was queued, and by every front
/// directly while nothing is queued: the kernel takes datagrams of several threads at once, and
/// each front's own stay in order.
#[derive(Debug)]
pub struct Transport {
    /// Shared by those that send; had alone by who connects.
    backend: RwLock<Backend>,
    /// What the sender thread is to make its target next: nobody waits for a thread that resolves
    /// a name.
    next: Mutex<Option<UdpTarget>>,
    changed: AtomicBool,
    /// Held by the front that sends what takes several calls.
    packing: Mutex<()>,
}

#[derive(Debug)]
struct Backend {
    target: UdpTarget,
    metrics: Arc<metrics::Backend>,
    socket: Option<Connected>,
    tried: Option<Instant>,
    /// The log was told that it cannot be used.
    told: bool,
}

/// Why a lock of the backend is never poisoned.
const NOBODY_PANICKED: &str = "a sender that panicked has ended the relay";

impl Transport {
    /// A backend that connects when it is first used.
    #[must_use]
    pub fn new(target: UdpTarget, metrics: Arc<metrics::Backend>) -> Self {
        let backend =
            RwLock::new(Backend { target, metrics, socket: None, tried: None, told: false });
        Self {
            backend,
            next: Mutex::default(),
            changed: AtomicBool::new(false),
            packing: Mutex::default(),
        }
    }

    /// From now on sends to `target`, also what is queued already.
    pub fn retarget(&self, target: UdpTarget) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
        self.changed.store(true, Ordering::Release);
    }

    /// The backend for what the fronts may not do: no front sends meanwhile.
    fn lock(&self) -> RwLockWriteGuard<'_, Backend> {
        let mut backend = self.backend.write().expect(NOBODY_PANICKED);
        if self.changed.swap(false, Ordering::Acquire) {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            next.into_iter().for_each(|target| backend.retarget(target));
        }
        backend
    }

    fn read(&self) -> RwLockReadGuard<'_, Backend> {
        self.backend.read().expect(NOBODY_PANICKED)
    }

    /// Connects if that is due: first of all, to a new address, or again.
    fn follow(&self, pulse: &Pulse) {
        if self.is_changed() || self.read().wants_socket() {
            // The system's resolver may take its time.
            pulse.away(|| self.lock().connect());
        }
    }

    fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }
}

impl Direct for Transport {
    fn try_send(&self, write: &Write) -> bool {
        // Held by who connects, or about to be: the sender thread sees to what is queued then.
        if self.is_changed() {
            return false;
        }
        let Ok(backend) = self.backend.try_read() else { return false };
        let Some(connected) = backend.socket.as_ref().filter(|it| !it.is_broken()) else {
            return false;
        };
        match backend.send_whole(connected, write, SendFlags::DONTWAIT) {
            Whole::Sent => return true,
            Whole::Full => return false,
            Whole::Unfit => {}
        }
        // Many sends, of which none may wait: what is seen to be free must not be another's too.
        let Ok(_alone) = self.packing.try_lock() else { return false };
        let writable = connected.is_writable();
        if writable {
            backend.send_packed(connected, write);
        }
        writable
    }
}

/// Sends everything that comes through `queue` until the fronts are gone, or until the drain
/// deadline: what is left then is dropped and counted. The body of a thread `out-<backend>`.
pub fn run(queue: &Receiver<Write>, transport: &Transport, stop: &Stop, pulse: &Pulse) {
    transport.follow(pulse);
    let woken = || {
        pulse.beat();
        // A new address is connected to before there is something to send.
        transport.follow(pulse);
    };
    while let Some(write) = queue.pop_or(woken) {
        pulse.beat();
        if stop.deadline().is_some_and(|deadline| Instant::now() > deadline) {
            transport.read().metrics.drop_lines(Drop::Shutdown, write.lines());
        } else {
            transport.follow(pulse);
            transport.read().send(&write);
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

impl Backend {
    /// Sends one batch and counts what became of its lines.
    fn send(&self, write: &Write) {
        let Some(connected) = &self.socket else {
            return self.metrics.drop_lines(Drop::Unavailable, write.lines());
        };
        if self.send_whole(connected, write, SendFlags::empty()) != Whole::Sent {
            self.send_packed(connected, write);
        }
    }

    /// In one call, if it is laid out for that; counts nothing if it is not sent.
    fn send_whole(&self, connected: &Connected, write: &Write, flags: SendFlags) -> Whole {
        let mtu = self.target.mtu;
        if write.batch.segment().is_none_or(|bytes| bytes.get() != mtu) {
            return Whole::Unfit;
        }
        let sent = connected.send_laid_out(&write.batch, mtu, &self.metrics, flags);
        if sent == Whole::Sent {
            let bytes = write.batch.bytes().len() as u64;
            self.count(&Tally { delivered: write.lines(), bytes, ..Tally::default() });
        }
        sent
    }

    /// Datagram by datagram, as many in one call as there can be.
    fn send_packed(&self, connected: &Connected, write: &Write) {
        let mut tally = Tally::default();
        let bytes = write.batch.bytes();
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

    /// A new address gets a new socket, at once; until there is one, a front sends nothing by
    /// itself.
    fn retarget(&mut self, target: UdpTarget) {
        if self.target.location != target.location {
            (self.socket, self.tried, self.told) = (None, None, false);
        }
        self.target = target;
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
        let works = self.socket.as_ref().is_some_and(|connected| !connected.is_broken());
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
            Err(error) => {
                self.metrics.backlog.failed(format!("cannot send: {error}"), sys::now_s());
                if std::mem::replace(&mut self.told, true) {
                    return tracing::debug!(%error, "still cannot send");
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::queue::Owed;
    use bytes::Bytes;
    use socket2::SockRef;
    use std::net::{Shutdown, UdpSocket};

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
        let front = transport.read();
        assert!(transport.try_send(&write), "another front that sends is no hindrance");
        drop(front);
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

        let another = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
        another.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid timeout");
        let location = another.local_addr().expect("it is bound").to_string();
        transport.lock().tried = None;
        transport.lock().connect();
        assert!(transport.try_send(&write));
        assert_eq!((metrics.delivered.get(), metrics.dropped_total()), (2, 1));

        transport.retarget(UdpTarget { location, mtu: 1_024 });
        assert!(!transport.try_send(&write), "nothing more goes to the old address");
        transport.lock().connect();
        assert!(transport.try_send(&write));
        assert_eq!(another.recv(&mut [0; 64]).expect("it arrives"), 7);
        for _ in 0..2 {
            assert_eq!(sink.recv(&mut [0; 64]).expect("it arrives"), 7);
        }
    }
}
