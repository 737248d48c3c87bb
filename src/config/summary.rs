//! What a configuration would run, for `-check` and for the log at start.

use super::{
    Ack, Backlog, Config, Connections, Dialect, Fsync, HttpListener, HttpTarget, Output, Rate,
    Spool, Target, UdpListener, duration,
};
use crate::tls::{ClientFiles, ServerFiles};
use std::fmt;

/// Shows a [`Config`], one paragraph per listener; no newline at its end.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(&'a Config);

impl Config {
    /// What would be run: the listeners with their outputs, one paragraph each.
    #[must_use]
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const MIB_U64: u64 = 1024 * 1024;

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { http, udp, admin, http_threads, shutdown_timeout } = self.0;
        for listener in udp {
            udp_listener(f, listener)?;
        }
        for listener in http {
            http_listener(f, listener)?;
        }
        if let Some(bind) = admin {
            writeln!(f, "admin on tcp {bind}: /, /status, /metrics, /ping, /ready\n")?;
        }
        if !http.is_empty() || admin.is_some() {
            write!(f, "http-threads: {http_threads}; ")?;
        }
        write!(f, "queues drain for at most {} when stopped", duration::show(*shutdown_timeout))
    }
}

fn udp_listener(f: &mut fmt::Formatter<'_>, listener: &UdpListener) -> fmt::Result {
    let UdpListener {
        name,
        bind,
        precision,
        read_buffer_bytes,
        workers,
        batch_wait,
        line_rate,
        outputs,
    } = listener;
    writeln!(f, "udp {name:?} on udp {bind}")?;
    write!(f, "  precision {}, ", precision.as_str())?;
    match read_buffer_bytes {
        0 => write!(f, "the system's read buffer, ")?,
        bytes => write!(f, "read buffer {bytes} bytes, ")?,
    }
    let plural = if *workers == 1 { "" } else { "s" };
    writeln!(f, "{workers} worker{plural}, batches wait {}", duration::show(*batch_wait))?;
    show_line_rate(f, line_rate.as_ref())?;
    all_outputs(f, outputs)
}

fn http_listener(f: &mut fmt::Formatter<'_>, listener: &HttpListener) -> fmt::Result {
    let HttpListener {
        name,
        bind,
        tls,
        ping_status,
        default_retention_policy,
        ack,
        body_bytes_max,
        bodies_bytes_max,
        connections: Connections { open_max, head_timeout, idle_timeout, head_bytes_max },
        request_rate,
        line_rate,
        admin_allow,
        health_timeout,
        health_critical_status,
        outputs,
    } = listener;
    writeln!(f, "http {name:?} on tcp {bind}")?;
    if let Some(ServerFiles { identity, client_authorities }) = tls.as_ref().map(|tls| tls.files())
    {
        write!(f, "  TLS with {}", identity.display())?;
        if let Some(authorities) = client_authorities {
            write!(f, ", clients by certificates of {}", authorities.display())?;
        }
        writeln!(f)?;
    }
    write!(f, "  bodies up to {} MiB, ", body_bytes_max / MIB)?;
    write!(f, "{} MiB together, ping answers {ping_status}", bodies_bytes_max / MIB)?;
    if let Some(policy) = default_retention_policy {
        write!(f, ", default retention policy {policy:?}")?;
    }
    match ack {
        Ack::Any => {}
        Ack::Quorum => write!(f, ", success once most backends have a write")?,
        Ack::All => write!(f, ", success once all backends have a write")?,
    }
    let [idle, head] = [idle_timeout, head_timeout].map(|timeout| duration::show(*timeout));
    write!(f, "\n  {open_max} connections, idle for at most {idle}, ")?;
    writeln!(f, "heads up to {} KiB within {head}", head_bytes_max / KIB)?;
    if let Some(Rate { per_second, burst }) = request_rate {
        writeln!(f, "  {per_second} requests a second, {burst} at once")?;
    }
    show_line_rate(f, line_rate.as_ref())?;
    let health = duration::show(*health_timeout);
    write!(f, "  /health waits {health}, answers {health_critical_status} when critical; ")?;
    let allowed: Vec<_> = admin_allow.iter().map(ToString::to_string).collect();
    match allowed.join(", ").as_str() {
        "" => writeln!(f, "/admin for nobody")?,
        allowed => writeln!(f, "/admin for {allowed}")?,
    }
    all_outputs(f, outputs)
}

fn show_line_rate(f: &mut fmt::Formatter<'_>, rate: Option<&Rate>) -> fmt::Result {
    match rate {
        Some(Rate { per_second, .. }) => writeln!(f, "  {per_second} lines a second"),
        None => Ok(()),
    }
}

fn all_outputs(f: &mut fmt::Formatter<'_>, outputs: &[Output]) -> fmt::Result {
    for Output { name, queue_bytes_max, filter, target } in outputs {
        write!(f, "  -> {name:?}: ")?;
        match target {
            Target::Udp(target) => write!(f, "udp {}, mtu {}", target.location, target.mtu)?,
            Target::Http(target) => http_target(f, target)?,
        }
        write!(f, ", queue {} MiB", queue_bytes_max / MIB_U64)?;
        writeln!(f, "{}", if filter.is_some() { ", filtered" } else { "" })?;
    }
    writeln!(f)
}

fn http_target(f: &mut fmt::Formatter<'_>, target: &HttpTarget) -> fmt::Result {
    let HttpTarget {
        authority,
        tls,
        authorization,
        gzip,
        dialect,
        timeout,
        batch_bytes_max,
        in_flight_max,
        database,
        backlog,
        ..
    } = target;
    let scheme = if tls.is_some() { "https" } else { "http" };
    match (&target.write_path, &target.write_prom_path) {
        (Some(write), None) => write!(f, "{scheme}://{authority}{write}")?,
        (Some(write), Some(prom)) => {
            write!(f, "{scheme}://{authority}{write}, Prometheus to {prom}")?
        }
        (None, prom) => {
            let prom = prom.as_deref().unwrap_or_default();
            write!(f, "{scheme}://{authority}{prom}, Prometheus only")?;
        }
    }
    if let Dialect::V2 { org, bucket } = dialect {
        write!(f, ", organization {org:?}")?;
        if let Some(bucket) = bucket {
            write!(f, ", bucket {bucket:?}")?;
        }
    }
    if let Some(tls) = tls {
        client_files(f, tls.files())?;
    }
    if authorization.is_some() {
        write!(f, ", credentials of its own")?;
    }
    if *gzip {
        write!(f, ", gzip")?;
    }
    if let Some(database) = database {
        write!(f, ", database {:?}", database.name)?;
        if let Some(policy) = &database.retention_policy {
            write!(f, ", retention policy {policy:?}")?;
        }
    }
    write!(f, ", timeout {}, ", duration::show(*timeout))?;
    write!(f, "batches up to {} KiB, {in_flight_max} in flight", batch_bytes_max / KIB)?;
    backlog.as_ref().map_or(Ok(()), |kept| backlog_of(f, kept))
}

fn backlog_of(f: &mut fmt::Formatter<'_>, backlog: &Backlog) -> fmt::Result {
    let Backlog { bytes_max, delay_max, keep_refused, dead_letters, spool } = backlog;
    write!(f, ", backlog {} MiB, ", bytes_max / MIB_U64)?;
    write!(f, "tried again at least every {}", duration::show(*delay_max))?;
    if !keep_refused {
        write!(f, ", refused writes dropped")?;
    }
    if let Some(letters) = dead_letters {
        let mib = letters.bytes_max / MIB_U64;
        write!(f, ", dead letters to {} up to {mib} MiB", letters.dir.display())?;
    }
    spool.as_ref().map_or(Ok(()), |spool| spool_of(f, spool))
}

fn spool_of(f: &mut fmt::Formatter<'_>, spool: &Spool) -> fmt::Result {
    let Spool { dir, bytes_max, age_max, fsync } = spool;
    write!(f, ", spool in {} up to {} MiB", dir.display(), bytes_max / MIB_U64)?;
    if let Some(age) = age_max {
        write!(f, " and {} of age", duration::show(*age))?;
    }
    let when = match fsync {
        Fsync::Always => "before each answer",
        Fsync::Interval => "once a second",
        Fsync::Never => "by the kernel alone",
    };
    write!(f, ", synced {when}")
}

fn client_files(f: &mut fmt::Formatter<'_>, files: &ClientFiles) -> fmt::Result {
    let ClientFiles { authorities, identity, skip_verification } = files;
    if *skip_verification {
        write!(f, ", its certificate not verified")?;
    }
    if let Some(authorities) = authorities {
        write!(f, ", trusting {}", authorities.display())?;
    }
    if let Some(identity) = identity {
        write!(f, ", showing {}", identity.display())?;
    }
    Ok(())
}
