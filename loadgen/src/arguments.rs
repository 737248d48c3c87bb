//! What may be typed on the command line, checked into what the rooms work with.

mod relay;

pub use relay::{BenchArguments, CompareArguments, DemoArguments, DrainArguments, Scenario, Task};

use crate::floor;
use crate::generator::Load;
use crate::payload::Shape;
use crate::report::curves::Figure;
use crate::sink::Protocol;
use crate::sink::http::Behaviour;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use humantime::parse_duration;
use hyper::StatusCode;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// Runs are bounded.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Makes InfluxDB line protocol load, receives it, proves that nothing was lost, and measures
/// relays.
///
/// Exit status: 0 if all is well, 1 if something was lost or not proven, 2 if it could not run.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends lines at a steady rate; each says who sent it, its number, and when it was due
    Send(SendArguments),
    /// Receives lines and counts what is missing, duplicate, reordered or altered
    Sink(SinkArguments),
    /// Ten seconds of UDP and HTTP load through a relay to four backends, for anyone to watch
    Demo(DemoArguments),
    /// Starts a relay between senders and sinks, proves its books, and measures its CPU per line
    Bench(BenchArguments),
    /// Gives several relays the same work in turns and puts their CPU per line side by side
    Compare(CompareArguments),
    /// Fills a relay's sockets while it is stopped, and measures how fast it works them off
    Drain(DrainArguments),
    /// Draws what was measured at several rates: CPU per line, or loss
    Plot(PlotArguments),
    /// Forwards datagrams with the least work that this kernel allows: the measure for a relay
    Floor(FloorArguments),
}

/// What load to make.
#[derive(Args, Debug)]
pub struct LoadArguments {
    /// Lines per second, of all sources together; 0 is as fast as possible
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Lines in each datagram or request; default: 10 by UDP, 100 by HTTP
    #[arg(long, value_name = "N")]
    lines_per_write: Option<usize>,
    /// UDP: send each burst as one GSO send (UDP_SEGMENT)
    #[arg(long)]
    gso: bool,
    /// UDP: datagrams that fall due together, at most 64; 0 chooses (a full GSO send, else what
    /// falls due within a millisecond)
    #[arg(long, default_value_t = 0, value_name = "N")]
    burst: usize,
    /// Sources: UDP sockets or HTTP connections, each with its own sequence of lines; default: 1
    /// by UDP, 4 by HTTP
    #[arg(long, value_name = "N")]
    sources: Option<usize>,
    /// Different series, rounded up to a multiple of the lines per write
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    series: usize,
    /// Decides field values and the order of series
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Whether lines carry the sender's timestamp
    #[arg(long, default_value = "yes", value_name = "YES|NO")]
    timestamps: YesNo,
    /// The most lines to send, of all sources together
    #[arg(long, default_value_t = 1_000_000_000, value_name = "N")]
    lines: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

impl LoadArguments {
    fn load(&self, protocol: Protocol, duration: Duration) -> Result<Load> {
        ensure!(!duration.is_zero(), "--duration must be more than nothing");
        ensure!(duration <= DURATION_MAX, "--duration is at most {DURATION_MAX:?}");
        ensure!(!self.gso || protocol == Protocol::Udp, "--gso is for UDP");
        let (lines_per_write, sources) = match protocol {
            Protocol::Udp => (10, 1),
            Protocol::Http => (100, 4),
        };
        Ok(Load {
            protocol,
            gso: self.gso,
            lines_per_second: self.rate,
            burst: self.burst,
            sources: self.sources.unwrap_or(sources),
            first_source: 0,
            database: "bench".into(),
            duration,
            lines_max: self.lines,
            shape: Shape {
                lines_per_write: self.lines_per_write.unwrap_or(lines_per_write),
                series: self.series,
                stamped: self.timestamps == YesNo::Yes,
                seed: self.seed,
            },
        })
    }
}

/// Arguments of `send`.
#[derive(Args, Debug)]
pub struct SendArguments {
    /// Where to send: udp://HOST:PORT or http://HOST:PORT; several share the load
    #[arg(long, required = true, value_name = "URL")]
    to: Vec<String>,
    /// How long to send, unless --lines ends it earlier
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    duration: Duration,
    /// The id of the first source, 0 to 99; senders to one sink need different ids
    #[arg(long, default_value_t = 0, value_name = "ID")]
    source: usize,
    /// HTTP: the database to write to
    #[arg(long, default_value = "bench", value_name = "NAME")]
    db: String,
    #[command(flatten)]
    load: LoadArguments,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

impl SendArguments {
    /// The load and its targets.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn check(&self) -> Result<(Load, Vec<SocketAddr>)> {
        let targets =
            self.to.iter().map(|url| target(url)).collect::<Result<Vec<_>>>().context("--to")?;
        let protocol = targets.first().context("--to is missing")?.0;
        ensure!(
            targets.iter().all(|&(other, _)| other == protocol),
            "--to: all targets must be of one kind, udp:// or http://"
        );
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        ensure!(self.db.chars().all(plain), "--db may have letters, digits, '_', '-' and '.'");
        let load = Load {
            first_source: self.source,
            database: self.db.clone(),
            ..self.load.load(protocol, self.duration)?
        };
        Ok((load, targets.into_iter().map(|(_, address)| address).collect()))
    }
}

fn target(url: &str) -> Result<(Protocol, SocketAddr)> {
    let (protocol, rest) = match url.split_once("://") {
        Some(("udp", rest)) => (Protocol::Udp, rest),
        Some(("http", rest)) => (Protocol::Http, rest),
        _ => bail!("{url:?} is neither udp://HOST:PORT nor http://HOST:PORT"),
    };
    let mut addresses = rest
        .trim_end_matches('/')
        .to_socket_addrs()
        .with_context(|| format!("{url:?}: no such host, or no port"))?;
    Ok((protocol, addresses.next().with_context(|| format!("{url:?}: no address"))?))
}

/// Arguments of `sink`.
#[derive(Args, Debug)]
pub struct SinkArguments {
    /// Receive datagrams here; may be repeated, each address has a thread
    #[arg(long, value_name = "HOST:PORT")]
    pub udp: Vec<SocketAddr>,
    /// Receive POSTs (to any path) here; may be repeated, each address has a thread
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Vec<SocketAddr>,
    /// End when every address has received so many lines; fewer are a failure
    #[arg(long, value_name = "N")]
    pub expect_lines: Option<u64>,
    /// End after this time
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "DURATION")]
    pub duration: Duration,
    /// End when nothing has arrived for so long, once something has
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "DURATION")]
    pub idle: Duration,
    /// HTTP: wait so long before each answer
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay_ms: u64,
    /// HTTP: answer writes with this status; lines are taken only with a 2xx
    #[arg(long, default_value_t = 204)]
    status: u16,
    /// HTTP: work for so long, then answer 503 for so long, and so on
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    flap: Option<Duration>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

impl SinkArguments {
    /// How HTTP sinks answer.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn behaviour(&self) -> Result<Behaviour> {
        ensure!(!(self.udp.is_empty() && self.http.is_empty()), "give --udp or --http HOST:PORT");
        ensure!(self.duration <= DURATION_MAX, "--duration is at most {DURATION_MAX:?}");
        ensure!((200..600).contains(&self.status), "--status is 200 to 599");
        ensure!(self.flap.is_none_or(|flap| !flap.is_zero()), "--flap must be more than nothing");
        let status = StatusCode::from_u16(self.status).context("--status")?;
        Ok(Behaviour { status, delay: Duration::from_millis(self.delay_ms), flap: self.flap })
    }
}

/// Arguments of `plot`.
#[derive(Args, Debug)]
pub struct PlotArguments {
    /// What was measured, as JSON: {"title", "foot", "panels": [{"title", "x", "points":
    /// [{"relay", "rate", "cpu_ns", "loss"}]}]}, loss from 0 to 1
    #[arg(value_name = "FILE")]
    pub measured: PathBuf,
    /// What to draw against the rate
    #[arg(long, value_enum)]
    pub figure: Figure,
    /// Where to draw it
    #[arg(long, value_name = "FILE")]
    pub svg: PathBuf,
}

/// Arguments of `floor`.
#[derive(Args, Debug)]
pub struct FloorArguments {
    /// Where to receive
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Where to send every datagram to; may be repeated
    #[arg(long, required = true, value_name = "HOST:PORT")]
    to: Vec<SocketAddr>,
    /// Bytes of payload that datagrams are packed up to
    #[arg(long, default_value_t = 1400, value_parser = clap::value_parser!(u16).range(200..=65_507),
          value_name = "BYTES")]
    mtu: u16,
    /// Bytes of receive buffer to ask the kernel for; 0 leaves the system's default
    #[arg(long, default_value_t = 16 << 20, value_name = "BYTES")]
    read_buffer: usize,
    /// Microseconds that datagrams may gather while traffic flows
    #[arg(long, default_value_t = floor::BATCH_WAIT_US,
          value_parser = clap::value_parser!(u32).range(..=100_000), value_name = "US")]
    batch_wait_us: u32,
}

impl FloorArguments {
    /// What to forward.
    #[must_use]
    pub fn plan(&self) -> floor::Plan {
        floor::Plan {
            listen: self.listen,
            to: self.to.clone(),
            mtu: self.mtu,
            read_buffer: self.read_buffer,
            batch_wait: Duration::from_micros(self.batch_wait_us.into()),
        }
    }
}
