//! What the kernel knows, read from `/proc`: drops of UDP sockets, CPU time and memory of a
//! process, the machine. Read only; the proof leans on this rather than on what a relay says of
//! itself.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};
use std::path::PathBuf;
use std::time::Duration;

/// Drops at all UDP sockets bound to `port`. The kernel counts a train of datagrams that is
/// received in one piece (GSO to GRO) as one drop.
///
/// # Errors
/// If `/proc/net/udp` cannot be read.
pub fn udp_drops(port: u16) -> Result<u64> {
    udp_sockets(port).map(|drops| drops.iter().sum())
}

/// Whether a UDP socket is bound to `port`.
///
/// # Errors
/// If `/proc/net/udp` cannot be read.
pub fn udp_bound(port: u16) -> Result<bool> {
    udp_sockets(port).map(|drops| !drops.is_empty())
}

fn udp_sockets(port: u16) -> Result<Vec<u64>> {
    let v4 = read_to_string("/proc/net/udp").context("reading /proc/net/udp")?;
    // A kernel without IPv6 has no such file.
    let v6 = read_to_string("/proc/net/udp6").unwrap_or_default();
    Ok(v4.lines().chain(v6.lines()).filter_map(|row| drops_in_row(row, port)).collect())
}

fn drops_in_row(row: &str, port: u16) -> Option<u64> {
    let mut columns = row.split_ascii_whitespace();
    let (_, local_port) = columns.nth(1)?.rsplit_once(':')?;
    let drops = columns.next_back()?.parse().ok()?;
    (u16::from_str_radix(local_port, 16).ok()? == port).then_some(drops)
}

/// CPU time of a whole process, ended threads and kernel workers on its behalf included.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CpuTime {
    /// User and system together, to the nanosecond.
    pub total: Duration,
    /// Clock ticks in user mode, of `ticks`: the kernel's split is coarser than its total.
    user_ticks: u64,
    ticks: u64,
}

impl CpuTime {
    /// The CPU time of `pid` so far.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: Pid) -> Result<Self> {
        let clock: ClockId = clock_getcpuclockid(pid).context("the process has no CPU clock")?;
        let total = Duration::from(clock.now().context("reading the process's CPU clock")?);
        let stat = read_to_string(format!("/proc/{pid}/stat")).context("reading /proc/PID/stat")?;
        let (user_ticks, system_ticks) = ticks(&stat).context("/proc/PID/stat is not as known")?;
        Ok(Self { total, user_ticks, ticks: user_ticks + system_ticks })
    }

    /// (user, system) time since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> (Duration, Duration) {
        let total = self.total.saturating_sub(earlier.total);
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        if ticks == 0 {
            return (Duration::ZERO, total);
        }
        let user_ticks = self.user_ticks.saturating_sub(earlier.user_ticks);
        #[expect(clippy::cast_precision_loss, reason = "a share of some thousand ticks")]
        let user = total.mul_f64(user_ticks as f64 / ticks as f64);
        (user, total.saturating_sub(user))
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the command's closing parenthesis.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// CPU time of each of `pid`'s threads so far, those of one name together. What the kernel does in
/// threads of its own on their behalf is in [`CpuTime`] only.
///
/// # Errors
/// If there is no such process.
pub fn thread_times(pid: Pid) -> Result<BTreeMap<String, Duration>> {
    let mut times = BTreeMap::<String, Duration>::new();
    for thread in threads(pid)? {
        let path = PathBuf::from(format!("/proc/{pid}/task/{thread}"));
        // A thread may end while it is looked at.
        let Ok(name) = read_to_string(path.join("comm")) else { continue };
        let Ok(stat) = read_to_string(path.join("schedstat")) else { continue };
        let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
        let ns = ns.context("/proc/PID/task/*/schedstat is not as known")?;
        *times.entry(name.trim().into()).or_default() += Duration::from_nanos(ns);
    }
    Ok(times)
}

/// The threads of `pid` now.
///
/// # Errors
/// If there is no such process.
pub fn threads(pid: Pid) -> Result<Vec<Pid>> {
    let entries = read_dir(format!("/proc/{pid}/task")).context("reading /proc/PID/task")?;
    entries
        .map(|entry| {
            let name = entry.context("reading /proc/PID/task")?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            Ok(Pid::from_raw(id.context("/proc/PID/task is not as known")?))
        })
        .collect()
}

/// Whether all threads of `pid` are stopped by a signal.
///
/// # Errors
/// If there is no such process.
pub fn stands_still(pid: Pid) -> Result<bool> {
    let stopped = |thread: &Pid| {
        // A thread that has ended meanwhile stands still as well.
        let stat = read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, behind)| behind.starts_with('T'))
    };
    Ok(threads(pid)?.iter().all(stopped))
}

/// Bytes that wait in the receive buffers of all UDP sockets bound to `port`, as the kernel counts
/// them: with its own overhead.
///
/// # Errors
/// If `/proc/net/udp` cannot be read.
pub fn udp_queued(port: u16) -> Result<u64> {
    let rows = read_to_string("/proc/net/udp").context("reading /proc/net/udp")?;
    Ok(rows.lines().filter_map(|row| queued_in_row(row, port)).sum())
}

fn queued_in_row(row: &str, port: u16) -> Option<u64> {
    let mut columns = row.split_ascii_whitespace();
    let (_, local_port) = columns.nth(1)?.rsplit_once(':')?;
    let (_, receive) = columns.nth(2)?.split_once(':')?;
    let bytes = u64::from_str_radix(receive, 16).ok()?;
    (u16::from_str_radix(local_port, 16).ok()? == port).then_some(bytes)
}

/// The most memory `pid` has had resident, in KiB.
///
/// # Errors
/// If there is no such process.
pub fn peak_memory_kib(pid: Pid) -> Result<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).context("/proc/PID/status")?;
    let peak = status.lines().find_map(|row| row.strip_prefix("VmHWM:"));
    peak.and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok())
        .context("/proc/PID/status has no VmHWM")
}

/// What figures depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Load average of the minute before the run: what else the machine does shows here.
    pub load: f64,
}

impl Machine {
    /// This machine now.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn read() -> Result<Self> {
        let cpus = read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let kernel =
            read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
        let load = read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
        let name = cpus.lines().find_map(|row| row.strip_prefix("model name"));
        let name = name.and_then(|row| row.split_once(':')).map_or("unknown", |(_, name)| name);
        Ok(Self {
            cpu: name.trim().into(),
            cores: std::thread::available_parallelism().context("the number of cores")?.get(),
            kernel: kernel.trim().into(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn counts_what_a_full_socket_drops() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).expect("a small buffer");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for _ in 0..100 {
            sender.send_to(&[b'x'; 1000], address).expect("loopback takes it");
        }
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        assert!(udp_queued(address.port()).expect("/proc is there") >= 1000);
        let received = std::iter::from_fn(|| socket.recv(&mut [0; 2000]).ok()).count() as u64;
        assert!(received < 100);
        assert_eq!(udp_queued(address.port()).expect("/proc is there"), 0);
        assert_eq!(udp_drops(address.port()).expect("/proc is there"), 100 - received);
        assert!(udp_bound(address.port()).expect("/proc is there"));
    }

    #[test]
    fn reads_cpu_time_and_memory_of_a_process() {
        let before = CpuTime::of(Pid::this()).expect("this process exists");
        let mut sum = 0_u64;
        while CpuTime::of(Pid::this()).expect("it still exists").total
            < before.total + Duration::from_millis(30)
        {
            sum = std::hint::black_box(sum + 1);
        }
        let after = CpuTime::of(Pid::this()).expect("it still exists");
        let (user, system) = after.since(&before);
        assert!(user + system >= Duration::from_millis(30));
        assert!(peak_memory_kib(Pid::this()).expect("it has memory") > 100);
        let threads = thread_times(Pid::this()).expect("it has threads");
        assert!(threads.values().sum::<Duration>() >= Duration::from_millis(30), "{threads:?}");
    }

    #[test]
    fn finds_the_ticks_behind_any_command_name() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4 10 0 0 0 123 45 0 0 20";
        assert_eq!(ticks(stat), Some((123, 45)));
    }
}
