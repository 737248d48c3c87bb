//! The configuration file of a relay under test. The keys are those of the Go relay but for
//! `[admin]`, `workers` and `database`, which only Ringrelay knows.

use crate::sink::Protocol;
use std::fmt::Write;
use std::net::SocketAddr;

/// What to listen on and where to send.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in the configuration and in the counters.
    pub name: String,
    /// How lines come.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// The backends.
    pub outputs: Vec<Output>,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name in the configuration and in the counters.
    pub name: String,
    /// How lines go.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

/// Settings that hold for all listeners.
#[derive(Clone, Debug)]
pub struct Options {
    /// `mtu` of UDP outputs.
    pub mtu: usize,
    /// `read-buffer` of UDP listeners, in bytes.
    pub read_buffer: usize,
    /// `workers` of UDP listeners; the relay's default if not given.
    pub workers: Option<usize>,
}

/// The file's text.
#[must_use]
pub fn render(admin: Option<SocketAddr>, listeners: &[Listener], options: &Options) -> String {
    let mut text = String::new();
    write_all(&mut text, admin, listeners, options).expect("a string takes any text");
    text
}

fn write_all(
    text: &mut String,
    admin: Option<SocketAddr>,
    listeners: &[Listener],
    options: &Options,
) -> std::fmt::Result {
    if let Some(admin) = admin {
        writeln!(text, "[admin]\nbind-addr = \"{admin}\"")?;
    }
    for Listener { name, protocol, address, outputs } in listeners {
        let front = protocol.label();
        writeln!(text, "\n[[{front}]]\nname = \"{name}\"\nbind-addr = \"{address}\"")?;
        if *protocol == Protocol::Udp {
            writeln!(text, "read-buffer = {}", options.read_buffer)?;
            if let Some(workers) = options.workers {
                writeln!(text, "workers = {workers}")?;
            }
        }
        for Output { name, protocol: output, address } in outputs {
            writeln!(text, "\n[[{front}.output]]\nname = \"{name}\"")?;
            match (protocol, output) {
                (_, Protocol::Udp) => {
                    writeln!(text, "location = \"{address}\"\nmtu = {}", options.mtu)?;
                }
                (Protocol::Udp, Protocol::Http) => {
                    writeln!(text, "location = \"http://{address}\"\ndatabase = \"bench\"")?;
                }
                (Protocol::Http, Protocol::Http) => writeln!(
                    text,
                    "location = \"http://{address}\"\nendpoints = {{ write = \"/write\", \
                     write_prom = \"/api/v1/prom/write\", ping = \"/ping\", query = \"/query\" }}"
                )?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(protocol: Protocol, output: Protocol) -> Listener {
        let address = SocketAddr::from(([127, 0, 0, 1], 9096));
        let outputs = vec![Output { name: "one".into(), protocol: output, address }];
        Listener { name: "in".into(), protocol, address, outputs }
    }

    #[test]
    fn renders_valid_toml_with_every_listener_and_output() {
        let listeners = [
            listener(Protocol::Udp, Protocol::Udp),
            listener(Protocol::Udp, Protocol::Http),
            listener(Protocol::Http, Protocol::Http),
        ];
        let options = Options { mtu: 1400, read_buffer: 1 << 20, workers: Some(1) };
        let admin = Some(SocketAddr::from(([127, 0, 0, 1], 9000)));
        let text = render(admin, &listeners, &options);
        let file: toml::Table = text.parse().expect("valid TOML");
        assert_eq!(file["admin"]["bind-addr"].as_str(), Some("127.0.0.1:9000"));
        assert_eq!(file["udp"][0]["output"][0]["mtu"].as_integer(), Some(1400));
        assert_eq!(file["udp"][0]["workers"].as_integer(), Some(1));
        assert_eq!(file["udp"][1]["output"][0]["database"].as_str(), Some("bench"));
        let endpoints = &file["http"][0]["output"][0]["endpoints"];
        assert_eq!(endpoints["write"].as_str(), Some("/write"));
        let go = render(None, &listeners[..1], &Options { workers: None, ..options });
        assert!(!go.contains("admin") && !go.contains("workers"), "{go}");
    }
}
