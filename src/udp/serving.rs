//! What the workers of a listener work with: one value, replaced as a whole when the configuration
//! is read again.
//!
//! `relay` makes it. Each worker looks once a turn whether there is another one, and takes what it
//! needs of it: no line costs anything more.

use super::Intake;
use crate::bad_senders::Notes;
use crate::batch::{BatchBuilder, Pool, Segments};
use crate::fanout::{Fanout, Hand};
use crate::metrics;
use crate::rate_limit::{RateLimit, Share};
use crate::timestamp::{Precision, Stamper};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::time::Duration;

/// Full batches that a worker keeps for use again.
pub const POOLED_BATCHES: usize = 32;

/// What the workers of one listener share.
#[derive(Debug)]
pub struct Serving {
    /// The backends' queues.
    pub fanout: Fanout,
    /// The unit of timestamps.
    pub precision: Precision,
    /// How long a busy worker lets datagrams gather.
    pub batch_wait: Duration,
    /// How a worker that can hardly keep up hands batches on.
    pub hand_when_busy: Hand,
    /// `rate-limit-lines`, if there is one.
    pub line_limit: Option<Arc<RateLimit>>,
    /// How batches are laid out.
    pub batches: Batches,
}

/// How batches are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// For the backends' `mtu`, if they share one.
    pub layout: Option<Segments>,
    /// Of a full batch.
    pub bytes: usize,
}

impl Batches {
    /// What builds them. Each worker has its own.
    #[must_use]
    pub fn builder(&self) -> BatchBuilder {
        BatchBuilder::new(Pool::new(POOLED_BATCHES, self.bytes), self.layout)
    }
}

impl Intake {
    /// The path of what one worker receives, of which the kernel has dropped `kernel_drops_seen`
    /// datagrams before.
    #[must_use]
    pub fn new(
        serving: &Serving,
        metrics: Arc<CachePadded<metrics::UdpWorker>>,
        bad_senders: Arc<Notes>,
        kernel_drops_seen: u32,
    ) -> Self {
        Self {
            fanout: serving.fanout.clone(),
            builder: serving.batches.builder(),
            batches: serving.batches,
            hand: Hand::Direct,
            hand_when_busy: serving.hand_when_busy,
            precision: serving.precision,
            line_limit: serving.line_limit.clone().map(Share::new),
            metrics,
            bad_senders,
            stamper: Stamper::default(),
            kernel_drops_seen,
        }
    }

    /// Goes on with what is in `serving`; what came before leaves the old way.
    pub(super) fn renew(&mut self, serving: &Serving) {
        self.hand_over();
        self.fanout.wake();
        self.fanout = serving.fanout.clone();
        self.hand_when_busy = serving.hand_when_busy;
        self.precision = serving.precision;
        if self.batches != serving.batches {
            self.batches = serving.batches;
            self.builder = serving.batches.builder();
        }
        // What is held of a limit that stays is not given up.
        self.line_limit = serving.line_limit.clone().map(|limit| match self.line_limit.take() {
            Some(share) if share.is_of(&limit) => share,
            _ => Share::new(limit),
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Instant;

    pub(crate) fn serving() -> Serving {
        Serving {
            fanout: Fanout::new(Vec::new()),
            precision: Precision::Nanosecond,
            batch_wait: Duration::ZERO,
            hand_when_busy: Hand::Queue,
            line_limit: None,
            batches: Batches { layout: None, bytes: 1024 },
        }
    }

    #[test]
    fn what_came_before_a_change_leaves_before_it() {
        let mut intake =
            Intake::new(&serving(), Arc::default(), Arc::new(Notes::new("in".into())), 0);
        assert!(intake.builder.push(b"m f=1 1", None));
        let limit = Arc::new(RateLimit::new(1_000, 1_000, Instant::now()));
        let batches = Batches { layout: None, bytes: 2048 };
        let line_limit = Some(Arc::clone(&limit));
        let changed = Serving { precision: Precision::Second, batches, line_limit, ..serving() };
        intake.renew(&changed);
        assert_eq!((intake.metrics.batches.get(), intake.builder.is_empty()), (1, true));
        assert_eq!((intake.precision, intake.batches), (Precision::Second, batches));
        assert!(intake.line_limit.as_ref().is_some_and(|share| share.is_of(&limit)));
        intake.renew(&serving());
        assert!(intake.line_limit.is_none());
    }
}
