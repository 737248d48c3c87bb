//! What is around the relay besides its backends: names and the clock.

use crate::harness::binary;
use crate::schedule::Schedule;
use std::process::Command;

/// Of one relay, through all its lives.
pub(crate) enum Surroundings {
    /// As they are; the backends' address.
    Plain(String),
}

impl Surroundings {
    pub(crate) fn new(schedule: &Schedule) -> Self {
        Self::Plain(schedule.host().to_string())
    }

    /// Becomes the relay when it is given the relay's arguments.
    pub(crate) fn command(&self) -> Command {
        Command::new(binary())
    }

    /// The host of a backend, by its index.
    pub(crate) fn host(&self, _backend: usize) -> String {
        let Self::Plain(host) = self;
        host.clone()
    }

    /// Whether names resolve from now on.
    pub(crate) fn resolve(&self, _resolves: bool) {}

    /// Sets the clock forward or back.
    pub(crate) fn step(&self, _seconds: i64) {}
}
