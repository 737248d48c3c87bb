//! The outputs of one listener, checked. Called by [`super::check`] for each listener.

use super::address::{self, Location};
use super::check::count;
use super::outside::Outside;
use super::raw::Section;
use super::schema::{self, BACKLOG_ONLY, SPOOL_ONLY};
use super::security;
use super::{
    Backlog, Database, DeadLetters, Dialect, Fsync, HttpTarget, Output, Spool, Target, UdpTarget,
};
use std::sync::Arc;

/// Each output has a queue and threads of its own.
const OUTPUTS_MAX: usize = 64;

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

/// The outputs of an `[[http]]` listener.
pub(super) fn http(listener: Section<'_>, outside: &dyn Outside) -> Option<Vec<Output>> {
    all(listener, |section| {
        let remedy = "give the backend's URL, as in location = \"http://127.0.0.1:8086/\"";
        let location = section.required("location", remedy)?;
        Some((location, Target::Http(http_target(section, location, outside)?)))
    })
}

/// The outputs of a `[[udp]]` listener.
pub(super) fn udp(listener: Section<'_>, outside: &dyn Outside) -> Option<Vec<Output>> {
    all(listener, |section| {
        let remedy = "give the backend's address, as in location = \"127.0.0.1:8089\"";
        let location = section.required("location", remedy)?;
        let target = match location.split_once("://") {
            None => Target::Udp(udp_target(section, location)?),
            Some(("udp", address)) => {
                let wrong = format!(
                    "has the scheme `udp`; write {address:?} for a backend by UDP, \
                     or \"http://host:8086/\" for one by HTTP"
                );
                section.wrong("location", wrong);
                return None;
            }
            Some(_) => Target::Http(http_target_of_udp(section, location, outside)?),
        };
        Some((location, target))
    })
}

fn all<'a>(
    listener: Section<'a>,
    read: impl Fn(Section<'a>) -> Option<(&'a str, Target)>,
) -> Option<Vec<Output>> {
    let mut outputs = Vec::new();
    let mut lines: Vec<(Arc<str>, usize)> = Vec::new();
    let mut whole = true;
    for section in listener.sections("output") {
        let Some((location, target)) = read(section) else {
            whole = false;
            continue;
        };
        let location = address::without_user(location);
        let name: Arc<str> = section.text("name").unwrap_or(&location).into();
        if let Some((_, line)) = lines.iter().find(|(taken, _)| *taken == name) {
            let wrong = format!(
                "gives the name \"{name}\", which the output of line {line} has; \
                 give each output of a listener a `name` of its own"
            );
            section.wrong("name", wrong);
        }
        lines.push((Arc::clone(&name), section.line()));
        outputs.push(Output {
            name,
            queue_bytes_max: section.integer("queue-size-mb") * MIB,
            filter: None,
            target,
        });
    }
    if whole && outputs.is_empty() {
        let title = listener.table().title.trim_matches(['[', ']']);
        let wrong = format!("has no output; write its backend as a table [[{title}.output]]");
        listener.wrong_table(wrong);
    }
    if outputs.len() > OUTPUTS_MAX {
        let wrong = format!("has {} outputs; give at most {OUTPUTS_MAX}", outputs.len());
        listener.wrong_table(wrong);
    }
    Some(outputs).filter(|_| whole)
}

fn udp_target(section: Section<'_>, location: &str) -> Option<UdpTarget> {
    for key in schema::http_only().filter(|key| section.has(key)) {
        section.wrong(
            key,
            "has no use for an output by UDP; remove it, or write the location as a URL",
        );
    }
    let mtu = count(section, "mtu");
    match address::udp_location(location) {
        Ok(location) => Some(UdpTarget { location, mtu }),
        Err(wrong) => {
            section.wrong("location", wrong);
            None
        }
    }
}

fn http_target_of_udp(
    section: Section<'_>,
    location: &str,
    outside: &dyn Outside,
) -> Option<HttpTarget> {
    if section.has("mtu") {
        section.wrong("mtu", "has no use for an output by HTTP; remove it");
    }
    let database = section.text("database").map(|name| Database {
        name: name.to_owned(),
        retention_policy: section.text("retention-policy").map(str::to_owned),
    });
    let mut target = http_target(section, location, outside)?;
    if target.write_path.is_none() {
        section.wrong(
            "endpoints",
            "has no `write`, and points that come by UDP are line protocol; add it",
        );
    }
    if database.is_none()
        && target.dialect != Dialect::V1
        && section.text("retention-policy").is_some()
    {
        section.wrong("retention-policy", "has no use without `database`; remove it");
    }
    match (&mut target.dialect, database) {
        (Dialect::V2 { bucket: Some(_), .. }, Some(_)) => {
            section.wrong("bucket", "says the same as `database`; remove one of them");
        }
        (Dialect::V2 { bucket, .. }, database @ Some(_)) => *bucket = database.map(|d| d.bucket()),
        (Dialect::V2 { bucket: None, .. }, None) => {
            let remedy = "write bucket = \"NAME\", because points that come by UDP name none";
            section.required("bucket", remedy)?;
        }
        (Dialect::V2 { .. }, None) => {}
        (Dialect::V1, database) => {
            let remedy = "write database = \"NAME\", because points that come by UDP name none";
            section.required("database", remedy)?;
            target.database = database;
        }
    }
    Some(target)
}

/// The API that the output speaks.
fn dialect(section: Section<'_>) -> Option<Dialect> {
    match section.text("type") {
        Some("influxdb2") => {
            let remedy = "write org = \"NAME\", the organization of InfluxDB 2 to write to";
            let org = section.required("org", remedy)?.to_owned();
            return Some(Dialect::V2 { org, bucket: section.text("bucket").map(str::to_owned) });
        }
        None | Some("influxdb" | "prometheus") => {}
        Some(_) => section.wrong(
            "type",
            "is no type of backend; write type = \"influxdb\" or \"influxdb2\", or remove it",
        ),
    }
    for key in ["org", "bucket"].into_iter().filter(|key| section.text(key).is_some()) {
        section.wrong(key, "is for InfluxDB 2; write type = \"influxdb2\" too, or remove it");
    }
    Some(Dialect::V1)
}

fn http_target(section: Section<'_>, location: &str, outside: &dyn Outside) -> Option<HttpTarget> {
    let timeout = section.duration("timeout");
    let batch_bytes_max = count(section, "max-batch-kb") * KIB;
    let in_flight_max = count(section, "max-in-flight");
    let backlog = backlog(section);
    let dialect = dialect(section);
    let location = match address::http_location(location) {
        Ok(location) => location,
        Err(wrong) => {
            section.wrong("location", wrong);
            return None;
        }
    };
    let tls = security::connector(section, location.https, &location.authority, outside);
    let authorization = security::authorization(section, location.user.clone(), outside);
    let gzip = security::gzip(section);
    let is_v2 = matches!(dialect, Some(Dialect::V2 { .. }));
    let Paths { write, write_prom, ping, query } = paths(section, &location, is_v2)?;
    Some(HttpTarget {
        authority: location.authority,
        tls: tls?,
        authorization,
        gzip,
        write_path: write,
        write_prom_path: write_prom,
        ping_path: ping,
        query_path: query,
        dialect: dialect?,
        timeout,
        batch_bytes_max,
        in_flight_max,
        database: None,
        backlog,
    })
}

/// `None` without a buffer. A wrong value is reported, and yields something nevertheless.
fn backlog(section: Section<'_>) -> Option<Backlog> {
    let bytes_max = section.integer("buffer-size-mb") * MIB;
    if bytes_max == 0 {
        for key in BACKLOG_ONLY.into_iter().filter(|key| section.has(key)) {
            section.wrong(key, "has no use without a backlog; give `buffer-size-mb`, or remove it");
        }
        return None;
    }
    let keep_refused = match section.text("on-refused") {
        None | Some("keep") => true,
        Some("drop") => false,
        Some(_) => {
            section.wrong("on-refused", "is not known; give \"keep\" or \"drop\"");
            true
        }
    };
    let dead_letters = section.text("dead-letter-dir").map(|dir| DeadLetters {
        dir: dir.into(),
        bytes_max: section.integer("dead-letter-size-mb") * MIB,
    });
    let delay_max = section.duration("max-delay-interval");
    Some(Backlog { bytes_max, delay_max, keep_refused, dead_letters, spool: spool(section) })
}

/// `None` without a directory. A wrong value is reported, and yields something nevertheless.
fn spool(section: Section<'_>) -> Option<Spool> {
    let Some(dir) = section.text("spool-dir") else {
        for key in SPOOL_ONLY.into_iter().filter(|key| section.has(key)) {
            section.wrong(key, "has no use without a spool; give `spool-dir`, or remove it");
        }
        return None;
    };
    let fsync = match section.text("fsync") {
        None | Some("interval") => Fsync::Interval,
        Some("always") => Fsync::Always,
        Some("never") => Fsync::Never,
        Some(_) => {
            let wrong = "is not known; give \"always\", \"interval\" or \"never\"";
            section.wrong("fsync", wrong);
            Fsync::Interval
        }
    };
    let age_max = Some(section.duration("spool-max-age")).filter(|age| !age.is_zero());
    let bytes_max = section.integer("spool-size-mb") * MIB;
    Some(Spool { dir: dir.into(), bytes_max, age_max, fsync })
}

/// The endpoints of a backend.
struct Paths {
    write: Option<String>,
    write_prom: Option<String>,
    ping: String,
    query: String,
}

/// An endpoint that is typed lies under the location. Where none is typed for writes, the location
/// itself says where they go, and the others lie beside that.
fn paths(section: Section<'_>, location: &Location, is_v2: bool) -> Option<Paths> {
    let endpoints = section.sections("endpoints").next();
    let mut whole = true;
    let mut typed = |key| {
        let (endpoints, endpoint) = endpoints.and_then(|e| Some((e, e.text(key)?)))?;
        match location.join(endpoint) {
            Ok(path) => Some(path),
            Err(wrong) => {
                endpoints.wrong(key, wrong);
                whole = false;
                None
            }
        }
    };
    let [mut write, mut write_prom, ping, query] =
        ["write", "write_prom", "ping", "query"].map(&mut typed);
    let beside = |name| match (&write, &write_prom) {
        (None, None) => location.beside(name),
        _ => location.under(name),
    };
    let (ping, query) =
        (ping.unwrap_or_else(|| beside("ping")), query.unwrap_or_else(|| beside("query")));
    if write.is_none() && write_prom.is_none() {
        match section.text("type") {
            Some("prometheus") => write_prom = Some(location.write_path("api/v1/prom/write")),
            _ if is_v2 => write = Some(location.write_path("api/v2/write")),
            _ => write = Some(location.write_path("write")),
        }
    }
    let of_v1 = |path: &String| path.ends_with("/write") && !path.ends_with("/api/v2/write");
    if is_v2 && write.as_ref().is_some_and(of_v1) {
        let endpoint = section.sections("endpoints").find(|endpoints| endpoints.has("write"));
        let (subject, key) = endpoint.map_or((section, "location"), |table| (table, "write"));
        let wrong = "ends in the write path of InfluxDB 1.x; end it in \"/api/v2/write\", \
                     or give a base URL alone";
        subject.wrong(key, wrong);
    }
    whole.then_some(Paths { write, write_prom, ping, query })
}
