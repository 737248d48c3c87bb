//! The UDP front: one thread, one socket, one ring, one loop.
//!
//! A [`Worker`] waits for a batch of completions, cuts each payload into datagrams and lines, puts
//! the good lines into a batch, counts the bad ones, seals what it has and hands it to `fanout`.
//! No allocation, no log line and no system call per datagram. `relay` binds the socket and
//! starts the thread.

pub mod gather;
mod serving;

pub use serving::{Batches, POOLED_BATCHES, Serving};

use crate::bad_senders::Notes;
use crate::batch::BatchBuilder;
use crate::fanout::{Fanout, Hand};
use crate::line::{Item, Lines, Refused, Run};
use crate::metrics;
use crate::pulse::Pulse;
use crate::rate_limit::Share;
use crate::ring::{Event, ReceiveRing, Received, name};
use crate::stop::Stop;
use crate::sys;
use crate::timestamp::{Precision, Stamper};
use crossbeam_utils::CachePadded;
use gather::{Gather, Turn};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Receive buffers of one worker, 68 KiB each; a page of memory is taken when it is first used.
pub const RECEIVE_BUFFERS: u16 = 256;
/// A wait ends early once this many completions are there: half of the receive buffers, so that
/// the kernel never runs out of them while the worker looks at the others.
const WANT_MAX: usize = RECEIVE_BUFFERS as usize / 2;
/// How often an idle worker looks at the kernel's drop counter.
const IDLE: Duration = Duration::from_millis(500);
/// How long a stopping worker waits for the kernel to hand over what is queued.
const LAST_LOOK: Duration = Duration::from_millis(1);
/// A cancelled receive has ended by then; this only bounds a kernel that says nothing.
const DISARMED: Duration = Duration::from_secs(1);

/// One worker: made and run on its own thread.
pub struct Worker {
    ring: ReceiveRing,
    intake: Intake,
    gather: Gather,
    /// When the last wait ended.
    woken: Instant,
    serving: watch::Receiver<Arc<Serving>>,
    stop: Stop,
    pulse: Pulse,
    ending: Ending,
}

/// What becomes of the socket when the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is shut: what the kernel has queued is taken, what comes later is refused.
    Shut,
    /// The service manager has it too, and gives it to the next relay: what is queued stays.
    Leave,
}

/// What the kernel counts against a socket's buffer: twice what was asked for (socket(7)). Where
/// that cannot be known, nothing gathers.
#[must_use]
pub fn room_bytes(ring: &ReceiveRing) -> usize {
    2 * sys::read_buffer(ring.socket()).unwrap_or_default()
}

/// The path of a payload from the ring to the queues.
pub struct Intake {
    /// The backends' queues.
    fanout: Fanout,
    /// Takes the good lines.
    builder: BatchBuilder,
    batches: Batches,
    /// How batches are handed on.
    hand: Hand,
    hand_when_busy: Hand,
    /// The unit of timestamps.
    precision: Precision,
    /// This worker's share of the listener's `rate-limit-lines`, if there is one.
    line_limit: Option<Share>,
    /// This worker's counters.
    metrics: Arc<CachePadded<metrics::UdpWorker>>,
    /// Where refused lines are noted with their sender.
    bad_senders: Arc<Notes>,
    /// Hands out stamps to datagrams that need one.
    stamper: Stamper,
    /// The kernel's drop counter when it was last looked at.
    kernel_drops_seen: u32,
}

impl Worker {
    /// A worker over `ring`, handing lines to `intake`, which was made of what is in `serving`.
    #[must_use]
    pub fn new(
        ring: ReceiveRing,
        intake: Intake,
        mut serving: watch::Receiver<Arc<Serving>>,
        stop: Stop,
        pulse: Pulse,
        ending: Ending,
    ) -> Self {
        let batch_wait = serving.borrow_and_update().batch_wait;
        let gather = Gather::new(batch_wait, WANT_MAX, room_bytes(&ring));
        let woken = Instant::now();
        Self { ring, intake, gather, woken, serving, stop, pulse, ending }
    }

    /// Receives until told to stop; then takes what is its own already, and ends.
    ///
    /// # Errors
    /// The ring's: those after which no datagram can be received any more.
    pub fn run(mut self) -> io::Result<()> {
        let ended = self.receive().and_then(|()| match self.ending {
            Ending::Shut => self.take_what_is_queued(),
            Ending::Leave => self.take_what_is_received(),
        });
        // What was taken goes on to the backends, even if the ring has failed.
        self.intake.hand_over();
        self.intake.fanout.wake();
        ended
    }

    fn receive(&mut self) -> io::Result<()> {
        while !self.stop.requested() {
            self.pulse.beat();
            let (want, wait) = (self.gather.want(), self.gather.wait());
            let turn = self.turn(want, wait, self.intake.idle(wait))?;
            let hand_over = self.gather.turned(&turn);
            self.intake.hand =
                if self.gather.is_busy() { self.intake.hand_when_busy } else { Hand::Direct };
            if hand_over {
                self.intake.hand_over();
            }
            self.intake.fanout.wake();
            if turn.completions == 0 {
                self.intake.count_kernel_drops(sys::kernel_drops(self.ring.as_fd())?);
            }
        }
        Ok(())
    }

    /// Goes on with another fan-out and other limits, if there are: between two turns, and what
    /// came before goes the old way.
    fn renew(&mut self) {
        // An error is the relay's end, which is told otherwise.
        if !self.serving.has_changed().unwrap_or(false) {
            return;
        }
        let serving = Arc::clone(&self.serving.borrow_and_update());
        self.gather.set_wait_max(serving.batch_wait);
        self.intake.renew(&serving);
    }

    /// One wait, and all that came.
    fn turn(&mut self, want: usize, wait: Duration, idle: Duration) -> io::Result<Turn> {
        let seen = |intake: &Intake| (intake.metrics.datagrams.get(), intake.metrics.bytes.get());
        let before = seen(&self.intake);
        let started = Instant::now();
        self.ring.wait(want, wait, idle)?;
        let woken = Instant::now();
        let (waited, since) = (woken - started, woken - self.woken);
        self.woken = woken;
        // Here, so that what comes after a change is never treated as before it.
        self.renew();
        let Self { ring, intake, .. } = self;
        let completions = ring.drain(2 * want, |event| intake.take(event));
        let after = seen(&self.intake);
        let [datagrams, bytes] = [after.0 - before.0, after.1 - before.1]
            .map(|more| usize::try_from(more).unwrap_or(usize::MAX));
        Ok(Turn { waited, since, completions, datagrams, bytes })
    }

    /// Shuts the socket for new datagrams, and takes those that the kernel has queued already.
    fn take_what_is_queued(&mut self) -> io::Result<()> {
        sys::refuse_datagrams(self.ring.socket())?;
        self.take_the_last()
    }

    /// Takes what the ring has received, and nothing more from the socket.
    fn take_what_is_received(&mut self) -> io::Result<()> {
        self.ring.disarm()?;
        let give_up = Instant::now() + DISARMED;
        while self.ring.is_armed() && Instant::now() < give_up {
            self.turn(1, Duration::ZERO, LAST_LOOK)?;
            self.intake.fanout.wake();
        }
        self.take_the_last()
    }

    fn take_the_last(&mut self) -> io::Result<()> {
        while self.turn(1, Duration::ZERO, LAST_LOOK)?.completions > 0 {
            self.intake.fanout.wake();
        }
        self.intake.count_kernel_drops(sys::kernel_drops(self.ring.as_fd())?);
        Ok(())
    }
}

/// How datagrams that came joined were stamped so far.
#[derive(Default)]
struct Stamped {
    now_ns: Option<i64>,
    /// Where the last of them ends that was, and its stamp.
    until: usize,
    stamp: i64,
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
        if let Some(limit) = &mut self.line_limit {
            limit.begin();
        }
        if received.truncated {
            // Where its last whole line ends cannot be known; no UDP datagram is this long.
            return self.metrics.truncated.add(1);
        }
        self.metrics.datagrams.add(received.datagrams() as u64);
        self.take_lines(received.payload, received.datagram_bytes(), received.name);
    }

    /// Takes the lines of `bytes`, which are datagrams of `stride` bytes, each with its own stamp,
    /// from the sender `name`.
    fn take_lines(&mut self, bytes: &[u8], stride: usize, name: &[u8]) {
        let mut stamped = Stamped::default();
        let mut first_refused = None;
        let mut taken = 0;
        let mut lines = Lines::of_parts(bytes, stride, self.precision);
        loop {
            if self.line_limit.is_none() {
                while let Some(run) = lines.next_run() {
                    taken += run.ends.len() as u64;
                    self.push_run(&run);
                }
            }
            let line = match lines.next() {
                None => break,
                Some(Item::Line(line)) => line,
                Some(Item::Refused(refused)) => {
                    self.metrics.refused[refused.reason as usize].add(1);
                    first_refused.get_or_insert((refused, 0)).1 += 1;
                    continue;
                }
            };
            if self.line_limit.as_mut().is_some_and(|limit| !limit.take_one(Instant::now)) {
                self.metrics.rate_limited.add(1);
                continue;
            }
            let stamp = (!line.stamped).then(|| self.stamp(line.start, stride, &mut stamped));
            if !self.builder.push(line.bytes, stamp) {
                self.hand_over();
                let pushed = self.builder.push(line.bytes, stamp);
                debug_assert!(pushed, "an empty builder has room for any line");
            }
            taken += 1;
        }
        self.metrics.lines.add(taken);
        if let Some((first, lines)) = first_refused {
            self.note(name, &first, lines);
        }
    }

    #[cold]
    fn note(&self, name: &[u8], first: &Refused<'_>, lines: u64) {
        if let Some(from) = name::decode(name) {
            self.bad_senders.note(from, lines, first.reason, first.bytes);
        }
    }

    fn push_run(&mut self, run: &Run<'_>) {
        let Run { bytes, mut start, mut ends } = *run;
        loop {
            let pushed = self.builder.push_run(bytes, start, ends);
            if pushed == ends.len() {
                return;
            }
            if let Some(last) = pushed.checked_sub(1) {
                start = ends[last] as usize + 1;
            }
            ends = &ends[pushed..];
            self.hand_over();
        }
    }

    /// How long to wait for anything at all: lines that lie here already wait no longer than they
    /// may gather, though no datagram follows them.
    fn idle(&self, wait: Duration) -> Duration {
        if self.builder.is_empty() { IDLE } else { wait }
    }

    /// The stamp of the datagram that a line at `start` is in. The clock is read once for all that
    /// came joined.
    #[inline]
    fn stamp(&mut self, start: usize, stride: usize, stamped: &mut Stamped) -> i64 {
        if start >= stamped.until {
            let next = stamped.until + stride;
            // It mostly is that one: no need to divide.
            stamped.until = if start < next { next } else { (start / stride + 1) * stride };
            let now_ns = *stamped.now_ns.get_or_insert_with(sys::now_ns);
            stamped.stamp = self.stamper.stamp(now_ns) / self.precision.nanoseconds();
        }
        stamped.stamp
    }

    fn hand_over(&mut self) {
        if let Some(batch) = self.builder.seal() {
            self.metrics.batches.add(1);
            self.fanout.offer(&batch, self.precision, self.hand);
        }
    }

    /// A datagram carries the counter of the moment when it was queued, which may be before the
    /// counter itself was last read: a `total` that is behind tells nothing new.
    fn count_kernel_drops(&mut self, total: u32) {
        let new = total.wrapping_sub(self.kernel_drops_seen);
        if new <= u32::MAX / 2 {
            self.kernel_drops_seen = total;
            self.metrics.kernel_drops.add(u64::from(new));
        }
    }
}

#[cfg(test)]
mod tests;
