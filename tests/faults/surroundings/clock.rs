//! A clock that can be stepped: Debian's `libfaketime`, which a relay is started with, reads how
//! far it is off from a file. The monotonic clock goes on as it does when a real one is set.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The wall clock of one relay.
pub(super) struct Clock {
    dir: TempDir,
}

impl Clock {
    pub(super) fn new() -> Self {
        let clock = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        clock.set(0);
        clock
    }

    /// So many seconds off.
    pub(super) fn set(&self, seconds: i64) {
        // Whole or not at all: the relay reads it at every look at its clock.
        let new = self.dir.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("a temporary file");
        fs::rename(new, self.file()).expect("a temporary file");
    }

    pub(super) fn prepare(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library().expect("the test required it"));
        command.env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }
}

/// What is missing for it.
pub(super) fn missing() -> Option<String> {
    library().is_none().then(|| "libfaketime is not installed".to_owned())
}

fn library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let mut files = directories.map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.is_file())
}
