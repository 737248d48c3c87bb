//! The same work on several relays in turns (A B A B ...), so that what else the machine does
//! befalls all of them, and their figures as medians and ratios with the spread over the rounds.

use crate::bench::{self, BenchReport, CpuReport, Plan};
use crate::kernel::Machine;
use crate::ledger::Percentiles;
use crate::relay::Program;
use anyhow::{Context, Result};
use serde::Serialize;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Match {
    /// The work; its program is replaced by each of `programs`.
    pub plan: Plan,
    /// The relays, in the order of their turns.
    pub programs: Vec<Program>,
    /// Which of them the others are measured by.
    pub baseline: usize,
    /// How often each has its turn.
    pub rounds: usize,
}

/// One turn of one relay.
#[derive(Clone, Debug, Serialize)]
pub struct Turn {
    /// From 1.
    pub round: usize,
    /// Whether its books closed.
    pub proven: bool,
    /// Its CPU in the window.
    pub cpu: CpuReport,
    /// Lines sent.
    pub lines_sent: u64,
    /// The rate at which they were sent, of all listeners together.
    pub lines_sent_per_second: f64,
    /// Lines missing at backends, all of them together, accounted for or not.
    pub lines_missing: u64,
    /// Median latency at the backend where it is the highest.
    pub latency_p50_us: u64,
    /// The same of the 99th percentile.
    pub latency_p99_us: u64,
    /// Drops at the sinks' own sockets: what is missing there is not this relay's doing.
    pub sink_drops: u64,
    /// HTTP: median time from when a request was due until its answer.
    pub request_p50_us: u64,
    /// The same of the 99th percentile.
    pub request_p99_us: u64,
    /// The most memory it had resident when it was ready, before any load.
    pub memory_start_kib: u64,
    /// The most memory it had resident.
    pub memory_peak_kib: u64,
    /// What did not add up.
    pub failures: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// One relay over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Contender {
    /// The relay.
    pub relay: Program,
    /// CPU per line in nanoseconds.
    pub cpu_ns_per_line: Spread,
    /// Median latency in microseconds.
    pub latency_p50_us: Spread,
    /// 99th percentile of the latency in microseconds.
    pub latency_p99_us: Spread,
    /// Its turns.
    pub turns: Vec<Turn>,
    /// Its CPU per line by that of the baseline in the same round; `None` for the baseline.
    pub cpu_ratio: Option<Spread>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Where it ran.
    pub machine: Machine,
    /// The name of the relay that the others are measured by.
    pub baseline: String,
    /// How often each had its turn.
    pub rounds: usize,
    /// Whether the books of every turn closed.
    pub proven: bool,
    /// The relays, in the order of their turns.
    pub contenders: Vec<Contender>,
}

/// Runs all turns; `on_turn` is told each.
///
/// # Errors
/// If something could not be started or broke.
pub fn run(match_: &Match, on_turn: &mut dyn FnMut(&Program, &Turn)) -> Result<Comparison> {
    let machine = Machine::read()?;
    let mut turns: Vec<Vec<Turn>> = match_.programs.iter().map(|_| Vec::new()).collect();
    for round in 1..=match_.rounds {
        for (program, turns) in match_.programs.iter().zip(&mut turns) {
            let plan = Plan { program: program.clone(), ..match_.plan.clone() };
            let report = bench::run(&plan, &mut |_| {})
                .with_context(|| format!("round {round}, {}", program.name))?;
            let turn = Turn::of(round, &report);
            on_turn(program, &turn);
            turns.push(turn);
        }
    }
    let baseline = turns[match_.baseline].clone();
    let contenders: Vec<Contender> = match_
        .programs
        .iter()
        .zip(turns)
        .enumerate()
        .map(|(index, (program, turns))| {
            let against = (index != match_.baseline).then_some(&baseline);
            Contender::of(program.clone(), turns, against.map(Vec::as_slice))
        })
        .collect();
    let turns = contenders.iter().flat_map(|contender| &contender.turns);
    Ok(Comparison {
        machine,
        baseline: match_.programs[match_.baseline].name.clone(),
        rounds: match_.rounds,
        proven: turns.clone().all(|turn| turn.proven),
        contenders,
    })
}

#[expect(clippy::cast_precision_loss, reason = "line counts are far below 2^52")]
impl Turn {
    fn of(round: usize, report: &BenchReport) -> Self {
        let listeners = || report.listeners.iter();
        let received = || {
            listeners()
                .flat_map(|listener| &listener.backends)
                .map(|backend| &backend.sink.received)
        };
        let worst = |latency: fn(&crate::ledger::Received) -> u64| {
            received().map(latency).max().unwrap_or_default()
        };
        let request = |latency: fn(&Percentiles) -> u64| {
            listeners().map(|listener| latency(&listener.sent.request)).max().unwrap_or_default()
        };
        Self {
            round,
            proven: report.proven,
            cpu: report.cpu,
            lines_sent: listeners().map(|listener| listener.sent.lines).sum(),
            lines_sent_per_second: listeners()
                .map(|listener| listener.sent.lines as f64 / listener.sent.seconds)
                .sum(),
            lines_missing: received().map(|received| received.total.missing).sum(),
            latency_p50_us: worst(|received| received.latency.p50_us),
            latency_p99_us: worst(|received| received.latency.p99_us),
            sink_drops: listeners()
                .flat_map(|listener| &listener.backends)
                .map(|backend| backend.sink.kernel_drops)
                .sum(),
            request_p50_us: request(|request| request.p50_us),
            request_p99_us: request(|request| request.p99_us),
            memory_start_kib: report.memory_start_kib,
            memory_peak_kib: report.memory_peak_kib,
            failures: report.findings.failures.clone(),
            notes: report.findings.notes.clone(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of latency are far below 2^52")]
impl Contender {
    fn of(relay: Program, turns: Vec<Turn>, baseline: Option<&[Turn]>) -> Self {
        let over = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure).collect());
        let cpu_ratio = baseline.map(|baseline| {
            let pairs = turns.iter().zip(baseline);
            Spread::of(pairs.map(|(a, b)| a.cpu.ns_per_line / b.cpu.ns_per_line).collect())
        });
        Self {
            relay,
            cpu_ns_per_line: over(|turn| turn.cpu.ns_per_line),
            latency_p50_us: over(|turn| turn.latency_p50_us as f64),
            latency_p99_us: over(|turn| turn.latency_p99_us as f64),
            cpu_ratio,
            turns,
        }
    }
}

impl Spread {
    /// The spread of at least one value; of an even number, the median is the middle of two.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Self {
            median: f64::midpoint(values[low], values[high]),
            min: values[0],
            max: values[values.len() - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Kind;

    fn turn(round: usize, ns_per_line: f64) -> Turn {
        Turn {
            round,
            proven: true,
            cpu: CpuReport { ns_per_line, ..CpuReport::default() },
            lines_sent: 1,
            lines_missing: 0,
            latency_p50_us: 1,
            latency_p99_us: 2,
            lines_sent_per_second: 1.0,
            sink_drops: 0,
            request_p50_us: 0,
            request_p99_us: 0,
            memory_start_kib: 1,
            memory_peak_kib: 1,
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Both are twice as slow in the second round: the machine was busy, the ratio stands.
        let (a, b) = ([turn(1, 30.0), turn(2, 60.0)], [turn(1, 10.0), turn(2, 20.0)]);
        let program = Program { name: "a".into(), kind: Kind::Go, path: "a".into() };
        let contender = Contender::of(program.clone(), a.to_vec(), Some(&b));
        assert_eq!(contender.cpu_ratio, Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(contender.cpu_ns_per_line, Spread { median: 45.0, min: 30.0, max: 60.0 });
        assert_eq!(Contender::of(program, b.to_vec(), None).cpu_ratio, None);
    }
}
