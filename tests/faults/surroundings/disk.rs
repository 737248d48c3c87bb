//! The directory of a spool, on a small file system of its own if it is to fail. That needs root.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// How much it takes.
const OPTIONS: &str = "size=64m,mode=0700";

/// How the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskState {
    Well,
    Full,
    /// In its directories nothing can be made or removed.
    ReadOnly,
}

/// The disk of one relay.
pub(super) struct Disk {
    dir: TempDir,
    mounted: bool,
}

impl Disk {
    pub(super) fn new(fails: bool) -> Self {
        let disk = Self { dir: tempfile::tempdir().expect("a directory"), mounted: fails };
        if fails {
            let mount = ["-t", "tmpfs", "-o", OPTIONS, "ringrelay-faults"];
            assert!(run(Command::new("mount").args(mount).arg(disk.dir())), "it mounts");
        }
        disk
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn set(&self, state: DiskState) {
        if !self.mounted {
            return;
        }
        self.set_immutable(false);
        let filler = self.dir().join("filler");
        match state {
            DiskState::Well => drop(fs::remove_file(filler)),
            DiskState::Full => {
                let mut file = File::create(filler).expect("it was well");
                // To the last byte: the one that does not fit ends it.
                for size in [1 << 20, 1 << 12, 1] {
                    let bytes = vec![0; size];
                    while file.write_all(&bytes).is_ok() {}
                }
            }
            // The relay's lock is open for writing, which keeps the kernel from mounting the whole
            // read-only: no file is made or removed, as then.
            DiskState::ReadOnly => self.set_immutable(true),
        }
    }

    fn set_immutable(&self, immutable: bool) {
        let how = if immutable { "+i" } else { "-i" };
        for spool in fs::read_dir(self.dir()).expect("it is there").flatten() {
            if spool.path().is_dir() {
                run(Command::new("chattr").arg(how).arg(spool.path()));
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            run(Command::new("umount").arg("-l").arg(self.dir()));
        }
    }
}

/// `mount` reads the list of all mounts, and misses some of it while another changes it.
static MOUNTS: Mutex<()> = Mutex::new(());

fn run(command: &mut Command) -> bool {
    let _one = MOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let command = command.stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What is missing for it.
pub(super) fn missing() -> Option<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = ["-t", "tmpfs", "-o", OPTIONS, "ringrelay-faults"];
    let mounts = run(Command::new("mount").args(mount).arg(dir.path()));
    (!mounts || !run(Command::new("umount").arg(dir.path())))
        .then(|| "a file system cannot be mounted without root".to_owned())
}
