//! A bounded piece of a file in memory, so that small records next to each other cost no system
//! call each. Called by whoever reads segments; it knows no records.

use super::disk::DiskFile;
use std::io;

/// How much is read at once. A longer record is read whole, and its memory given back after it.
pub(super) const WINDOW_BYTES: usize = 256 << 10;
/// A disk fails by sectors, and is read by pages.
const PAGE_BYTES: u64 = 4096;
/// errno.h: the device could not read it.
const EIO: i32 = 5;

/// A piece of one file.
#[derive(Debug, Default)]
pub(super) struct Window {
    file: Option<u64>,
    start: u64,
    len: usize,
    buffer: Vec<u8>,
}

impl Window {
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Forgets what was read: the file may be another.
    pub(super) fn forget(&mut self) {
        self.file = None;
    }

    /// The bytes from `at` on, of what lies before `end`: at least `want`, if so many do. `id`
    /// tells files apart. What cannot be read is zeros.
    pub(super) fn get(
        &mut self,
        (id, file): (u64, &impl DiskFile),
        at: u64,
        want: usize,
        end: u64,
    ) -> io::Result<&[u8]> {
        let there = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let want = want.min(there);
        let offset = at.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        if let Some(offset) = offset
            && self.file == Some(id)
            && offset.checked_add(want).is_some_and(|needed| needed <= self.len)
        {
            return Ok(&self.buffer[offset..self.len]);
        }
        self.file = None;
        self.resize(want.max(WINDOW_BYTES.min(there)));
        let len = there.min(self.buffer.len());
        read(file, &mut self.buffer[..len], at)?;
        (self.file, self.start, self.len) = (Some(id), at, len);
        Ok(&self.buffer[..len])
    }

    fn resize(&mut self, len: usize) {
        if self.buffer.len() > WINDOW_BYTES {
            self.buffer.truncate(len);
            self.buffer.shrink_to_fit();
        }
        self.buffer.resize(len.max(self.buffer.len()), 0);
    }
}

/// Fills `bytes`. What a broken disk does not give, and what is beyond the file's end, is zeros:
/// the checksums say then which records are lost, and what is behind them is not.
fn read(file: &impl DiskFile, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let done = match file.read_at(bytes, at) {
            Ok(0) => {
                bytes.fill(0);
                return Ok(());
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if error.raw_os_error() == Some(EIO) => {
                let page = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).unwrap_or(usize::MAX);
                let lost = page.min(bytes.len());
                bytes[..lost].fill(0);
                lost
            }
            Err(error) => return Err(error),
        };
        bytes = &mut bytes[done..];
        at += done as u64;
    }
    Ok(())
}
