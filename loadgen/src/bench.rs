//! Measures one relay under one load: starts sinks, the relay and senders, takes the relay's CPU
//! over a window behind the warm-up, waits until everything has arrived, and closes the books.

use crate::books::{self, BackendCounts, BackendReport, Findings, FrontCounts, ListenerReport};
use crate::generator::{Load, Prepared, Running, SentReport};
use crate::interrupt::Interrupt;
use crate::kernel::{self, CpuTime, Machine};
use crate::relay::config::{self, Listener, Output};
use crate::relay::metrics::Metrics;
use crate::relay::{Program, Relay, free_address};
use crate::sink::http::Behaviour;
use crate::sink::{Protocol, Sink};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How often progress is told.
const SECOND: Duration = Duration::from_secs(1);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);
/// When nothing has arrived for so long after the senders ended, nothing more will.
const SETTLED_AFTER: Duration = Duration::from_millis(1_500);
/// Arrivals end within this time after the senders ended.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
/// A relay has this long to learn of the last kernel drops and to count the last deliveries.
const COUNTED_WITHIN: Duration = Duration::from_secs(3);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The relay.
    pub program: Program,
    /// Its listeners and their load.
    pub listeners: Vec<ListenerPlan>,
    /// Its other settings.
    pub options: config::Options,
    /// HTTP sinks wait so long before each answer.
    pub sink_delay: Duration,
    /// Load is made for so long before CPU is measured.
    pub warm_up: Duration,
    /// How long CPU is measured.
    pub window: Duration,
}

/// One listener, its backends, and its load.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// Its name.
    pub name: String,
    /// How lines come.
    pub protocol: Protocol,
    /// How they go on.
    pub outputs: Vec<Protocol>,
    /// What is sent to it. Its duration is set from the plan.
    pub load: Load,
}

/// Progress, once per second.
#[derive(Clone, Debug)]
pub struct Second {
    /// Since the senders started.
    pub elapsed: Duration,
    /// Lines sent in this second, per listener.
    pub sent: Vec<u64>,
    /// Lines that arrived in this second, per backend of all listeners.
    pub arrived: Vec<u64>,
    /// The relay's CPU in this second, in cores.
    pub cores: f64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Where it ran.
    pub machine: Machine,
    /// The relay.
    pub relay: Program,
    /// Whether every line is accounted for and none arrived altered, twice, or out of order.
    pub proven: bool,
    /// What does not add up, and what is worth knowing.
    pub findings: Findings,
    /// The relay's CPU in the window.
    pub cpu: CpuReport,
    /// The same of its threads in cores, those of one name together.
    pub threads: BTreeMap<String, f64>,
    /// The most memory the relay had resident when it was ready, before any load.
    pub memory_start_kib: u64,
    /// The most memory the relay had resident.
    pub memory_peak_kib: u64,
    /// Each listener.
    pub listeners: Vec<ListenerReport>,
}

/// The relay's CPU in the measured window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CpuReport {
    /// How long the window was.
    pub seconds: f64,
    /// Lines the relay handled in it: what arrived at a backend, averaged over the backends of
    /// each listener.
    pub lines: u64,
    /// CPU in cores.
    pub cores: f64,
    /// CPU per line in nanoseconds.
    pub ns_per_line: f64,
    /// In user mode.
    pub user_ns_per_line: f64,
    /// In the kernel.
    pub system_ns_per_line: f64,
}

/// Runs the plan. `on_second` is told the progress.
///
/// # Errors
/// If something could not be started or broke; lost lines are no error but a finding.
pub fn run(plan: &Plan, on_second: &mut dyn FnMut(&Second)) -> Result<BenchReport> {
    let (interrupt, machine) = (Interrupt::watch()?, Machine::read()?);
    let sinks = open_sinks(plan)?;
    let listeners = wire(plan, &sinks)?;
    let loads = prepare(plan, &listeners)?;
    let mut relay = Relay::start(&plan.program, &listeners, &plan.options)?;
    let memory_start_kib = relay.peak_memory_kib()?;
    let running = loads.into_iter().map(Prepared::start).collect::<Result<Vec<_>>>()?;
    let mut stage = Stage { sinks, running, relay: &mut relay, interrupt: &interrupt };
    let (cpu, threads) = stage.measure(plan, on_second)?;
    let Stage { sinks, running, .. } = stage;
    let sent = running.into_iter().map(Running::join).collect::<Result<Vec<_>>>()?;
    settle(&sinks, &sent, &mut relay, &interrupt)?;
    let drops = listeners
        .iter()
        .map(|listener| match listener.protocol {
            Protocol::Udp => kernel::udp_drops(listener.address.port()),
            Protocol::Http => Ok(0),
        })
        .collect::<Result<Vec<_>>>()?;
    let metrics = scrape_settled(&relay, &listeners, &drops, &sinks)?;
    let memory_peak_kib = relay.peak_memory_kib()?;
    let ended_badly = relay.stop()?;

    let reports = close(plan, &listeners, sinks, sent, &drops, metrics.as_ref())?;
    let mut findings = Findings::default();
    for listener in &reports {
        let found = books::check(listener);
        findings.failures.extend(found.failures);
        findings.notes.extend(found.notes);
    }
    findings.failures.extend(ended_badly);
    Ok(BenchReport {
        machine,
        relay: plan.program.clone(),
        proven: findings.failures.is_empty(),
        findings,
        cpu,
        threads,
        memory_start_kib,
        memory_peak_kib,
        listeners: reports,
    })
}

/// The sinks of each listener.
type Sinks = Vec<Vec<Sink>>;

fn open_sinks(plan: &Plan) -> Result<Sinks> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let open = |protocol: &Protocol| match protocol {
        Protocol::Udp => Sink::udp(any),
        Protocol::Http => {
            Sink::http(any, Behaviour { delay: plan.sink_delay, ..Behaviour::default() })
        }
    };
    plan.listeners.iter().map(|listener| listener.outputs.iter().map(open).collect()).collect()
}

fn wire(plan: &Plan, sinks: &Sinks) -> Result<Vec<Listener>> {
    let listener = |(listener, sinks): (&ListenerPlan, &Vec<Sink>)| {
        let output = |(index, (&protocol, sink)): (usize, (&Protocol, &Sink))| Output {
            name: format!("{}-{}", protocol.label(), index + 1),
            protocol,
            address: sink.address(),
        };
        Ok(Listener {
            name: listener.name.clone(),
            protocol: listener.protocol,
            address: free_address(listener.protocol)?,
            outputs: listener.outputs.iter().zip(sinks).enumerate().map(output).collect(),
        })
    };
    plan.listeners.iter().zip(sinks).map(listener).collect()
}

fn prepare(plan: &Plan, listeners: &[Listener]) -> Result<Vec<Prepared>> {
    let prepare = |(index, listener): (usize, &Listener)| {
        let planned = &plan.listeners[index];
        let first_source = plan.listeners[..index].iter().map(|l| l.load.sources).sum();
        let duration = plan.warm_up + plan.window;
        let load = Load { first_source, duration, ..planned.load.clone() };
        Prepared::new(load, &[listener.address]).with_context(|| format!("[{}]", listener.name))
    };
    listeners.iter().enumerate().map(prepare).collect()
}

/// A run while load is made.
struct Stage<'a> {
    sinks: Sinks,
    running: Vec<Running>,
    relay: &'a mut Relay,
    interrupt: &'a Interrupt,
}

/// Where everything stands at one moment.
struct Mark {
    at: Instant,
    cpu: CpuTime,
    threads: BTreeMap<String, Duration>,
    sent: Vec<u64>,
    arrived: Vec<Vec<u64>>,
}

impl Stage<'_> {
    fn mark(&self) -> Result<Mark> {
        let lines = |sinks: &Vec<Sink>| sinks.iter().map(Sink::lines).collect();
        Ok(Mark {
            at: Instant::now(),
            cpu: self.relay.cpu_time()?,
            threads: self.relay.thread_times()?,
            sent: self.running.iter().map(Running::lines).collect(),
            arrived: self.sinks.iter().map(lines).collect(),
        })
    }

    /// Waits through warm-up and window, telling the progress, and measures the window.
    fn measure(
        &mut self,
        plan: &Plan,
        on_second: &mut dyn FnMut(&Second),
    ) -> Result<(CpuReport, BTreeMap<String, f64>)> {
        let started = Instant::now();
        let mut last = self.mark()?;
        let (mut window_start, mut next_second) = (None, started + SECOND);
        let (warm, end) = (started + plan.warm_up, started + plan.warm_up + plan.window);
        loop {
            let now = Instant::now();
            if window_start.is_none() && now >= warm {
                window_start = Some(self.mark()?);
            }
            if now >= next_second {
                next_second += SECOND;
                let mark = self.mark()?;
                on_second(&Second::between(&last, &mark, started));
                last = mark;
            }
            if now >= end || self.running.iter().all(Running::finished) {
                break;
            }
            self.interrupt.ensure_none()?;
            self.relay.ensure_running()?;
            let failed = self.sinks.iter().flatten().find(|sink| sink.failed());
            ensure!(failed.is_none(), "a sink failed");
            std::thread::sleep(POLL);
        }
        let start = window_start.context("all lines were sent before the warm-up was over")?;
        let end = self.mark()?;
        Ok((CpuReport::between(&start, &end), threads_between(&start, &end)))
    }
}

impl Second {
    fn between(last: &Mark, now: &Mark, started: Instant) -> Self {
        let arrived = now.arrived.iter().flatten().zip(last.arrived.iter().flatten());
        let (user, system) = now.cpu.since(&last.cpu);
        Self {
            elapsed: now.at - started,
            sent: now.sent.iter().zip(&last.sent).map(|(now, last)| now - last).collect(),
            arrived: arrived.map(|(now, last)| now - last).collect(),
            cores: (user + system).as_secs_f64() / (now.at - last.at).as_secs_f64(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "line counts are far below 2^52")]
impl CpuReport {
    fn between(start: &Mark, end: &Mark) -> Self {
        let handled = |(start, end): (&Vec<u64>, &Vec<u64>)| {
            let lines: u64 = end.iter().sum::<u64>() - start.iter().sum::<u64>();
            lines / (end.len() as u64).max(1)
        };
        let lines: u64 = start.arrived.iter().zip(&end.arrived).map(handled).sum();
        let (user, system) = end.cpu.since(&start.cpu);
        let seconds = (end.at - start.at).as_secs_f64();
        let per_line = |time: Duration| time.as_secs_f64() * 1e9 / lines.max(1) as f64;
        Self {
            seconds,
            lines,
            cores: (user + system).as_secs_f64() / seconds,
            ns_per_line: per_line(user + system),
            user_ns_per_line: per_line(user),
            system_ns_per_line: per_line(system),
        }
    }
}

/// The threads' CPU in cores.
fn threads_between(start: &Mark, end: &Mark) -> BTreeMap<String, f64> {
    let seconds = (end.at - start.at).as_secs_f64();
    let cores = |(name, time): (&String, &Duration)| {
        let before = start.threads.get(name).copied().unwrap_or_default();
        (name.clone(), time.saturating_sub(before).as_secs_f64() / seconds)
    };
    end.threads.iter().map(cores).collect()
}

/// Waits until every sink has every line, or nothing more arrives.
fn settle(
    sinks: &Sinks,
    sent: &[SentReport],
    relay: &mut Relay,
    interrupt: &Interrupt,
) -> Result<()> {
    let all = |(sinks, sent): (&Vec<Sink>, &SentReport)| {
        sinks.iter().all(|sink| sink.lines() >= sent.lines)
    };
    let arrived = || sinks.iter().flatten().map(Sink::lines).sum::<u64>();
    let deadline = Instant::now() + SETTLE_WITHIN;
    let (mut last, mut quiet_since) = (arrived(), Instant::now());
    while !sinks.iter().zip(sent).all(all) && Instant::now() < deadline {
        if arrived() != last {
            (last, quiet_since) = (arrived(), Instant::now());
        } else if quiet_since.elapsed() >= SETTLED_AFTER {
            break;
        }
        interrupt.ensure_none()?;
        relay.ensure_running()?;
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Scrapes until the counters agree with the kernel and the sinks, or their time is up: the books
/// then say what is wrong.
fn scrape_settled(
    relay: &Relay,
    listeners: &[Listener],
    drops: &[u64],
    sinks: &Sinks,
) -> Result<Option<Metrics>> {
    let deadline = Instant::now() + COUNTED_WITHIN;
    loop {
        let Some(metrics) = relay.scrape()? else { return Ok(None) };
        let settled = listeners.iter().zip(drops).zip(sinks).all(|((listener, &drops), sinks)| {
            FrontCounts::of(&metrics, &listener.name).kernel_drops == drops
                && listener.outputs.iter().zip(sinks).all(|(output, sink)| {
                    let counts = BackendCounts::of(&metrics, &listener.name, &output.name);
                    counts.delivered == sink.lines()
                })
        });
        if settled || Instant::now() >= deadline {
            return Ok(Some(metrics));
        }
        std::thread::sleep(POLL);
    }
}

fn close(
    plan: &Plan,
    listeners: &[Listener],
    sinks: Sinks,
    sent: Vec<SentReport>,
    drops: &[u64],
    metrics: Option<&Metrics>,
) -> Result<Vec<ListenerReport>> {
    let mut reports = Vec::new();
    for (((listener, sinks), sent), &kernel_drops) in
        listeners.iter().zip(sinks).zip(sent).zip(drops)
    {
        let by_source = sent.lines_by_source();
        let mut backends = Vec::new();
        for (output, sink) in listener.outputs.iter().zip(sinks) {
            backends.push(BackendReport {
                name: output.name.clone(),
                mtu: plan.options.mtu,
                sink: sink.close(Some(&by_source))?,
                counted: metrics.map(|m| BackendCounts::of(m, &listener.name, &output.name)),
            });
        }
        let counted = metrics.map(|metrics| FrontCounts::of(metrics, &listener.name));
        let name = listener.name.clone();
        reports.push(ListenerReport { name, sent, kernel_drops, counted, backends });
    }
    Ok(reports)
}
