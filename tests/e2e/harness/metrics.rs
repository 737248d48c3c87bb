//! What the relay says about itself on `/metrics`, and whether its books close.

use std::collections::BTreeMap;

/// The names that the tests read, in this one place.
pub(crate) mod names {
    pub(crate) const UDP_DATAGRAMS: &str = "ringrelay_udp_datagrams_received_total";
    pub(crate) const UDP_ACCEPTED: &str = "ringrelay_udp_lines_received_total";
    pub(crate) const UDP_REFUSED: &str = "ringrelay_udp_lines_refused_total";
    pub(crate) const HTTP_ACCEPTED: &str = "ringrelay_http_lines_received_total";
    pub(crate) const HTTP_REFUSED: &str = "ringrelay_http_lines_refused_total";
    pub(crate) const HTTP_CONNECTIONS: &str = "ringrelay_http_connections_total";
    pub(crate) const HTTP_HANDSHAKES_FAILED: &str = "ringrelay_http_handshakes_failed_total";
    pub(crate) const TAKEN: &str = "ringrelay_backend_lines_taken_total";
    pub(crate) const FILTERED: &str = "ringrelay_backend_lines_filtered_total";
    pub(crate) const DELIVERED: &str = "ringrelay_backend_lines_delivered_total";
    pub(crate) const DROPPED: &str = "ringrelay_backend_lines_dropped_total";
    pub(crate) const QUEUED: &str = "ringrelay_backend_queue_lines";
}

/// One scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The books of one backend, in lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Books {
    pub(crate) taken: u64,
    /// Found in the spool at start.
    pub(crate) restored: u64,
    /// Left in the spool at the end.
    pub(crate) spooled: u64,
    pub(crate) delivered: u64,
    pub(crate) queued: u64,
    /// By reason; reasons that never occurred are left out.
    pub(crate) dropped: BTreeMap<String, u64>,
}

impl Books {
    pub(crate) fn close(&self) -> bool {
        let dropped = self.dropped.values().sum::<u64>();
        self.taken + self.restored == self.delivered + self.queued + self.spooled + dropped
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.dropped.get(reason).copied().unwrap_or_default()
    }
}

impl Metrics {
    /// Reads Prometheus' text format.
    ///
    /// # Panics
    /// If it is not that.
    pub(super) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(
            samples
                .map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}")))
                .collect(),
        )
    }

    /// The sum of all samples of this name with all these labels.
    pub(crate) fn of(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.find(name, labels).map(|sample| count(sample.value)).sum()
    }

    /// The values by `label` of all samples of this name with all these labels, without zeros.
    pub(crate) fn by(
        &self,
        name: &str,
        label: &str,
        labels: &[(&str, &str)],
    ) -> BTreeMap<String, u64> {
        let mut values = BTreeMap::new();
        for sample in self.find(name, labels).filter(|sample| sample.value != 0.0) {
            let key = sample.labels.get(label).cloned().unwrap_or_default();
            *values.entry(key).or_default() += count(sample.value);
        }
        values
    }

    fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        })
    }

    /// The (relay, backend) pairs that there are.
    pub(crate) fn backends(&self) -> Vec<(String, String)> {
        let label = |sample: &Sample, key| sample.labels.get(key).cloned().unwrap_or_default();
        let taken = self.find(names::TAKEN, &[]);
        taken.map(|sample| (label(sample, "relay"), label(sample, "backend"))).collect()
    }

    /// The books of one backend.
    pub(crate) fn books(&self, relay: &str, backend: &str) -> Books {
        let labels = [("relay", relay), ("backend", backend)];
        Books {
            taken: self.of(names::TAKEN, &labels),
            restored: self.of("ringrelay_backend_lines_restored_total", &labels),
            spooled: 0,
            delivered: self.of(names::DELIVERED, &labels),
            queued: self.of(names::QUEUED, &labels),
            dropped: self.by(names::DROPPED, "reason", &labels),
        }
    }

    /// The books of one backend's opaque writes, in bodies.
    pub(crate) fn opaque_books(&self, relay: &str, backend: &str) -> Books {
        let labels = [("relay", relay), ("backend", backend)];
        let of = |what: &str| self.of(&format!("ringrelay_backend_opaque_{what}"), &labels);
        Books {
            taken: of("taken_total"),
            restored: of("restored_total"),
            spooled: 0,
            delivered: of("delivered_total"),
            queued: of("queued"),
            dropped: self.by("ringrelay_backend_opaque_dropped_total", "reason", &labels),
        }
    }

    /// Lines that a listener accepted.
    pub(crate) fn accepted(&self, listener: &str) -> u64 {
        let labels = [("listener", listener)];
        self.of(names::UDP_ACCEPTED, &labels) + self.of(names::HTTP_ACCEPTED, &labels)
    }

    /// Lines that a filter kept from a backend.
    pub(crate) fn filtered(&self, relay: &str, backend: &str) -> u64 {
        self.of(names::FILTERED, &[("relay", relay), ("backend", backend)])
    }

    /// Why the books do not close, if they do not: for every backend, what its listener accepted
    /// is what it was offered and what its filter kept from it, and what it was offered is
    /// delivered, queued or dropped. The first holds only if all of them were there `always`.
    pub(super) fn open_books(&self, always: bool) -> Vec<String> {
        let pairs = self.backends();
        let mut open = Vec::new();
        if pairs.is_empty() {
            open.push("there are no books".to_owned());
        }
        for (relay, backend) in pairs {
            let (books, accepted) = (self.books(&relay, &backend), self.accepted(&relay));
            let filtered = self.filtered(&relay, &backend);
            let opaque = self.opaque_books(&relay, &backend);
            // A backend of Prometheus alone is offered no lines.
            let offered = !always
                || books.taken + filtered == accepted
                || (books.taken == 0 && opaque.taken > 0);
            if !books.close() || !offered || !opaque.close() {
                open.push(format!(
                    "{relay} accepted {accepted}, {backend} filtered {filtered}: \
                     {books:?} {opaque:?}"
                ));
            }
        }
        open
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = BTreeMap::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        // No test uses a name with a quote in it.
        let (value, after) = after.split_once('"')?;
        labels.insert(key.to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    let value = value.parse().ok()?;
    rest.is_empty().then(|| Sample { name: name.to_owned(), labels, value })
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be whole; a test counts little")]
fn count(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "not a count: {value}");
    value as u64
}
