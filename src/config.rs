//! The configuration: what was typed ([`raw`]) is checked into what is run (this file's types).
//!
//! One direction only: `raw` (serde, exactly what the file says) -> `check` (bounded, resolved,
//! every default filled in) -> [`Config`]. Nothing here binds a socket or opens a connection.

use crate::timestamp::Precision;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What is run. Every value is within its bounds, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The `[[http]]` listeners, in the file's order.
    pub http: Vec<HttpListener>,
    /// The `[[udp]]` listeners, in the file's order.
    pub udp: Vec<UdpListener>,
    /// `[admin]`: where `/metrics` is served besides the HTTP listeners.
    pub admin: Option<SocketAddr>,
    /// `http-threads`: threads that serve all HTTP listeners; default one per core.
    pub http_threads: usize,
    /// `shutdown-timeout`: how long queues may drain after the fronts have stopped; default 10 s.
    pub shutdown_timeout: Duration,
}

/// One `[[http]]` listener.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpListener {
    /// `name`; default `http://BIND-ADDR`.
    pub name: Arc<str>,
    /// `bind-addr`; a missing host means all addresses of both families (`[::]`).
    pub bind: SocketAddr,
    /// `default-ping-response`; default 204.
    pub ping_status: u16,
    /// `default-retention-policy`: the `rp` of a write that names none.
    pub default_retention_policy: Option<String>,
    /// `max-body-size-mb`: the largest body, after inflating; default 32 MiB.
    pub body_bytes_max: usize,
    /// `max-bodies-size-mb`: what all bodies being read may hold together; default 64 MiB.
    pub bodies_bytes_max: usize,
    /// The backends, in the file's order.
    pub outputs: Vec<Output>,
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
    /// `batch-wait-us`: how long a worker gathers datagrams while traffic flows; default 1000 us.
    pub batch_wait: Duration,
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
    /// Where the lines go.
    pub target: Target,
}

/// The transport of a backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `location = "host:port"` of a `[[udp.output]]`.
    Udp(UdpTarget),
    /// `location = "http://..."`.
    Http(HttpTarget),
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
    /// Path of the write endpoint, with its leading `/`: `endpoints.write`, or the path of a
    /// full write URL (original form).
    pub write_path: String,
    /// `timeout` of one request; default 10 s.
    pub timeout: Duration,
    /// `max-batch-kb`: bytes that waiting writes are merged up to; default 512 KiB.
    pub batch_bytes_max: usize,
    /// `max-in-flight`: requests open at once, at most one per destination key; default 8.
    pub in_flight_max: usize,
    /// `database` (and `retention-policy`) of a backend of a UDP listener.
    pub database: Option<Database>,
}

/// Where points that came by UDP are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The `db` parameter.
    pub name: String,
    /// The `rp` parameter.
    pub retention_policy: Option<String>,
}
