//! Every key of the configuration file: its table, its type, its default and its bounds.
//!
//! The one list that the reader ([`super::raw`]), the unknown-key error and the tests of
//! `config.toml` and `docs/configuration.md` go by. What a key means is in [`super::check`].

use std::time::Duration;

/// The keys that one kind of table may hold.
#[derive(Debug)]
pub(super) struct Table {
    /// As it is written in the file: `[[http.output]]`.
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What a key takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The empty string means the same as no key.
    Text,
    /// A text that no error quotes.
    Secret,
    Texts,
    Boolean,
    /// With `zero`, 0 is allowed below `min` and stands for the default.
    Integer {
        default: i64,
        min: i64,
        max: i64,
        zero: bool,
    },
    /// A Go duration; the empty string means the same as no key.
    Duration {
        default: Duration,
        min: Duration,
        max: Duration,
    },
    Table(&'static Table),
    Tables(&'static Table),
}

impl Table {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// All tables, the outer ones first.
pub(super) const TABLES: [&Table; 8] =
    [&ROOT, &ADMIN, &HTTP, &HTTP_OUTPUT, &ENDPOINTS, &UDP, &UDP_OUTPUT, &FILTER];

pub(super) static ROOT: Table = Table {
    title: "top level",
    keys: &[
        duration("shutdown-timeout", secs(10), Duration::ZERO, secs(600)),
        or_zero("http-threads", 0, 1, 256),
        Key { name: "admin", kind: Kind::Table(&ADMIN) },
        Key { name: "http", kind: Kind::Tables(&HTTP) },
        Key { name: "udp", kind: Kind::Tables(&UDP) },
        Key { name: "filter", kind: Kind::Tables(&FILTER) },
    ],
};

pub(super) static ADMIN: Table = Table { title: "[admin]", keys: &[text("bind-addr")] };

pub(super) static HTTP: Table = Table {
    title: "[[http]]",
    keys: &[
        text("name"),
        text("bind-addr"),
        or_zero("default-ping-response", 204, 200, 599),
        text("default-retention-policy"),
        text("ack"),
        integer("max-body-size-mb", 32, 1, 1024),
        integer("max-bodies-size-mb", 64, 1, 65_536),
        #[expect(clippy::cast_possible_wrap, reason = "a small number")]
        integer("max-connections", MAX_CONNECTIONS as i64, 1, 1_000_000),
        duration("header-timeout", HEADER_TIMEOUT, Duration::from_millis(1), secs(3_600)),
        duration("idle-timeout", IDLE_TIMEOUT, Duration::from_millis(1), secs(86_400)),
        #[expect(clippy::cast_possible_wrap, reason = "a small number")]
        integer("max-header-size-kb", MAX_HEADER_KIB as i64, 1, 1_024),
        or_zero("health-timeout-ms", 10_000, 1, 3_600_000),
        or_zero("health-critical-status", 200, 200, 599),
        text("ssl-combined-pem"),
        text("client-ca-file"),
        integer("rate-limit", 0, 0, 1_000_000_000),
        or_zero("burst-limit", 1, 1, 1_000_000_000),
        RATE_LIMIT_LINES,
        Key { name: "admin-allow", kind: Kind::Texts },
        Key { name: "output", kind: Kind::Tables(&HTTP_OUTPUT) },
    ],
};

pub(super) static HTTP_OUTPUT: Table = Table {
    title: "[[http.output]]",
    keys: &joined::<28>(&[text("name"), text("location"), TYPE, ORG, BUCKET, QUEUE_SIZE], &BY_HTTP),
};

pub(super) static ENDPOINTS: Table = Table {
    title: "endpoints",
    keys: &[text("write"), text("write_prom"), text("ping"), text("query")],
};

pub(super) static UDP: Table = Table {
    title: "[[udp]]",
    keys: &[
        text("name"),
        text("bind-addr"),
        text("precision"),
        // The kernel doubles what it is given, in an `int` (net/core/sock.c).
        integer("read-buffer", 0, 0, 1_073_741_823),
        or_zero("workers", 0, 1, 256),
        integer("batch-wait-us", 2_000, 0, 100_000),
        RATE_LIMIT_LINES,
        Key { name: "output", kind: Kind::Tables(&UDP_OUTPUT) },
    ],
};

pub(super) static UDP_OUTPUT: Table = Table {
    title: "[[udp.output]]",
    keys: &joined::<31>(
        &[
            text("name"),
            text("location"),
            QUEUE_SIZE,
            MTU,
            TYPE,
            text("database"),
            text("retention-policy"),
            ORG,
            BUCKET,
        ],
        &BY_HTTP,
    ),
};

pub(super) static FILTER: Table = Table {
    title: "[[filter]]",
    keys: &[
        text("type"),
        text("tag-expression"),
        text("measurement-expression"),
        Key { name: "outputs", kind: Kind::Texts },
    ],
};

/// Keys of every output by HTTP.
const BY_HTTP: [Key; 22] = [
    ENDPOINTS_KEY,
    TIMEOUT,
    MAX_BATCH,
    MAX_IN_FLIGHT,
    BUFFER_SIZE,
    MAX_DELAY,
    ON_REFUSED,
    DEAD_LETTER_DIR,
    DEAD_LETTER_SIZE,
    SPOOL_DIR,
    SPOOL_SIZE,
    SPOOL_MAX_AGE,
    FSYNC,
    SKIP_TLS,
    CA_FILE,
    CLIENT_PEM,
    USERNAME,
    PASSWORD,
    PASSWORD_ENV,
    TOKEN,
    TOKEN_ENV,
    CONTENT_ENCODING,
];

const fn joined<const N: usize>(first: &[Key], more: &[Key]) -> [Key; N] {
    assert!(first.len() + more.len() == N, "all of them, and nothing else");
    let (mut keys, mut at) = ([first[0]; N], 0);
    while at < N {
        keys[at] = if at < first.len() { first[at] } else { more[at - first.len()] };
        at += 1;
    }
    keys
}

/// Keys that only an output with a backlog has a use for. `max-delay-interval` is not among them:
/// the Go relay's sample files give it without a buffer.
pub(super) const BACKLOG_ONLY: [&str; 7] = [
    ON_REFUSED.name,
    DEAD_LETTER_DIR.name,
    DEAD_LETTER_SIZE.name,
    SPOOL_DIR.name,
    SPOOL_SIZE.name,
    SPOOL_MAX_AGE.name,
    FSYNC.name,
];

/// Keys that only an output with a spool has a use for.
pub(super) const SPOOL_ONLY: [&str; 3] = [SPOOL_SIZE.name, SPOOL_MAX_AGE.name, FSYNC.name];

/// Keys of a `[[udp.output]]` that only an output by HTTP has a use for.
pub(super) fn http_only() -> impl Iterator<Item = &'static str> {
    let names = UDP_OUTPUT.keys.iter().map(|key| key.name);
    names.filter(|name| !["name", "location", QUEUE_SIZE.name, MTU.name].contains(name))
}

const MAX_CONNECTIONS: usize = 4_096;
/// Defaults that `[admin]` has too.
pub(super) const HEADER_TIMEOUT: Duration = secs(10);
pub(super) const IDLE_TIMEOUT: Duration = secs(75);
pub(super) const MAX_HEADER_KIB: usize = 16;
/// Who may use `/admin` where `admin-allow` says nothing.
pub(super) const ADMIN_ALLOW: [&str; 2] = ["127.0.0.0/8", "::1"];

const RATE_LIMIT_LINES: Key = integer("rate-limit-lines", 0, 0, 1_000_000_000);
const TYPE: Key = text("type");
const ORG: Key = text("org");
const BUCKET: Key = text("bucket");
/// The keys whose values no error quotes.
pub(super) const SECRETS: [&str; 2] = [PASSWORD.name, TOKEN.name];

const QUEUE_SIZE: Key = integer("queue-size-mb", 16, 1, 65_536);
// 65507 is the largest payload of a UDP datagram over IPv4.
const MTU: Key = or_zero("mtu", 1_024, 64, 65_507);
const ENDPOINTS_KEY: Key = Key { name: "endpoints", kind: Kind::Table(&ENDPOINTS) };
const TIMEOUT: Key = duration("timeout", secs(10), Duration::from_millis(1), secs(3_600));
const MAX_BATCH: Key = or_zero("max-batch-kb", 512, 1, 65_536);
const MAX_IN_FLIGHT: Key = integer("max-in-flight", 8, 1, 256);
const BUFFER_SIZE: Key = integer("buffer-size-mb", 0, 0, 65_536);
const MAX_DELAY: Key =
    duration("max-delay-interval", secs(10), Duration::from_millis(1), secs(3_600));
const ON_REFUSED: Key = text("on-refused");
const DEAD_LETTER_DIR: Key = text("dead-letter-dir");
const DEAD_LETTER_SIZE: Key = integer("dead-letter-size-mb", 16, 1, 65_536);
const SPOOL_DIR: Key = text("spool-dir");
const SPOOL_SIZE: Key = integer("spool-size-mb", 1_024, 8, 1_048_576);
const SPOOL_MAX_AGE: Key = duration("spool-max-age", Duration::ZERO, Duration::ZERO, SPOOL_AGE_MAX);
const SPOOL_AGE_MAX: Duration = secs(10 * 366 * 86_400);
const FSYNC: Key = text("fsync");
const SKIP_TLS: Key = Key { name: "skip-tls-verification", kind: Kind::Boolean };

const CA_FILE: Key = text("ca-file");
const CLIENT_PEM: Key = text("client-pem");
const USERNAME: Key = text("username");
const PASSWORD: Key = Key { name: "password", kind: Kind::Secret };
const PASSWORD_ENV: Key = text("password-env");
const TOKEN: Key = Key { name: "token", kind: Kind::Secret };
const TOKEN_ENV: Key = text("token-env");
const CONTENT_ENCODING: Key = text("content-encoding");

const fn text(name: &'static str) -> Key {
    Key { name, kind: Kind::Text }
}

const fn integer(name: &'static str, default: i64, min: i64, max: i64) -> Key {
    Key { name, kind: Kind::Integer { default, min, max, zero: false } }
}

const fn or_zero(name: &'static str, default: i64, min: i64, max: i64) -> Key {
    Key { name, kind: Kind::Integer { default, min, max, zero: true } }
}

const fn duration(name: &'static str, default: Duration, min: Duration, max: Duration) -> Key {
    Key { name, kind: Kind::Duration { default, min, max } }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::duration::show;

    const EXAMPLE: &str = include_str!("../../config.toml");
    const DOCUMENT: &str = include_str!("../../docs/configuration.md");

    /// What the document says of a table, from its heading to the next.
    fn section(title: &str) -> &'static str {
        let title = if title == ROOT.title { "Top level".to_owned() } else { format!("`{title}`") };
        let heading = format!("\n## {title}\n");
        let (_, rest) = DOCUMENT.split_once(&heading).expect(&heading);
        rest.split("\n## ").next().expect("a split has a first part")
    }

    fn row(table: &Table, key: &Key) -> &'static str {
        let start = format!("| `{}` |", key.name);
        let row = section(table.title).lines().find(|line| line.starts_with(&start));
        row.unwrap_or_else(|| panic!("{start} stands under {}", table.title))
    }

    #[test]
    fn every_key_is_documented_with_its_default_and_bounds() {
        for table in TABLES {
            for key in table.keys {
                let (default, bounds) = match &key.kind {
                    Kind::Tables(_) if std::ptr::eq(table, &raw const ROOT) => {
                        assert!(DOCUMENT.contains(&format!("\n## `[[{}]]`\n", key.name)));
                        continue;
                    }
                    Kind::Table(_) if key.name == "admin" => {
                        assert!(DOCUMENT.contains("\n## `[admin]`\n"));
                        continue;
                    }
                    Kind::Integer { default, min, max, zero } => {
                        let or_zero = if *zero { ", or 0" } else { "" };
                        (format!(" {default}"), format!(" {min} to {max}{or_zero} "))
                    }
                    Kind::Duration { default, min, max } => {
                        let bounds = format!(" `{}` to `{}` ", show(*min), show(*max));
                        (format!(" `{}` ", show(*default)), bounds)
                    }
                    _ => (String::new(), String::new()),
                };
                let row = row(table, key);
                let cells: Vec<_> = row.split('|').collect();
                assert_eq!(cells.len(), 7, "{row}");
                assert!(cells[3].starts_with(&default), "the default {default} in {row}");
                assert!(bounds.is_empty() || cells[4] == bounds, "the bounds {bounds} in {row}");
            }
        }
    }

    #[test]
    fn every_documented_key_exists() {
        for table in TABLES {
            let rows = section(table.title).lines().filter_map(|line| line.strip_prefix("| `"));
            for name in rows.filter_map(|row| row.split('`').next()) {
                assert!(table.key(name).is_some(), "{name} is no key of {}", table.title);
            }
        }
    }

    #[test]
    fn every_key_appears_in_the_example() {
        for table in TABLES {
            for key in table.keys {
                let (setting, name) = (format!("{} = ", key.name), key.name);
                let headings = [format!("[{name}]"), format!("[[{name}]]"), format!(".{name}]]")];
                let shown = EXAMPLE.lines().any(|line| {
                    let line = line.trim_start_matches(['#', ' ']);
                    line.starts_with(&setting)
                        || headings.iter().any(|heading| line.ends_with(heading.as_str()))
                        || line.contains(&format!("{{ {setting}"))
                        || line.contains(&format!(", {setting}"))
                });
                assert!(shown, "{name} of {} appears in config.toml", table.title);
            }
        }
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        for key in TABLES.iter().flat_map(|table| table.keys) {
            match &key.kind {
                Kind::Integer { default, min, max, zero } => {
                    assert!((min..=max).contains(&default) || (*zero && *default == 0));
                    assert!(*min >= 0 && u32::try_from(*max).is_ok(), "{}", key.name);
                }
                Kind::Duration { default, min, max } => assert!((min..=max).contains(&default)),
                _ => {}
            }
        }
    }
}
