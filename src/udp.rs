//! The UDP front: one thread, one socket, one ring, one loop.
//!
//! A [`Worker`] waits for a batch of completions, cuts each payload into datagrams and lines, puts
//! the good lines into a batch, counts the bad ones, seals what it has and hands it to `fanout`.
//! No allocation, no log line and no system call per datagram. `relay` binds the socket and
//! starts the thread.

use crate::batch::BatchBuilder;
use crate::fanout::Fanout;
use crate::line::{Item, Lines};
use crate::metrics;
use crate::ring::{Event, ReceiveRing, Received};
use crate::segment::datagrams;
use crate::stop::Stop;
use crate::sys;
use crate::timestamp::{Precision, Stamper};
use crossbeam_utils::CachePadded;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A wait ends early once this many completions are there: half of the receive buffers.
const WANT: usize = RECEIVE_BUFFERS as usize / 2;
/// Receive buffers of one worker, 68 KiB each. Two such rounds must fit into the kernel's queue.
pub const RECEIVE_BUFFERS: u16 = 128;
/// How often an idle worker looks at the kernel's drop counter.
const IDLE: Duration = Duration::from_millis(500);
/// Space, sign and digits of the longest timestamp, and the newline.
const STAMP_BYTES: usize = 22;

/// One worker: made and run on its own thread.
pub struct Worker {
    ring: ReceiveRing,
    intake: Intake,
    /// How long to gather datagrams while traffic flows.
    batch_wait: Duration,
    stop: Stop,
}

/// The path of a payload from the ring to the queues.
pub struct Intake {
    /// The backends' queues.
    pub fanout: Fanout,
    /// Takes the good lines.
    pub builder: BatchBuilder,
    /// The unit of timestamps.
    pub precision: Precision,
    /// This worker's counters.
    pub metrics: Arc<CachePadded<metrics::UdpWorker>>,
    /// Hands out stamps to datagrams that need one.
    pub stamper: Stamper,
    /// The kernel's drop counter when it was last looked at.
    pub kernel_drops_seen: u32,
}

impl Worker {
    /// A worker over `ring`, handing lines to `intake`.
    #[must_use]
    pub fn new(ring: ReceiveRing, intake: Intake, batch_wait: Duration, stop: Stop) -> Self {
        Self { ring, intake, batch_wait, stop }
    }

    /// Receives until told to stop; then takes what the kernel has queued already, and ends.
    ///
    /// # Errors
    /// The ring's: those after which no datagram can be received any more.
    pub fn run(mut self) -> io::Result<()> {
        while !self.stop.requested() {
            self.turn(WANT, self.batch_wait, IDLE)?;
        }
        sys::refuse_datagrams(self.ring.socket())?;
        while self.turn(1, Duration::ZERO, Duration::from_millis(1))? > 0 {}
        Ok(())
    }

    /// Wait, drain all, hand over; answers how many completions there were.
    fn turn(&mut self, want: usize, gather: Duration, idle: Duration) -> io::Result<usize> {
        self.ring.wait(want, gather, idle)?;
        let Self { ring, intake, .. } = self;
        let count = ring.drain(|event| intake.take(event));
        intake.hand_over();
        if count == 0 {
            intake.count_kernel_drops(sys::kernel_drops(ring.as_fd())?);
        }
        Ok(count)
    }
}

impl Intake {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Datagrams(received) => self.take_datagrams(&received),
            Event::BuffersExhausted => self.metrics.buffers_exhausted.add(1),
            Event::Failed(_) => self.metrics.errors.add(1),
        }
    }

    fn take_datagrams(&mut self, received: &Received<'_>) {
        if let Some(total) = received.kernel_drops {
            self.count_kernel_drops(total);
        }
        self.metrics.bytes.add(received.payload.len() as u64);
        for datagram in datagrams(received.payload, received.stride) {
            self.metrics.datagrams.add(1);
            self.take_datagram(datagram);
        }
        if received.truncated {
            self.metrics.truncated.add(1);
        }
    }

    fn take_datagram(&mut self, datagram: &[u8]) {
        let mut stamp = None;
        let mut lines = 0;
        for item in Lines::new(datagram, self.precision) {
            let line = match item {
                Item::Line(line) => line,
                Item::Refused(refused) => {
                    self.metrics.refused[refused.reason as usize].add(1);
                    continue;
                }
            };
            if !self.builder.has_room(line.bytes.len() + STAMP_BYTES) {
                self.hand_over();
            }
            if line.stamped {
                self.builder.push(line.bytes);
            } else {
                let unit = self.precision.nanoseconds();
                let stamper = &mut self.stamper;
                let stamp = *stamp.get_or_insert_with(|| stamper.stamp(sys::now_ns()) / unit);
                self.builder.push_stamped(line.bytes, stamp);
            }
            lines += 1;
        }
        self.metrics.lines.add(lines);
    }

    fn hand_over(&mut self) {
        if let Some(batch) = self.builder.seal() {
            self.metrics.batches.add(1);
            self.fanout.offer(&batch);
        }
    }

    fn count_kernel_drops(&mut self, total: u32) {
        let new = total.wrapping_sub(self.kernel_drops_seen);
        self.kernel_drops_seen = total;
        self.metrics.kernel_drops.add(u64::from(new));
    }
}
