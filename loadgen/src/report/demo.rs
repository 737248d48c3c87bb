//! The demo's words and tables: what runs, a line per second, and at the end one column per
//! backend, a verdict, and the three figures that matter.

use super::{grouped, kib_as_mib, milliseconds, per_second};
use crate::bench::{BenchReport, ListenerPlan, Plan, Second};
use crate::books::{self, BackendReport, ListenerReport};
use crate::sink::Protocol;
use std::fmt::Write;

const LABEL: usize = 32;
const COLUMN: usize = 10;

/// What runs, and the headings over [`second`]'s columns.
#[must_use]
pub fn opening(plan: &Plan) -> String {
    let seconds = (plan.warm_up + plan.window).as_secs_f64();
    let path = plan.program.path.display();
    let mut text = format!("{seconds:.0} seconds of load through {path}, all on this machine\n\n");
    for ListenerPlan { protocol, outputs, load, .. } in &plan.listeners {
        let (name, write, backend) = match protocol {
            Protocol::Udp => ("UDP", "datagrams", "sent on by UDP"),
            Protocol::Http => ("HTTP", "requests", "written on by HTTP"),
        };
        text += &format!(
            "  {name:<5} {} senders, {} lines/s in {write} of {} lines, {backend} to {} backends\n",
            load.sources,
            grouped(load.lines_per_second),
            load.shape.lines_per_write,
            outputs.len(),
        );
    }
    text += "\nEvery line carries its sender, its number and a checksum; every backend checks all \
             of them.\n\n";
    let backends: usize = plan.listeners.iter().map(|listener| listener.outputs.len()).sum();
    let (sent, arrived) = (plan.listeners.len() * (COLUMN + 1), backends * (COLUMN + 1));
    let (sent, arrived) = (centred(" lines sent ", sent - 2), centred(" lines arrived ", arrived));
    text += &format!("{:>6} {sent}  {arrived}\n", "");
    text += &format!("{:>6}", "second");
    for listener in &plan.listeners {
        write!(text, " {:>COLUMN$}", listener.name.to_uppercase()).ok();
    }
    text.push_str("  ");
    for listener in &plan.listeners {
        for number in 1..=listener.outputs.len() {
            write!(text, " {:>COLUMN$}", backend_name(&listener.name, number)).ok();
        }
    }
    text + "   on the way   relay CPU"
}

/// `text` in a row of dashes, `width` in all.
fn centred(text: &str, width: usize) -> String {
    format!("  {text:-^width$}", width = width.saturating_sub(1))
}

fn backend_name(listener: &str, number: usize) -> String {
    format!("{} {number}", listener.to_uppercase())
}

/// One second's progress, and lines sent but not arrived so far.
#[must_use]
pub fn second(second: &Second, on_the_way: u64) -> String {
    let mut text = format!("{:>6.0}", second.elapsed.as_secs_f64());
    for lines in &second.sent {
        write!(text, " {:>COLUMN$}", grouped(*lines)).ok();
    }
    text.push_str("  ");
    for lines in &second.arrived {
        write!(text, " {:>COLUMN$}", grouped(*lines)).ok();
    }
    text + &format!("   {:>10} {:>9.1} %", grouped(on_the_way), second.cores * 100.0)
}

/// What became of every line, by backend.
#[must_use]
pub fn table(report: &BenchReport) -> String {
    let backends: Vec<Column<'_>> = report
        .listeners
        .iter()
        .flat_map(|listener| {
            let numbered = listener.backends.iter().zip(1..);
            numbered.map(move |(backend, number)| Column { listener, backend, number })
        })
        .collect();
    let mut text = format!("\n{:LABEL$}", "");
    for Column { listener, number, .. } in &backends {
        write!(text, " {:>COLUMN$}", backend_name(&listener.name, *number)).ok();
    }
    for (label, cell) in ROWS {
        write!(text, "\n{label:LABEL$}").ok();
        for column in &backends {
            write!(text, " {:>COLUMN$}", cell(column)).ok();
        }
    }
    for note in &report.findings.notes {
        write!(text, "\n\nnote: {note}").ok();
    }
    for failure in &report.findings.failures {
        write!(text, "\n\nFAILED: {failure}").ok();
    }
    text
}

struct Column<'a> {
    listener: &'a ListenerReport,
    backend: &'a BackendReport,
    number: usize,
}

impl Column<'_> {
    /// (told, untold)
    fn lost(&self) -> (u64, u64) {
        let lost = self.listener.sent.lines.saturating_sub(self.backend.sink.received.lines);
        let told = books::lines_counted_lost(self.listener, self.backend).min(lost);
        (told, lost - told)
    }
}

type Cell = fn(&Column<'_>) -> String;

const ROWS: [(&str, Cell); 9] = [
    ("lines sent to the relay", |c| grouped(c.listener.sent.lines)),
    ("lines arrived at the backend", |c| grouped(c.backend.sink.received.lines)),
    ("lost, and the relay says so", |c| grouped(c.lost().0)),
    ("lost in silence", |c| grouped(c.lost().1)),
    ("arrived twice", |c| grouped(c.backend.sink.received.total.duplicate)),
    ("arrived out of order", |c| {
        let total = &c.backend.sink.received.total;
        grouped(total.reordered + total.unplaced)
    }),
    ("arrived altered", |c| grouped(c.backend.sink.received.altered)),
    ("half of them arrived within", |c| milliseconds(c.backend.sink.received.latency.p50_us)),
    ("99 of 100 arrived within", |c| milliseconds(c.backend.sink.received.latency.p99_us)),
];

/// The verdict in one sentence, and the figures that matter. `lost` are lines missing at backends.
#[must_use]
pub fn verdict(report: &BenchReport, lost: u64) -> String {
    let lines: u64 = report.listeners.iter().map(|listener| listener.sent.lines).sum();
    let mut text = match (report.proven, lost) {
        (true, 0) => format!(
            "\nPROVEN: {} lines went in, and each came out at every one of its backends: none \
             lost, none twice, none altered, none out of order.\n",
            grouped(lines)
        ),
        (true, lost) => format!(
            "\nNOT WHOLE: {} lines went in, and {} did not come out at a backend. The relay knew \
             and said so, but the demo wants none lost. Is the machine busy?\n",
            grouped(lines),
            grouped(lost)
        ),
        (false, _) => "\nNOT PROVEN: something is wrong; see FAILED above.\n".into(),
    };
    let cpu = &report.cpu;
    let received = || {
        let backends = report.listeners.iter().flat_map(|listener| &listener.backends);
        backends.map(|backend| &backend.sink.received.latency)
    };
    text += &format!(
        "\n  CPU      {:.2} us a line: {:.0} % of one core for {} lines/s\n",
        cpu.ns_per_line / 1_000.0,
        cpu.cores * 100.0,
        per_second(cpu.lines, cpu.seconds),
    );
    text += &format!(
        "  latency  half of the lines within {}, 99 of 100 within {} (slowest backend)\n",
        milliseconds(received().map(|latency| latency.p50_us).max().unwrap_or_default()),
        milliseconds(received().map(|latency| latency.p99_us).max().unwrap_or_default()),
    );
    text + &format!("  memory   {:.0} MiB at its peak", kib_as_mib(report.memory_peak_kib))
}
