//! Real clients that are programs: Prometheus, and the `influx` of InfluxDB 1.x.

use super::real::Process;
use super::{Client, run};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

/// A real Prometheus that scrapes some targets every 200 ms.
pub(crate) struct Prometheus {
    http: SocketAddr,
    process: Process,
}

impl Prometheus {
    /// Remote-writes all of it to `url`.
    pub(crate) fn start(targets: &[(&str, SocketAddr)], url: &str) -> Self {
        Self::run(targets, |_| {
            format!(
                "remote_write:\n- url: {url}\n  metadata_config:\n    send: false\n  \
                 queue_config:\n    batch_send_deadline: 100ms\n    max_backoff: 200ms\n"
            )
        })
    }

    /// Evaluates these rules as often.
    pub(crate) fn watch(targets: &[(&str, SocketAddr)], rules: &str) -> Self {
        Self::run(targets, |dir| {
            fs::write(dir.join("rules.yml"), rules).expect("a temporary file");
            "rule_files: [rules.yml]\n".to_owned()
        })
    }

    fn run(targets: &[(&str, SocketAddr)], more: impl FnOnce(&Path) -> String) -> Self {
        let mut process = Process::start("prometheus", |dir| {
            let file = dir.join("prometheus.yml");
            let config = prometheus_yml(targets) + &more(dir);
            fs::write(&file, config).expect("a temporary file");
            vec![
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", dir.join("data").display()),
                "--web.listen-address=127.0.0.1:0".to_owned(),
            ]
        });
        let http = process.wait_for_port("tcp", |_| true);
        Self { http, process }
    }

    /// The `data` of an answer of its API, or why there is none.
    pub(crate) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query = parameters.iter().map(|(name, value)| {
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            format!("{name}={value}&")
        });
        let target = format!("/api/v1/{path}?{}", query.collect::<String>());
        // It answers before it is ready, too.
        let answer = Client::connect(self.http).get(&target);
        let mut json: Value = serde_json::from_slice(&answer.body).map_err(|_| answer.text())?;
        match json["status"].as_str() {
            Some("success") => Ok(json["data"].take()),
            _ => Err(json["error"].to_string()),
        }
    }

    /// Ends it in order: it sends what it still has. Gives its log.
    #[track_caller]
    pub(crate) fn end(mut self) -> String {
        self.process.end();
        self.process.log()
    }
}

fn prometheus_yml(targets: &[(&str, SocketAddr)]) -> String {
    let jobs = targets.iter().map(|(job, addr)| {
        format!("- job_name: {job}\n  static_configs:\n  - targets: ['{addr}']\n")
    });
    format!(
        "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  \
         evaluation_interval: 200ms\nscrape_configs:\n{}",
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
