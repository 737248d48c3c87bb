//! What a listener answers with: one value, replaced as a whole when the configuration is read
//! again.
//!
//! `relay` makes each [`Serving`]. Every thread follows by itself, also while no request comes, so
//! that it lets go of the queues of backends that were taken out. A request is answered with what
//! there was when it came, but what it writes goes to the backends that are there when its body has
//! come: a body may take its time.

use super::budget::Budget;
use super::{Front, Shared};
use crate::bad_senders::Notes;
use crate::config::HttpListener;
use crate::fanout::Fanout;
use crate::metrics::HttpWorker;
use crate::stop::Stop;
use crate::timestamp::Stamper;
use crate::tls::Acceptor;
use crossbeam_utils::CachePadded;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch::Receiver;

/// What the threads of one listener share.
#[derive(Debug)]
pub struct Serving {
    /// What was configured.
    pub config: Arc<HttpListener>,
    /// The queues of its backends.
    pub fanout: Fanout,
    /// Its bounds.
    pub shared: Shared,
}

/// A listener on one thread.
pub(super) struct Live {
    front: RefCell<Rc<Front>>,
    serving: RefCell<Receiver<Arc<Serving>>>,
    /// This thread's, past the queues of the fan-out.
    pub(super) metrics: Arc<CachePadded<HttpWorker>>,
    bad_senders: Arc<Notes>,
    stamper: Rc<RefCell<Stamper>>,
    stop: Stop,
}

impl Live {
    /// Answers with what is in `serving` now.
    pub(super) fn new(
        mut serving: Receiver<Arc<Serving>>,
        metrics: Arc<CachePadded<HttpWorker>>,
        bad_senders: Arc<Notes>,
        stamper: Rc<RefCell<Stamper>>,
        stop: Stop,
    ) -> Self {
        let now = Arc::clone(&serving.borrow_and_update());
        let front = Front::new(&now, &metrics, &bad_senders, &stamper, &stop);
        let (front, serving) = (RefCell::new(Rc::new(front)), RefCell::new(serving));
        Self { front, serving, metrics, bad_senders, stamper, stop }
    }

    /// What a request that comes now is answered with.
    pub(super) fn now(&self) -> Rc<Front> {
        let mut serving = self.serving.borrow_mut();
        // An error is the relay's end, which is told otherwise.
        if serving.has_changed().unwrap_or(false) {
            let next = Arc::clone(&serving.borrow_and_update());
            let Self { metrics, bad_senders, stamper, stop, .. } = self;
            let front = Front::new(&next, metrics, bad_senders, stamper, stop);
            self.front.replace(Rc::new(front));
        }
        Rc::clone(&self.front.borrow())
    }

    /// Goes on with whatever comes, also while no request does. Ends when nothing can come any
    /// more.
    pub(super) async fn follow(self: Rc<Self>) {
        let mut serving = self.serving.borrow().clone();
        while serving.changed().await.is_ok() {
            serving.mark_unchanged();
            drop(self.now());
        }
    }

    /// The listener's name, and what shakes hands with clients, if they speak TLS.
    pub(super) fn tls(&self) -> Option<(Arc<str>, Arc<Acceptor>)> {
        let front = self.now();
        let config = &front.config;
        Some((Arc::clone(&config.name), Arc::clone(config.tls.as_ref()?)))
    }

    /// What bodies may hold together, and the largest one. Holds no queue while a body comes.
    pub(super) fn room(&self) -> (Arc<Budget>, usize) {
        let front = self.now();
        (Arc::clone(&front.shared.bodies), front.config.body_bytes_max)
    }
}
