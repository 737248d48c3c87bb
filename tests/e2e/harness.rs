//! The black-box harness: a real relay process, scripted backends, clients, and its books.
//!
//! Used by every test of this crate. It talks to the relay only as its users do: by its command
//! line, its sockets, its log and `/metrics`. It shares no code with the relay, so that a mistake
//! cannot cancel itself out.

mod backend;
mod browser;
mod clients;
mod http;
mod manager;
mod metrics;
mod network;
mod real;
mod relay;
mod terminal;
mod toml;
mod udp;
mod wait;

pub(crate) use backend::{Gate, HttpBackend, Reply};
pub(crate) use browser::Browser;
pub(crate) use clients::{Prometheus, influx};
pub(crate) use http::{Client, gzip};
pub(crate) use manager::Manager;
pub(crate) use metrics::{Books, Metrics, names};
pub(crate) use network::{Network, Nginx};
pub(crate) use real::{InfluxDb, VictoriaMetrics, python, require, script};
pub(crate) use relay::{ADMIN, Relay, binary, config_file, run};
pub(crate) use terminal::Terminal;
pub(crate) use toml::{http_listener, http_output, udp_listener, udp_output, v2_output};
pub(crate) use udp::{UdpSink, UdpSource};
pub(crate) use wait::{DEADLINE, wait_for, wait_until};

/// The lines in `bytes`, without blank ones. For payloads without quoted newlines.
pub(crate) fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// `count` stamped lines of one source, numbered from 0, about 60 bytes each.
pub(crate) fn numbered(source: &str, count: usize) -> Vec<String> {
    let stamp = |n: usize| 1_700_000_000_000_000_000 + n;
    (0..count).map(|n| format!("cpu,source={source} number={n}i,idle=98.25 {}", stamp(n))).collect()
}
