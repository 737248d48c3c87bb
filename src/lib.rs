//! Ringrelay: a UDP-first relay for InfluxDB line protocol.
//!
//! ```text
//! udp    socket -> ring -> datagrams -> line -> batch -+
//!                                                      +-> fanout -> queue -> backend (udp, http)
//! http   socket -> hyper -> body -----> line -> batch -+
//! ```
//!
//! Arrows go main -> relay -> planes (udp, http, fanout, backend) -> kernel rooms (ring, sys) and
//! pure rooms (line, batch, filter, dialect, timestamp), with config, metrics and queue beside
//! them.

pub mod answers;
pub mod backend;
pub mod backoff;
pub mod bad_senders;
pub mod batch;
pub mod cli;
pub mod config;
pub mod control;
pub mod dialect;
pub mod fanout;
pub mod filter;
pub mod http;
pub mod line;
pub mod metrics;
pub mod pulse;
pub mod queue;
pub mod rate_limit;
pub mod relay;
pub mod ring;
pub mod runtime;
pub mod secret;
pub mod segment;
pub mod service;
pub mod signals;
pub mod spool;
pub mod stop;
pub mod stream;
pub mod sys;
pub mod timestamp;
pub mod tls;
pub mod top;
pub mod udp;
pub mod write;

#[cfg(test)]
mod test_waker;
