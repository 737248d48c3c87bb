//! A short bench that anyone can watch: progress once per second, and the verdict in plain words.

use crate::bench::{self, BenchReport, Plan};
use crate::report::{self, demo};
use anyhow::Result;

/// Runs the demo; answers whether all is proven and nothing was lost.
///
/// # Errors
/// If something could not be started or broke.
pub fn run(plan: &Plan) -> Result<bool> {
    report::print(&demo::opening(plan))?;
    let outputs: Vec<usize> =
        plan.listeners.iter().map(|listener| listener.outputs.len()).collect();
    let (mut due, mut arrived) = (0, 0);
    let measured = bench::run(plan, &mut |second| {
        due += second.sent.iter().zip(&outputs).map(|(n, &to)| n * to as u64).sum::<u64>();
        arrived += second.arrived.iter().sum::<u64>();
        // Progress is for the eye: where nobody reads it any more, the verdict still counts.
        report::print(&demo::second(second, due.saturating_sub(arrived))).ok();
    })?;
    let lost = lost(&measured);
    report::print(&demo::table(&measured))?;
    report::print(&demo::verdict(&measured, lost))?;
    Ok(measured.proven && lost == 0)
}

/// Lines missing at backends, all together.
fn lost(report: &BenchReport) -> u64 {
    let backends = report.listeners.iter().flat_map(|listener| &listener.backends);
    backends.map(|backend| backend.sink.received.total.missing).sum()
}
