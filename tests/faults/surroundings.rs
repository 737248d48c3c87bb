//! What is around the relay besides its backends: the names of hosts, the clock, and the disk.
//!
//! All are the relay's alone: it runs in a mount namespace with a resolver of its own, with a
//! library that moves its clock, or with its spool on a small file system. What that takes and is
//! not there is said, as for the real parts of the end-to-end tests.

mod clock;
mod disk;
mod names;

use crate::harness::binary;
use crate::schedule::{Kind, Schedule};
pub(crate) use disk::DiskState;
pub(crate) use names::Answers;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Of one relay, through all its lives.
pub(crate) struct Surroundings {
    host: String,
    names: Option<names::Names>,
    clock: Option<clock::Clock>,
    disk: disk::Disk,
}

impl Surroundings {
    pub(crate) fn new(schedule: &Schedule) -> Self {
        let host = schedule.host();
        let names = (schedule.kind == Kind::Names).then(|| names::Names::start(host));
        let clock = schedule.kind.sets_clock().then(clock::Clock::new);
        let disk = disk::Disk::new(schedule.kind == Kind::Disk);
        Self { host: host.to_string(), names, clock, disk }
    }

    /// Becomes the relay when it is given the relay's arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.names {
            Some(names) => names.command(&binary()),
            None => Command::new(binary()),
        };
        if let Some(clock) = &self.clock {
            clock.prepare(&mut command);
        }
        command
    }

    /// The host of a backend, by its index.
    pub(crate) fn host(&self, backend: usize) -> String {
        match &self.names {
            Some(_) => format!("b{backend}.fault.test"),
            None => self.host.clone(),
        }
    }

    /// How names resolve from now on.
    pub(crate) fn answer(&self, answers: Answers) {
        if let Some(names) = &self.names {
            names.set(answers);
        }
    }

    /// Where a spool may be.
    pub(crate) fn dir(&self) -> &Path {
        self.disk.dir()
    }

    /// How the file system of that is from now on.
    pub(crate) fn set_disk(&self, state: DiskState) {
        self.disk.set(state);
    }

    /// Sets the clock so many seconds off.
    pub(crate) fn set_clock(&self, seconds: i64) {
        if let Some(clock) = &self.clock {
            clock.set(seconds);
        }
    }
}

/// Whether schedules of this kind can run here.
///
/// # Panics
/// If they cannot, and `RINGRELAY_REQUIRE_REAL=1` is set.
pub(crate) fn can(kind: Kind) -> bool {
    let missing = match kind {
        Kind::Plain | Kind::Overwrites | Kind::Spool | Kind::SpooledOverwrites => return true,
        Kind::Names => names::missing(),
        Kind::Clock | Kind::SpooledClock => clock::missing(),
        Kind::Disk => disk::missing(),
    };
    let Some(missing) = missing else { return true };
    let required = std::env::var_os("RINGRELAY_REQUIRE_REAL").is_some_and(|value| value == "1");
    assert!(!required, "RINGRELAY_REQUIRE_REAL=1, and {missing}");
    // Straight to the descriptor: libtest keeps what a passing test prints.
    let said = format!("SKIPPED faults of kind {kind:?}: {missing}; see CONTRIBUTING.md\n");
    std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
    false
}
