//! Wiring only: makes the queues, binds the sockets, starts and pins the threads, stops in order.
//!
//! The only file that sees every room. Starting is all or nothing: every socket is bound and every
//! ring made before [`Relay::start`] answers, and a failure names the key and the remedy. Stopping
//! goes down the data path: fronts, then queues up to the deadline, then the books are read.

mod books;
mod files;
mod memory;
mod plan;
mod start_error;
mod tell;
mod threads;

pub use books::Books;
pub use start_error::StartError;

use crate::batch::{BatchBuilder, Pool};
use crate::config::{Config, HttpListener, Rate, Target, UdpListener};
use crate::fanout::Hand;
use crate::metrics::Registry;
use crate::pulse::{Pulse, Pulses};
use crate::rate_limit::{RateLimit, Share};
use crate::ring::{ReceiveRing, Waker};
use crate::service::passed::Passed;
use crate::stop::{Stop, Stopper};
use crate::timestamp::Stamper;
use crate::{backend, http, sys, udp};
use memory::Bounds;
use plan::{Bound, HttpWay, Plan, Sender, Transport};
use std::net::{TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tell::Telling;
pub use threads::Ended;
use threads::Threads;

/// A batch of a UDP worker whose outputs share no `mtu`: about one GSO send.
const BATCH_BYTES: usize = 60 << 10;
/// Full batches that a worker keeps for use again.
const POOLED_BATCHES: usize = 32;

fn rate_limit(rate: Rate) -> RateLimit {
    RateLimit::new(rate.per_second, rate.burst, Instant::now())
}

/// A running relay.
pub struct Relay {
    registry: Arc<Registry>,
    stopper: Stopper,
    pulses: Pulses,
    wakers: Vec<Waker>,
    fronts: Threads,
    senders: Threads,
    /// Ends last: who watches the relay sees it drain.
    admin: Threads,
    admin_stopper: Stopper,
    telling: Telling,
    ended: crossbeam_channel::Receiver<Ended>,
    shutdown_timeout: Duration,
}

impl Relay {
    /// Binds everything that was not passed, starts every thread, and answers once all of them are
    /// ready.
    ///
    /// # Errors
    /// The first thing that could not be had; nothing is left running then.
    pub fn start(mut config: Config, passed: Passed) -> Result<Self, StartError> {
        let (threads, shutdown_timeout) = (config.http_threads, config.shutdown_timeout);
        if let Some(limit) = sys::file_limit()
            && let Some(warning) = files::share(&mut config, limit)?
        {
            tracing::warn!("{warning}");
        }
        Bounds::of(&config).log();
        let plan = Plan::make(config, passed)?;
        let (tell, ended) = crossbeam_channel::unbounded();
        let mut relay = Self {
            registry: Arc::new(plan.registry),
            stopper: Stopper::default(),
            pulses: Pulses::default(),
            wakers: Vec::new(),
            fronts: Threads::new(tell.clone()),
            senders: Threads::new(tell.clone()),
            admin: Threads::new(tell),
            admin_stopper: Stopper::default(),
            telling: Telling::default(),
            ended,
            shutdown_timeout,
        };
        let started = relay
            .start_senders(plan.senders)
            .and_then(|()| relay.start_udp(plan.udp))
            .and_then(|()| relay.start_http(plan.http, threads))
            .and_then(|()| relay.start_admin(plan.admin));
        match started {
            Ok(()) => Ok(relay),
            Err(error) => {
                drop(relay.stop());
                Err(error)
            }
        }
    }

    fn start_senders(&mut self, senders: Vec<Sender>) -> Result<(), StartError> {
        for Sender { queue, transport, metrics } in senders {
            let stop = self.stopper.watch();
            let name = format!("out-{}", metrics.name);
            match transport {
                Transport::Udp(transport) => {
                    let (pulse, poke) = (self.pulses.pulse(), queue.poke());
                    self.pulses.ask(name.clone(), pulse.answers(), move || poke.poke());
                    self.senders.spawn(name, move || {
                        backend::udp::run(&queue, &transport, &stop, &pulse);
                        Ok(())
                    })?;
                }
                Transport::Http(way) => {
                    self.senders.spawn_runtime(&mut self.pulses, name, move |runtime| {
                        let HttpWay { target, commands, files } = *way;
                        backend::http::run(&runtime, queue, commands, target, files, metrics, stop);
                        Ok(())
                    })?
                }
            }
        }
        Ok(())
    }

    fn start_udp(
        &mut self,
        listeners: Vec<Bound<UdpSocket, UdpListener>>,
    ) -> Result<(), StartError> {
        for (index, Bound { sockets, passed, listener, fanout }) in
            listeners.into_iter().enumerate()
        {
            let limit = listener.line_rate.map(|rate| Arc::new(rate_limit(rate)));
            for (worker, socket) in sockets.into_iter().enumerate() {
                let counters = Arc::clone(&self.registry.udp[index].workers[worker]);
                let intake = udp::Intake {
                    fanout: fanout.clone(),
                    builder: batch_builder(&listener),
                    hand: Hand::Direct,
                    precision: listener.precision,
                    line_limit: limit.clone().map(Share::new),
                    metrics: counters,
                    bad_senders: self.telling.notes(&listener.name),
                    stamper: Stamper::default(),
                    // Those of a passed socket were counted by the relays before this one.
                    kernel_drops_seen: sys::kernel_drops(socket.as_fd()).unwrap_or_default(),
                };
                let ending = if passed { udp::Ending::Leave } else { udp::Ending::Shut };
                let name = format!("udp-{}-{worker}", listener.name);
                let make = move |ring, stop, pulse| {
                    udp::Worker::new(ring, intake, listener.batch_wait, stop, pulse, ending)
                };
                self.start_worker(name, worker, socket, make)?;
            }
        }
        Ok(())
    }

    /// Starts one worker and waits until its ring is made, on its own thread.
    fn start_worker(
        &mut self,
        name: String,
        core: usize,
        socket: UdpSocket,
        worker: impl FnOnce(ReceiveRing, Stop, Pulse) -> udp::Worker + Send + 'static,
    ) -> Result<(), StartError> {
        let stop = self.stopper.watch();
        let make = move || {
            threads::pin(core);
            let ring = ReceiveRing::new(socket, udp::RECEIVE_BUFFERS)?;
            let waker = ring.waker();
            Ok((ring, waker))
        };
        let pulse = self.pulses.pulse();
        let answers = pulse.answers();
        let waker = self
            .fronts
            .spawn_with(name.clone(), make, move |ring| worker(ring, stop, pulse).run())?;
        let ends_wait = waker.clone();
        self.pulses.ask(name, answers, move || drop(ends_wait.wake()));
        self.wakers.push(waker);
        Ok(())
    }

    fn start_http(
        &mut self,
        listeners: Vec<Bound<TcpListener, HttpListener>>,
        threads: usize,
    ) -> Result<(), StartError> {
        let mut shares: Vec<Vec<http::Listener>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, Bound { sockets, passed, listener, fanout }) in
            listeners.into_iter().enumerate()
        {
            let shared = http::Shared::new(&listener);
            let listener = Arc::new(listener);
            for (place, socket) in sockets.into_iter().enumerate() {
                // More sockets than threads were passed, or there is one for each.
                let thread = place % threads;
                shares[thread].push(http::Listener {
                    socket,
                    stays_open: passed,
                    config: Arc::clone(&listener),
                    fanout: fanout.clone(),
                    metrics: Arc::clone(&self.registry.http[index].workers[thread]),
                    shared: shared.clone(),
                    bad_senders: self.telling.notes(&listener.name),
                });
            }
        }
        for (thread, listeners) in shares.into_iter().enumerate() {
            if listeners.is_empty() {
                continue;
            }
            let (registry, stop) = (Arc::clone(&self.registry), self.stopper.watch());
            let name = format!("http-{thread}");
            self.fronts.spawn_runtime(&mut self.pulses, name, move |runtime| {
                http::run(&runtime, listeners, &registry, &stop)
            })?;
        }
        Ok(())
    }

    fn start_admin(&mut self, socket: Option<(TcpListener, bool)>) -> Result<(), StartError> {
        let Some((socket, stays_open)) = socket else { return Ok(()) };
        let admin = http::Admin {
            socket,
            stays_open,
            stopping: self.stopper.watch(),
            stop: self.admin_stopper.watch(),
            registry: Arc::clone(&self.registry),
        };
        self.admin.spawn_runtime(&mut self.pulses, "admin".to_owned(), move |runtime| {
            http::run_admin(&runtime, admin)
        })
    }

    /// Tells of every thread that ends: while nobody has said stop, that is a ring that failed or
    /// a defect, and the relay must go down rather than lose data in silence.
    #[must_use]
    pub fn ended(&self) -> crossbeam_channel::Receiver<Ended> {
        self.ended.clone()
    }

    /// The threads that do not answer: nobody has heard of them since the last call.
    pub fn silent(&mut self) -> Vec<&str> {
        self.pulses.silent()
    }

    /// Logs who sends what is no line protocol, and which backends by UDP went down or came back.
    /// To be called about once a second.
    pub fn tell(&mut self) {
        self.telling.tell(&self.registry);
    }

    /// How long [`stop`](Self::stop) may take.
    #[must_use]
    pub fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout
    }

    /// Every counter.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Stops in order and answers the closing books.
    #[must_use]
    pub fn stop(mut self) -> Books {
        self.stopper.stop(Instant::now() + self.shutdown_timeout);
        for waker in &self.wakers {
            if let Err(error) = waker.wake() {
                tracing::warn!(%error, "a UDP worker could not be woken; it looks by itself soon");
            }
        }
        self.fronts.join();
        self.telling.rest();
        self.senders.join();
        self.admin_stopper.stop(Instant::now());
        self.admin.join();
        for Ended { thread, error } in self.ended.try_iter() {
            if let Some(error) = error {
                tracing::error!(thread, error, "a thread failed while the relay was stopping");
            }
        }
        Books::read(&self.registry)
    }
}

/// Where all UDP outputs of a listener share one `mtu`, batches are laid out for it.
fn batch_builder(listener: &UdpListener) -> BatchBuilder {
    let mut mtus = listener.outputs.iter().filter_map(|output| match &output.target {
        Target::Udp(target) => NonZeroUsize::new(target.mtu),
        Target::Http(_) => None,
    });
    let shared = mtus.next().filter(|first| mtus.all(|mtu| mtu == *first));
    let layout = shared.map(backend::udp::layout);
    let capacity = layout.map_or(BATCH_BYTES, |layout| layout.bytes.get() * layout.count_max);
    BatchBuilder::new(Pool::new(POOLED_BATCHES, capacity), layout)
}
