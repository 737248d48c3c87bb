//! Wiring only: makes the queues, binds the sockets, starts and pins the threads, stops in order.
//!
//! The only file that sees every room. Starting is all or nothing: every socket is bound and every
//! ring made before [`Relay::start`] answers, and a failure names the key and the remedy. Stopping
//! goes down the data path: fronts, then queues up to the deadline, then the books are read.

mod books;
mod files;
mod memory;
mod output;
mod plan;
mod reload;
mod serving;
mod start_error;
mod tell;
mod threads;

pub use books::Books;
pub use reload::{Prepared, Ready, Reload, ReloadError};
pub use start_error::StartError;
pub use threads::Ended;

use crate::config::{Config, HttpListener, UdpListener};
use crate::metrics::{self, Registry};
use crate::pulse::{Pulse, Pulses};
use crate::ring::{ReceiveRing, Waker};
use crate::service::passed::Passed;
use crate::stop::{Stop, Stopper};
use crate::{http, sys, udp};
use memory::Bounds;
use output::{Leaving, Made, Running};
use plan::{Bound, Plan};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tell::Telling;
use threads::Threads;
use tokio::sync::watch;

/// A batch of a UDP worker whose outputs share no `mtu`: about one GSO send.
const BATCH_BYTES: usize = 60 << 10;

/// A running relay.
pub struct Relay {
    registry: Arc<Registry>,
    /// What runs.
    config: Arc<Config>,
    stopper: Stopper,
    pulses: Pulses,
    wakers: Vec<Waker>,
    fronts: Threads,
    udp: Vec<Front<udp::Serving>>,
    http: Vec<Front<http::Serving>>,
    /// Outputs that were taken out.
    leaving: Vec<Leaving>,
    /// The counters of those that have ended and whose books did not close.
    unclosed: Vec<Arc<metrics::Backend>>,
    /// Ends last: who watches the relay sees it drain.
    admin: Threads,
    admin_stopper: Stopper,
    telling: Telling,
    tell: crossbeam_channel::Sender<Ended>,
    ended: crossbeam_channel::Receiver<Ended>,
}

/// A listener that runs, past its threads: its outputs, and the way of a change to its threads.
struct Front<Serving> {
    name: Arc<str>,
    outputs: Vec<Running>,
    serving: watch::Sender<Arc<Serving>>,
}

impl Relay {
    /// Binds everything that was not passed, starts every thread, and answers once all of them are
    /// ready.
    ///
    /// # Errors
    /// The first thing that could not be had; nothing is left running then.
    pub fn start(mut config: Config, passed: Passed) -> Result<Self, StartError> {
        share_files(&mut config)?;
        Bounds::of(&config).log();
        let plan = Plan::make(&config, passed)?;
        let (tell, ended) = crossbeam_channel::unbounded();
        let mut relay = Self {
            registry: Arc::new(plan.registry),
            config: Arc::new(config),
            stopper: Stopper::default(),
            pulses: Pulses::default(),
            wakers: Vec::new(),
            fronts: Threads::new(tell.clone()),
            udp: Vec::new(),
            http: Vec::new(),
            leaving: Vec::new(),
            unclosed: Vec::new(),
            admin: Threads::new(tell.clone()),
            admin_stopper: Stopper::default(),
            telling: Telling::default(),
            tell,
            ended,
        };
        let started = relay
            .start_udp(plan.udp)
            .and_then(|()| relay.start_http(plan.http))
            .and_then(|()| relay.start_admin(plan.admin));
        match started {
            Ok(()) => Ok(relay),
            Err(error) => {
                drop(relay.stop());
                Err(error)
            }
        }
    }

    /// Starts the threads of some outputs, all of them or none.
    fn start_outputs(&mut self, made: Vec<Made>) -> Result<Vec<Running>, StartError> {
        let mut running = Vec::new();
        for output in made {
            match output.start(&self.tell, &mut self.pulses) {
                Ok(output) => running.push(output),
                Err(error) => {
                    self.let_go(running);
                    return Err(error);
                }
            }
        }
        Ok(running)
    }

    /// Some outputs get nothing new, and drain.
    fn let_go(&mut self, outputs: Vec<Running>) {
        let deadline = Instant::now() + self.config.shutdown_timeout;
        for output in outputs {
            output.stop(deadline);
            self.leaving.push(output.leave());
        }
        self.list_backends();
    }

    /// What is counted is what runs, in the file's order, and what drains.
    fn list_backends(&self) {
        let running = self.outputs().map(|output| &output.front.metrics);
        let leaving = self.leaving.iter().map(|output| &output.metrics);
        self.registry.backends.set(running.chain(leaving).cloned().collect());
    }

    fn outputs(&self) -> impl Iterator<Item = &Running> {
        let udp = self.udp.iter().flat_map(|front| &front.outputs);
        udp.chain(self.http.iter().flat_map(|front| &front.outputs))
    }

    fn start_udp(
        &mut self,
        listeners: Vec<Bound<UdpSocket, UdpListener>>,
    ) -> Result<(), StartError> {
        for (index, bound) in listeners.into_iter().enumerate() {
            let Bound { sockets, passed, listener, outputs } = bound;
            let outputs = self.start_outputs(outputs)?;
            let limit = listener.line_rate.map(serving::rate_limit);
            let serving = serving::of_udp(&listener, &outputs, limit);
            let (change, changes) = watch::channel(Arc::clone(&serving));
            self.udp.push(Front { name: Arc::clone(&listener.name), outputs, serving: change });
            self.list_backends();
            for (worker, socket) in sockets.into_iter().enumerate() {
                let counters = Arc::clone(&self.registry.udp[index].workers[worker]);
                // Those of a passed socket were counted by the relays before this one.
                let drops_seen = sys::kernel_drops(socket.as_fd()).unwrap_or_default();
                let notes = self.telling.notes(&listener.name);
                let intake = udp::Intake::new(&serving, counters, notes, drops_seen);
                let ending = if passed { udp::Ending::Leave } else { udp::Ending::Shut };
                let name = format!("udp-{}-{worker}", listener.name);
                let changes = changes.clone();
                let make = move |ring, stop, pulse| {
                    udp::Worker::new(ring, intake, changes, stop, pulse, ending)
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
    ) -> Result<(), StartError> {
        let threads = self.config.http_threads;
        let mut shares: Vec<Vec<http::Listener>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, bound) in listeners.into_iter().enumerate() {
            let Bound { sockets, passed, listener, outputs } = bound;
            let outputs = self.start_outputs(outputs)?;
            let serving = serving::of_http(&listener, &outputs, http::Shared::new(&listener));
            let (change, serving) = watch::channel(serving);
            self.http.push(Front { name: Arc::clone(&listener.name), outputs, serving: change });
            self.list_backends();
            for (place, socket) in sockets.into_iter().enumerate() {
                // More sockets than threads were passed, or there is one for each.
                let thread = place % threads;
                shares[thread].push(http::Listener {
                    socket,
                    stays_open: passed,
                    serving: serving.clone(),
                    metrics: Arc::clone(&self.registry.http[index].workers[thread]),
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
        self.config.shutdown_timeout
    }

    /// Every counter.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Takes note of a thread that ended; gives it back unless it is that of an output which was
    /// taken out.
    pub fn note(&mut self, ended: Ended) -> Option<Ended> {
        let its = |leaving: &Leaving| leaving.thread.has(ended.id);
        let Some(at) = self.leaving.iter().position(its) else { return Some(ended) };
        let mut gone = self.leaving.remove(at);
        gone.thread.join();
        let books = Books::of(&[Arc::clone(&gone.metrics)]);
        books.log();
        if !books.close() {
            self.unclosed.push(Arc::clone(&gone.metrics));
        }
        gone.tell_spool();
        self.list_backends();
        ended.error.is_some().then_some(ended)
    }

    /// Stops in order and answers the closing books.
    #[must_use]
    pub fn stop(mut self) -> Books {
        let deadline = Instant::now() + self.config.shutdown_timeout;
        self.outputs().for_each(|output| output.stop(deadline));
        self.leaving.iter().for_each(|output| output.stop(deadline));
        self.stopper.stop(deadline);
        self.wake_workers();
        self.fronts.join();
        self.telling.rest();
        let udp = std::mem::take(&mut self.udp).into_iter().flat_map(|front| front.outputs);
        let http = std::mem::take(&mut self.http).into_iter().flat_map(|front| front.outputs);
        let mut leaving: Vec<_> = udp.chain(http).map(Running::leave).collect();
        leaving.append(&mut self.leaving);
        leaving.iter_mut().for_each(|output| output.thread.join());
        self.admin_stopper.stop(Instant::now());
        self.admin.join();
        for Ended { thread, error, .. } in self.ended.try_iter() {
            if let Some(error) = error {
                tracing::error!(thread, error, "a thread failed while the relay was stopping");
            }
        }
        let mut backends = self.registry.backends.list();
        backends.append(&mut self.unclosed);
        Books::of(&backends)
    }

    fn wake_workers(&self) {
        for waker in &self.wakers {
            if let Err(error) = waker.wake() {
                tracing::warn!(%error, "a UDP worker could not be woken; it looks by itself soon");
            }
        }
    }
}

/// Lowers the bounds of `config` so far that all may be open which it asks for, and says so.
fn share_files(config: &mut Config) -> Result<(), StartError> {
    if let Some(limit) = sys::file_limit()
        && let Some(warning) = files::share(config, limit)?
    {
        tracing::warn!("{warning}");
    }
    Ok(())
}
