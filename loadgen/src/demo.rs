//! A short bench that anyone can watch: progress once per second, and the verdict in plain words.

use crate::bench::{self, BenchReport, Plan};
use crate::report::{self, grouped};
use anyhow::Result;

/// Runs the demo; answers whether all is proven and nothing was lost.
///
/// # Errors
/// If something could not be started or broke.
pub fn run(plan: &Plan) -> Result<bool> {
    let backends: usize = plan.listeners.iter().map(|listener| listener.outputs.len()).sum();
    report::print(&format!(
        "Starting {} between senders (UDP and HTTP) and {backends} backends, all on this machine.\n\
         Every line carries its sender, its number and a checksum; every backend checks them all.\n",
        plan.program.path.display()
    ))?;
    report::print(&report::second_headings(plan))?;
    let mut in_flight = 0;
    let outputs: Vec<usize> =
        plan.listeners.iter().map(|listener| listener.outputs.len()).collect();
    let measured = bench::run(plan, &mut |second| {
        let due: u64 = second.sent.iter().zip(&outputs).map(|(n, &to)| n * to as u64).sum();
        in_flight = (in_flight + due).saturating_sub(second.arrived.iter().sum());
        // Progress is for the eye: where nobody reads it any more, the verdict still counts.
        report::print(&report::second(second, in_flight)).ok();
    })?;
    report::print(&report::bench(&measured))?;
    let lost = lost(&measured);
    let lines: u64 = measured.listeners.iter().map(|listener| listener.sent.lines).sum();
    let words = match (measured.proven, lost) {
        (true, 0) => format!(
            "In plain words: {} lines went in, and each of them came out at every one of its \
             backends: none lost, none twice, none changed, none out of order.",
            grouped(lines)
        ),
        (true, lost) => format!(
            "In plain words: {} lines went in, and {} did not come out at a backend; the relay \
             knew and said so, but the demo wants none lost. Is the machine busy?",
            grouped(lines),
            grouped(lost)
        ),
        (false, _) => "In plain words: something is wrong; see FAILED above.".into(),
    };
    report::print(&words)?;
    Ok(measured.proven && lost == 0)
}

/// Lines missing at backends, all together.
fn lost(report: &BenchReport) -> u64 {
    let backends = report.listeners.iter().flat_map(|listener| &listener.backends);
    backends.map(|backend| backend.sink.received.total.missing).sum()
}
