//! Reading the configuration again while the relay runs: all of the new file takes effect, or
//! nothing.
//!
//! `main` asks for a reload on SIGHUP. What may take long or fail is done on a thread of its own
//! (`prepare`): the file is read and checked, certificates are read, files of new outputs opened.
//! Then the relay starts the threads of new outputs and makes sure that each change has its place;
//! nothing has changed until here. The switch itself cannot fail: sender threads are given their
//! targets, then the fronts their fan-outs.
//!
//! An output of the same listener, name and kind goes on: its queue, thread, backlog, spool and
//! counters stay. One that is not in the file any more gets nothing new and drains by itself.

mod fixed;
mod prepare;

pub use prepare::Prepared;

use super::output::{Made, Placed, Running};
use super::{Bounds, Relay, StartError, serving};
use crate::backend::http::Files;
use crate::config::{self, Config, ConfigError, HttpListener, UdpListener};
use crate::sys;
use crate::timestamp::Precision;
use crossbeam_channel::{Receiver, RecvError, never};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A listener's name and an output's.
type Name = (Arc<str>, Arc<str>);

/// Why a new configuration does not take effect. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read, or has problems.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It asks for what cannot change while the relay runs: a sentence each.
    #[error("{}", .0.join("\n"))]
    Fixed(Vec<String>),
    /// Something that it asks for could not be had.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An output is back before the old one of its name is gone.
    #[error(
        "output {backend:?} of {relay:?} was taken out a moment ago and still drains; reload again \
         once the log has its closing books, or give the new one another name"
    )]
    Drains {
        /// The listener's name.
        relay: String,
        /// The output's.
        backend: String,
    },
    /// An output's thread has no room for one more change.
    #[error(
        "output {backend:?} of {relay:?} has not obeyed the reloads before this one; try again"
    )]
    Busy {
        /// The listener's name.
        relay: String,
        /// The output's.
        backend: String,
    },
    /// The thread that was to read the file could not be started.
    #[error("a thread could not be started: {0}; raise the limit on tasks (`ulimit -u`, TasksMax)")]
    Thread(std::io::Error),
    /// It ended without a word.
    #[error("the thread that read the file panicked; this is a defect, please report it")]
    Died,
}

/// The reload of one file that is under way, if one is.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    prepared: Option<Receiver<Result<Prepared, ReloadError>>>,
    asked_again: bool,
}

/// A new file that is ready to take effect, or why it does not.
pub type Ready = Result<Result<Prepared, ReloadError>, RecvError>;

impl Reload {
    /// None is under way.
    #[must_use]
    pub fn of(file: PathBuf) -> Self {
        Self { file, prepared: None, asked_again: false }
    }

    /// Begins to read the file; or, if it is being read already, reads it again after that.
    pub fn ask(&mut self, relay: &Relay) {
        if self.prepared.is_some() {
            self.asked_again = true;
            return;
        }
        let leaving = relay.leaving.iter().map(|output| {
            let metrics = &output.metrics;
            (Arc::clone(&metrics.relay), Arc::clone(&metrics.name))
        });
        match prepare::start(self.file.clone(), Arc::clone(&relay.config), leaving.collect()) {
            Ok(prepared) => self.prepared = Some(prepared),
            Err(error) => relay.refuse(&ReloadError::Thread(error)),
        }
    }

    /// Whether the file is being read.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.prepared.is_some()
    }

    /// Where it comes when it has been read.
    #[must_use]
    pub fn ready(&self) -> Receiver<Result<Prepared, ReloadError>> {
        self.prepared.clone().unwrap_or_else(never)
    }

    /// Puts into effect what was read, or says why not.
    pub fn finish(&mut self, relay: &mut Relay, ready: Ready) {
        self.prepared = None;
        let prepared = ready.unwrap_or(Err(ReloadError::Died));
        if let Err(error) = prepared.and_then(|prepared| relay.reload(prepared)) {
            relay.refuse(&error);
        }
        if std::mem::take(&mut self.asked_again) {
            self.ask(relay);
        }
    }
}

/// What a reload does to the outputs.
#[derive(Debug, Default)]
struct Tally {
    added: usize,
    changed: usize,
    removed: usize,
}

impl Relay {
    fn refuse(&self, error: &ReloadError) {
        self.registry.reloads.fail();
        for line in error.to_string().lines() {
            tracing::error!("the configuration is not reloaded: {line}");
        }
        tracing::error!("nothing has changed: the relay runs on with what it had");
    }

    /// Lets a new configuration take effect.
    fn reload(&mut self, prepared: Prepared) -> Result<(), ReloadError> {
        let Prepared { config, made, dead_letters } = prepared;
        let mut placed = self.place(&config, dead_letters)?;
        let mut added = self.start_added(made)?;
        // From here on nothing can fail.
        let (old, mut tally) = (Arc::clone(&self.config), Tally::default());
        let mut removed = Vec::new();
        let mut outputs = |name, running, listener: &[config::Output], old, precision| {
            let change = Outputs { name, old, new: listener, precision };
            change.switch(running, &mut placed, &mut added, &mut tally, &mut removed)
        };
        for front in &mut self.udp {
            let (was, is) = (of(&old.udp, &front.name), of(&config.udp, &front.name));
            let running = std::mem::take(&mut front.outputs);
            let precision = Some(is.precision);
            front.outputs = outputs(&front.name, running, &is.outputs, &was.outputs, precision);
            let limit = if was.line_rate == is.line_rate {
                front.serving.borrow().line_limit.clone()
            } else {
                is.line_rate.map(serving::rate_limit)
            };
            front.serving.send_replace(serving::of_udp(is, &front.outputs, limit));
        }
        for (index, front) in self.http.iter_mut().enumerate() {
            let (was, is) = (of(&old.http, &front.name), of(&config.http, &front.name));
            let running = std::mem::take(&mut front.outputs);
            front.outputs = outputs(&front.name, running, &is.outputs, &was.outputs, None);
            let shared = front.serving.borrow().shared.renewed(was, is);
            front.serving.send_replace(serving::of_http(is, &front.outputs, shared));
            self.registry.http[index].set_acceptor(is.tls.clone());
        }
        self.wake_workers();
        Bounds::of(&config).log();
        self.config = Arc::new(config);
        self.let_go(removed);
        self.registry.reloads.succeed(sys::now_s());
        let Tally { added, changed, removed } = tally;
        tracing::info!(added, changed, removed, "the configuration is reloaded");
        Ok(())
    }

    /// A place for the change of each output that is to send otherwise.
    fn place(
        &self,
        config: &Config,
        mut dead_letters: BTreeMap<Name, Files>,
    ) -> Result<BTreeMap<Name, Placed>, ReloadError> {
        let mut placed = BTreeMap::new();
        for (relay, old, new) in pairs(&self.config, config) {
            if old.target == new.target && !reads_certificates(new) {
                continue;
            }
            let name = (Arc::clone(relay), Arc::clone(&new.name));
            let letters = dead_letters.remove(&name);
            let mut running = self.outputs();
            let running = running.find(|running| {
                running.name() == &new.name && running.front.metrics.relay == *relay
            });
            let Some(place) = running.and_then(|running| running.place(&new.target, letters))
            else {
                let (relay, backend) = (relay.to_string(), new.name.to_string());
                return Err(ReloadError::Busy { relay, backend });
            };
            placed.insert(name, place);
        }
        Ok(placed)
    }

    /// Starts the outputs that are new in the file.
    fn start_added(
        &mut self,
        made: Vec<(Name, Made)>,
    ) -> Result<BTreeMap<Name, Running>, ReloadError> {
        let (names, made): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let running = self.start_outputs(made)?;
        Ok(names.into_iter().zip(running).collect())
    }
}

/// The outputs of one listener.
struct Outputs<'a> {
    name: &'a Arc<str>,
    old: &'a [config::Output],
    new: &'a [config::Output],
    precision: Option<Precision>,
}

impl Outputs<'_> {
    /// Those that run from now on, in the file's order.
    fn switch(
        &self,
        running: Vec<Running>,
        placed: &mut BTreeMap<Name, Placed>,
        added: &mut BTreeMap<Name, Running>,
        tally: &mut Tally,
        removed: &mut Vec<Running>,
    ) -> Vec<Running> {
        let relay = &**self.name;
        let mut old: BTreeMap<_, _> =
            running.into_iter().map(|output| (Arc::clone(output.name()), output)).collect();
        let mut outputs = Vec::new();
        for config in self.new {
            let (backend, name) =
                (&*config.name, (Arc::clone(self.name), Arc::clone(&config.name)));
            if let Some(mut output) = old.remove(&config.name) {
                if !self.old.contains(config) {
                    tally.changed += 1;
                    tracing::info!(relay, backend, "output changed");
                }
                output.change(config, self.precision, placed.remove(&name));
                outputs.push(output);
            } else if let Some(output) = added.remove(&name) {
                tally.added += 1;
                tracing::info!(relay, backend, "output added");
                outputs.push(output);
            }
        }
        for output in old.into_values() {
            tally.removed += 1;
            let (backend, lines) = (&**output.name(), output.front.metrics.owed.lines());
            tracing::info!(relay, backend, lines, "output taken out: it drains what it has");
            removed.push(output);
        }
        outputs
    }
}

/// The outputs that were there before, as they were and as they shall be.
fn pairs<'a>(
    old: &'a Config,
    new: &'a Config,
) -> impl Iterator<Item = (&'a Arc<str>, &'a config::Output, &'a config::Output)> {
    let udp = old.udp.iter().map(|was| (&was.name, &was.outputs, &of(&new.udp, &was.name).outputs));
    let http =
        old.http.iter().map(|was| (&was.name, &was.outputs, &of(&new.http, &was.name).outputs));
    udp.chain(http).flat_map(|(relay, old, new)| {
        old.iter().filter_map(move |old| {
            let new = new.iter().find(|new| new.name == old.name)?;
            Some((relay, old, new))
        })
    })
}

/// Certificates are compared by the names of their files, which may hold others by now.
fn reads_certificates(output: &config::Output) -> bool {
    matches!(&output.target, config::Target::Http(target) if target.tls.is_some())
}

/// A listener by its name.
fn of<'a, L: Listener>(listeners: &'a [L], name: &Arc<str>) -> &'a L {
    let found = listeners.iter().find(|listener| listener.name() == name);
    found.expect("a file with other listeners is refused")
}

trait Listener {
    fn name(&self) -> &Arc<str>;
}

impl Listener for UdpListener {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl Listener for HttpListener {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
}
