//! An output that goes on with another configuration: what its sender does about it.
//!
//! Made by `relay` when the configuration is read again, and obeyed by the sender loop. What waits
//! stays where it is, in its order, and goes to the new address; a request in flight ends where it
//! began, so that no lane has two.

use super::{Files, Sender, Transport};
use crate::backoff::Backoff;
use crate::config::HttpTarget;
use crate::spool::Limits;
use std::rc::Rc;
use std::time::Instant;

/// What is new of an output.
#[derive(Debug)]
pub struct Change {
    /// Where and how it sends.
    pub target: HttpTarget,
    /// Its dead letters, if they are in another directory.
    pub dead_letters: Option<Files>,
}

impl Sender {
    /// Obeys the changes that came.
    pub(super) fn obey(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            self.change(change);
        }
    }

    /// Goes on with another configuration. A backend that was down is tried at once: it may be
    /// another one, or what was wrong with it is mended.
    pub(super) fn change(&mut self, Change { target, dead_letters }: Change) {
        let backlog = target.backlog.as_ref();
        self.backlog.set_bytes_max(backlog.map_or(0, |backlog| backlog.bytes_max));
        if let Some(config) = backlog.and_then(|backlog| backlog.spool.as_ref())
            && let Some(spool) = self.backlog.spool()
        {
            let limits = Limits { bytes_max: config.bytes_max, age_max: config.age_max };
            spool.set(limits, config.fsync);
        }
        if let Some(files) = dead_letters {
            self.dead_letters = files.dead_letters;
        }
        let letters = backlog.and_then(|backlog| backlog.dead_letters.as_ref());
        if let (Some(file), Some(letters)) = (&mut self.dead_letters, letters) {
            file.set_bytes_max(letters.bytes_max);
        }
        self.backoff = Backoff::new(backlog.map_or_else(Default::default, |b| b.delay_max));
        for ailment in self.ailments.values_mut() {
            ailment.restart(self.backoff.clone());
        }
        if let Some(outage) = &mut self.outage {
            outage.restart(self.backoff.clone(), Instant::now());
        }
        self.lanes.wake_all();
        // Connections to the old address, and those with old certificates, end with their requests.
        self.transport = Rc::new(Transport::new(target.clone(), self.transport.open.clone()));
        self.commands.retarget(Rc::clone(&self.transport));
        self.target = target;
    }
}
