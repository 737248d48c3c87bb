//! Makes load: one thread per source (a UDP socket or an HTTP connection), each with its own
//! payload, sequence and schedule. The protocols are `udp` and `http`.

mod http;
mod report;
mod udp;

pub use report::{SentReport, SourceReport};

use crate::line::SOURCES_MAX;
use crate::pace::{Pacer, Schedule, Start};
use crate::payload::{Payload, Shape};
use crate::sink::Protocol;
use anyhow::{Context, Result, anyhow, ensure};
use report::Tally;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most segments one GSO send may have (`UDP_MAX_SEGMENTS` before Linux 6.9), and the most
/// datagrams that are sent by one `sendmmsg`.
const BURST_MAX: usize = 64;
/// The largest UDP payload over IPv4, which bounds a GSO send as well.
const UDP_BYTES_MAX: usize = 65_507;
/// The schedule starts so long after the threads are made.
const LEAD: Duration = Duration::from_millis(50);

/// What load to make.
#[derive(Clone, Debug)]
pub struct Load {
    /// How lines travel.
    pub protocol: Protocol,
    /// UDP only: send bursts as one GSO send.
    pub gso: bool,
    /// Lines per second of all sources together; 0 for as fast as possible.
    pub lines_per_second: u64,
    /// UDP only: datagrams that fall due together; 0 chooses: a full GSO send, or what falls due
    /// within a millisecond.
    pub burst: usize,
    /// How many sources.
    pub sources: usize,
    /// The id of the first; the others count on.
    pub first_source: usize,
    /// HTTP only: the database.
    pub database: String,
    /// How long load is made.
    pub duration: Duration,
    /// The most lines that are sent by all sources together.
    pub lines_max: u64,
    /// What writes look like.
    pub shape: Shape,
}

impl Load {
    /// Writes that fall due together.
    fn burst(&self) -> Result<usize> {
        ensure!(self.burst <= BURST_MAX, "a burst is at most {BURST_MAX} datagrams");
        if self.protocol == Protocol::Http {
            return Ok(1);
        }
        if self.burst > 0 {
            return Ok(self.burst);
        }
        if self.gso || self.lines_per_second == 0 {
            return Ok(BURST_MAX);
        }
        let lines = (self.shape.lines_per_write * self.sources).max(1) as u64;
        let per_ms = self.lines_per_second / lines / 1_000;
        Ok(usize::try_from(per_ms)?.clamp(1, BURST_MAX))
    }
}

/// Load that is laid out but not started.
#[derive(Debug)]
pub struct Prepared {
    load: Load,
    /// Writes that fall due together.
    burst: usize,
    payloads: Vec<Payload>,
    targets: Vec<SocketAddr>,
}

impl Prepared {
    /// Lays out all payloads. Sources are spread over `targets` in turn.
    ///
    /// # Errors
    /// If the load is out of bounds.
    pub fn new(load: Load, targets: &[SocketAddr]) -> Result<Self> {
        let ids = load.first_source..load.first_source.saturating_add(load.sources);
        ensure!(!targets.is_empty(), "load needs a target");
        ensure!(load.sources >= 1, "load needs at least one source");
        ensure!(
            ids.end <= SOURCES_MAX,
            "source ids end at {}, not {}",
            SOURCES_MAX - 1,
            ids.end - 1
        );
        let lines_min = (load.shape.lines_per_write * load.sources) as u64;
        ensure!(
            load.lines_max >= lines_min,
            "{} lines are less than one write of each source",
            load.lines_max
        );
        let burst = load.burst()?;
        let payloads = ids
            .map(|id| Payload::new(&load.shape, id, burst))
            .collect::<Result<Vec<_>>>()
            .context("laying out the payload")?;
        let write_bytes = payloads[0].write_bytes();
        ensure!(
            load.protocol == Protocol::Http || write_bytes <= UDP_BYTES_MAX,
            "a datagram of {write_bytes} bytes cannot be sent: use fewer lines per write"
        );
        let burst = if load.gso { burst.min(UDP_BYTES_MAX / write_bytes) } else { burst };
        Ok(Self { load, burst, payloads, targets: targets.to_vec() })
    }

    /// Starts all sources.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub fn start(self) -> Result<Running> {
        let Self { load, burst, payloads, targets } = self;
        let (start, sources) = (Start::after(LEAD)?, payloads.len());
        let shared = Arc::<Shared>::default();
        let (lines_per_write, write_bytes) =
            (payloads[0].lines_per_write(), payloads[0].write_bytes());
        let mut schedule = Schedule {
            lines_per_second: load.lines_per_second.div_ceil(sources as u64),
            lines_per_burst: (burst * lines_per_write) as u64,
            duration: load.duration,
            offset: Duration::ZERO,
        };
        let apart = schedule.due(1).unwrap_or_default() / u32::try_from(sources)?;
        let mut threads = Vec::new();
        for (payload, index) in payloads.into_iter().zip(0..) {
            schedule.offset = apart * index;
            let index = index as usize;
            let source = Source {
                id: load.first_source + index,
                payload,
                pacer: Pacer::new(schedule, start),
                target: targets[index % targets.len()],
                burst,
                lines_max: load.lines_max / sources as u64,
                shared: Arc::clone(&shared),
            };
            let (protocol, gso, database) = (load.protocol, load.gso, load.database.clone());
            let thread = std::thread::Builder::new()
                .name(format!("source-{}", source.id))
                .spawn(move || match protocol {
                    Protocol::Udp => udp::send(source, gso),
                    Protocol::Http => http::send(source, &database),
                })
                .context("starting a source's thread")?;
            threads.push(thread);
        }
        let writes_per_send = if load.gso { burst } else { 1 };
        let report = SentReport::new(load.protocol, lines_per_write, writes_per_send, write_bytes);
        Ok(Running { shared, threads, report })
    }
}

/// What one source's thread works with.
#[derive(Debug)]
struct Source {
    id: usize,
    payload: Payload,
    pacer: Pacer,
    target: SocketAddr,
    burst: usize,
    lines_max: u64,
    shared: Arc<Shared>,
}

impl Source {
    /// Waits for the next burst: (writes that may be sent, nanoseconds since 1970 they were due
    /// at). `None` when the run is over.
    fn next(&mut self, tally: &Tally) -> Result<Option<(usize, u64)>> {
        let lines = self.payload.lines_per_write() as u64;
        let left = self.lines_max.saturating_sub(tally.lines()) / lines;
        let writes = usize::try_from(left).unwrap_or(usize::MAX).min(self.burst);
        if writes == 0 || self.shared.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Ok(self.pacer.wait()?.map(|due_ns| (writes, due_ns)))
    }
}

#[derive(Debug, Default)]
struct Shared {
    lines: AtomicU64,
    stop: AtomicBool,
}

/// Load being made.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Tally>>>,
    report: SentReport,
}

impl Running {
    /// Lines sent so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.shared.lines.load(Ordering::Relaxed)
    }

    /// Whether all sources have ended.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Ends all sources before their time.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for all sources and adds up what they sent.
    ///
    /// # Errors
    /// If a source failed.
    pub fn join(self) -> Result<SentReport> {
        let mut tallies = Vec::new();
        for thread in self.threads {
            let tally = thread.join().map_err(|_| anyhow!("a source's thread panicked"))?;
            tallies.push(tally.context("a source failed")?);
        }
        Ok(self.report.with(tallies))
    }
}
