//! What the log is told once a second, so that no thread of the data path has to: who sends what
//! is no line protocol, and which backends by UDP go down and come back.

use crate::bad_senders::{Notes, Report, Teller};
use crate::metrics::{Backend, Registry};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A backend by UDP has been sent datagrams for as long, and nobody complained: it is back. Hosts
/// answer "port unreachable" at least once a second.
const QUIET: Duration = Duration::from_secs(10);

/// What is told about, and what was.
#[derive(Default)]
pub(super) struct Telling {
    notes: Vec<Arc<Notes>>,
    teller: Teller,
    backends: HashMap<(Arc<str>, Arc<str>), Watched>,
}

impl Telling {
    /// A page for one thread of `listener`.
    pub(super) fn notes(&mut self, listener: &Arc<str>) -> Arc<Notes> {
        let notes = Arc::new(Notes::new(Arc::clone(listener)));
        self.notes.push(Arc::clone(&notes));
        notes
    }

    /// Logs what there is to tell. To be called about once a second.
    pub(super) fn tell(&mut self, registry: &Registry) {
        let now = Instant::now();
        self.teller.tell(&self.notes, now).iter().for_each(log);
        // Those that are not listed any more are forgotten.
        let mut before = std::mem::take(&mut self.backends);
        for backend in registry.backends.list() {
            let key = (Arc::clone(&backend.relay), Arc::clone(&backend.name));
            let mut watched = before.remove(&key).unwrap_or_default();
            if let Some(change) = watched.look(Counts::of(&backend), now) {
                change.log(&backend);
            }
            self.backends.insert(key, watched);
        }
    }

    /// Logs what was held back, at the end.
    pub(super) fn rest(&mut self) {
        self.teller.rest(&self.notes, Instant::now()).iter().for_each(log);
    }
}

fn log(report: &Report) {
    match report {
        Report::Sender { listener, from, lines, reason, first } => tracing::warn!(
            relay = &**listener,
            %from,
            lines,
            reason = reason.as_str(),
            %first,
            "lines refused: no line protocol"
        ),
        Report::Others { senders, more, lines } => tracing::warn!(
            senders,
            more,
            lines,
            "lines refused of other senders, who went over the log's cap in a minute"
        ),
    }
}

/// What a backend by UDP has counted; all zero for one by HTTP, which tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sent: u64,
    refused: u64,
    failed: u64,
}

impl Counts {
    fn of(backend: &Backend) -> Self {
        Self {
            sent: backend.datagrams.get(),
            refused: backend.udp_refused.get(),
            failed: backend.send_errors.get(),
        }
    }
}

/// One backend as it was when it was last looked at.
#[derive(Debug, Default)]
struct Watched {
    counts: Counts,
    /// When something last went wrong, since it is down.
    failed: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Nobody listens at its port.
    Refuses,
    /// The kernel does not send.
    Fails,
    Back,
}

impl Watched {
    fn look(&mut self, counts: Counts, now: Instant) -> Option<Change> {
        let before = std::mem::replace(&mut self.counts, counts);
        let (refused, failed) = (counts.refused > before.refused, counts.failed > before.failed);
        if refused || failed {
            let is_new = self.failed.replace(now).is_none();
            return is_new.then_some(if failed { Change::Fails } else { Change::Refuses });
        }
        let quiet = self.failed.is_some_and(|failed| now - failed >= QUIET);
        (quiet && counts.sent > before.sent).then(|| {
            self.failed = None;
            Change::Back
        })
    }
}

impl Change {
    fn log(self, backend: &Backend) {
        let (relay, backend) = (&*backend.relay, &*backend.name);
        match self {
            Self::Refuses => {
                tracing::warn!(relay, backend, "backend is down: nobody listens at its UDP port");
            }
            Self::Fails => {
                tracing::warn!(relay, backend, "backend is down: sends to it fail");
            }
            Self::Back => tracing::info!(relay, backend, "backend is back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_by_udp_is_down_once_and_back_after_a_quiet_time_with_traffic() {
        let (mut watched, start) = (Watched::default(), Instant::now());
        let mut counts = Counts::default();
        let mut second = 0;
        let mut look = |sent, refused, failed| {
            counts.sent += sent;
            counts.refused += refused;
            counts.failed += failed;
            second += 1;
            watched.look(counts, start + Duration::from_secs(second))
        };
        assert_eq!(look(5, 0, 0), None);
        assert_eq!(look(5, 1, 0), Some(Change::Refuses));
        for _ in 0..30 {
            assert_eq!(look(5, 2, 1), None, "it is known");
        }
        for _ in 0..9 {
            assert_eq!(look(5, 0, 0), None, "it may be down still");
        }
        for _ in 0..30 {
            assert_eq!(look(0, 0, 0), None, "nothing was sent: no telling");
        }
        assert_eq!(look(1, 0, 0), Some(Change::Back));
        assert_eq!(look(1, 0, 1), Some(Change::Fails));
    }
}
