//! What the relay's memory may add up to: the sum of all bounds that a configuration sets.
//!
//! Called at start, for the log. What is not counted here is a few MiB that depend on nothing: the
//! program itself, its threads' stacks, and counters.

use super::BATCH_BYTES;
use crate::config::{Config, HttpListener, HttpTarget, Output, Target};
use crate::{http, ring, udp};

const MIB: u64 = 1024 * 1024;
/// What a connection to a backend holds while a request is on it: what is written (twice 256 KiB,
/// gathered and under way), what is read, and its answer.
const REQUEST_BYTES: u64 = 768 * 1024;
/// Pings and queries that a backend may be asked at once, each with an answer of up to 1 MiB.
const QUESTIONS_BYTES: u64 = 8 * MIB;

/// Bytes, by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// `queue-size-mb` of all outputs: lines that wait or are in flight.
    queues: u64,
    /// `buffer-size-mb` of all outputs.
    backlogs: u64,
    /// `max-bodies-size-mb` of all listeners: bodies that are being read.
    bodies: u64,
    /// Connections of clients: `max-connections` of all listeners, times what one may hold.
    connections: u64,
    /// Requests to backends, beyond their lines.
    requests: u64,
    /// Receive buffers and batches of the UDP workers.
    rings: u64,
}

impl Bounds {
    /// The bounds of a whole configuration.
    pub(super) fn of(config: &Config) -> Self {
        let mut bounds = Self::default();
        for listener in &config.http {
            bounds.bodies += listener.bodies_bytes_max as u64;
            bounds.connections += connections(listener);
            listener.outputs.iter().for_each(|output| bounds.add_output(output));
        }
        let batches = (udp::POOLED_BATCHES * BATCH_BYTES.max(ring::BUFFER_BYTES)) as u64;
        let buffers = u64::from(udp::RECEIVE_BUFFERS) * ring::BUFFER_BYTES as u64;
        for listener in &config.udp {
            bounds.rings += listener.workers as u64 * (buffers + batches);
            listener.outputs.iter().for_each(|output| bounds.add_output(output));
        }
        bounds
    }

    fn add_output(&mut self, output: &Output) {
        self.queues += output.queue_bytes_max;
        if let Target::Http(target) = &output.target {
            self.backlogs += target.backlog.as_ref().map_or(0, |backlog| backlog.bytes_max);
            self.requests += requests(target);
        }
    }

    fn total(&self) -> u64 {
        let Self { queues, backlogs, bodies, connections, requests, rings } = self;
        queues + backlogs + bodies + connections + requests + rings
    }

    /// One line, in MiB, each rounded up.
    pub(super) fn log(&self) {
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        tracing::info!(
            total_mb = mib(self.total()),
            queues_mb = mib(self.queues),
            backlogs_mb = mib(self.backlogs),
            bodies_mb = mib(self.bodies),
            connections_mb = mib(self.connections),
            requests_mb = mib(self.requests),
            rings_mb = mib(self.rings),
            "memory is bounded by"
        );
    }
}

fn connections(listener: &HttpListener) -> u64 {
    let each = http::connection_bytes_max(&listener.connections, listener.tls.is_some());
    listener.connections.open_max as u64 * each as u64
}

fn requests(target: &HttpTarget) -> u64 {
    let packed = if target.gzip { target.batch_bytes_max as u64 } else { 0 };
    target.in_flight_max as u64 * (REQUEST_BYTES + packed) + QUESTIONS_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_in_the_sum() {
        let of = |more: &str, output: &str| {
            let toml = format!(
                "[[http]]\nbind-addr = \"127.0.0.1:10\"\nmax-connections = 10\n{more}\n\
                 [[http.output]]\nlocation = \"http://127.0.0.1:1/\"\n\
                 {output}\n[[udp]]\nbind-addr = \"127.0.0.1:11\"\nworkers = 1\n\
                 [[udp.output]]\nlocation = \"127.0.0.1:1\"\n"
            );
            Bounds::of(&Config::parse(&toml, "test").expect("it is valid"))
        };
        let plain = of("", "");
        assert_eq!(plain.queues, 2 * 16 * MIB, "the default of two outputs");
        assert_eq!((plain.bodies, plain.backlogs), (64 * MIB, 0));
        assert!((15 * MIB..25 * MIB).contains(&plain.rings), "{plain:?}");
        let grows = |more: &str, output: &str| of(more, output).total() - plain.total();
        assert_eq!(grows("max-bodies-size-mb = 65", ""), MIB);
        assert_eq!(grows("", "queue-size-mb = 17"), MIB);
        assert_eq!(grows("", "buffer-size-mb = 3"), 3 * MIB);
        assert_eq!(grows("", "content-encoding = \"gzip\""), 8 * MIB / 2, "8 batches");
        assert!(grows("max-header-size-kb = 1024", "") >= 10 * MIB);
        assert_eq!(grows("", "max-in-flight = 10"), 2 * REQUEST_BYTES, "8 is the default");
    }
}
