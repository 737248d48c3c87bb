//! The relay as a process.

use super::{Books, Client, DEADLINE, Metrics, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The relay under test: the one that cargo built, or the one that `RINGRELAY_BIN` names.
pub(crate) fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ringrelay"));
    std::env::var_os("RINGRELAY_BIN").map_or_else(built, PathBuf::from)
}

/// What is added to every configuration.
pub(crate) const ADMIN: &str = "\n[admin]\nbind-addr = \"127.0.0.1:0\"\n";

/// What the log says last of a reload.
const RELOADED: &str = "the configuration is reloaded";
const REFUSED: &str = "nothing has changed";

/// A running relay. It is killed when it is dropped.
pub(crate) struct Relay {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    listening: BTreeMap<String, SocketAddr>,
    /// Outputs that came later were not offered all that was accepted.
    reloaded: AtomicBool,
    file: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

/// A relay that has ended.
pub(crate) struct Stopped {
    pub(crate) status: ExitStatus,
    pub(crate) log: Vec<String>,
}

impl Relay {
    /// Starts a relay with this configuration and waits until it is ready. An `[admin]` table on
    /// a free port is added.
    #[track_caller]
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(&[], toml)
    }

    /// As [`start`](Self::start), with more arguments.
    #[track_caller]
    pub(crate) fn start_with(arguments: &[&str], toml: &str) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::start_as(command, toml)
    }

    /// As [`start`](Self::start), where the process may have this many files open.
    #[track_caller]
    pub(crate) fn start_limited(toml: &str, files: usize) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\"")).arg(binary());
        Self::start_as(command, toml)
    }

    /// As [`start`](Self::start), by a command that becomes the relay when it is given the
    /// relay's arguments.
    #[track_caller]
    pub(crate) fn start_as(command: Command, toml: &str) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, command, toml)
    }

    /// As [`start_as`](Self::start_as), with the `[admin]` table on a free port of this address.
    #[track_caller]
    pub(crate) fn start_at(host: Ipv4Addr, mut command: Command, toml: &str) -> Self {
        let (dir, file) = config_file(&format!("{toml}\n[admin]\nbind-addr = \"{host}:0\"\n"));
        command.arg("-config").arg(&file);
        let mut relay = Self::start_command(command, toml);
        relay.file = file;
        relay._dir = Some(dir);
        relay
    }

    /// Starts a relay whose command is whole, and waits until it is ready. Its configuration has
    /// an `[admin]` table; `toml` is what a failure shows of it.
    #[track_caller]
    pub(crate) fn start_command(mut command: Command, toml: &str) -> Self {
        let mut child = command
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the relay's binary runs");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let record = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap_or_else(|error| format!("unreadable log line: {error}"));
                record.lock().expect("nobody panics").push(line);
            }
        });
        let listening = BTreeMap::new();
        let (reader, reloaded) = (Some(reader), AtomicBool::new(false));
        let file = PathBuf::new();
        let mut relay = Self { child, log, reader, listening, reloaded, file, _dir: None };
        relay.wait_until_ready(toml);
        relay
    }

    #[track_caller]
    fn wait_until_ready(&mut self, toml: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.log().iter().any(|line| message(line).starts_with("ready")) {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let late = Instant::now() > deadline;
            if ended.is_some() || late {
                let log = self.log().join("\n");
                panic!("the relay is not ready ({ended:?}):\n{log}\nits configuration:\n{toml}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for line in self.log() {
            if let Some((name, addr)) = message(&line).strip_prefix("listening ").and_then(bound) {
                self.listening.insert(name, addr);
            }
        }
    }

    /// Writes another configuration, which must take effect; everything has switched when this
    /// returns.
    #[track_caller]
    pub(crate) fn reload(&self, toml: &str) {
        let said = self.hang_up(&format!("{toml}{ADMIN}"));
        assert!(said.iter().any(|line| line.contains(RELOADED)), "{}", said.join("\n"));
        self.reloaded.store(true, Ordering::Relaxed);
    }

    /// Writes another file, which must change nothing; gives what the log says about it.
    #[track_caller]
    pub(crate) fn refuses(&self, toml: &str) -> String {
        let said = self.hang_up(toml).join("\n");
        assert!(said.contains(REFUSED), "{said}");
        said
    }

    /// Sends SIGHUP and waits until the log says what came of it.
    #[track_caller]
    fn hang_up(&self, text: &str) -> Vec<String> {
        std::fs::write(&self.file, text).expect("its directory is there");
        let before = self.log().len();
        self.signal(Signal::HUP);
        wait_for("the reload to end", || {
            let said = self.log().split_off(before);
            said.iter()
                .any(|line| line.contains(RELOADED) || line.contains(REFUSED))
                .then_some(said)
        })
    }

    /// Where a listener is bound, by its name.
    #[track_caller]
    pub(crate) fn addr(&self, name: &str) -> SocketAddr {
        let found = self.listening.get(name).copied();
        found.unwrap_or_else(|| {
            panic!("no listener {name:?} in the log:\n{}", self.log().join("\n"))
        })
    }

    /// A connection to an HTTP listener.
    #[track_caller]
    pub(crate) fn client(&self, name: &str) -> Client {
        Client::connect(self.addr(name))
    }

    /// Scrapes the admin listener.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let response = self.client("admin").get("/metrics");
        assert_eq!(response.status(), 200, "{}", response.text());
        Metrics::parse(&response.text())
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("nobody panics").clone()
    }

    /// Waits until the books close for every listener and backend, and nothing is queued.
    #[track_caller]
    pub(crate) fn wait_until_settled(&self) -> Metrics {
        wait_for("the queues to empty", || {
            let metrics = self.metrics();
            (metrics.of(super::names::QUEUED, &[]) == 0).then_some(())
        });
        self.books_close()
    }

    /// Waits until the books close. One scrape may see a line between two counters: a gap that
    /// stays is the failure.
    #[track_caller]
    pub(crate) fn books_close(&self) -> Metrics {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let metrics = self.metrics();
            let open = metrics.open_books(!self.reloaded.load(Ordering::Relaxed));
            if open.is_empty() {
                return metrics;
            }
            assert!(Instant::now() < deadline, "the books do not close:\n{}", open.join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Memory of the process that is in RAM.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory of the process that has ever been in RAM.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it is our own child");
        let line = status.lines().find_map(|line| line.strip_prefix(which)).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// The kernel's number of the thread of this name, which it cuts to 15 bytes.
    #[track_caller]
    pub(crate) fn thread(&self, name: &str) -> u32 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut threads = threads.expect("it is our own child").flatten();
        let found = threads.find(|thread| {
            let found = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            found.trim_end() == &name[..name.len().min(15)]
        });
        let found = found.unwrap_or_else(|| panic!("no thread {name}"));
        found.file_name().to_string_lossy().parse().expect("a number")
    }

    /// File descriptors that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.expect("it is our own child").count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our own child");
    }

    /// Waits for the end of a relay that was signalled.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Stopped {
        let status = wait_for("the relay to end", || self.child.try_wait().expect("our child"));
        let reader = self.reader.take().expect("it is joined once");
        reader.join().expect("the reader does not panic");
        Stopped { status, log: self.log() }
    }

    /// How every test ends: the books close, then SIGTERM ends the relay in order, and the books
    /// that it logs close too.
    #[track_caller]
    pub(crate) fn finish(self) -> Stopped {
        self.wait_until_settled();
        self.signal(Signal::TERM);
        let stopped = self.wait();
        let log = stopped.log.join("\n");
        assert!(stopped.status.success(), "{}\n{log}", stopped.status);
        assert!(!log.contains("panicked"), "{log}");
        stopped.books_close();
        stopped
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            // libtest shows this with the failed test.
            eprintln!("the relay's log:\n{}", self.log().join("\n"));
        }
    }
}

impl Stopped {
    /// The closing books of one backend.
    #[track_caller]
    pub(crate) fn books(&self, relay: &str, backend: &str) -> Books {
        let mut found = self.all_books().into_iter();
        let found = found.find(|(names, _)| names == &(relay.to_owned(), backend.to_owned()));
        found.unwrap_or_else(|| panic!("no books of {backend}:\n{}", self.log.join("\n"))).1
    }

    fn all_books(&self) -> Vec<((String, String), Books)> {
        let books = self.log.iter().filter_map(|line| message(line).strip_prefix("books closed "));
        books.map(|text| closing(text).unwrap_or_else(|| panic!("no books: {text}"))).collect()
    }

    #[track_caller]
    pub(crate) fn books_close(&self) {
        let books = self.all_books();
        assert!(!books.is_empty(), "no closing books in the log:\n{}", self.log.join("\n"));
        for (names, books) in books {
            assert!(books.close() && books.queued == 0, "{names:?}: {books:?}");
        }
    }
}

/// Reads `relay=R backend=B taken=N ... dropped=REASON=N REASON=N`.
fn closing(text: &str) -> Option<((String, String), Books)> {
    let (text, dropped) = text.split_once(" dropped=")?;
    let mut fields = fields(text);
    let count = |key: &str| fields.get(key)?.parse().ok();
    let (taken, restored, spooled) = (count("taken")?, count("restored")?, count("spooled")?);
    let (delivered, queued) = (count("delivered")?, count("queued")?);
    let reasons = dropped.split(' ').filter_map(|pair| pair.split_once('='));
    let reasons = reasons.map(|(reason, lines)| Some((reason.to_owned(), lines.parse().ok()?)));
    let dropped = reasons.collect::<Option<_>>()?;
    let names = (fields.remove("relay")?, fields.remove("backend")?);
    Some((names, Books { taken, restored, spooled, delivered, queued, dropped }))
}

/// The message of a log line: what follows its time, level and target.
fn message(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, message)| message)
}

/// The name and address in `relay="NAME" addr=HOST:PORT`.
fn bound(text: &str) -> Option<(String, SocketAddr)> {
    let mut fields = fields(text);
    Some((fields.remove("relay")?, fields.remove("addr")?.parse().ok()?))
}

/// Fields as `tracing` writes them. No test uses a name with a space or a quote in it.
fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// A configuration file in a directory of its own.
pub(crate) fn config_file(toml: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("relay.toml");
    std::fs::write(&file, toml).expect("a temporary file");
    (dir, file)
}

/// Runs a command that ends by itself.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let mut child = command
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            drop(child.kill());
            let text = stderr.join().expect("reading a pipe");
            panic!("{command:?} does not end:\n{}", String::from_utf8_lossy(&text));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let join = |reader: JoinHandle<Vec<u8>>| reader.join().expect("reading a pipe");
    Output { status, stdout: join(stdout), stderr: join(stderr) }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("it is piped");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("reading a pipe");
        bytes
    })
}
