//! Named threads whose end is told: one that ends before its time must not go unnoticed.

use super::StartError;
use crate::pulse::Pulses;
use crate::runtime;
use crate::sys;
use crossbeam_channel::{Sender, bounded};
use std::io;
use std::thread::{Builder, JoinHandle, ThreadId};
use tokio_uring::Runtime;

/// A thread that ended, and why.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The thread's name.
    pub thread: String,
    /// Its number.
    pub id: ThreadId,
    /// The error it ended with; `None` for an end without one.
    pub error: Option<String>,
}

/// A set of threads that are joined together.
#[derive(Debug)]
pub(super) struct Threads {
    ended: Sender<Ended>,
    handles: Vec<JoinHandle<()>>,
}

/// Tells on drop, so that a panic is told too.
struct Teller {
    ended: Sender<Ended>,
    what: Ended,
    /// Its end is nothing new: whoever started it was told that it could not begin.
    never_began: bool,
}

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.what.error = Some("it panicked; this is a defect, please report it".to_owned());
        }
        if !self.never_began || self.what.error.is_some() {
            drop(self.ended.send(self.what.clone()));
        }
    }
}

impl Threads {
    /// A set whose ends are told to `ended`.
    pub(super) fn new(ended: Sender<Ended>) -> Self {
        Self { ended, handles: Vec::new() }
    }

    /// Starts a thread. The kernel shows the first 15 bytes of `name`.
    pub(super) fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StartError> {
        self.spawn_telling(name, move |_| body())
    }

    fn spawn_telling(
        &mut self,
        name: String,
        body: impl FnOnce(&mut Teller) -> io::Result<()> + Send + 'static,
    ) -> Result<(), StartError> {
        let (ended, thread) = (self.ended.clone(), name.clone());
        let handle = Builder::new()
            .name(name)
            .spawn(move || {
                let what = Ended { thread, id: std::thread::current().id(), error: None };
                let mut teller = Teller { ended, what, never_began: false };
                teller.what.error = body(&mut teller).err().map(|error| error.to_string());
            })
            .map_err(StartError::Thread)?;
        self.handles.push(handle);
        Ok(())
    }

    /// Starts a thread and waits until it has made what it works with, which may never leave it.
    /// Answers what `make` gives beside that.
    pub(super) fn spawn_with<Tool, Told: Send + 'static>(
        &mut self,
        name: String,
        make: impl FnOnce() -> io::Result<(Tool, Told)> + Send + 'static,
        body: impl FnOnce(Tool) -> io::Result<()> + Send + 'static,
    ) -> Result<Told, StartError> {
        let (made, ready) = bounded(1);
        self.spawn_telling(name, move |teller| match make() {
            Ok((tool, told)) => {
                drop(made.send(Ok(told)));
                body(tool)
            }
            Err(error) => {
                teller.never_began = true;
                drop(made.send(Err(error)));
                Ok(())
            }
        })?;
        ready.recv().map_err(|_| StartError::Died)?.map_err(StartError::Ring)
    }

    /// Starts a thread with a runtime of `tokio-uring`, which answers `pulses` by itself.
    pub(super) fn spawn_runtime(
        &mut self,
        pulses: &mut Pulses,
        name: String,
        body: impl FnOnce(Runtime) -> io::Result<()> + Send + 'static,
    ) -> Result<(), StartError> {
        let pulse = pulses.pulse();
        // The question itself wakes the runtime.
        pulses.ask(name.clone(), pulse.answers(), || ());
        let make = move || {
            let runtime = runtime::new()?;
            runtime.block_on(async { drop(tokio_uring::spawn(pulse.beat_always())) });
            Ok((runtime, ()))
        };
        self.spawn_with(name, make, body)
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, id: ThreadId) -> bool {
        self.handles.iter().any(|handle| handle.thread().id() == id)
    }

    /// Waits for all of them.
    pub(super) fn join(&mut self) {
        for handle in self.handles.drain(..) {
            // A panic was told already.
            drop(handle.join());
        }
    }
}

/// Pins the calling thread; where that is forbidden, the scheduler does as well as it can.
pub(super) fn pin(core: usize) {
    if let Err(error) = sys::pin_thread(core) {
        tracing::warn!(core, %error, "this thread could not be pinned to its core");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_could_not_begin_is_told_to_whoever_started_it_alone() {
        let (tell, ended) = crossbeam_channel::unbounded();
        let mut threads = Threads::new(tell);
        let refused = threads.spawn_with(
            "no".into(),
            || Err::<((), ()), _>(io::ErrorKind::OutOfMemory.into()),
            |()| Ok(()),
        );
        assert!(matches!(refused, Err(StartError::Ring(_))), "{refused:?}");
        threads.join();
        assert!(ended.is_empty());
        threads.spawn_with("yes".into(), || Ok(((), ())), |()| Ok(())).expect("it begins");
        threads.join();
        assert_eq!(ended.try_iter().map(|ended| ended.thread).collect::<Vec<_>>(), ["yes"]);
    }
}
