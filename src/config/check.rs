//! From the file as typed ([`super::raw`]) to what is run: every default filled in, every address
//! taken apart, names and addresses free of clashes. Problems go into the report; a listener or
//! an output with one yields nothing. The values' types and bounds are the reader's.

use super::address::{self, Bind};
use super::outside::Outside;
use super::raw::Section;
use super::security;
use super::{Ack, Config, HttpListener, UdpListener, filters, output};
use crate::timestamp::Precision;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

/// Each listener has threads and sockets of its own.
const LISTENERS_MAX: usize = 64;

/// More threads than this on one socket group gain nothing (see `docs/configuration.md`).
const DEFAULT_WORKERS_MAX: usize = 4;

const MIB: usize = 1024 * 1024;

/// `None` only if a problem was reported; there may be problems with a configuration as well.
pub(super) fn check(root: Section<'_>, outside: &dyn Outside) -> Option<Config> {
    let mut claims = Claims::default();
    let http: Vec<_> =
        root.sections("http").map(|section| http_listener(section, outside, &mut claims)).collect();
    let udp: Vec<_> =
        root.sections("udp").map(|section| udp_listener(section, outside, &mut claims)).collect();
    let admin = root.sections("admin").next().map(|section| {
        let bind = bind_addr(section, outside)?;
        claims.address(section, Transport::Tcp, bind);
        Some(bind)
    });
    let listeners = http.len() + udp.len();
    if listeners == 0 {
        root.wrong_table("has no listener; write an [[http]] or a [[udp]] table with its output");
    }
    if listeners > LISTENERS_MAX {
        root.wrong_table(format!(
            "has {listeners} listeners; at most {LISTENERS_MAX} run in one relay"
        ));
    }
    // Only if all are right are the names of all outputs known, which filters go by.
    let mut http: Vec<_> = http.into_iter().collect::<Option<_>>()?;
    let mut udp: Vec<_> = udp.into_iter().collect::<Option<_>>()?;
    let of_http = http.iter_mut().flat_map(|listener| &mut listener.outputs);
    let of_udp = udp.iter_mut().flat_map(|listener| &mut listener.outputs);
    filters::attach(root, of_http.chain(of_udp).collect());
    let cores = available_parallelism().map_or(1, NonZero::get);
    Some(Config {
        http,
        udp,
        admin: match admin {
            None => None,
            Some(bind) => Some(bind?),
        },
        http_threads: or_default(count(root, "http-threads"), cores),
        shutdown_timeout: root.duration("shutdown-timeout"),
    })
}

fn http_listener(
    section: Section<'_>,
    outside: &dyn Outside,
    claims: &mut Claims,
) -> Option<HttpListener> {
    let body_bytes_max = count(section, "max-body-size-mb") * MIB;
    let mut bodies_bytes_max = count(section, "max-bodies-size-mb") * MIB;
    if bodies_bytes_max < body_bytes_max {
        if section.has("max-bodies-size-mb") {
            section.wrong(
                "max-bodies-size-mb",
                "is less than `max-body-size-mb`, so that no body of that size fits; raise it",
            );
        }
        bodies_bytes_max = body_bytes_max;
    }
    let bind = listener_bind(section, Transport::Tcp, outside, claims);
    let scheme = if section.text("ssl-combined-pem").is_some() { "https://" } else { "http://" };
    let name = listener_name(section, scheme, claims);
    let tls = security::acceptor(section, outside);
    let outputs = output::http(section, outside);
    Some(HttpListener {
        name: name?,
        bind: bind?,
        tls: tls?,
        ping_status: u16::try_from(section.integer("default-ping-response"))
            .expect("the schema's bound is below 65536"),
        default_retention_policy: section.text("default-retention-policy").map(str::to_owned),
        ack: ack(section),
        body_bytes_max,
        bodies_bytes_max,
        outputs: outputs?,
    })
}

fn udp_listener(
    section: Section<'_>,
    outside: &dyn Outside,
    claims: &mut Claims,
) -> Option<UdpListener> {
    let precision = Precision::parse(section.text("precision").unwrap_or_default());
    if precision.is_none() {
        section.wrong("precision", "is no precision; give n, ns, u, us, ms, s, m or h");
    }
    let cores = available_parallelism().map_or(1, NonZero::get);
    let bind = listener_bind(section, Transport::Udp, outside, claims);
    let name = listener_name(section, "", claims);
    let outputs = output::udp(section, outside);
    Some(UdpListener {
        name: name?,
        bind: bind?,
        precision: precision?,
        read_buffer_bytes: count(section, "read-buffer"),
        workers: or_default(count(section, "workers"), cores.min(DEFAULT_WORKERS_MAX)),
        batch_wait: Duration::from_micros(section.integer("batch-wait-us")),
        outputs: outputs?,
    })
}

fn ack(section: Section<'_>) -> Ack {
    match section.text("ack") {
        None | Some("any") => Ack::Any,
        Some("quorum") => Ack::Quorum,
        Some("all") => Ack::All,
        Some(_) => {
            section.wrong("ack", "is no number of backends; give any, quorum or all");
            Ack::Any
        }
    }
}

fn listener_name(section: Section<'_>, scheme: &str, claims: &mut Claims) -> Option<Arc<str>> {
    let default = || section.text("bind-addr").map(|address| format!("{scheme}{address}"));
    let name: Arc<str> = section.text("name").map(str::to_owned).or_else(default)?.into();
    claims.name(section, &name);
    Some(name)
}

fn listener_bind(
    section: Section<'_>,
    transport: Transport,
    outside: &dyn Outside,
    claims: &mut Claims,
) -> Option<SocketAddr> {
    let bind = bind_addr(section, outside)?;
    claims.address(section, transport, bind);
    Some(bind)
}

fn bind_addr(section: Section<'_>, outside: &dyn Outside) -> Option<SocketAddr> {
    let remedy = "give the address to listen on, as in bind-addr = \"127.0.0.1:9096\"";
    let (name, port) = match address::bind(section.required("bind-addr", remedy)?) {
        Ok(Bind::Address(address)) => return Some(address),
        Ok(Bind::Name(name, port)) => (name, port),
        Err(wrong) => {
            section.wrong("bind-addr", wrong);
            return None;
        }
    };
    let wrong = match outside.addresses(name, port) {
        // Go listens on the IPv4 address of a name that has both.
        Ok(found) => match found.iter().find(|a| a.is_ipv4()).or(found.first()) {
            Some(address) => return Some(*address),
            None => format!("has the host `{name}`, which has no address; give an IP address"),
        },
        Err(error) => {
            format!("has the host `{name}`, which is not found ({error}); give an IP address")
        }
    };
    section.wrong("bind-addr", wrong);
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// The names and addresses that listeners have taken, and on which line.
#[derive(Debug, Default)]
struct Claims {
    names: Vec<(Arc<str>, usize)>,
    addresses: Vec<(Transport, SocketAddr, usize)>,
}

impl Claims {
    fn name(&mut self, section: Section<'_>, name: &Arc<str>) {
        if let Some((_, line)) = self.names.iter().find(|(taken, _)| taken == name) {
            let wrong = format!(
                "gives the name \"{name}\", which the listener of line {line} has; \
                 give each listener a `name` of its own"
            );
            section.wrong("name", wrong);
        }
        self.names.push((Arc::clone(name), section.line()));
    }

    fn address(&mut self, section: Section<'_>, transport: Transport, bind: SocketAddr) {
        let clash = |(other, taken, _): &&(Transport, SocketAddr, usize)| {
            *other == transport && address::clash(*taken, bind)
        };
        if let Some((_, taken, line)) = self.addresses.iter().find(clash) {
            let wrong = format!(
                "clashes with {taken} of line {line}; give each listener a port of its own"
            );
            section.wrong("bind-addr", wrong);
        }
        self.addresses.push((transport, bind, section.line_of("bind-addr")));
    }
}

/// A number within the schema's bounds, as a count.
pub(super) fn count(section: Section<'_>, key: &str) -> usize {
    usize::try_from(section.integer(key)).expect("no bound of the schema is above 2^32")
}

fn or_default(count: usize, default: usize) -> usize {
    if count == 0 { default } else { count }
}
