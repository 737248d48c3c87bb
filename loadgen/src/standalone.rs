//! `send` and `sink` as programs of their own, ended by their bounds or by a signal.

use crate::arguments::{SendArguments, SinkArguments};
use crate::generator::{Prepared, Running};
use crate::interrupt::Interrupt;
use crate::report;
use crate::sink::{Sink, SinkReport};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Sends; answers whether all was sent and, by HTTP, answered 2xx.
///
/// # Errors
/// If it could not run.
pub fn send(arguments: &SendArguments) -> Result<bool> {
    let (load, targets) = arguments.check()?;
    let interrupt = Interrupt::watch()?;
    let running: Running = Prepared::new(load, &targets)?.start()?;
    while !running.finished() {
        if interrupt.came() {
            running.stop();
        }
        std::thread::sleep(POLL);
    }
    let sent = running.join()?;
    if arguments.json {
        report::print_json(&sent)?;
    } else {
        report::print(&report::sent(&sent))?;
    }
    Ok(!sent.gave_up() && sent.lines_told_lost == 0)
}

/// Receives; answers whether everything that should have come has, once, unaltered, in order.
///
/// # Errors
/// If it could not run.
pub fn sink(arguments: &SinkArguments) -> Result<bool> {
    let behaviour = arguments.behaviour()?;
    let interrupt = Interrupt::watch()?;
    let mut sinks = Vec::new();
    for &address in &arguments.udp {
        sinks.push(Sink::udp(address)?);
    }
    for &address in &arguments.http {
        sinks.push(Sink::http(address, behaviour)?);
    }
    for sink in &sinks {
        eprintln!("loadgen: sink ready at {}", sink.address());
    }
    wait(&sinks, arguments, &interrupt)?;
    let reports: Vec<SinkReport> =
        sinks.into_iter().map(|sink| sink.close(None)).collect::<Result<_>>()?;
    if arguments.json {
        report::print_json(&reports)?;
    } else {
        for sink in &reports {
            report::print(&report::received(sink))?;
        }
    }
    let well = |sink: &SinkReport| {
        let received = &sink.received;
        let enough = received.lines >= arguments.expect_lines.unwrap_or(0);
        enough && received.defects() == 0 && received.total.missing == 0
    };
    Ok(reports.iter().all(well))
}

fn wait(sinks: &[Sink], arguments: &SinkArguments, interrupt: &Interrupt) -> Result<()> {
    let started = Instant::now();
    let (mut last, mut quiet_since) = (0, started);
    while started.elapsed() < arguments.duration && !interrupt.came() {
        ensure!(!sinks.iter().any(Sink::failed), "a sink failed while it ran");
        let lines: u64 = sinks.iter().map(Sink::lines).sum();
        if lines != last {
            (last, quiet_since) = (lines, Instant::now());
        } else if lines > 0 && quiet_since.elapsed() >= arguments.idle {
            break;
        }
        let all = |expected| sinks.iter().all(|sink| sink.lines() >= expected);
        if arguments.expect_lines.is_some_and(all) {
            break;
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
