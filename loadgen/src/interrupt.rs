//! SIGINT and SIGTERM as a flag that loops look at, so that runs end in order: reports are
//! printed and a relay that was started is stopped.

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a signal has come.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches for signals from now on.
    ///
    /// # Errors
    /// If the handlers cannot be set.
    pub fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("a signal handler")?;
        }
        Ok(Self(flag))
    }

    /// Whether a signal has come.
    #[must_use]
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if a signal has come.
    ///
    /// # Errors
    /// With a word about it.
    pub fn ensure_none(&self) -> Result<()> {
        ensure!(!self.came(), "interrupted");
        Ok(())
    }
}
