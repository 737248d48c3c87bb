//! One output from its queue to its end: made, started, changed, let go.
//!
//! Called by the relay when it starts and when its configuration is read again. What can fail is in
//! the making and the starting; a change that has its place and a farewell cannot.

use super::StartError;
use super::threads::{Ended, Threads};
use crate::backend::http::{Change, Files, FilesError, Way, spool_directory};
use crate::backend::{self, udp};
use crate::config::{self, Dialect, HttpTarget, Target, UdpTarget};
use crate::control;
use crate::dialect;
use crate::fanout;
use crate::metrics;
use crate::pulse::Pulses;
use crate::queue::{self, Limits, Poke, Receiver};
use crate::stop::Stopper;
use crate::timestamp::Precision;
use crate::write::{Api, Destination, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::{self, OwnedPermit};

/// Writes that may wait for one backend; the byte limit is usually the tighter one.
const QUEUED_WRITES: usize = 8192;
/// Changes that may wait for one sender thread. It obeys between two turns.
const CHANGES: usize = 4;

/// An output whose queue is made and whose files are open; it has no thread yet.
pub(super) struct Made {
    front: fanout::Output,
    queue: Receiver<Write>,
    transport: Transport,
    changes: Changes,
    spool: Option<PathBuf>,
}

/// How its thread sends.
enum Transport {
    Udp(Arc<udp::Transport>),
    Http(Box<Way>),
}

/// The way of a change to its thread.
enum Changes {
    Udp(Arc<udp::Transport>, Poke),
    Http(mpsc::Sender<Change>),
}

/// An output that runs.
pub(super) struct Running {
    /// What fronts have a clone of.
    pub(super) front: fanout::Output,
    changes: Changes,
    stopper: Stopper,
    thread: Threads,
    spool: Option<PathBuf>,
}

/// An output that gets nothing new, and drains.
pub(super) struct Leaving {
    /// Its counters.
    pub(super) metrics: Arc<metrics::Backend>,
    stopper: Stopper,
    /// Its thread.
    pub(super) thread: Threads,
    /// Where its spool is.
    pub(super) spool: Option<PathBuf>,
}

impl Leaving {
    /// What is left at `deadline`, or when it had to be drained before that, is dropped or stays in
    /// the spool.
    pub(super) fn stop(&self, deadline: Instant) {
        self.stopper.stop(deadline);
    }

    /// Says where the rest of it is, if it has a rest that outlives it.
    pub(super) fn tell_spool(&self) {
        let Some(dir) = &self.spool else { return };
        let (relay, backend, lines) =
            (&*self.metrics.relay, &*self.metrics.name, self.metrics.spool.left.get());
        tracing::warn!(
            relay,
            backend,
            lines,
            ?dir,
            "its spool stays on the disk: an output of this name that is given it again sends it; \
             otherwise remove it"
        );
    }
}

/// A change whose place in the thread's inbox is sure.
pub(super) enum Placed {
    Udp(UdpTarget),
    Http(OwnedPermit<Change>, Box<Change>),
}

impl Made {
    /// Makes the queue of an output of listener `relay`, and opens its files. `precision` is that
    /// of what comes by UDP.
    pub(super) fn new(
        relay: &Arc<str>,
        output: &config::Output,
        precision: Option<Precision>,
    ) -> Result<Self, StartError> {
        let limits = Limits { items_max: QUEUED_WRITES, bytes_max: output.queue_bytes_max };
        let (push, pop) = queue::bounded(limits);
        let owed = Arc::clone(push.owed());
        let metrics =
            Arc::new(metrics::Backend::new(Arc::clone(relay), Arc::clone(&output.name), owed));
        let mut front = fanout::Output {
            queue: push,
            metrics: Arc::clone(&metrics),
            direct: None,
            filter: None,
            dialect: Dialect::V1,
            destination: Arc::default(),
            apis: Vec::new(),
            control: None,
        };
        let (transport, changes, spool) = match output.target.clone() {
            Target::Udp(target) => {
                let udp = Arc::new(udp::Transport::new(target, metrics));
                front.direct = Some(Arc::clone(&udp) as _);
                (Transport::Udp(Arc::clone(&udp)), Changes::Udp(udp, pop.poke()), None)
            }
            Target::Http(target) => {
                let (control, commands) = control::channel();
                front.control = Some(control);
                let files = open_files(&target, relay, &output.name, &metrics)?;
                let spool = target.backlog.as_ref().and_then(|backlog| backlog.spool.as_ref());
                let spool = spool.map(|spool| spool_directory(spool, relay, &output.name));
                let (give, changes) = mpsc::channel(CHANGES);
                let way = Box::new(Way { target, files, commands, changes });
                (Transport::Http(way), Changes::Http(give), spool)
            }
        };
        let front = configured(front, output, precision);
        Ok(Self { front, queue: pop, transport, changes, spool })
    }

    /// Starts its thread, whose end is told to `tell`.
    pub(super) fn start(
        self,
        tell: &crossbeam_channel::Sender<Ended>,
        pulses: &mut Pulses,
    ) -> Result<Running, StartError> {
        let Self { front, queue, transport, changes, spool } = self;
        let (stopper, mut thread) = (Stopper::default(), Threads::new(tell.clone()));
        let (stop, name) = (stopper.watch(), format!("out-{}", front.metrics.name));
        match transport {
            Transport::Udp(transport) => {
                let (pulse, poke) = (pulses.pulse(), queue.poke());
                pulses.ask(name.clone(), pulse.answers(), move || poke.poke());
                thread.spawn(name, move || {
                    udp::run(&queue, &transport, &stop, &pulse);
                    Ok(())
                })?;
            }
            Transport::Http(way) => {
                let metrics = Arc::clone(&front.metrics);
                thread.spawn_runtime(pulses, name, move |runtime| {
                    backend::http::run(&runtime, queue, *way, metrics, stop);
                    Ok(())
                })?;
            }
        }
        Ok(Running { front, changes, stopper, thread, spool })
    }
}

impl Running {
    /// Its name in the configuration.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.front.metrics.name
    }

    /// Makes sure that a change to `target` will reach its thread; `None` if that has no room for
    /// one more, or has ended.
    pub(super) fn place(&self, target: &Target, dead_letters: Option<Files>) -> Option<Placed> {
        match (&self.changes, target.clone()) {
            (Changes::Udp(..), Target::Udp(target)) => Some(Placed::Udp(target)),
            (Changes::Http(changes), Target::Http(target)) => {
                let permit = changes.clone().try_reserve_owned().ok()?;
                Some(Placed::Http(permit, Box::new(Change { target, dead_letters })))
            }
            _ => None,
        }
    }

    /// Goes on as `output` says. To be followed by a new fan-out for its fronts.
    pub(super) fn change(
        &mut self,
        output: &config::Output,
        precision: Option<Precision>,
        placed: Option<Placed>,
    ) {
        match (&self.changes, placed) {
            (Changes::Udp(transport, poke), Some(Placed::Udp(target))) => {
                transport.retarget(target);
                poke.poke();
            }
            (Changes::Http(_), Some(Placed::Http(permit, change))) => drop(permit.send(*change)),
            _ => {}
        }
        self.front = configured(self.front.clone(), output, precision);
    }

    /// What is left at `deadline` is dropped, or stays in the spool.
    pub(super) fn stop(&self, deadline: Instant) {
        self.stopper.stop(deadline);
    }

    /// Lets go of the queue: its thread ends once all fronts have, and it is drained.
    pub(super) fn leave(self) -> Leaving {
        let Self { front, stopper, thread, spool, .. } = self;
        Leaving { metrics: Arc::clone(&front.metrics), stopper, thread, spool }
    }
}

/// A front's view of an output, as configured.
fn configured(
    front: fanout::Output,
    output: &config::Output,
    precision: Option<Precision>,
) -> fanout::Output {
    let (dialect, apis) = match &output.target {
        Target::Udp(_) => (Dialect::V1, vec![Api::Lines]),
        Target::Http(target) => (target.dialect.clone(), apis(target)),
    };
    front.metrics.configured.set(shown(output));
    fanout::Output {
        queue: front.queue.with_bytes_max(output.queue_bytes_max),
        filter: output.filter.clone(),
        dialect,
        destination: Arc::new(destination(&output.target, precision)),
        apis,
        ..front
    }
}

/// What is shown of an output beside its counters.
fn shown(output: &config::Output) -> metrics::ConfiguredValues {
    let backlog = match &output.target {
        Target::Http(target) => target.backlog.as_ref(),
        Target::Udp(_) => None,
    };
    let spool = backlog.and_then(|backlog| backlog.spool.as_ref());
    metrics::ConfiguredValues {
        location: output.target.location(),
        is_udp: matches!(output.target, Target::Udp(_)),
        queue_bytes_max: output.queue_bytes_max,
        backlog_bytes_max: backlog.map_or(0, |backlog| backlog.bytes_max),
        spool_bytes_max: spool.map_or(0, |spool| spool.bytes_max),
    }
}

/// The write endpoints of a backend.
fn apis(target: &HttpTarget) -> Vec<Api> {
    let paths = [(Api::Lines, &target.write_path), (Api::Prometheus, &target.write_prom_path)];
    paths.into_iter().filter_map(|(api, path)| path.as_ref().map(|_| api)).collect()
}

/// Where a backend of a UDP listener gets its lines written to.
fn destination(target: &Target, precision: Option<Precision>) -> Destination {
    let (Target::Http(target), Some(precision)) = (target, precision) else {
        return Destination::default();
    };
    match target {
        HttpTarget { database: Some(database), dialect: Dialect::V1, .. } => {
            dialect::v1(database, precision)
        }
        HttpTarget { dialect: Dialect::V2 { org, bucket: Some(bucket) }, .. } => {
            dialect::v2(org, bucket, precision)
        }
        _ => Destination::default(),
    }
}

fn open_files(
    target: &HttpTarget,
    relay: &str,
    backend: &str,
    metrics: &metrics::Backend,
) -> Result<Files, StartError> {
    let open = |backlog| Files::open(backlog, relay, backend, metrics).map_err(bad_files(backend));
    target.backlog.as_ref().map_or(Ok(Files::default()), open)
}

/// What is said of a directory that cannot be used.
pub(super) fn bad_files(backend: &str) -> impl Fn(FilesError) -> StartError {
    move |FilesError { key, dir, error }| StartError::Directory {
        name: backend.to_owned(),
        key,
        dir,
        error,
    }
}
