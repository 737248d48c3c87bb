//! What was configured of a backend, as far as it is shown beside its counters.

use std::sync::{Mutex, PoisonError};

/// Set by who wires the backend, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Configured(Mutex<Values>);

/// One backend's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The URL that is written to, or `host:port` for UDP.
    pub location: String,
    /// It is sent to by UDP: it has no state, and no requests.
    pub is_udp: bool,
    /// Bytes of memory that its queue may take.
    pub queue_bytes_max: u64,
    /// Bytes of memory that its backlog may take; 0 without one.
    pub backlog_bytes_max: u64,
    /// Bytes of disk that its spool may take; 0 without one.
    pub spool_bytes_max: u64,
}

impl Configured {
    /// Takes note of the configuration that is in force from now on.
    pub fn set(&self, values: Values) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = values;
    }

    /// The configuration in force.
    #[must_use]
    pub fn get(&self) -> Values {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
