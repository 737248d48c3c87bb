//! One source by UDP: a connected socket; a burst leaves in one `sendmmsg`, or in one GSO send.

use super::Source;
use super::report::Tally;
use crate::line::sent_digits;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg, setsockopt, sockopt};
use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A full send buffer of the kernel empties within microseconds.
const RETRY_AFTER: Duration = Duration::from_micros(50);
/// A target that takes nothing for so long is given up.
const RETRY_FOR: Duration = Duration::from_secs(5);

/// Sends the source's whole schedule.
pub(super) fn send(mut source: Source, gso: bool) -> Result<Tally> {
    let socket = connect(source.target)?;
    if gso {
        let segment = i32::try_from(source.payload.write_bytes())?;
        setsockopt(&socket, sockopt::UdpGsoSegment, &segment).context("UDP_SEGMENT")?;
    }
    let mut sender = Sender { socket, gso, headers: MultiHeaders::preallocate(source.burst, None) };
    let mut tally = Tally::new(source.id);
    let (write_bytes, lines) = (source.payload.write_bytes(), source.payload.lines_per_write());
    let (mut position, ring) = (0, source.payload.writes());
    while let Some((writes, due_ns)) = source.next(&tally)? {
        let digits = sent_digits(due_ns);
        let mut left = writes;
        while left > 0 {
            let count = left.min(ring - position);
            let bytes = source.payload.patch(position, count, tally.lines(), &digits);
            tally.report.retries += sender
                .send_all(bytes, write_bytes)
                .with_context(|| format!("sending to udp://{}", source.target))?;
            left -= count;
            position = (position + count) % ring;
            tally.report.writes += count as u64;
            tally.report.lines += (count * lines) as u64;
            source.shared.lines.fetch_add((count * lines) as u64, Ordering::Relaxed);
        }
    }
    Ok(tally.close(&source.pacer))
}

fn connect(target: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).context("a UDP socket")?;
    socket.connect(target).with_context(|| format!("connecting to udp://{target}"))?;
    Ok(socket)
}

#[derive(Debug)]
struct Sender {
    socket: UdpSocket,
    gso: bool,
    headers: MultiHeaders<()>,
}

impl Sender {
    /// Sends writes of `write_bytes` each; answers how many sends had to be repeated.
    fn send_all(&mut self, bytes: &[u8], write_bytes: usize) -> Result<u64> {
        let (mut sent, mut retries, mut stuck_since) = (0, 0, None);
        while sent < bytes.len() {
            match self.send_some(&bytes[sent..], write_bytes) {
                Ok(taken) => {
                    sent += taken;
                    stuck_since = None;
                }
                // A refusal is the answer to an earlier datagram; nothing of this send has left.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ECONNREFUSED | Errno::EINTR) => {
                    retries += 1;
                    let since: &mut Instant = stuck_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > RETRY_FOR {
                        bail!("the target has taken nothing for {RETRY_FOR:?}");
                    }
                    std::thread::sleep(RETRY_AFTER);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(retries)
    }

    /// Sends as many writes as one system call takes; answers their bytes.
    fn send_some(&mut self, bytes: &[u8], write_bytes: usize) -> nix::Result<usize> {
        let fd = self.socket.as_raw_fd();
        if self.gso {
            return nix::sys::socket::send(fd, bytes, MsgFlags::empty());
        }
        let slices: Vec<_> =
            bytes.chunks_exact(write_bytes).map(|write| [IoSlice::new(write)]).collect();
        let addresses = vec![None::<()>; slices.len()];
        let flags = MsgFlags::empty();
        let sent = sendmmsg(fd, &mut self.headers, &slices, addresses, [], flags)?.count();
        Ok(sent * write_bytes)
    }
}
