//! The file of one backend's dead letters: writes that were set aside, with the backend's words.
//!
//! Opened by `relay` at start, written by the sender loop. What it says is in comments, so that
//! the file is line protocol as a whole and can be sent again as it is. Never read here.

use super::files::file_name;
use crate::config::DeadLetters;
use crate::write::Write;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

/// What of the backend's words is kept.
const WORDS_BYTES_MAX: usize = 1024;

/// One backend's file. Lines may be confidential, so only the relay's user may read it.
#[derive(Debug)]
pub(super) struct DeadLetterFile {
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl DeadLetterFile {
    /// Opens, or creates, the file of the backend `backend` of listener `relay`, and the
    /// directory if it is not there. What the file holds already counts.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn open(config: &DeadLetters, relay: &str, backend: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&config.dir)?;
        let path = config.dir.join(file_name(relay, backend) + ".lp");
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes, bytes_max: config.bytes_max })
    }

    /// From now on takes no more than `bytes_max` bytes.
    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Appends a write that the backend answered with `status` and `words`.
    ///
    /// # Errors
    /// The file system's, or `QuotaExceeded` if the file would get too large. Nothing that could
    /// be taken for a whole write was added then.
    pub(super) fn append(
        &mut self,
        write: &Write,
        status: &str,
        words: &[u8],
        now_s: u64,
    ) -> io::Result<()> {
        let words = String::from_utf8_lossy(&words[..words.len().min(WORDS_BYTES_MAX)]);
        let words = words.replace(|c: char| c.is_control(), " ");
        let shown = write.destination.shown();
        let lines = write.batch.lines();
        let mut record =
            format!("# {now_s} {shown} lines={lines}: {status}: {words}\n").into_bytes();
        record.extend_from_slice(write.batch.bytes());
        if self.bytes + record.len() as u64 > self.bytes_max {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        // Its write leaves the spool next: it must be on the disk before.
        let written = self.file.write_all(&record).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A part of it may be there: what follows must not be joined to it.
            drop(self.file.set_len(self.bytes));
            return Err(error);
        }
        self.bytes += record.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::write::Destination;
    use bytes::Bytes;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn write() -> Write {
        let query = "db=d&u=me&p=secret&precision=ns".to_owned();
        Write {
            batch: Batch::from_body(Bytes::from_static(b"a f=1 1\nb f=2 2\n"), vec![8, 16]),
            destination: Arc::new(Destination { query, ..Destination::default() }),
            client: None,
        }
    }

    #[test]
    fn is_line_protocol_with_the_words_in_comments_and_without_credentials() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = DeadLetters { dir: dir.path().join("new/dir"), bytes_max: 200 };
        let open = || DeadLetterFile::open(&config, "relay", "http://h:1/../x").expect("it opens");
        let mut file = open();
        file.append(&write(), "it answers 500", b"{\"error\":\n\"x\"}", 7).expect("there is room");
        let record = "# 7 db=d&precision=ns lines=2: it answers 500: {\"error\": \"x\"}\n\
                      a f=1 1\nb f=2 2\n";
        let path = config.dir.join("relay.http%3A%2F%2Fh%3A1%2F%2E%2E%2Fx.lp");
        let read = || std::fs::read_to_string(&path).expect("it reads");
        assert_eq!(read(), record);
        drop(file);
        let mut file = open();
        file.append(&write(), "it answers 500", b"{\"error\":\n\"x\"}", 7).expect("there is room");
        let full = file.append(&write(), "it answers 500", b"", 7).expect_err("it is full");
        assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(read(), record.repeat(2));
        let mode = file.file.metadata().expect("it is open").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
