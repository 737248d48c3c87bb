//! Offers one sealed batch to the queue of every backend of a listener. The only place where a
//! full queue drops. Copies no bytes: all backends share the batch.

use crate::batch::Batch;
use crate::metrics::{self, Drop};
use crate::queue::Sender;
use crate::write::{Answer, Client, Destination, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

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
    /// The destination of writes that carry none of their own (those that came by UDP).
    pub destination: Arc<Destination>,
}

impl Fanout {
    /// A fan-out over `outputs`, in the file's order.
    #[must_use]
    pub fn new(outputs: Vec<Output>) -> Self {
        Self { outputs }
    }

    /// Offers a batch that nobody waits for, to each backend's own destination. Wakes nobody: a
    /// turn that offers several batches ends with one [`wake`](Self::wake).
    pub fn offer(&self, batch: &Arc<Batch>) {
        for output in &self.outputs {
            let destination = Arc::clone(&output.destination);
            output.push(Write { batch: Arc::clone(batch), destination, client: None });
        }
    }

    /// Wakes the backends' threads, those that wait.
    pub fn wake(&self) {
        for output in &self.outputs {
            output.queue.wake();
        }
    }

    /// Offers a client's batch to every backend. The answers come, one per backend in any order,
    /// as (index of the output, answer).
    #[must_use]
    pub fn offer_for_client(
        &self,
        batch: &Arc<Batch>,
        destination: &Arc<Destination>,
    ) -> mpsc::Receiver<(usize, Answer)> {
        let (sender, answers) = mpsc::channel(self.outputs.len().max(1));
        for (index, output) in self.outputs.iter().enumerate() {
            output.push(Write {
                batch: Arc::clone(batch),
                destination: Arc::clone(destination),
                client: Some(Client { output: index, answers: sender.clone() }),
            });
        }
        self.wake();
        answers
    }
}

impl Output {
    fn push(&self, write: Write) {
        let lines = write.batch.lines();
        self.metrics.taken.add(lines);
        if let Err(write) = self.queue.try_push(write) {
            self.metrics.drop_lines(Drop::QueueFull, lines);
            if let Some(client) = &write.client {
                client.answer(Answer::Unavailable);
            }
        }
    }
}
