//! How a relay under test is told what to do: the configuration file, or the floor's arguments.
//! The keys are those of the Go relay but for `[admin]`, `workers`, `batch-wait-us`,
//! `http-threads`, `queue-size-mb` and `database`, which only Ringrelay knows.

use crate::sink::Protocol;
use anyhow::{Context, Result, ensure};
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
    /// `batch-wait-us` of UDP listeners; the relay's default if not given.
    pub batch_wait_us: Option<u32>,
    /// `http-threads`; the relay's default if not given.
    pub http_threads: Option<usize>,
    /// `queue-size-mb` of outputs; the relay's default if not given.
    pub queue_size_mb: Option<usize>,
}

/// The file's text; without `admin`, none of Ringrelay's own keys is in it.
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
    if let (Some(threads), Some(_)) = (options.http_threads, admin) {
        writeln!(text, "http-threads = {threads}")?;
    }
    if let Some(admin) = admin {
        writeln!(text, "[admin]\nbind-addr = \"{admin}\"")?;
    }
    for Listener { name, protocol, address, outputs } in listeners {
        let front = protocol.label();
        writeln!(text, "\n[[{front}]]\nname = \"{name}\"\nbind-addr = \"{address}\"")?;
        if *protocol == Protocol::Udp {
            writeln!(text, "read-buffer = {}", options.read_buffer)?;
            if let (Some(workers), Some(_)) = (options.workers, admin) {
                writeln!(text, "workers = {workers}")?;
            }
            if let (Some(us), Some(_)) = (options.batch_wait_us, admin) {
                writeln!(text, "batch-wait-us = {us}")?;
            }
        }
        for Output { name, protocol: output, address } in outputs {
            writeln!(text, "\n[[{front}.output]]\nname = \"{name}\"")?;
            if let (Some(mb), Some(_)) = (options.queue_size_mb, admin) {
                writeln!(text, "queue-size-mb = {mb}")?;
            }
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

/// The arguments of `loadgen floor` for the same work.
///
/// # Errors
/// If it is no work for the floor: anything but one UDP listener with UDP outputs.
pub fn floor_arguments(listeners: &[Listener], options: &Options) -> Result<Vec<String>> {
    let only = "the floor forwards UDP to UDP only: use --scenario udp-udp";
    let (listener, []) = listeners.split_first().context(only)? else { anyhow::bail!(only) };
    let outputs = &listener.outputs;
    let udp = listener.protocol == Protocol::Udp
        && outputs.iter().all(|output| output.protocol == Protocol::Udp);
    ensure!(udp, only);
    let mut arguments = vec!["floor".into(), "--listen".into(), listener.address.to_string()];
    for output in outputs {
        arguments.extend(["--to".into(), output.address.to_string()]);
    }
    arguments.extend(["--mtu".into(), options.mtu.to_string()]);
    arguments.extend(["--read-buffer".into(), options.read_buffer.to_string()]);
    if let Some(us) = options.batch_wait_us {
        arguments.extend(["--batch-wait-us".into(), us.to_string()]);
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringrelay::config::Config;
    use std::time::Duration;

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
        let admin = Some(SocketAddr::from(([127, 0, 0, 1], 9000)));
        let text = render(admin, &listeners, &options());
        let file: toml::Table = text.parse().expect("valid TOML");
        assert_eq!(file["admin"]["bind-addr"].as_str(), Some("127.0.0.1:9000"));
        assert_eq!(file["udp"][0]["output"][0]["mtu"].as_integer(), Some(1400));
        assert_eq!(file["udp"][0]["workers"].as_integer(), Some(1));
        assert_eq!(file["udp"][1]["output"][0]["database"].as_str(), Some("bench"));
        let endpoints = &file["http"][0]["output"][0]["endpoints"];
        assert_eq!(endpoints["write"].as_str(), Some("/write"));
        let go = render(None, &listeners[..1], &options());
        assert!(
            !["admin", "workers", "batch", "threads", "queue"].iter().any(|own| go.contains(own)),
            "{go}"
        );
    }

    #[test]
    fn the_relay_takes_it_and_waits_by_default_as_the_floor_does() {
        let admin = Some(SocketAddr::from(([127, 0, 0, 1], 9000)));
        for (front, back) in [
            (Protocol::Udp, Protocol::Udp),
            (Protocol::Udp, Protocol::Http),
            (Protocol::Http, Protocol::Http),
        ] {
            let text = render(admin, &[listener(front, back)], &options());
            let config = Config::parse(&text, "relay.toml").expect("the relay takes it");
            assert!(config.udp.iter().all(|udp| udp.batch_wait == Duration::from_micros(700)));
        }
        let unsaid = Options { batch_wait_us: None, ..options() };
        let text = render(admin, &[listener(Protocol::Udp, Protocol::Udp)], &unsaid);
        let config = Config::parse(&text, "relay.toml").expect("the relay takes it");
        let floor = Duration::from_micros(crate::floor::BATCH_WAIT_US.into());
        assert_eq!(config.udp[0].batch_wait, floor);
    }

    #[test]
    fn the_floor_is_given_udp_alone() {
        let udp = listener(Protocol::Udp, Protocol::Udp);
        let arguments = floor_arguments(std::slice::from_ref(&udp), &options()).expect("its work");
        let typed = arguments.join(" ");
        assert!(typed.starts_with("floor --listen 127.0.0.1:9096 --to 127.0.0.1:9096"), "{typed}");
        assert!(typed.ends_with("--mtu 1400 --read-buffer 1048576 --batch-wait-us 700"), "{typed}");
        for listeners in [
            &[][..],
            &[udp.clone(), udp],
            &[listener(Protocol::Udp, Protocol::Http)],
            &[listener(Protocol::Http, Protocol::Http)],
        ] {
            assert!(floor_arguments(listeners, &options()).is_err());
        }
    }

    fn options() -> Options {
        Options {
            mtu: 1400,
            read_buffer: 1 << 20,
            workers: Some(1),
            batch_wait_us: Some(700),
            http_threads: Some(1),
            queue_size_mb: Some(8),
        }
    }
}
