//! The relay as a process, with everything on that has a metric or an endpoint.

use super::certificates::self_signed;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[admin]
bind-addr = "127.0.0.1:0"

[[http]]
name = "http"
bind-addr = "127.0.0.1:0"

[[http.output]]
name = "kept"
location = "http://127.0.0.1:9/"
buffer-size-mb = 1
spool-dir = "DIR/spool"
dead-letter-dir = "DIR/letters"

[[http]]
name = "https"
bind-addr = "127.0.0.1:0"
ssl-combined-pem = "DIR/relay.pem"

[[http.output]]
name = "prometheus"
location = "http://127.0.0.1:9/"
endpoints = { write_prom = "/write" }

[[udp]]
name = "udp"
bind-addr = "127.0.0.1:0"

[[udp.output]]
name = "datagrams"
location = "127.0.0.1:9"
"#;

pub(super) fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ringrelay"));
    std::env::var_os("RINGRELAY_BIN").map_or_else(built, PathBuf::from)
}

/// A running relay. It is killed when it is dropped.
pub(super) struct Program {
    child: Child,
    listening: BTreeMap<String, SocketAddr>,
    _dir: tempfile::TempDir,
}

/// What an endpoint answered.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The methods of the header `Allow`.
    pub(super) allow: String,
    pub(super) body: String,
}

impl Program {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let pem = self_signed(&["localhost"], false);
        fs::write(dir.path().join("relay.pem"), pem).expect("a temporary file");
        let file = dir.path().join("relay.toml");
        let config = CONFIG.replace("DIR", &dir.path().display().to_string());
        fs::write(&file, config).expect("a temporary file");
        let mut command = Command::new(binary());
        command.arg("-config").arg(&file).env("NO_COLOR", "1").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the relay's binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // Goes on when nobody listens any more, so that the relay can write.
            stderr.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
        });
        let mut program = Self { child, listening: BTreeMap::new(), _dir: dir };
        loop {
            let line = told.recv_timeout(DEADLINE).expect("the relay gets ready");
            if line.ends_with(": ready") {
                break;
            }
            if let Some((_, bound)) = line.split_once(" listening relay=") {
                let (name, addr) = bound.split_once(" addr=").expect("a listener's line");
                let addr = addr.trim().parse().expect("an address");
                program.listening.insert(name.trim_matches('"').to_owned(), addr);
            }
        }
        program
    }

    /// Asks one of the listeners `http` and `admin`.
    pub(super) fn ask(&self, listener: &str, method: &str, path: &str) -> Answer {
        let addr = self.listening[listener];
        let mut stream = TcpStream::connect(addr).expect("the relay listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n");
        let head = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the relay reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the relay answers");
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let mut allow = headers.filter(|(name, _)| name.eq_ignore_ascii_case("allow"));
        let allow = allow.next().map(|(_, methods)| methods.to_owned()).unwrap_or_default();
        Answer { status: status.expect("a status"), allow, body: body.to_owned() }
    }

    /// The lines of `/metrics`.
    pub(super) fn scrape(&self) -> Vec<String> {
        let answer = self.ask("admin", "GET", "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body.lines().map(str::to_owned).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
