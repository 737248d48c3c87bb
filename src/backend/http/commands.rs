//! The commands of the fronts to this sender thread.
//!
//! Called by the sender loop. Pings and queries run beside the writes, on connections of their
//! own; a flush is handed to the loop, which owns what waits.

use super::send::Transport;
use crate::control::{Asked, Command, Flushed, Query};
use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Queries that run at once; more wait for their turn.
const RUNNING_MAX: usize = 8;

/// What came from the fronts and is not answered yet.
#[derive(Debug)]
pub(super) struct Commands {
    inbox: mpsc::Receiver<Command>,
    transport: Rc<Transport>,
    running: JoinSet<()>,
    /// Those that wait for the ping in flight: however many ask, the backend is asked once.
    pinging: Rc<RefCell<Vec<oneshot::Sender<Asked>>>>,
}

impl Commands {
    pub(super) fn new(inbox: mpsc::Receiver<Command>, transport: Rc<Transport>) -> Self {
        Self { inbox, transport, running: JoinSet::new(), pinging: Rc::default() }
    }

    /// From now on asks by `transport`. What runs goes on.
    pub(super) fn retarget(&mut self, transport: Rc<Transport>) {
        self.transport = transport;
    }

    /// Serves pings and queries until a flush is asked for; gives where its answer goes. Can be
    /// dropped and called again without losing anything.
    pub(super) async fn next_flush(&mut self) -> oneshot::Sender<Flushed> {
        loop {
            let room = self.running.len() < RUNNING_MAX;
            tokio::select! {
                Some(ended) = self.running.join_next() => {
                    ended.expect("asking neither panics nor is cancelled");
                }
                command = self.inbox.recv(), if room => match command {
                    Some(Command::Flush(answer)) => return answer,
                    Some(Command::Ping(limit, answer)) => self.ping(limit, answer),
                    Some(Command::Query(query, answer)) => self.query(query, answer),
                    // The fronts are gone; what still runs has nobody that waits for it.
                    None => pending().await,
                },
            }
        }
    }

    fn ping(&mut self, limit: Duration, answer: oneshot::Sender<Asked>) {
        let mut waiting = self.pinging.borrow_mut();
        waiting.push(answer);
        if waiting.len() > 1 {
            return;
        }
        let (transport, pinging) = (Rc::clone(&self.transport), Rc::clone(&self.pinging));
        self.running.spawn_local(async move {
            let asked = transport.ping(limit).await;
            for answer in pinging.take() {
                drop(answer.send(asked.clone()));
            }
        });
    }

    fn query(&mut self, query: Arc<Query>, answer: oneshot::Sender<Asked>) {
        let transport = Rc::clone(&self.transport);
        self.running.spawn_local(async move {
            drop(answer.send(transport.query(&query).await));
        });
    }
}
