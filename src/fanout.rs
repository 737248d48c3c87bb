//! Offers one sealed batch to the queue of every backend of a listener. The only place where a
//! full queue drops. Copies no bytes: all backends share the batch, but for those with a filter
//! and those that do not know its precision (see `share`).

mod share;

use crate::answers::{self, Receiver, Wakes};
use crate::batch::Batch;
use crate::config::Dialect;
use crate::control::Control;
use crate::dialect::{Destinations, Parameters};
use crate::filter::Filter;
use crate::metrics::{self, Drop};
use crate::queue::Sender;
use crate::timestamp::Precision;
use crate::write::{Answer, Api, Client, Destination, Write};
use share::Shares;
use std::fmt::Debug;
use std::sync::Arc;

/// A transport that may be used past the queue, on the front's own thread.
///
/// Handing a batch to another thread costs two context switches, more than a UDP send itself. So
/// while nothing is queued for a backend, and the front has time, the front sends by itself.
pub trait Direct: Debug + Send + Sync {
    /// Sends and counts `write` if that can be done at once, without waiting for anything;
    /// answers whether it was. The caller has made sure that nothing is queued before it.
    fn try_send(&self, write: &Write) -> bool;
}

/// How a batch that nobody waits for is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// On this thread where that is possible: the front has time.
    Direct,
    /// Through the queue: the front is busy, and other cores can share the work.
    Queue,
}

/// The queues of one listener's backends, in the file's order. Each front thread has a clone.
#[derive(Clone, Debug)]
pub struct Fanout {
    outputs: Vec<Output>,
}

/// One backend as a front sees it.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its queue.
    pub queue: Sender<Write>,
    /// Its counters.
    pub metrics: Arc<metrics::Backend>,
    /// The way past the queue, if the transport has one.
    pub direct: Option<Arc<dyn Direct>>,
    /// Which points it gets; `None` is all.
    pub filter: Option<Arc<Filter>>,
    /// The write API that it speaks; of no account by UDP.
    pub dialect: Dialect,
    /// The destination of writes that carry none of their own (those that came by UDP).
    pub destination: Arc<Destination>,
    /// The write endpoints that it has.
    pub apis: Vec<Api>,
    /// Commands to its sender thread; none to a backend by UDP.
    pub control: Option<Control>,
}

impl Fanout {
    /// A fan-out over `outputs`, in the file's order.
    #[must_use]
    pub fn new(outputs: Vec<Output>) -> Self {
        Self { outputs }
    }

    /// The backends, in the file's order.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Whether any backend has this write endpoint.
    #[must_use]
    pub fn takes(&self, api: Api) -> bool {
        self.outputs.iter().any(|output| output.apis.contains(&api))
    }

    /// Offers a batch that nobody waits for, its timestamps in `precision`, to each backend's own
    /// destination. Wakes nobody: a turn that offers several batches ends with one
    /// [`wake`](Self::wake).
    pub fn offer(&self, batch: &Arc<Batch>, precision: Precision, hand: Hand) {
        let mut shares = Shares::new(batch, precision);
        for output in &self.outputs {
            let Some(batch) = shares.get(output) else { continue };
            let destination = Arc::clone(&output.destination);
            let write = Write { batch, destination, client: None };
            if hand == Hand::Queue || !output.send_directly(&write) {
                output.push(write);
            }
        }
    }

    /// Wakes the backends' threads: those that wait, and can do something with what was offered.
    pub fn wake(&self) {
        for output in &self.outputs {
            output.queue.wake();
        }
    }

    /// Offers an opaque body to every backend that takes it, as it is.
    #[must_use]
    pub fn offer_opaque(&self, batch: &Arc<Batch>, destination: &Arc<Destination>) -> Answers {
        self.ask(destination.api, |_| Some((Arc::clone(batch), Arc::clone(destination))))
    }

    /// Offers a client's batch to every backend that takes lines and gets any of these.
    #[must_use]
    pub fn offer_for_client(&self, batch: &Arc<Batch>, parameters: &Parameters) -> Answers {
        let mut shares = Shares::new(batch, parameters.precision());
        let mut destinations = Destinations::new(parameters);
        self.ask(Api::Lines, |output| {
            Some((shares.get(output)?, destinations.get(&output.dialect)))
        })
    }

    /// Offers every backend that has an endpoint what it gets there, if that is anything.
    fn ask<'a>(
        &'a self,
        api: Api,
        mut share: impl FnMut(&'a Output) -> Option<(Arc<Batch>, Arc<Destination>)>,
    ) -> Answers {
        let (sender, receiver) = answers::channel();
        let mut asked = 0;
        let takes = |output: &Output| output.apis.contains(&api);
        for (index, output) in self.outputs.iter().enumerate().filter(|(_, o)| takes(o)) {
            let Some((batch, destination)) = share(output) else { continue };
            asked += 1;
            let client = Some(Client { output: index, answers: sender.clone() });
            output.push(Write { batch, destination, client });
        }
        self.wake();
        Answers { asked, receiver }
    }

    /// The API that an output speaks, by its index.
    #[must_use]
    pub fn dialect(&self, output: usize) -> Option<&Dialect> {
        self.outputs.get(output).map(|output| &output.dialect)
    }
}

/// What the backends make of a client's batch.
#[derive(Debug)]
pub struct Answers {
    /// How many backends were asked: those whose filter let any of it pass.
    pub asked: usize,
    /// One answer per backend that was asked, in any order: (index of the output, answer).
    pub receiver: Receiver,
}

impl Output {
    /// Order is kept: nothing owed means that all earlier writes of this front have been sent.
    fn send_directly(&self, write: &Write) -> bool {
        let Some(direct) = &self.direct else { return false };
        let sent = self.queue.owed().lines() == 0 && direct.try_send(write);
        if sent {
            self.metrics.taken.add(write.batch.lines());
        }
        sent
    }

    fn push(&self, write: Write) {
        self.metrics.take(&write.batch);
        if let Err(write) = self.queue.try_push(write) {
            self.metrics.drop_batch(Drop::QueueFull, &write.batch);
            if let Some(client) = &write.client {
                client.answer(Answer::Unavailable, &mut Wakes::default());
            }
        }
    }
}
