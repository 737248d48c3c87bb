//! Reports in words for people, and the only file that prints. With `--json`, reports go out as
//! one JSON document instead.

pub mod comparison;
pub mod curves;
pub mod demo;
pub mod plot;

use crate::bench::BenchReport;
use crate::books::{self, BackendReport, ListenerReport};
use crate::drain::DrainReport;
use crate::generator::SentReport;
use crate::sink::SinkReport;
use anyhow::{Context, Result};
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;

/// Prints text and a newline to stdout.
///
/// # Errors
/// If nobody reads stdout any more.
pub fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("writing to stdout")
}

/// Prints a report as JSON.
///
/// # Errors
/// If nobody reads stdout any more.
pub fn print_json(report: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(report).context("a report as JSON")?)
}

/// Writes a report as JSON into a file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, report: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report).context("a report as JSON")?;
    write_file(path, &(text + "\n"))
}

/// Writes `text` into a file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// `1234567` as `1 234 567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of latency are far below 2^52")]
fn milliseconds(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1_000.0)
}

#[expect(clippy::cast_precision_loss, reason = "line counts are far below 2^52")]
fn per_second(count: u64, seconds: f64) -> String {
    if seconds <= 0.0 {
        return "-".into();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
    let rate = (count as f64 / seconds).round() as u64;
    grouped(rate)
}

/// What was sent, in a few lines.
#[must_use]
pub fn sent(report: &SentReport) -> String {
    let SentReport { lines, writes, seconds, lateness, .. } = report;
    let (unit, protocol) = match report.protocol {
        crate::sink::Protocol::Udp => ("datagrams", "UDP"),
        crate::sink::Protocol::Http => ("requests", "HTTP"),
    };
    let mut text = format!(
        "sent {} lines by {protocol} in {} {unit} of {} bytes, in {seconds:.1} s: {} lines/s, {} \
         {unit}/s\nlateness of the sender: p50 {}, p99 {}, max {}",
        grouped(*lines),
        grouped(*writes),
        report.write_bytes,
        per_second(*lines, *seconds),
        per_second(*writes, *seconds),
        milliseconds(lateness.p50_us),
        milliseconds(lateness.p99_us),
        milliseconds(lateness.max_us),
    );
    if !report.answers.is_empty() {
        let (p50, p99) = (report.request.p50_us, report.request.p99_us);
        text += &format!("\nanswers by status (0: none): {:?}", report.answers);
        text += &format!("; from due to answered: p50 {}", milliseconds(p50));
        text += &format!(", p99 {}", milliseconds(p99));
    }
    if report.gave_up() {
        text += "\nTHE SENDER COULD NOT KEEP UP and left out part of its schedule";
    }
    for source in &report.sources {
        let (id, lines, writes) = (source.source, source.lines, source.writes);
        text += &format!("\n  source {id}: {lines} lines, {writes} {unit}");
        if source.retries > 0 {
            text += &format!(", {} sends repeated", source.retries);
        }
    }
    text
}

/// What a sink received, in a few lines.
#[must_use]
pub fn received(report: &SinkReport) -> String {
    let SinkReport { protocol, address, messages, kernel_drops, received, .. } = report;
    let (total, latency) = (&received.total, &received.latency);
    let mut text = format!(
        "{}://{address}: {} lines in {} messages: {} missing, {} duplicate, {} reordered, {} \
         altered; dropped {kernel_drops} times by this sink's own socket\n  latency: p50 {}, p99 \
         {}, p99.9 {}, max {}",
        protocol.label(),
        grouped(received.lines),
        grouped(*messages),
        total.missing,
        total.duplicate,
        total.reordered,
        received.altered,
        milliseconds(latency.p50_us),
        milliseconds(latency.p99_us),
        milliseconds(latency.p999_us),
        milliseconds(latency.max_us),
    );
    if total.unplaced > 0 {
        text +=
            &format!("\n  {} more were duplicate or reordered, too late to tell", total.unplaced);
    }
    if let Some(sample) = &received.altered_sample {
        text += &format!("\n  the first altered line: {sample}");
    }
    if !report.answers.is_empty() {
        text += &format!("\n  answers given: {:?}", report.answers);
    }
    text
}

/// The whole bench in a table and a verdict.
#[must_use]
pub fn bench(report: &BenchReport) -> String {
    let mut text = String::new();
    for listener in &report.listeners {
        text += &format!("\n{}: {}\n", listener.name, sent(&listener.sent));
        text += &format!(
            "\n  {:<10} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>10}\n",
            "backend",
            "sent",
            "arrived",
            "said lost",
            "unsaid",
            "defects",
            "p50",
            "p99",
            "p99.9",
            "max"
        );
        for backend in &listener.backends {
            text += &backend_row(listener, backend);
        }
    }
    let cpu = &report.cpu;
    text += &format!(
        "\nrelay: {:.0} ns of CPU per line (user {:.0}, system {:.0}), {:.2} cores at {} lines/s \
         over {:.1} s; at most {:.1} MiB of memory\n",
        cpu.ns_per_line,
        cpu.user_ns_per_line,
        cpu.system_ns_per_line,
        cpu.cores,
        per_second(cpu.lines, cpu.seconds),
        cpu.seconds,
        kib_as_mib(report.memory_peak_kib),
    );
    for note in &report.findings.notes {
        text += &format!("note: {note}\n");
    }
    for failure in &report.findings.failures {
        text += &format!("FAILED: {failure}\n");
    }
    text += if report.proven {
        "\nPROVEN: every line sent is at every backend, once, unaltered and in order, or the \
         relay's counters say what became of it."
    } else {
        "\nNOT PROVEN: see FAILED above."
    };
    text
}

/// What a relay worked off, in a few lines.
#[must_use]
pub fn drained(report: &DrainReport) -> String {
    let DrainReport { lines, seconds, cores, ns_per_line, .. } = report;
    let dropped = match report.lines_dropped {
        None => "it counts nothing".to_owned(),
        Some(lines) => format!("{} dropped by its queues", grouped(lines)),
    };
    format!(
        "{} worked off {} lines in {seconds:.2} s: {} lines/s on {cores:.2} cores, \
         {ns_per_line:.0} ns of CPU per line; {dropped}",
        report.relay.name,
        grouped(*lines),
        per_second(*lines, *seconds),
    )
}

#[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^52")]
fn kib_as_mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn backend_row(listener: &ListenerReport, backend: &BackendReport) -> String {
    let (received, sent) = (&backend.sink.received, listener.sent.lines);
    let lost = sent.saturating_sub(received.lines);
    let counted = books::lines_counted_lost(listener, backend).min(lost);
    let latency = &received.latency;
    format!(
        "  {:<10} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>10}\n",
        backend.name,
        grouped(sent),
        grouped(received.lines),
        grouped(counted),
        grouped(lost - counted),
        grouped(received.defects()),
        milliseconds(latency.p50_us),
        milliseconds(latency.p99_us),
        milliseconds(latency.p999_us),
        milliseconds(latency.max_us),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_digits_by_three() {
        assert_eq!([1, 999, 1_000, 1_234_567].map(grouped), ["1", "999", "1 000", "1 234 567"]);
    }
}
