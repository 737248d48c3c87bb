//! What cannot change while the relay runs, and how that is said: each a sentence with the key,
//! what the file asks for, what runs, and the remedy. Pure.

use crate::config::{Config, Dialect, HttpTarget, Output, Spool, Target};
use std::fmt::Display;

/// The remedies: of what belongs to the process or to a listener, and of what belongs to an output.
const RESTART: &str = "that needs a restart";
const RENAME: &str =
    "that needs a restart, or a new name for the output: the old one drains, and a new one starts";

/// All of it that differs.
pub(super) fn differences(old: &Config, new: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut relay = Subject { of: String::new(), remedy: RESTART, found: &mut found };
    relay.compare("http-threads", &old.http_threads, &new.http_threads);
    let admin = |config: &Config| config.admin.map_or("none".to_owned(), |addr| addr.to_string());
    relay.named("[admin]").compare("bind-addr", &admin(old), &admin(new));
    let names = |config: &Config| -> Vec<(&str, String, String)> {
        let udp = config.udp.iter().map(|l| ("udp", l.name.to_string(), l.bind.to_string()));
        let http = config.http.iter().map(|l| ("http", l.name.to_string(), l.bind.to_string()));
        udp.chain(http).collect()
    };
    let (old_names, new_names) = (names(old), names(new));
    let is_in = |list: &[(&str, String, String)], (kind, name, _): &(&str, String, String)| {
        list.iter().any(|(k, n, _)| k == kind && n == name)
    };
    for gone in old_names.iter().filter(|listener| !is_in(&new_names, listener)) {
        relay.say(&format!("[[{}]] {:?} is not in the file any more", gone.0, gone.1));
    }
    for added in new_names.iter().filter(|listener| !is_in(&old_names, listener)) {
        relay.say(&format!("[[{}]] {:?} is new in the file", added.0, added.1));
    }
    for is in &new.udp {
        let Some(was) = old.udp.iter().find(|was| was.name == is.name) else { continue };
        let mut listener = relay.named(&format!("[[udp]] {:?}", is.name));
        listener.compare("bind-addr", &was.bind, &is.bind);
        listener.compare("workers", &was.workers, &is.workers);
        listener.compare("read-buffer", &was.read_buffer_bytes, &is.read_buffer_bytes);
        listener.outputs(&was.outputs, &is.outputs);
    }
    for is in &new.http {
        let Some(was) = old.http.iter().find(|was| was.name == is.name) else { continue };
        let mut listener = relay.named(&format!("[[http]] {:?}", is.name));
        listener.compare("bind-addr", &was.bind, &is.bind);
        listener.outputs(&was.outputs, &is.outputs);
    }
    found
}

/// What the sentences are about.
struct Subject<'a> {
    of: String,
    remedy: &'static str,
    found: &'a mut Vec<String>,
}

impl Subject<'_> {
    fn named(&mut self, of: &str) -> Subject<'_> {
        Subject { of: of.to_owned(), remedy: self.remedy, found: self.found }
    }

    fn say(&mut self, what: &str) {
        let of = if self.of.is_empty() { String::new() } else { format!("{}: ", self.of) };
        self.found.push(format!("{of}{what}; {}", self.remedy));
    }

    fn compare<T: PartialEq + Display>(&mut self, key: &str, runs: &T, wanted: &T) {
        if runs != wanted {
            self.differs(key, runs, wanted);
        }
    }

    fn differs(&mut self, key: &str, runs: &dyn Display, wanted: &dyn Display) {
        self.say(&format!("{key} = {wanted} differs from what runs, {runs}"));
    }

    fn outputs(&mut self, old: &[Output], new: &[Output]) {
        for is in new {
            let Some(was) = old.iter().find(|was| was.name == is.name) else { continue };
            let of = format!("{}, output {:?}", self.of, is.name);
            let mut output = Subject { of, remedy: RENAME, found: self.found };
            match (&was.target, &is.target) {
                (Target::Http(was), Target::Http(is)) => output.http(was, is),
                (Target::Udp(_), Target::Udp(_)) => {}
                (was, is) => output.differs("location", &location(was), &location(is)),
            }
        }
    }

    /// What waits for a backend was made for its API and its endpoints, and lies in its spool.
    fn http(&mut self, was: &HttpTarget, is: &HttpTarget) {
        self.compare("type", &api(&was.dialect), &api(&is.dialect));
        let paths = |target: &HttpTarget| {
            [target.write_path.clone(), target.write_prom_path.clone()]
                .map(Option::unwrap_or_default)
        };
        let keys = ["endpoints.write", "endpoints.write_prom"];
        for (key, (was, is)) in keys.into_iter().zip(paths(was).into_iter().zip(paths(is))) {
            if is.is_empty() && !was.is_empty() {
                self.differs(key, &was, &"none");
            }
        }
        let Some(before) = &was.backlog else {
            if let Some(spool) = is.backlog.as_ref().and_then(|backlog| backlog.spool.as_ref()) {
                self.differs("spool-dir", &"none", &spool.dir.display());
            }
            return;
        };
        let Some(now) = &is.backlog else {
            return self.differs("buffer-size-mb", &(before.bytes_max >> 20), &0);
        };
        match (&before.spool, &now.spool) {
            (Some(before), Some(now)) if before.dir == now.dir => {
                if now.bytes_max < before.bytes_max {
                    let mib = |bytes: u64| bytes >> 20;
                    self.differs("spool-size-mb", &mib(before.bytes_max), &mib(now.bytes_max));
                }
            }
            (None, None) => {}
            (before, now) => {
                let dir = |spool: &Option<Spool>| {
                    spool
                        .as_ref()
                        .map_or("none".to_owned(), |spool| spool.dir.display().to_string())
                };
                self.differs("spool-dir", &dir(before), &dir(now));
            }
        }
    }
}

fn api(dialect: &Dialect) -> &'static str {
    match dialect {
        Dialect::V1 => "influxdb",
        Dialect::V2 { .. } => "influxdb2",
    }
}

fn location(target: &Target) -> String {
    match target {
        Target::Udp(target) => target.location.clone(),
        Target::Http(target) if target.tls.is_some() => format!("https://{}", target.authority),
        Target::Http(target) => format!("http://{}", target.authority),
    }
}
