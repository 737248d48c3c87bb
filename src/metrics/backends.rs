//! The backends that are counted: a list that changes when the configuration is read again.
//!
//! Read by whoever shows counters. No front and no sender thread looks at it: each has the counters
//! of its own backends.

use super::Backend;
use std::sync::{Arc, PoisonError, RwLock};

/// The counters of every backend.
#[derive(Debug, Default)]
pub struct Backends(RwLock<Vec<Arc<Backend>>>);

impl Backends {
    /// All of them now: those that run in the file's order, then those that still drain.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Backend>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place.
    pub fn set(&self, backends: Vec<Arc<Backend>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = backends;
    }
}

impl From<Vec<Arc<Backend>>> for Backends {
    fn from(backends: Vec<Arc<Backend>>) -> Self {
        Self(RwLock::new(backends))
    }
}
