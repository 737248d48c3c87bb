//! The files of one backend: its dead letters and its spool.
//!
//! Opened by `relay` at start, so that what is wrong with them keeps the relay from starting, and
//! used by the sender loop.

use super::dead_letters::DeadLetterFile;
use crate::config::{self, Fsync};
use crate::metrics;
use crate::spool::{Directory, Limits, Recovered, Spool};
use std::io;
use std::path::PathBuf;

/// What a backend with a backlog has on disk.
#[derive(Debug, Default)]
pub struct Files {
    pub(super) dead_letters: Option<DeadLetterFile>,
    pub(super) spool: Option<(Spool, Fsync)>,
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub struct FilesError {
    /// The key that names it.
    pub key: &'static str,
    /// Where it is.
    pub dir: PathBuf,
    /// The file system's words.
    pub error: io::Error,
}

impl Files {
    /// Opens, or creates, what the backend `backend` of listener `relay` needs, and takes note of
    /// what an earlier run left in its spool. Reads the whole spool once.
    ///
    /// # Errors
    /// The file system's; or another process has the spool.
    pub fn open(
        config: &config::Backlog,
        relay: &str,
        backend: &str,
        metrics: &metrics::Backend,
    ) -> Result<Self, FilesError> {
        let spool = config.spool.as_ref().map(|spool| {
            let failed = |error| FilesError { key: "spool-dir", dir: spool.dir.clone(), error };
            recover(spool, relay, backend, metrics).map_err(failed)
        });
        let Self { dead_letters, .. } = Self::dead_letters(config, relay, backend)?;
        Ok(Self { dead_letters, spool: spool.transpose()? })
    }

    /// Opens, or creates, its dead letters alone.
    ///
    /// # Errors
    /// The file system's.
    pub fn dead_letters(
        config: &config::Backlog,
        relay: &str,
        backend: &str,
    ) -> Result<Self, FilesError> {
        let opened = config.dead_letters.as_ref().map(|letters| {
            let dir = letters.dir.clone();
            let failed = |error| FilesError { key: "dead-letter-dir", dir, error };
            DeadLetterFile::open(letters, relay, backend).map_err(failed)
        });
        Ok(Self { dead_letters: opened.transpose()?, spool: None })
    }
}

/// Where the spool of a backend is.
#[must_use]
pub fn spool_directory(config: &config::Spool, relay: &str, backend: &str) -> PathBuf {
    config.dir.join(file_name(relay, backend))
}

fn recover(
    config: &config::Spool,
    relay: &str,
    backend: &str,
    metrics: &metrics::Backend,
) -> io::Result<(Spool, Fsync)> {
    let config::Spool { bytes_max, age_max, fsync, .. } = config;
    let directory = Directory::open(&spool_directory(config, relay, backend))?;
    let mut spool = Spool::open(directory, Limits { bytes_max: *bytes_max, age_max: *age_max })?;
    let Recovered { lines, opaque, bytes, corrupt, torn_bytes, .. } = spool.recover()?;
    metrics.spool.restored.add(lines);
    metrics.spool.opaque_restored.add(opaque);
    metrics.spool.damaged.add(corrupt);
    metrics.spool.set_bytes(bytes);
    metrics.owed.restore(lines);
    metrics.opaque.queued.add(opaque);
    if lines + opaque + corrupt + torn_bytes > 0 {
        tracing::info!(
            relay,
            backend,
            lines,
            opaque,
            bytes,
            corrupt,
            torn_bytes,
            "the spool holds what an earlier run left; it is sent first"
        );
    }
    Ok((spool, *fsync))
}

/// What a backend's file or directory is called: no `/`, no `.` but the one in the middle.
pub(super) fn file_name(relay: &str, backend: &str) -> String {
    let escaped = |name: &str| {
        form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('.', "%2E")
    };
    format!("{}.{}", escaped(relay), escaped(backend))
}
