//! A relay as a separate process: configured, started, measured, asked for its counters, stopped.
//! `bench` owns it. What differs between relays is in [`Kind`] and in [`config`].

pub mod config;
pub mod metrics;
mod program;

pub use program::{Kind, Program};

use crate::kernel::{self, CpuTime};
use crate::sink::Protocol;
use anyhow::{Context, Result, bail, ensure};
use config::{Listener, Options};
use metrics::Metrics;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A relay that is not ready within this time is given up.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A relay that has not ended so long after SIGTERM is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How many lines of the relay's log are kept for an error message.
const LOG_LINES_MAX: usize = 100;

/// A running relay. Dropping it kills it.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    kind: Kind,
    admin: Option<SocketAddr>,
    log: Log,
    _directory: TempDir,
}

impl Relay {
    /// Starts `program` with `listeners` and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time; its last log lines are named.
    pub fn start(program: &Program, listeners: &[Listener], options: &Options) -> Result<Self> {
        let path = &program.path;
        ensure!(
            path.is_file(),
            "there is no relay at {}: build it (cargo build --release --workspace), or use --relay",
            path.display()
        );
        let admin = match program.kind.counts() {
            true => Some(free_address(Protocol::Http)?),
            false => None,
        };
        let directory = tempfile::tempdir().context("a directory for the relay's configuration")?;
        let mut child = command(program, directory.path(), admin, listeners, options)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", path.display()))?;
        let log = Log::follow(child.stderr.take().context("the relay's stderr")?)?;
        let mut relay = Self { child, kind: program.kind, admin, log, _directory: directory };
        relay.wait_until_ready(listeners)?;
        Ok(relay)
    }

    fn wait_until_ready(&mut self, listeners: &[Listener]) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.ensure_running()?;
            let mut ready = self.admin.is_none() || self.scrape().is_ok();
            for listener in listeners {
                ready &= match listener.protocol {
                    Protocol::Udp => kernel::udp_bound(listener.address.port())?,
                    Protocol::Http => TcpStream::connect(listener.address).is_ok(),
                };
            }
            if ready {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.log.tail();
                bail!("the relay was not ready within {READY_WITHIN:?}; its last lines:\n{log}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Fails if the relay has ended by itself.
    ///
    /// # Errors
    /// With its exit status and its last log lines.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("looking after the relay")? {
            self.log.end();
            bail!("the relay has ended by itself ({status}); its last lines:\n{}", self.log.tail());
        }
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// The CPU time it has used.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.pid()?)
    }

    /// The CPU time of its threads, by name.
    ///
    /// # Errors
    /// If it has ended.
    pub fn thread_times(&self) -> Result<BTreeMap<String, Duration>> {
        kernel::thread_times(self.pid()?)
    }

    /// The most memory it has had resident, in KiB.
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak_memory_kib(&self) -> Result<u64> {
        kernel::peak_memory_kib(self.pid()?)
    }

    /// Stops all its threads where they are, until [`Self::resume`].
    ///
    /// # Errors
    /// If it cannot be signalled or does not stand still in time.
    pub fn pause(&mut self) -> Result<()> {
        let pid = self.pid()?;
        kill(pid, Signal::SIGSTOP).context("sending SIGSTOP to the relay")?;
        let deadline = Instant::now() + READY_WITHIN;
        while !kernel::stands_still(pid)? {
            ensure!(Instant::now() < deadline, "the relay did not stop within {READY_WITHIN:?}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn resume(&mut self) -> Result<()> {
        kill(self.pid()?, Signal::SIGCONT).context("sending SIGCONT to the relay")
    }

    /// Confines all threads that it has now to the first `cores` cores.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn confine(&mut self, cores: usize) -> Result<()> {
        let mut set = CpuSet::new();
        (0..cores).try_for_each(|core| set.set(core)).context("too many cores")?;
        for thread in kernel::threads(self.pid()?)? {
            sched_setaffinity(thread, &set)
                .with_context(|| format!("confining the relay to {cores} cores"))?;
        }
        Ok(())
    }

    /// Its counters now; `None` if it keeps none.
    ///
    /// # Errors
    /// If it should answer and does not.
    pub fn scrape(&self) -> Result<Option<Metrics>> {
        self.admin.map(Metrics::get).transpose()
    }

    /// Stops it by SIGTERM; answers what was wrong with how it ended, if anything.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn stop(mut self) -> Result<Option<String>> {
        self.ensure_running()?;
        kill(self.pid()?, Signal::SIGTERM).context("sending SIGTERM to the relay")?;
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("waiting for the relay")? {
                self.log.end();
                // The Go relay has no orderly stop: it dies by the signal.
                let orderly = status.success() || self.kind == Kind::Go;
                let log = self.log.tail();
                let wrong = || format!("the relay ended with {status} after SIGTERM:\n{log}");
                return Ok((!orderly).then(wrong));
            }
            std::thread::sleep(POLL);
        }
        Ok(Some(format!("the relay did not end within {STOP_WITHIN:?} after SIGTERM: killed")))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The command that starts `program`, its configuration written into `directory`.
fn command(
    program: &Program,
    directory: &Path,
    admin: Option<SocketAddr>,
    listeners: &[Listener],
    options: &Options,
) -> Result<Command> {
    let mut command = Command::new(&program.path);
    if program.kind == Kind::Floor {
        command.args(config::floor_arguments(listeners, options)?);
        return Ok(command);
    }
    let http_behind_udp = |listener: &Listener| {
        let http = |output: &config::Output| output.protocol == Protocol::Http;
        listener.protocol == Protocol::Udp && listener.outputs.iter().any(http)
    };
    ensure!(
        program.kind != Kind::Go || !listeners.iter().any(http_behind_udp),
        "the Go relay sends UDP on by UDP only: use --scenario udp-udp or http-http"
    );
    let file = directory.join("relay.toml");
    std::fs::write(&file, config::render(admin, listeners, options))
        .with_context(|| format!("writing {}", file.display()))?;
    command.arg("-config").arg(&file);
    Ok(command)
}

/// An address on loopback that is free now.
///
/// # Errors
/// If there is none.
pub fn free_address(protocol: Protocol) -> Result<SocketAddr> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let address = match protocol {
        Protocol::Udp => UdpSocket::bind(any).and_then(|socket| socket.local_addr()),
        Protocol::Http => TcpListener::bind(any).and_then(|listener| listener.local_addr()),
    };
    address.context("no free port on loopback")
}

/// The last lines that the relay wrote to stderr.
#[derive(Debug)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    fn follow(stderr: ChildStderr) -> Result<Self> {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let follow = move || {
            // A line without an end must not fill the memory.
            let mut stderr = BufReader::new(stderr);
            let mut line = Vec::new();
            while stderr.by_ref().take(4096).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let mut kept = kept.lock().expect("no thread panics while it keeps a line");
                if kept.len() == LOG_LINES_MAX {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
                line.clear();
            }
        };
        let thread = std::thread::Builder::new().name("relay-log".into()).spawn(follow)?;
        Ok(Self { lines, thread: Some(thread) })
    }

    /// Waits for the last line of a relay that has ended.
    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }

    fn tail(&self) -> String {
        let lines = self.lines.lock().expect("no thread panics while it keeps a line");
        lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }
}
