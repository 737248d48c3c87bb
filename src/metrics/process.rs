//! What the process takes of the machine, under the names that Prometheus' own clients use.
//!
//! Called by `/metrics` and the status page. Asks the kernel at every call: nothing is kept.

use std::fmt::Write;
use std::time::Duration;

/// CPU and memory of this process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all threads since the start, in user and kernel mode.
    pub cpu: Duration,
    /// Memory in RAM; `None` where `/proc` does not tell.
    pub resident_bytes: Option<u64>,
}

impl Usage {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu = Duration::try_from(cpu).unwrap_or_default();
        let page_bytes = rustix::param::page_size() as u64;
        let statm = std::fs::read_to_string("/proc/self/statm");
        let resident = statm.ok().and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
        Self { cpu, resident_bytes: resident.map(|pages| pages * page_bytes) }
    }

    /// In Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut family = |name, kind, help, value: &dyn std::fmt::Display| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        let help = "CPU time of all threads.";
        family("process_cpu_seconds_total", "counter", help, &self.cpu.as_secs_f64());
        if let Some(bytes) = self.resident_bytes {
            family("process_resident_memory_bytes", "gauge", "Memory in RAM.", &bytes);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_kernel_says_what_this_process_takes() {
        let before = Usage::now();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = Usage::now();
        assert!(after.cpu > before.cpu, "{before:?}, {after:?}");
        let grown = after.resident_bytes.expect("there is a /proc");
        // Other tests run in this process, and may give memory back meanwhile.
        assert!(grown > 32 << 20, "{before:?}, {after:?}");
        drop(memory);
    }

    #[test]
    fn every_metric_has_a_row_in_the_docs() {
        let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
        let docs = docs.expect("docs/metrics.md is there");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `process_"));
        let documented: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
        let text = Usage::now().render();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE process_"));
        let emitted: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(documented, emitted, "docs/metrics.md (left) and /metrics (right) agree");
    }
}
