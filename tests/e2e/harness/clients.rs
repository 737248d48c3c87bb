//! Real clients that are programs: Prometheus, and the `influx` of InfluxDB 1.x.

use super::real::Process;
use super::run;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

/// A real Prometheus that scrapes some targets and writes all of it to one address.
pub(crate) struct Prometheus(Process);

impl Prometheus {
    /// Scrapes `targets` every 200 ms and remote-writes to `url`.
    pub(crate) fn start(targets: &[(&str, SocketAddr)], url: &str) -> Self {
        let mut process = Process::start("prometheus", |dir| {
            let file = dir.join("prometheus.yml");
            fs::write(&file, prometheus_yml(targets, url)).expect("a temporary file");
            vec![
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", dir.join("data").display()),
                "--web.listen-address=127.0.0.1:0".to_owned(),
            ]
        });
        process.wait_for_port("tcp", |_| true);
        Self(process)
    }

    /// Ends it in order: it sends what it still has. Gives its log.
    #[track_caller]
    pub(crate) fn end(mut self) -> String {
        self.0.end();
        self.0.log()
    }
}

fn prometheus_yml(targets: &[(&str, SocketAddr)], url: &str) -> String {
    let jobs = targets.iter().map(|(job, addr)| {
        format!("- job_name: {job}\n  static_configs:\n  - targets: ['{addr}']\n")
    });
    format!(
        r#"
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
remote_write:
- url: {url}
  metadata_config:
    send: false
  queue_config:
    batch_send_deadline: 100ms
    max_backoff: 200ms
scrape_configs:
{}"#,
        jobs.collect::<String>()
    )
}

/// Runs the real `influx` against an address.
#[track_caller]
pub(crate) fn influx(addr: SocketAddr, home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("influx");
    // It keeps a history there.
    command.env("HOME", home);
    command.args(["-host", &addr.ip().to_string(), "-port", &addr.port().to_string()]);
    run(command.args(arguments))
}
