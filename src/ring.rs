//! One `io_uring` ring that receives datagrams of one UDP socket: multishot `recvmsg` into a ring
//! of provided buffers, waiting for many completions at a time.
//!
//! A [`ReceiveRing`] is made and used on one thread (`DEFER_TASKRUN`), by a `udp` worker and by
//! loadgen's floor. It knows nothing of lines: it hands out payloads and lends each buffer to
//! the kernel again as soon as its payload was looked at. Its interface is safe.
#![expect(unsafe_code, reason = "the kernel writes into memory that it was lent")]

mod buffers;
pub mod cmsg;
pub mod name;
mod received;

pub use received::Received;

use buffers::BufferRing;
use io_uring::types::{CancelBuilder, Fd, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Room for the sender's address in front of each payload.
const NAME_BYTES: u32 = 28; // netinet/in.h: `struct sockaddr_in6`
/// Room for the control messages: the GRO stride (`c_int`) and the drop counter (`u32`).
const CONTROL_BYTES: usize = 2 * cmsg::space(size_of::<u32>());
/// linux/io_uring.h: `struct io_uring_recvmsg_out`.
const HEADER_BYTES: usize = 16;
/// The largest payload, by UDP over IPv6, and what stands in front of it, in whole pages.
pub const BUFFER_BYTES: usize =
    (HEADER_BYTES + NAME_BYTES as usize + CONTROL_BYTES + 65_535).next_multiple_of(4096);

const BUFFER_GROUP: u16 = 0;
const RECEIVE: u64 = 1;
const WAKE: u64 = 2;

/// A ring, its socket and its buffers.
pub struct ReceiveRing {
    /// Declared first: dropped first, before the memory that the kernel may write into.
    ring: IoUring,
    buffers: BufferRing,
    template: Box<libc::msghdr>,
    socket: UdpSocket,
    wake: Arc<OwnedFd>,
    /// The kernel can wait for a minimum time (6.12 and newer).
    has_min_wait: bool,
    armed: bool,
    /// No receive is to be armed again.
    disarmed: bool,
}

/// Ends a wait of a [`ReceiveRing`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

/// What a drained completion brought.
#[derive(Debug)]
pub enum Event<'a> {
    /// One datagram, or several of one sender that the kernel joined.
    Datagrams(Received<'a>),
    /// The receive ended for want of free buffers; it is armed again at the next wait.
    BuffersExhausted,
    /// The receive ended with an error; it is armed again at the next wait.
    Failed(io::Error),
}

impl Waker {
    /// Ends the current wait, or the next one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wake(&self) -> io::Result<()> {
        rustix::io::write(&*self.0, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

impl ReceiveRing {
    /// A ring over `socket` with `buffers` buffers (a power of two) of 68 KiB each. To be called
    /// on the thread that will use it.
    ///
    /// # Errors
    /// The kernel's: `EPERM` where `io_uring` is forbidden, `ENOSYS` where it is missing,
    /// `EINVAL` on kernels older than 6.1, `ENOMEM` where the memory-lock limit is too low.
    pub fn new(socket: UdpSocket, buffers: u16) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(u32::from(buffers) * 2)
            .build(8)?;
        let has_min_wait = ring.params().is_feature_min_timeout();
        let mut buffers = BufferRing::new(buffers, BUFFER_BYTES)?;
        buffers.lend(usize::from(buffers.entries()));
        // SAFETY: `buffers` is page-aligned, has as many entries as it says, and outlives the
        // ring, which is dropped before it (and see `Drop`).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.address(),
                buffers.entries(),
                BUFFER_GROUP,
                0,
            )?;
        }
        // SAFETY: all zeroes is a valid `msghdr`: null pointers and zero lengths.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        template.msg_namelen = NAME_BYTES;
        template.msg_controllen = CONTROL_BYTES;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (armed, disarmed) = (false, false);
        let mut this =
            Self { ring, buffers, template, socket, wake, has_min_wait, armed, disarmed };
        let poll = opcode::PollAdd::new(Fd(this.wake.as_raw_fd()), libc::POLLIN as u32);
        this.push(&poll.build().user_data(WAKE));
        Ok(this)
    }

    /// What ends this ring's wait from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// The socket's file descriptor.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits until `want` completions are there, or `gather` has passed and one is, or `idle` has
    /// passed, or the waker was called.
    ///
    /// # Errors
    /// The kernel's, but for those that only mean "look now": a timeout, a signal, a full
    /// completion queue.
    pub fn wait(&mut self, want: usize, gather: Duration, idle: Duration) -> io::Result<()> {
        self.arm();
        let idle = Timespec::from(idle);
        let gather_us = u32::try_from(gather.as_micros()).unwrap_or(u32::MAX);
        // To the kernel a minimum of zero is none: it would wait for all that is wanted.
        if self.has_min_wait && gather_us > 0 {
            let args = SubmitArgs::new().timespec(&idle).min_wait_usec(gather_us);
            return self.enter(want, &args);
        }
        self.enter(1, &SubmitArgs::new().timespec(&idle))?;
        if gather_us == 0 {
            return Ok(());
        }
        let gather = Timespec::from(gather);
        self.enter(want, &SubmitArgs::new().timespec(&gather))
    }

    fn enter(&self, want: usize, args: &SubmitArgs<'_, '_>) -> io::Result<()> {
        match self.ring.submitter().submit_with_args(want, args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is up; a signal came; the completion queue is full and must be drained.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Hands every completion that is there to `each`, takes its buffer back, lends the kernel
    /// buffers again until it has `lend` (at least one, at most all), and answers how many
    /// completions there were. The buffers used last are lent first: they are in the cache.
    pub fn drain(&mut self, lend: usize, mut each: impl FnMut(Event<'_>)) -> usize {
        let mut count = 0;
        let Self { ring, buffers, template, armed, disarmed, .. } = self;
        for completion in ring.completion() {
            if completion.user_data() != RECEIVE {
                continue;
            }
            count += 1;
            *armed &= cqueue::more(completion.flags());
            let id = cqueue::buffer_select(completion.flags());
            match (usize::try_from(completion.result()), id) {
                (Ok(length), Some(id)) => tell(buffers.filled(id, length), template, &mut each),
                (Ok(_), None) => each(malformed()),
                (Err(_), _) if *disarmed && completion.result() == -libc::ECANCELED => {}
                (Err(_), _) => each(failure(-completion.result())),
            }
            // A receive that failed may have used up a buffer as well.
            if let Some(id) = id {
                buffers.take_back(id);
            }
        }
        self.buffers.lend(lend);
        count
    }

    /// Receives no more. What the kernel has queued stays there, for whoever else has the socket;
    /// what was received already comes with the next drains, while [`is_armed`](Self::is_armed).
    ///
    /// # Errors
    /// The kernel's.
    pub fn disarm(&mut self) -> io::Result<()> {
        self.disarmed = true;
        let deadline = Some(Timespec::new().sec(5));
        let receive = CancelBuilder::user_data(RECEIVE);
        match self.ring.submitter().register_sync_cancel(deadline, receive) {
            // It ended by itself a moment ago.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// Whether a receive is under way, or its end was not drained yet.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    fn arm(&mut self) {
        if !self.armed && !self.disarmed {
            let receive = opcode::RecvMsgMulti::new(
                Fd(self.socket.as_raw_fd()),
                &raw const *self.template,
                BUFFER_GROUP,
            );
            self.push(&receive.build().user_data(RECEIVE));
            self.armed = true;
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entries point to (the template, the file descriptors) belongs to
        // `self` and outlives the ring.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("at most two entries wait in a queue of eight");
    }
}

/// Tells what the kernel wrote into a buffer.
fn tell(bytes: &[u8], template: &libc::msghdr, each: &mut impl FnMut(Event<'_>)) {
    let Ok(out) = RecvMsgOut::parse(bytes, template) else { return each(malformed()) };
    let control = cmsg::Control::decode(out.control_data());
    each(Event::Datagrams(Received {
        payload: out.payload_data(),
        name: out.name_data(),
        stride: control.gro_stride,
        kernel_drops: control.kernel_drops,
        truncated: out.is_payload_truncated(),
    }));
}

/// No kernel completes a receive like this; if one does, it is counted, not passed over.
fn malformed() -> Event<'static> {
    Event::Failed(io::ErrorKind::InvalidData.into())
}

fn failure(errno: i32) -> Event<'static> {
    if errno == libc::ENOBUFS {
        Event::BuffersExhausted
    } else {
        Event::Failed(io::Error::from_raw_os_error(errno))
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        // The kernel tears a closed ring down later: cancel first, so that nothing is written
        // into the buffers after they are freed.
        let deadline = Some(Timespec::new().sec(5));
        let cancelled = self.ring.submitter().register_sync_cancel(deadline, CancelBuilder::any());
        let gone = match cancelled {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if !gone || self.ring.submitter().unregister_buf_ring(BUFFER_GROUP).is_err() {
            self.buffers.leak();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const FOREVER: Duration = Duration::from_secs(60);

    fn loopback() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports")
    }

    /// A ring of four buffers, and a socket that sends to it.
    fn ring() -> (ReceiveRing, UdpSocket) {
        let (socket, sender) = (loopback(), loopback());
        sender.connect(socket.local_addr().expect("it is bound")).expect("UDP connects");
        (ReceiveRing::new(socket, 4).expect("io_uring works"), sender)
    }

    fn drain(ring: &mut ReceiveRing) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        ring.drain(4, |event| {
            if let Event::Datagrams(received) = event {
                seen.push(received.payload.to_vec());
            }
        });
        seen
    }

    #[test]
    fn without_a_time_to_gather_one_datagram_ends_the_wait() {
        for gather in [Duration::ZERO, Duration::from_micros(50)] {
            let (mut ring, sender) = ring();
            let started = Instant::now();
            sender.send(b"alone").expect("loopback takes it");
            ring.wait(4, gather, FOREVER).expect("the ring works");
            assert_eq!(drain(&mut ring), [b"alone"]);
            assert!(started.elapsed() < FOREVER / 2, "{gather:?}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let (mut ring, sender) = ring();
        sender.send(b"mine").expect("loopback takes it");
        ring.wait(1, Duration::ZERO, FOREVER).expect("the ring works");
        let mut from = None;
        ring.drain(4, |event| {
            if let Event::Datagrams(received) = event {
                from = name::decode(received.name);
            }
        });
        assert_eq!(from, sender.local_addr().ok());
    }

    #[test]
    fn disarmed_it_gives_what_it_received_and_leaves_the_rest_in_the_socket() {
        let (mut ring, sender) = ring();
        let other = ring.socket().try_clone().expect("a file descriptor is left");
        sender.send(b"received").expect("loopback takes it");
        ring.wait(1, Duration::ZERO, FOREVER).expect("the ring works");
        ring.disarm().expect("the receive can be cancelled");
        sender.send(b"left").expect("loopback takes it");
        let mut seen = Vec::new();
        while ring.is_armed() {
            ring.wait(1, Duration::ZERO, Duration::from_millis(1)).expect("the ring works");
            seen.extend(drain(&mut ring));
        }
        ring.wait(1, Duration::ZERO, Duration::from_millis(1)).expect("the ring works");
        seen.extend(drain(&mut ring));
        assert_eq!(seen, [b"received"]);
        drop(ring);
        let mut buffer = [0; 16];
        let length = other.recv(&mut buffer).expect("the socket is open");
        assert_eq!(&buffer[..length], b"left");
    }

    #[test]
    fn the_waker_ends_a_wait_and_more_datagrams_than_buffers_come_in_order() {
        let (mut ring, sender) = ring();
        let started = Instant::now();
        ring.waker().wake().expect("the eventfd takes it");
        ring.wait(1, Duration::ZERO, FOREVER).expect("the ring works");
        assert!(drain(&mut ring).is_empty());
        let sent: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n)]).collect();
        for datagram in &sent {
            sender.send(datagram).expect("loopback takes it");
        }
        let mut seen = Vec::new();
        while seen.len() < sent.len() {
            ring.wait(4, Duration::ZERO, FOREVER).expect("the ring works");
            seen.extend(drain(&mut ring));
        }
        assert_eq!(seen, sent);
        assert!(started.elapsed() < FOREVER / 2, "{:?}", started.elapsed());
    }
}
