//! Whether files are still those that were read. Called by the acceptor and the connector.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Files are looked at no more often.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What tells that a file is another one, or was written to, or may be read now.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// Two files as they were when they were read, and when they were last looked at.
#[derive(Debug)]
pub(super) struct Stamps {
    stamps: [Option<Stamp>; 2],
    looked: Instant,
}

impl Stamps {
    /// As the files are now. To be made before they are read: a change in between is found then.
    pub(super) fn of(files: [Option<&Path>; 2]) -> Self {
        Self { stamps: files.map(|file| stamp(file?)), looked: Instant::now() }
    }

    /// Whether the files have changed since they were asked for last. Looks once a second.
    pub(super) fn changed(&mut self, files: [Option<&Path>; 2]) -> bool {
        if self.looked.elapsed() < LOOK_PAUSE {
            return false;
        }
        let now = Self::of(files);
        let changed = now.stamps != self.stamps;
        *self = now;
        changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = path.metadata().ok()?;
    let (written, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
    Some((data.dev(), data.ino(), data.size(), written, changed))
}
