//! Relays side by side, in words: a line for each turn, then medians and ratios.

use super::{grouped, kib_as_mib, per_second};
use crate::bench::ListenerPlan;
use crate::compare::{Comparison, Contender, Match, Spread, Turn};
use crate::relay::Program;

/// What is done, and the headings over [`turn`]'s columns.
#[must_use]
pub fn headings(match_: &Match) -> String {
    let plan = &match_.plan;
    let mut text = String::new();
    for ListenerPlan { protocol, outputs, load, .. } in &plan.listeners {
        let rate = match load.lines_per_second {
            0 => "as many lines as possible".to_owned(),
            rate => format!("{} lines/s", grouped(rate)),
        };
        text += &format!(
            "{} in, {} x {} out{}: {rate}, {} lines in a write{}; {} rounds of {:.1} s\n",
            protocol.label(),
            outputs.len(),
            outputs.first().map_or("-", |output| output.label()),
            match plan.sink_delay.as_millis() {
                0 => String::new(),
                ms => format!(" after {ms} ms"),
            },
            load.shape.lines_per_write,
            if load.gso { ", GSO" } else { "" },
            match_.rounds,
            plan.window.as_secs_f64(),
        );
    }
    text += &format!(
        "\n{:>5}  {:<16} {:>12} {:>8} {:>8} {:>7} {:>11} {:>10} {:>9} {:>9} {:>9}",
        "round",
        "relay",
        "CPU a line",
        "user",
        "system",
        "cores",
        "lines/s",
        "missing",
        "p50",
        "p99",
        "memory"
    );
    text
}

/// One turn.
#[must_use]
pub fn turn(program: &Program, turn: &Turn) -> String {
    let cpu = &turn.cpu;
    let mut text = format!(
        "{:>5}  {:<16} {:>9.0} ns {:>8.0} {:>8.0} {:>7.3} {:>11} {:>10} {:>6} us {:>6} us \
         {:>5.1} MiB",
        turn.round,
        program.name,
        cpu.ns_per_line,
        cpu.user_ns_per_line,
        cpu.system_ns_per_line,
        cpu.cores,
        per_second(cpu.lines, cpu.seconds),
        grouped(turn.lines_missing),
        turn.latency_p50_us,
        turn.latency_p99_us,
        kib_as_mib(turn.memory_peak_kib),
    );
    for note in &turn.notes {
        text += &format!("\n         note: {note}");
    }
    for failure in &turn.failures {
        text += &format!("\n         FAILED: {failure}");
    }
    text
}

/// Medians and ratios.
#[must_use]
pub fn verdict(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let mut text = format!(
        "\nmedians of {} rounds (lowest to highest), on {} cores of {}, Linux {}, load {:.1} \
         before\n",
        comparison.rounds, machine.cores, machine.cpu, machine.kernel, machine.load
    );
    for Contender { relay, cpu_ns_per_line, latency_p50_us, latency_p99_us, .. } in
        &comparison.contenders
    {
        text += &format!(
            "  {:<16} {} ns of CPU a line; latency p50 {} us, p99 {} us\n",
            relay.name,
            spread(cpu_ns_per_line, 0),
            spread(latency_p50_us, 0),
            spread(latency_p99_us, 0),
        );
    }
    text.push('\n');
    for contender in &comparison.contenders {
        if let Some(ratio) = &contender.cpu_ratio {
            let (name, baseline) = (&contender.relay.name, &comparison.baseline);
            let ratio = spread(ratio, 2);
            text += &format!("{name} uses {ratio} times the CPU per line of {baseline}\n");
        }
    }
    text += if comparison.proven {
        "PROVEN: in every turn, all lines arrived or counters say what became of them."
    } else {
        "NOT PROVEN: see FAILED above."
    };
    text
}

fn spread(Spread { median, min, max }: &Spread, digits: usize) -> String {
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}
