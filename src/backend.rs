//! One backend: what its sender thread takes from its queue, and how each write is settled.
//!
//! A settled write is counted exactly once (delivered, or dropped with its reason), is taken off
//! the queue's gauge, and its client, if one waits, is answered. The transports are [`udp`] and
//! [`http`]; fronts never see them.

pub mod http;
pub mod udp;

use crate::answers::Wakes;
use crate::batch::Batch;
use crate::metrics::{self, Drop};
use crate::queue::Weigh;
use crate::write::{Answer, Refusal, Write};

/// How a write ended at a backend.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The backend has it.
    Delivered,
    /// The backend will never take it.
    Refused(Refusal),
    /// It was dropped for this reason, and a client may try again.
    Dropped(Drop),
}

/// Settles one write: counts it, takes it off the gauge, answers its client.
pub fn settle(metrics: &metrics::Backend, write: &Write, outcome: Outcome) {
    let answer = book(metrics, &write.batch, outcome);
    metrics.owed.settle(write.bytes(), write.batch.lines());
    if let Some(client) = &write.client {
        client.answer(answer, &mut Wakes::default());
    }
}

/// Counts what became of a batch, and gives the answer for whoever waits. The gauge is left to
/// the caller.
fn book(metrics: &metrics::Backend, batch: &Batch, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Delivered => {
            metrics.deliver(batch);
            Answer::Delivered
        }
        Outcome::Refused(refusal) => {
            metrics.drop_batch(Drop::Refused, batch);
            Answer::Refused(refusal)
        }
        Outcome::Dropped(why) => {
            metrics.drop_batch(why, batch);
            Answer::Unavailable
        }
    }
}
