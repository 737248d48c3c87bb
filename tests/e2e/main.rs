//! End to end: the real relay binary between scripted or real backends and real clients.
//!
//! One file per subject, and one harness below them. Every test starts a relay of its own on free
//! ports, waits for conditions and never for time, and ends by asserting that the books close.

#[path = "../support/certificates.rs"]
mod certificates;
mod harness;

mod acks;
mod admin;
mod answers;
mod backlog;
mod clients;
mod filters;
mod hostile;
mod http_body;
mod http_in;
mod http_out;
mod idle;
mod isolation;
mod merging;
mod prometheus;
mod rates;
mod real_clients;
mod real_databases;
mod real_outage;
mod spool;
mod start;
mod status;
mod stop;
mod tls;
mod udp_in;
mod udp_out;
mod udp_to_http;
mod v2;
