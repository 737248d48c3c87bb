//! Real databases and the clients in Python. A database listens on free ports, with its data in a
//! directory of its own. Which part is missing is said aloud; with `RINGRELAY_REQUIRE_REAL=1` that
//! is a failure.

use super::network::{NGINX_STREAM, Network};
use super::{Client, run, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Whether all of these real parts are there: commands, `python` for the clients' venv,
/// `nginx-stream` for nginx's module, `netns` for the right to make network namespaces.
///
/// # Panics
/// If one is missing and `RINGRELAY_REQUIRE_REAL=1` is set.
pub(crate) fn require(parts: &[&str]) -> bool {
    let missing: Vec<_> = parts.iter().filter(|part| find(part).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var_os("RINGRELAY_REQUIRE_REAL").is_some_and(|value| value == "1");
    assert!(!required, "RINGRELAY_REQUIRE_REAL=1, and these are not installed: {missing:?}");
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    // Straight to the descriptor: libtest keeps what a passing test prints.
    let said = format!("SKIPPED {name}: not installed: {missing:?}; see CONTRIBUTING.md\n");
    std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    false
}

fn find(part: &str) -> Option<PathBuf> {
    if part == "python" {
        let python = root().join("target/test-venv/bin/python");
        return python.exists().then_some(python);
    }
    if part == "nginx-stream" {
        let module = PathBuf::from(NGINX_STREAM);
        return module.exists().then_some(module);
    }
    if part == "netns" {
        return find("ip").filter(|_| Network::is_allowed());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(part)).find(|file| file.is_file())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A script of `tests/e2e/scripts`.
pub(crate) fn script(name: &str) -> PathBuf {
    root().join("tests/e2e/scripts").join(name)
}

/// Runs a script with the Python that has the real clients.
#[track_caller]
pub(crate) fn python(name: &str, arguments: &[String]) -> Output {
    let python = find("python").expect("the test required it");
    let output = run(Command::new(python).arg(script(name)).args(arguments));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    output
}

/// The process of a real part. It is killed when it is dropped.
pub(super) struct Process {
    command: Command,
    child: Child,
    pub(super) dir: tempfile::TempDir,
}

impl Process {
    pub(super) fn start(command: &str, arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = File::create(dir.path().join("log")).expect("a temporary file");
        let mut command = Command::new(find(command).expect("the test required it"));
        command.args(arguments(dir.path())).env("HOME", dir.path());
        let both = log.try_clone().expect("a file descriptor is left");
        command.stdin(Stdio::null()).stdout(both).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { command, child, dir }
    }

    /// Kills it, as a crash would.
    fn kill(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// Starts it once more after [`kill`](Self::kill), with its data.
    fn restart(&mut self) {
        self.child = self.command.spawn().expect("it ran before");
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    pub(super) fn end(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("our child");
        wait_for("a real part to end", || self.child.try_wait().expect("our child"));
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits for a port that the process has bound.
    #[track_caller]
    pub(super) fn wait_for_port(
        &mut self,
        protocol: &str,
        wanted: impl Fn(u16) -> bool,
    ) -> SocketAddr {
        let port = wait_for("a real part to listen", || {
            let ended = self.child.try_wait().expect("our child");
            assert!(ended.is_none(), "a real part ended: {ended:?}\n{}", self.log());
            ports(self.child.id(), protocol).into_iter().find(|&port| wanted(port))
        });
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The ports on which a process listens (`tcp`) or receives (`udp`), from `/proc`.
fn ports(pid: u32, protocol: &str) -> Vec<u16> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let sockets: Vec<String> = links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    // The process may bind a wildcard address, which Go makes an IPv6 one.
    let tables = [format!("/proc/net/{protocol}"), format!("/proc/net/{protocol}6")];
    let tables = tables.map(|file| fs::read_to_string(file).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let columns: Vec<_> = row.split_whitespace().collect();
        let (local, remote, inode) = (columns.get(1)?, columns.get(2)?, columns.get(9)?);
        // One that is connected is no listener.
        let free = remote.ends_with(":0000") && sockets.iter().any(|socket| socket == inode);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        free.then_some(port)
    })
    .collect()
}

/// A real InfluxDB 1.x, with a UDP listener that writes to the database `udp`.
pub(crate) struct InfluxDb {
    pub(crate) http: SocketAddr,
    pub(crate) udp: SocketAddr,
    process: Process,
}

impl InfluxDb {
    pub(crate) fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// One that can be killed and restarted: on an address of loopback that no other test has, so
    /// that nobody takes its port meanwhile.
    pub(crate) fn mortal(host: Ipv4Addr) -> Self {
        let free = TcpListener::bind((host, 0)).and_then(|socket| socket.local_addr());
        let addr = free.expect("a free port");
        Self { http: addr, ..Self::start_at(addr) }
    }

    fn start_at(addr: SocketAddr) -> Self {
        let mut process = Process::start("influxd", |dir| {
            let file = dir.join("influxdb.conf");
            fs::write(&file, influxdb_conf(dir, addr)).expect("a temporary file");
            vec!["-config".to_owned(), file.display().to_string()]
        });
        // It also listens for backups; only the HTTP service knows `/ping`.
        let http = process.wait_for_port("tcp", |port| {
            let Ok(stream) = TcpStream::connect((addr.ip(), port)) else { return false };
            drop(stream);
            let mut client = Client::connect((addr.ip(), port).into());
            let asked = client.send(b"GET /ping HTTP/1.1\r\nHost: influxdb\r\n\r\n");
            asked.is_ok() && client.receive().is_ok_and(|answer| answer.is_some())
        });
        let udp = process.wait_for_port("udp", |_| true);
        Self { http, udp, process }
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it once more, with its data, and waits until it answers.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.process.restart();
        wait_until("a database to listen again", || TcpStream::connect(self.http).is_ok());
    }

    pub(crate) fn create(&self, database: &str) {
        self.alter("", &format!("CREATE+DATABASE+%22{database}%22"));
    }

    /// Makes the shard of a time in nanoseconds, which holds nothing then.
    ///
    /// InfluxDB up to 1.10 loses a write that it answers with 204 if it is among several first ones
    /// of a shard: the first of them makes the cache while another already writes to none.
    pub(crate) fn make_shard(&self, database: &str, time: i64) {
        let line = format!("first n=1i {time}");
        let target = format!("/write?db={database}");
        let answer = Client::connect(self.http).request("POST", &target, &[], line.as_bytes());
        assert_eq!(answer.status(), 204, "{}", answer.text());
        self.alter(database, "DROP+MEASUREMENT+first");
    }

    fn alter(&self, database: &str, query: &str) {
        let target = format!("/query?db={database}&q={query}");
        let answer = Client::connect(self.http).request("POST", &target, &[], b"");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    /// Everything in a database: every series with its tags, columns and rows, ordered by
    /// measurement, times in nanoseconds.
    pub(crate) fn dump(&self, database: &str) -> Value {
        // One query over all measurements would mix up fields of one name and different types.
        let names = self.query(database, "SHOW MEASUREMENTS");
        let names = names.iter().flat_map(|series| series["values"].as_array()).flatten();
        let select = |name: &Value| format!("SELECT * FROM {} GROUP BY *;", name[0]);
        let all = names.map(select).collect::<String>();
        Value::Array(if all.is_empty() { Vec::new() } else { self.query(database, &all) })
    }

    /// The series of all statements' results.
    fn query(&self, database: &str, query: &str) -> Vec<Value> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let target = format!("/query?db={database}&epoch=ns&q={query}");
        let answer = Client::connect(self.http).get(&target);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let results = json["results"].as_array().cloned().unwrap_or_default();
        let series = results.iter().flat_map(|result| result["series"].as_array().cloned());
        let whole = |mut series: Value| {
            // Said of more than 10 000 rows, all of which are there.
            series.as_object_mut().expect("a series is an object").remove("partial");
            series
        };
        series.flatten().map(whole).collect()
    }

    /// How many rows there are in a database.
    pub(crate) fn rows(&self, database: &str) -> usize {
        let dump = self.dump(database);
        let series = dump.as_array().map(Vec::as_slice).unwrap_or_default();
        series.iter().map(|series| series["values"].as_array().map_or(0, Vec::len)).sum()
    }
}

fn influxdb_conf(dir: &Path, http: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"
reporting-enabled = false
bind-address = "127.0.0.1:0"

[meta]
dir = "{dir}/meta"
[data]
dir = "{dir}/data"
wal-dir = "{dir}/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
[http]
bind-address = "{http}"
log-enabled = false
[[udp]]
enabled = true
bind-address = "127.0.0.1:0"
database = "udp"
batch-size = 100
batch-timeout = "20ms"
read-buffer = 4194304
"#
    )
}

/// A real VictoriaMetrics.
pub(crate) struct VictoriaMetrics {
    pub(crate) http: SocketAddr,
    _process: Process,
}

impl VictoriaMetrics {
    pub(crate) fn start() -> Self {
        let mut process = Process::start("victoria-metrics", |dir| {
            let data = format!("-storageDataPath={}", dir.join("data").display());
            let listen = "-httpListenAddr=127.0.0.1:0".to_owned();
            vec![data, listen, "-retentionPeriod=100y".to_owned(), "-loggerLevel=WARN".to_owned()]
        });
        let http = process.wait_for_port("tcp", |_| true);
        Self { http, _process: process }
    }

    /// All series that match `selector`: their labels, values and times in milliseconds.
    pub(crate) fn export(&self, selector: &str) -> Vec<Value> {
        // Points become visible to queries once they are flushed.
        let flushed = Client::connect(self.http).get("/internal/force_flush");
        assert_eq!(flushed.status(), 200, "{}", flushed.text());
        // By default it ends with the last full second.
        let all = "start=0&end=4102444800";
        let target = format!("/api/v1/export?match[]={selector}&{all}");
        let answer = Client::connect(self.http).get(&target);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let text = answer.text();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}
