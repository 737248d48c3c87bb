//! The few operations on files that the spool needs, and the real ones: a directory that this
//! process alone uses. Called by the spool; the tests have a disk that loses power.

use rustix::fs::FlockOperation;
use rustix::rand::GetRandomFlags;
use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file whose lock says that a directory is in use.
const LOCK: &str = "lock";

/// A directory of files that nobody else changes.
pub trait Disk {
    /// A file of it. The directory itself is one too, when it is to be synced.
    type File: DiskFile;

    /// The names of all files.
    ///
    /// # Errors
    /// The system's, as for all of these.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that is not there yet, to read and write.
    ///
    /// # Errors
    /// As [`list`](Self::list), and `AlreadyExists`.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file to read it, and to write it if `writes`.
    ///
    /// # Errors
    /// As [`list`](Self::list), and `NotFound`.
    fn open(&self, name: &str, writes: bool) -> io::Result<Self::File>;
    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn remove(&self, name: &str) -> io::Result<()>;
    /// What is synced to make names last.
    fn directory(&self) -> Arc<Self::File>;
    /// A number that nobody can guess.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn random(&self) -> io::Result<u64>;
}

/// A file. Offsets and lengths are in bytes.
pub trait DiskFile: Debug {
    /// How long it is.
    ///
    /// # Errors
    /// The system's, as for all of these.
    fn size(&self) -> io::Result<u64>;
    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes the parts one behind the other, or some bytes less.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize>;
    /// Cuts it.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    fn set_len(&self, size: u64) -> io::Result<()>;
    /// Waits until all that was written is where no power cut reaches it.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    fn sync_data(&self) -> io::Result<()>;
}

/// A directory of the file system, locked for as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: Arc<File>,
    /// Open, for closing it ends the lock.
    _lock: File,
}

impl Directory {
    /// Makes the directory, with those above it, if it is not there, and takes its lock.
    ///
    /// # Errors
    /// Names the path; `ResourceBusy` if another process has the lock.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named = |error| named(path, &error);
        create(path).map_err(named)?;
        let lock = path.join(LOCK);
        let lock = options(true).create(true).truncate(false).open(lock).map_err(named)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let words =
                    "another process uses this spool: give each relay a directory of its own";
                return Err(named(io::Error::new(io::ErrorKind::ResourceBusy, words)));
            }
            Err(error) => return Err(named(error.into())),
        }
        let handle = Arc::new(File::open(path).map_err(named)?);
        Ok(Self { path: path.to_path_buf(), handle, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory, and sees to it that a power cut does not take it away again.
fn create(path: &Path) -> io::Result<()> {
    let there = path.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for above in path.ancestors().take_while(|&above| Some(above) != there).map(Path::parent) {
        let above = above.filter(|above| !above.as_os_str().is_empty());
        // One that may be passed through and not read cannot be synced.
        if let Ok(directory) = File::open(above.unwrap_or(Path::new("."))) {
            directory.sync_all()?;
        }
    }
    Ok(())
}

fn options(writes: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(writes).mode(0o600);
    options
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name()));
        // The spool's own names are plain text; others are nothing of its.
        names.filter_map(|name| name.map(|name| name.into_string().ok()).transpose()).collect()
    }

    fn create(&self, name: &str) -> io::Result<File> {
        options(true).create_new(true).open(self.path.join(name))
    }

    fn open(&self, name: &str, writes: bool) -> io::Result<File> {
        options(writes).open(self.path.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn directory(&self) -> Arc<File> {
        Arc::clone(&self.handle)
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        // Up to 256 bytes come whole: getrandom(2).
        rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, parts, at)?)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        File::set_len(self, size)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

/// Writes all parts, or fails; what was written of them then is anybody's guess.
pub(super) fn write_all(
    file: &impl DiskFile,
    mut parts: &mut [IoSlice<'_>],
    mut at: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match file.write_at(parts, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
