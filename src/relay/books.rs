//! The closing books: for every backend, what was taken and what became of it.

use crate::metrics::{Backend, Drop, SharedCounter};
use std::sync::Arc;

/// The books of all backends at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books(Vec<Account>);

/// The book of one backend, in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    relay: String,
    backend: String,
    taken: u64,
    filtered: u64,
    delivered: u64,
    queued: u64,
    /// Found in the spool at start.
    restored: u64,
    /// Left in the spool.
    left: u64,
    dropped: [u64; Drop::COUNT],
    opaque: Opaque,
}

/// The book of its opaque writes, in bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opaque {
    taken: u64,
    delivered: u64,
    queued: u64,
    restored: u64,
    left: u64,
    dropped: u64,
}

impl Opaque {
    fn closes(&self) -> bool {
        self.taken + self.restored == self.delivered + self.queued + self.left + self.dropped
    }
}

impl Books {
    /// Reads the counters of some backends. Exact once their threads have stopped.
    pub(super) fn of(backends: &[Arc<Backend>]) -> Self {
        Self(backends.iter().map(|backend| Account::read(backend)).collect())
    }

    /// Whether every line that was taken is accounted for, and none is left in a queue: at the
    /// end nobody takes it out any more.
    #[must_use]
    pub fn close(&self) -> bool {
        self.0.iter().all(|account| account.closes() && account.queued + account.opaque.queued == 0)
    }

    /// Logs one line per backend.
    pub fn log(&self) {
        for account in &self.0 {
            account.log();
        }
    }
}

impl Account {
    fn read(backend: &Backend) -> Self {
        Self {
            relay: backend.relay.to_string(),
            backend: backend.name.to_string(),
            taken: backend.taken.get(),
            filtered: backend.filtered.get(),
            delivered: backend.delivered.get(),
            queued: backend.owed.lines(),
            restored: backend.spool.restored.get(),
            left: backend.spool.left.get(),
            dropped: std::array::from_fn(|why| backend.dropped[why].get()),
            opaque: Opaque {
                taken: backend.opaque.taken.get(),
                delivered: backend.opaque.delivered.get(),
                queued: backend.opaque.queued.get(),
                restored: backend.spool.opaque_restored.get(),
                left: backend.spool.opaque_left.get(),
                dropped: backend.opaque.dropped.iter().map(SharedCounter::get).sum(),
            },
        }
    }

    fn closes(&self) -> bool {
        let dropped = self.dropped.iter().sum::<u64>();
        self.taken + self.restored == self.delivered + self.queued + self.left + dropped
            && self.opaque.closes()
    }

    fn log(&self) {
        let Self { relay, backend, taken, filtered, delivered, queued, restored, left, .. } = self;
        let Self { dropped, opaque, .. } = self;
        let reasons: Vec<String> = Drop::ALL
            .iter()
            .zip(dropped)
            .filter(|&(_, &lines)| lines > 0)
            .map(|(why, lines)| format!("{}={lines}", why.label()))
            .collect();
        let reasons = if reasons.is_empty() { "none".to_owned() } else { reasons.join(" ") };
        if opaque.taken + opaque.restored > 0 {
            let Opaque { taken, delivered, queued, restored, left, dropped } = opaque;
            tracing::info!(
                %relay, %backend, taken, restored, delivered, queued, spooled = left, dropped,
                "opaque writes"
            );
        }
        if self.closes() && *queued + opaque.queued > 0 {
            tracing::error!(
                %relay, %backend, taken, restored, delivered, queued, spooled = left,
                dropped = %reasons,
                "books closed, but what is queued is lost: its thread ended before its time"
            );
        } else if self.closes() {
            tracing::info!(
                %relay, %backend, taken, restored, filtered, delivered, queued, spooled = left,
                dropped = %reasons,
                "books closed"
            );
        } else {
            tracing::error!(
                %relay, %backend, taken, restored, filtered, delivered, queued, spooled = left,
                dropped = %reasons,
                "books do not close: this is a defect, please report it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Limits, Weigh, bounded};

    struct Lines(u64);

    impl Weigh for Lines {
        fn bytes(&self) -> u64 {
            self.0
        }
        fn lines(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn what_nobody_will_take_out_of_a_queue_keeps_the_books_open() {
        let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
        let backend = Backend::new("relay".into(), "backend".into(), Arc::clone(pop.owed()));
        let backend = [Arc::new(backend)];
        assert!(Books::of(&backend).close());
        backend[0].taken.add(3);
        assert!(!Books::of(&backend).close(), "three lines are nowhere");
        assert!(push.try_push(Lines(3)).is_ok());
        assert!(!Books::of(&backend).close(), "they are queued, and will stay there");
        pop.owed().settle(3, 3);
        backend[0].delivered.add(3);
        assert!(Books::of(&backend).close());
    }
}
