//! The closing books: for every backend, what was taken and what became of it.

use crate::metrics::{Backend, Drop, Registry};

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
    dropped: [u64; Drop::COUNT],
}

impl Books {
    /// Reads every backend's counters. Exact once the threads have stopped.
    #[must_use]
    pub fn read(registry: &Registry) -> Self {
        Self(registry.backends.iter().map(|backend| Account::read(backend)).collect())
    }

    /// Whether every line that was taken is accounted for.
    #[must_use]
    pub fn close(&self) -> bool {
        self.0.iter().all(Account::closes)
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
            dropped: std::array::from_fn(|why| backend.dropped[why].get()),
        }
    }

    fn closes(&self) -> bool {
        self.taken == self.delivered + self.queued + self.dropped.iter().sum::<u64>()
    }

    fn log(&self) {
        let Self { relay, backend, taken, filtered, delivered, queued, dropped } = self;
        let reasons: Vec<String> = Drop::ALL
            .iter()
            .zip(dropped)
            .filter(|&(_, &lines)| lines > 0)
            .map(|(why, lines)| format!("{}={lines}", why.label()))
            .collect();
        let reasons = if reasons.is_empty() { "none".to_owned() } else { reasons.join(" ") };
        if self.closes() {
            tracing::info!(
                %relay, %backend, taken, filtered, delivered, queued, dropped = %reasons,
                "books closed"
            );
        } else {
            tracing::error!(
                %relay, %backend, taken, filtered, delivered, queued, dropped = %reasons,
                "books do not close: this is a defect, please report it"
            );
        }
    }
}
