//! The arguments of the commands that run a relay: `demo`, `bench`, `compare`.

use super::{DURATION_MAX, LoadArguments};
use crate::bench::{ListenerPlan, Plan};
use crate::compare::Match;
use crate::drain;
use crate::generator::Load;
use crate::payload::Shape;
use crate::relay::config::Options;
use crate::relay::{Kind, Program};
use crate::sink::Protocol;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use humantime::parse_duration;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is to be worked off is sent within this time.
const DRAIN_FILL_MAX: Duration = Duration::from_secs(30);
/// A queue that does not drop while its thread waits for the core that the worker has.
const DRAIN_QUEUE_MB: usize = 1024;

/// What comes in and what goes out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scenario {
    /// UDP in, UDP out
    UdpUdp,
    /// UDP in, HTTP out
    UdpHttp,
    /// HTTP in, HTTP out
    HttpHttp,
}

impl Scenario {
    fn protocols(self) -> (Protocol, Protocol) {
        match self {
            Self::UdpUdp => (Protocol::Udp, Protocol::Udp),
            Self::UdpHttp => (Protocol::Udp, Protocol::Http),
            Self::HttpHttp => (Protocol::Http, Protocol::Http),
        }
    }
}

/// What a relay is to do.
#[derive(Args, Debug)]
struct WorkArguments {
    /// What comes in and what goes out
    #[arg(long, value_enum, default_value_t = Scenario::UdpUdp)]
    scenario: Scenario,
    /// Backends
    #[arg(long, default_value_t = 2, value_name = "N")]
    outputs: usize,
    /// `mtu` of UDP backends
    #[arg(long, default_value_t = 1400, value_name = "BYTES")]
    mtu: usize,
    /// `read-buffer` of the UDP listener
    #[arg(long, default_value_t = 16 << 20, value_name = "BYTES")]
    read_buffer: usize,
    /// `workers` of the UDP listener; default: the relay's own. The Go relay and the floor have
    /// one thread anyway
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// `batch-wait-us` of the UDP listener; default: the relay's own, which is the floor's too
    #[arg(long, value_name = "US")]
    batch_wait_us: Option<u32>,
    /// `http-threads`; default: the relay's own. The Go relay has no such key
    #[arg(long, value_name = "N")]
    http_threads: Option<usize>,
    /// HTTP backends wait so long before each answer
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000),
          value_name = "MS")]
    sink_delay_ms: u64,
    /// Load is made for so long before CPU is measured
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    warm_up: Duration,
    #[command(flatten)]
    load: LoadArguments,
}

impl WorkArguments {
    fn plan(&self, program: Program, window: Duration) -> Result<Plan> {
        let (front, back) = self.scenario.protocols();
        ensure!((1..=16).contains(&self.outputs), "--outputs is 1 to 16");
        ensure!((200..=65_507).contains(&self.mtu), "--mtu is 200 to 65507");
        ensure!(self.batch_wait_us <= Some(100_000), "--batch-wait-us is at most 100000");
        ensure!(self.warm_up <= DURATION_MAX, "--warm-up is at most {DURATION_MAX:?}");
        Ok(Plan {
            program,
            listeners: vec![ListenerPlan {
                name: front.label().into(),
                protocol: front,
                outputs: vec![back; self.outputs],
                load: self.load.load(front, window)?,
            }],
            options: Options {
                mtu: self.mtu,
                read_buffer: self.read_buffer,
                workers: self.workers,
                batch_wait_us: self.batch_wait_us,
                http_threads: self.http_threads,
                queue_size_mb: None,
            },
            sink_delay: Duration::from_millis(self.sink_delay_ms),
            warm_up: self.warm_up,
            window,
        })
    }
}

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct BenchArguments {
    /// The relay: PATH, go:PATH (the Go influxdb-relay), or floor; default: `ringrelay` beside
    /// this program
    #[arg(long, value_name = "RELAY")]
    relay: Option<Program>,
    /// Runs the relay and the floor in turns and puts their CPU per line side by side
    #[arg(long)]
    versus_floor: bool,
    /// With --versus-floor: how often each has its turn
    #[arg(long, default_value_t = 3, value_name = "N", requires = "versus_floor")]
    rounds: usize,
    /// How long CPU is measured
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    duration: Duration,
    #[command(flatten)]
    work: WorkArguments,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `bench` is to do.
#[derive(Debug)]
pub enum Task {
    /// One run.
    Bench(Box<Plan>),
    /// The relay and the floor in turns.
    VersusFloor(Box<Match>),
}

impl BenchArguments {
    /// The task.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn check(&self) -> Result<Task> {
        let program = self.relay.clone().map_or_else(Program::beside, Ok)?;
        let plan = self.work.plan(program.clone(), self.duration)?;
        if !self.versus_floor {
            return Ok(Task::Bench(Box::new(plan)));
        }
        ensure!(program.kind != Kind::Floor, "--versus-floor needs another --relay than the floor");
        ensure_rounds(self.rounds)?;
        let programs = vec![program, Program::floor()?];
        Ok(Task::VersusFloor(Box::new(Match { plan, programs, baseline: 1, rounds: self.rounds })))
    }
}

fn ensure_rounds(rounds: usize) -> Result<()> {
    ensure!((1..=100).contains(&rounds), "--rounds is 1 to 100");
    Ok(())
}

/// Arguments of `compare`.
#[derive(Args, Debug)]
pub struct CompareArguments {
    /// A relay: NAME=PATH, NAME=go:PATH (the Go influxdb-relay), or floor; given twice or more,
    /// the others are measured by the first
    #[arg(long = "relay", required = true, value_name = "RELAY")]
    relays: Vec<Program>,
    /// How often each has its turn
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// How long CPU is measured in each turn
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "DURATION")]
    duration: Duration,
    #[command(flatten)]
    work: WorkArguments,
    /// Report as JSON: into FILE, beside the words, or instead of them
    #[arg(long, num_args = 0..=1, default_missing_value = "-", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the CPU per line into FILE
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

impl CompareArguments {
    /// Whether JSON takes the place of the words.
    #[must_use]
    pub fn json_instead(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    /// Where JSON goes beside the words.
    #[must_use]
    pub fn json_file(&self) -> Option<&Path> {
        self.json.as_deref().filter(|_| !self.json_instead())
    }

    /// The match.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn check(&self) -> Result<Match> {
        let programs = self.relays.clone();
        ensure!((2..=8).contains(&programs.len()), "give --relay NAME=PATH 2 to 8 times");
        let names: HashSet<&str> = programs.iter().map(|program| &*program.name).collect();
        ensure!(
            names.len() == programs.len(),
            "two relays have one name: give them names, --relay NAME=PATH"
        );
        ensure_rounds(self.rounds)?;
        let plan = self.work.plan(programs[0].clone(), self.duration)?;
        Ok(Match { plan, programs, baseline: 0, rounds: self.rounds })
    }
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub struct DrainArguments {
    /// The relay: PATH, go:PATH (the Go influxdb-relay), or floor; default: `ringrelay` beside
    /// this program
    #[arg(long, value_name = "RELAY")]
    relay: Option<Program>,
    /// UDP backends
    #[arg(long, default_value_t = 2, value_name = "N")]
    outputs: usize,
    /// `workers` of the listener; default: the relay's own
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Confines the relay to the first N cores
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// `read-buffer` of each of the listener's sockets: it must hold what is sent to it
    #[arg(long, default_value_t = 1_000_000_000, value_name = "BYTES")]
    read_buffer: usize,
    #[command(flatten)]
    load: LoadArguments,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

impl DrainArguments {
    /// The plan.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn check(&self) -> Result<drain::Plan> {
        ensure!((1..=16).contains(&self.outputs), "--outputs is 1 to 16");
        ensure!(self.cores != Some(0), "--cores is at least 1");
        Ok(drain::Plan {
            program: self.relay.clone().map_or_else(Program::beside, Ok)?,
            outputs: self.outputs,
            options: Options {
                mtu: 1400,
                read_buffer: self.read_buffer,
                workers: self.workers,
                batch_wait_us: None,
                http_threads: None,
                queue_size_mb: Some(DRAIN_QUEUE_MB),
            },
            load: self.load.load(Protocol::Udp, DRAIN_FILL_MAX)?,
            cores: self.cores,
        })
    }
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// The relay; default: `ringrelay` beside this program
    #[arg(long, value_name = "PATH")]
    relay: Option<Program>,
    /// Lines per second by UDP
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    udp_rate: u64,
    /// Lines per second by HTTP
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    http_rate: u64,
    /// How long
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    duration: Duration,
}

impl DemoArguments {
    /// The plan: two UDP sources and four HTTP connections, two backends each.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn check(&self) -> Result<Plan> {
        ensure!(self.udp_rate > 0 && self.http_rate > 0, "the demo's rates must not be 0");
        let second = Duration::from_secs(1);
        ensure!(self.duration >= 2 * second, "the demo needs at least 2 seconds");
        ensure!(self.duration <= DURATION_MAX, "--duration is at most {DURATION_MAX:?}");
        let listener =
            |protocol: Protocol, lines_per_second, sources, lines_per_write| ListenerPlan {
                name: protocol.label().into(),
                protocol,
                outputs: vec![protocol; 2],
                load: Load {
                    protocol,
                    gso: false,
                    lines_per_second,
                    burst: 0,
                    sources,
                    first_source: 0,
                    database: "demo".into(),
                    duration: self.duration,
                    lines_max: u64::MAX,
                    shape: Shape { lines_per_write, series: 1_000, stamped: true, seed: 1 },
                },
            };
        Ok(Plan {
            program: self.relay.clone().map_or_else(Program::beside, Ok)?,
            listeners: vec![
                listener(Protocol::Udp, self.udp_rate, 2, 5),
                listener(Protocol::Http, self.http_rate, 4, 50),
            ],
            options: Options {
                mtu: 1400,
                read_buffer: 16 << 20,
                workers: None,
                batch_wait_us: None,
                http_threads: None,
                queue_size_mb: None,
            },
            sink_delay: Duration::ZERO,
            warm_up: second,
            window: self.duration.saturating_sub(second),
        })
    }
}
