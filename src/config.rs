//! The configuration: what was typed is checked into what is run (this file's types).
//!
//! One direction only: `raw` (a TOML table with the `schema` of its keys) -> `check` and `output`
//! (bounded, taken apart, every default filled in) -> [`Config`]. Called by `main`; nothing here
//! binds a socket or opens a connection, and no host name of a backend is resolved.

mod address;
mod check;
mod duration;
mod filters;
mod output;
mod outside;
mod problem;
mod raw;
mod schema;
mod security;
mod summary;

pub use duration::parse as duration;
pub use problem::{ConfigError, Problem};
pub use summary::Summary;

use crate::filter::Filter;
use crate::secret::Secret;
use crate::timestamp::Precision;
use crate::tls;
use ipnet::IpNet;
use outside::{Host, Nothing, Outside};
use problem::Report;
use raw::Section;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeTable;

/// What is run. Every value is within its bounds, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The `[[http]]` listeners, in the file's order.
    pub http: Vec<HttpListener>,
    /// The `[[udp]]` listeners, in the file's order.
    pub udp: Vec<UdpListener>,
    /// `[admin]`: where the status page is, and `/metrics` besides the HTTP listeners.
    pub admin: Option<SocketAddr>,
    /// `http-threads`: threads that serve all HTTP listeners; default one per core.
    pub http_threads: usize,
    /// `shutdown-timeout`: how long queues may drain after the fronts have stopped; default 10 s.
    pub shutdown_timeout: Duration,
}

/// One `[[http]]` listener.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpListener {
    /// `name`; default `http://BIND-ADDR`, `https://BIND-ADDR` with TLS.
    pub name: Arc<str>,
    /// `bind-addr`; a missing host means all addresses of both families (`[::]`).
    pub bind: SocketAddr,
    /// `ssl-combined-pem` and `client-ca-file`, read; without the former, clients speak no TLS.
    pub tls: Option<Arc<tls::Acceptor>>,
    /// `default-ping-response`; default 204.
    pub ping_status: u16,
    /// `default-retention-policy`: the `rp` of a write that names none.
    pub default_retention_policy: Option<String>,
    /// `ack`: how many backends must have a write before its client is told so; default any.
    pub ack: Ack,
    /// `max-body-size-mb`: the largest body, after inflating; default 32 MiB.
    pub body_bytes_max: usize,
    /// `max-bodies-size-mb`: what all bodies being read may hold together; default 64 MiB.
    pub bodies_bytes_max: usize,
    /// Bounds on the connections of clients.
    pub connections: Connections,
    /// `rate-limit` and `burst-limit`: requests taken in a second; default no limit.
    pub request_rate: Option<Rate>,
    /// `rate-limit-lines`: lines taken in a second; default no limit.
    pub line_rate: Option<Rate>,
    /// `admin-allow`: who may use `/admin` and `/admin/flush`; default loopback.
    pub admin_allow: Vec<IpNet>,
    /// `health-timeout-ms`: how long `/health` waits for a backend; default 10 s.
    pub health_timeout: Duration,
    /// `health-critical-status`: what `/health` answers when no backend does; default 200.
    pub health_critical_status: u16,
    /// The backends, in the file's order.
    pub outputs: Vec<Output>,
}

/// Bounds on the connections of one HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// `max-connections`: open at once, on all threads together; default 4096.
    pub open_max: usize,
    /// `header-timeout`: from the first byte of a request's head to its last; default 10 s.
    pub head_timeout: Duration,
    /// `idle-timeout`: how long a connection may wait for a request; default 75 s.
    pub idle_timeout: Duration,
    /// `max-header-size-kb`: the largest head; default 16 KiB.
    pub head_bytes_max: usize,
}

/// How much is taken in a second, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second.
    pub per_second: u64,
    /// At once, after a pause.
    pub burst: u64,
}

/// How many backends make a write a success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// One, as in the Go relays.
    #[default]
    Any,
    /// More than half of them.
    Quorum,
    /// Every one.
    All,
}

/// One `[[udp]]` listener.
#[derive(Clone, Debug, PartialEq)]
pub struct UdpListener {
    /// `name`; default the address as typed.
    pub name: Arc<str>,
    /// `bind-addr`; a missing host means all addresses of both families (`[::]`).
    pub bind: SocketAddr,
    /// `precision` of timestamps in and out; default nanoseconds.
    pub precision: Precision,
    /// `read-buffer`: bytes of kernel receive buffer per socket; 0 leaves the system's default.
    pub read_buffer_bytes: usize,
    /// `workers`: sockets and threads; default one per core, at most 4.
    pub workers: usize,
    /// `batch-wait-us`: how long a worker gathers datagrams while traffic flows; default 2000 us.
    pub batch_wait: Duration,
    /// `rate-limit-lines`: lines taken in a second by all workers together; default no limit.
    pub line_rate: Option<Rate>,
    /// The backends, in the file's order.
    pub outputs: Vec<Output>,
}

/// One backend of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `name`, unique in its listener; default the location as typed.
    pub name: Arc<str>,
    /// `queue-size-mb`: bytes that may wait for this backend in memory; default 16 MiB.
    pub queue_bytes_max: u64,
    /// What the `[[filter]]` tables that name it let pass; `None` is everything. Outputs of the
    /// same filters share one.
    pub filter: Option<Arc<Filter>>,
    /// Where the lines go.
    pub target: Target,
}

/// The transport of a backend.
#[expect(clippy::large_enum_variant, reason = "one per output, made once")]
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `location = "host:port"` of a `[[udp.output]]`.
    Udp(UdpTarget),
    /// `location = "http://..."` or `"https://..."`.
    Http(HttpTarget),
}

impl Target {
    /// `host:port` of a UDP backend, the URL that is written to of an HTTP backend.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Udp(target) => target.location.clone(),
            Self::Http(target) => {
                let path = target.write_path.as_ref().or(target.write_prom_path.as_ref());
                let scheme = if target.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}{}", target.authority, path.map_or("", |path| path))
            }
        }
    }
}

/// A backend by UDP.
#[derive(Clone, Debug, PartialEq)]
pub struct UdpTarget {
    /// `host:port`, resolved by the sender thread.
    pub location: String,
    /// `mtu`: payload bytes of a datagram, a trailing newline not counted; default 1024.
    pub mtu: usize,
}

/// A backend by HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTarget {
    /// `host:port` as it goes into the `Host` header and to the resolver.
    pub authority: String,
    /// `https://`, with `ca-file`, `client-pem` and `skip-tls-verification`; the files are read.
    pub tls: Option<Arc<tls::Connector>>,
    /// `username` and `password`, or `token`: the `Authorization` header of every request, in
    /// place of what clients send.
    pub authorization: Option<Secret>,
    /// `content-encoding = "gzip"`.
    pub gzip: bool,
    /// Path of the write endpoint, with its leading `/`: `endpoints.write`, or the path of a
    /// full write URL (original form). `None` for a backend of Prometheus alone.
    pub write_path: Option<String>,
    /// `endpoints.write_prom`, or the path of an output of `type = "prometheus"`.
    pub write_prom_path: Option<String>,
    /// `endpoints.ping`; default `/ping` beside the write endpoint.
    pub ping_path: String,
    /// `endpoints.query`; default `/query` beside the write endpoint.
    pub query_path: String,
    /// `type`: the write API that it speaks.
    pub dialect: Dialect,
    /// `timeout` of one request; default 10 s.
    pub timeout: Duration,
    /// `max-batch-kb`: bytes that waiting writes are merged up to; default 512 KiB.
    pub batch_bytes_max: usize,
    /// `max-in-flight`: requests open at once, at most one per destination key; default 8.
    pub in_flight_max: usize,
    /// `database` (and `retention-policy`) of a 1.x backend of a UDP listener.
    pub database: Option<Database>,
    /// What is kept while the backend fails; `None` without `buffer-size-mb`.
    pub backlog: Option<Backlog>,
}

/// How writes are kept while their backend fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Backlog {
    /// `buffer-size-mb`: bytes of memory that they may take.
    pub bytes_max: u64,
    /// `max-delay-interval`: the longest pause between two tries; default 10 s.
    pub delay_max: Duration,
    /// `on-refused`: whether a write that was answered 401, 403 or 404 is kept; default yes.
    pub keep_refused: bool,
    /// `dead-letter-dir` and `dead-letter-size-mb`: where writes go that are set aside.
    pub dead_letters: Option<DeadLetters>,
    /// What is kept is on disk too; `None` without `spool-dir`.
    pub spool: Option<Spool>,
}

/// Where and how kept writes are on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    /// `spool-dir`; each backend has a directory of its own in it.
    pub dir: PathBuf,
    /// `spool-size-mb`: bytes of disk that a backend's spool may take; default 1 GiB.
    pub bytes_max: u64,
    /// `spool-max-age`: what is older is dropped; `None` for no limit.
    pub age_max: Option<Duration>,
    /// `fsync`: when what is written is forced to the disk.
    pub fsync: Fsync,
}

/// When a spool is forced to its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before a client is told that its write is kept.
    Always,
    /// Once a second: a power cut costs at most what came in the last one.
    #[default]
    Interval,
    /// When the kernel pleases. What is written survives the relay, not a power cut.
    Never,
}

/// Where writes go that a backend will not take.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetters {
    /// The directory; each backend has a file of its own in it.
    pub dir: PathBuf,
    /// How large one file may get.
    pub bytes_max: u64,
}

/// The write API of a backend by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `type = "influxdb"`: InfluxDB 1.x, `/write` with `db` and `rp`.
    #[default]
    V1,
    /// `type = "influxdb2"`: InfluxDB 2, `/api/v2/write` with `org` and `bucket`.
    V2 {
        /// `org`: the name or ID of the organization that everything is written to.
        org: String,
        /// `bucket`: what everything is written to; `None` is the bucket that the client's
        /// request names or stands for.
        bucket: Option<String>,
    },
}

/// Where points that came by UDP are written, by the names of InfluxDB 1.x.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The `db` parameter.
    pub name: String,
    /// The `rp` parameter.
    pub retention_policy: Option<String>,
}

/// Connections that `[admin]` may have open: scrapes, and who looks at `/ready`.
pub const ADMIN_CONNECTIONS: usize = 128;

/// The largest number of listeners and outputs needs less.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Default for Connections {
    /// What `[admin]` has, which has no keys for them.
    fn default() -> Self {
        Self {
            open_max: ADMIN_CONNECTIONS,
            head_timeout: schema::HEADER_TIMEOUT,
            idle_timeout: schema::IDLE_TIMEOUT,
            head_bytes_max: schema::MAX_HEADER_KIB * 1024,
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`. A host name in a `bind-addr` is resolved, the files of
    /// certificates are read.
    ///
    /// # Errors
    /// The file cannot be read, or it has problems: all that were found.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|open| open.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        if let Err(source) = read {
            return Err(ConfigError::Unreadable { file, source });
        }
        let text = String::from_utf8_lossy(&bytes);
        if bytes.len() <= FILE_BYTES_MAX
            && let Err(error) = std::str::from_utf8(&bytes)
        {
            let report = Report::new(&text);
            let line = report.line(error.valid_up_to());
            let wrong = "is not UTF-8; save the file in that encoding";
            report.add(line, "the text".to_owned(), wrong.to_owned());
            return Err(report.into_error(&file));
        }
        parse(&text, &file, &Host::default())
    }

    /// Checks the text of a configuration; `file_name` is for the errors. As [`load`](Self::load),
    /// except that no host name but `localhost` is known, and no file and no environment variable
    /// is found.
    ///
    /// # Errors
    /// All problems that were found.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        parse(text, file_name, &Nothing)
    }
}

fn parse(text: &str, file: &str, outside: &dyn Outside) -> Result<Config, ConfigError> {
    let report = Report::new(text);
    if text.len() > FILE_BYTES_MAX {
        let wrong = format!("is longer than {FILE_BYTES_MAX} bytes; is it a configuration file?");
        report.add(1, "the file".to_owned(), wrong);
        return Err(report.into_error(file));
    }
    let checked = match DeTable::parse(text) {
        Ok(root) => {
            let root = Section::new(&schema::ROOT, &root, &report);
            root.validate();
            // A mistyped key would also be reported as a missing one: first things first.
            if report.is_empty() {
                root.check_bounds();
                check::check(root, outside)
            } else {
                None
            }
        }
        Err(error) => {
            report.syntax(&error);
            None
        }
    };
    match checked {
        Some(config) if report.is_empty() => Ok(config),
        _ => Err(report.into_error(file)),
    }
}
