//! How fast a relay works off what lies in its sockets while nobody else wants a core: what it
//! could do if senders and backends were other machines.
//!
//! The relay is stopped, senders fill its receive buffers, the relay is continued. Its backends are
//! sockets that nobody reads, so delivered means what it means by UDP: handed to the kernel.

use crate::books::BackendCounts;
use crate::generator::{Load, Prepared, SentReport};
use crate::interrupt::Interrupt;
use crate::kernel::{self, Machine};
use crate::relay::config::{Listener, Options, Output};
use crate::relay::{Program, Relay, free_address};
use crate::sink::Protocol;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// How often the sockets are looked at: it costs the relay a little of its cores.
const POLL: Duration = Duration::from_millis(4);
/// A relay that has not worked all off within this time is given up.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// The least that the kernel grants.
const DEAF_BUFFER_BYTES: usize = 2_048;

/// What to work off.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The relay.
    pub program: Program,
    /// Its UDP backends.
    pub outputs: usize,
    /// Its settings; the receive buffer must hold all lines.
    pub options: Options,
    /// What is sent while it stands still: at most `lines_max` lines, by UDP.
    pub load: Load,
    /// Confines all its threads to so many cores, the first ones.
    pub cores: Option<usize>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct DrainReport {
    /// Where it ran.
    pub machine: Machine,
    /// The relay.
    pub relay: Program,
    /// Lines that lay there.
    pub lines: u64,
    /// From when it was continued until all was on its way.
    pub seconds: f64,
    /// Lines per second.
    pub lines_per_second: f64,
    /// The relay's CPU, in cores.
    pub cores: f64,
    /// CPU per line in nanoseconds.
    pub ns_per_line: f64,
    /// Lines that the relay dropped because a queue was full, at all backends; `None` if it keeps
    /// no counters.
    pub lines_dropped: Option<u64>,
}

/// Runs the plan.
///
/// # Errors
/// If something could not be started or broke, or the receive buffer does not hold the lines.
pub fn run(plan: &Plan) -> Result<DrainReport> {
    ensure!(plan.load.protocol == Protocol::Udp, "only a UDP listener's sockets are worked off");
    let (interrupt, machine) = (Interrupt::watch()?, Machine::read()?);
    let deaf = (0..plan.outputs).map(|_| deaf()).collect::<Result<Vec<_>>>()?;
    let listener = wire(&deaf)?;
    let mut relay = Relay::start(&plan.program, std::slice::from_ref(&listener), &plan.options)?;
    if let Some(cores) = plan.cores {
        relay.confine(cores)?;
    }
    let lines = fill(plan, &mut relay, &listener)?.lines;
    let (before, started) = (relay.cpu_time()?, Instant::now());
    relay.resume()?;
    let lines_dropped = wait_until_drained(&mut relay, &listener, lines, &interrupt)?;
    let (seconds, after) = (started.elapsed().as_secs_f64(), relay.cpu_time()?);
    let (user, system) = after.since(&before);
    let cpu = (user + system).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "line counts are far below 2^52")]
    let count = lines as f64;
    Ok(DrainReport {
        machine,
        relay: plan.program.clone(),
        lines,
        seconds,
        lines_per_second: count / seconds,
        cores: cpu / seconds,
        ns_per_line: cpu * 1e9 / count,
        lines_dropped,
    })
}

fn deaf() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a UDP socket")?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(DEAF_BUFFER_BYTES).context("SO_RCVBUF")?;
    Ok(socket)
}

fn wire(deaf: &[UdpSocket]) -> Result<Listener> {
    let output = |(index, socket): (usize, &UdpSocket)| {
        let address = socket.local_addr()?;
        Ok(Output { name: format!("udp-{}", index + 1), protocol: Protocol::Udp, address })
    };
    Ok(Listener {
        name: "udp".into(),
        protocol: Protocol::Udp,
        address: free_address(Protocol::Udp)?,
        outputs: deaf.iter().enumerate().map(output).collect::<Result<_>>()?,
    })
}

/// Sends everything to the relay, which stands still.
fn fill(plan: &Plan, relay: &mut Relay, listener: &Listener) -> Result<SentReport> {
    relay.pause()?;
    let sent = Prepared::new(plan.load.clone(), &[listener.address])?.start()?.join()?;
    let drops = kernel::udp_drops(listener.address.port())?;
    ensure!(
        drops == 0,
        "{} lines do not lie in the receive buffers at once: the kernel dropped {drops} times; \
         use fewer (--lines), a larger --read-buffer (above net.core.rmem_max it needs \
         CAP_NET_ADMIN), or more memory for all sockets (net.ipv4.udp_mem)",
        sent.lines
    );
    Ok(sent)
}

/// Waits until the sockets are empty and the relay has counted all lines; answers how many it
/// dropped.
fn wait_until_drained(
    relay: &mut Relay,
    listener: &Listener,
    lines: u64,
    interrupt: &Interrupt,
) -> Result<Option<u64>> {
    let deadline = Instant::now() + DRAINED_WITHIN;
    loop {
        if kernel::udp_queued(listener.address.port())? == 0 {
            let Some(metrics) = relay.scrape()? else { return Ok(None) };
            let counts = |output: &Output| {
                let counts = BackendCounts::of(&metrics, &listener.name, &output.name);
                let dropped: u64 = counts.dropped.iter().map(|(_, lines)| lines).sum();
                (counts.delivered, dropped)
            };
            let counts: Vec<_> = listener.outputs.iter().map(counts).collect();
            if counts.iter().all(|(delivered, dropped)| delivered + dropped >= lines) {
                return Ok(Some(counts.iter().map(|(_, dropped)| dropped).sum()));
            }
        }
        ensure!(Instant::now() < deadline, "not all was worked off within {DRAINED_WITHIN:?}");
        interrupt.ensure_none()?;
        relay.ensure_running()?;
        std::thread::sleep(POLL);
    }
}
