//! One pass over the records of a file: each that is whole, and the stretches that are not.
//! Called when a segment is recovered, and when one turns out to be damaged.

use super::disk::DiskFile;
use super::name::Name;
use super::record::{COVERED, HEADER_BYTES, Header, RECORD_BYTES_MIN, Seal};
use super::window::{WINDOW_BYTES, Window};
use memchr::memmem;
use std::io;

/// What is next in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// A record whose checksum holds.
    Record { at: u64, header: Header },
    /// No record begins here, and none before `until`.
    Damage { at: u64, until: u64 },
}

/// A pass over one file. It holds no more of it than the window.
#[derive(Debug)]
pub(super) struct Scan<'a, F> {
    name: Name,
    seal: Seal,
    file: &'a F,
    window: &'a mut Window,
    at: u64,
    end: u64,
    /// The next record has this index or a higher one.
    index: u32,
    /// What a search has found already.
    ahead: Option<Header>,
}

impl<'a, F: DiskFile> Scan<'a, F> {
    pub(super) fn new(name: Name, file: &'a F, window: &'a mut Window, end: u64) -> Self {
        window.forget();
        let seal = Seal::new(name);
        Self { name, seal, file, window, at: 0, end, index: 0, ahead: None }
    }

    /// `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        let at = self.at;
        if at >= self.end {
            return Ok(None);
        }
        let header = match self.ahead.take() {
            Some(header) => Some(header),
            None => self.check(at)?,
        };
        if let Some(header) = header {
            self.at += header.record_bytes();
            self.index = header.index + 1;
            return Ok(Some(Found::Record { at, header }));
        }
        self.at = self.search(at + 1)?;
        Ok(Some(Found::Damage { at, until: self.at }))
    }

    fn get(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        self.window.get((self.name.id, self.file), at, want, self.end)
    }

    /// The header of the record at `at`, if one is there, whole.
    fn check(&mut self, at: u64) -> io::Result<Option<Header>> {
        let seal = self.seal;
        let Some(header) = Header::parse(self.get(at, HEADER_BYTES)?, seal) else {
            return Ok(None);
        };
        let fits = header.record_bytes() <= self.end - at;
        // Each record before it takes some bytes: so no index is too large to keep account of.
        let possible = u64::from(header.index) <= at / RECORD_BYTES_MIN;
        if !fits || !possible || header.index < self.index {
            return Ok(None);
        }
        let mut hasher = seal.hasher();
        let (mut from, end) = (at + COVERED as u64, at + header.record_bytes());
        while from < end {
            let left = usize::try_from(end - from).unwrap_or(usize::MAX);
            let bytes = self.get(from, left.min(WINDOW_BYTES))?;
            let bytes = &bytes[..left.min(bytes.len())];
            hasher.update(bytes);
            from += bytes.len() as u64;
        }
        Ok((hasher.finalize() == header.crc).then_some(header))
    }

    /// Where the next whole record begins; the file's end, if there is none.
    fn search(&mut self, mut from: u64) -> io::Result<u64> {
        let magic = self.seal.magic;
        let finder = memmem::Finder::new(&magic);
        loop {
            let bytes = self.get(from, WINDOW_BYTES)?;
            if let Some(offset) = finder.find(bytes) {
                from += offset as u64;
                self.ahead = self.check(from)?;
                if self.ahead.is_some() {
                    return Ok(from);
                }
                from += 1;
            } else {
                // The first bytes of one may be the last here.
                let passed = bytes.len().saturating_sub(magic.len() - 1).max(1);
                from += passed as u64;
                if from + magic.len() as u64 > self.end {
                    return Ok(self.end);
                }
            }
        }
    }
}

/// A stretch without a whole record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) at: u64,
    pub(super) until: u64,
    /// The index that should have been next.
    pub(super) expected: u32,
    /// The index of the record behind it, if there is one.
    pub(super) next: Option<u32>,
}

impl<F: DiskFile> Scan<'_, F> {
    /// Passes over all of the file, and gives what is damaged in it.
    pub(super) fn survey(mut self, mut record: impl FnMut(u64, Header)) -> io::Result<Vec<Gap>> {
        let mut gaps: Vec<Gap> = Vec::new();
        let mut expected = 0;
        while let Some(found) = self.next()? {
            match found {
                Found::Damage { at, until } => {
                    gaps.push(Gap { at, until, expected, next: None });
                }
                Found::Record { at, header } => {
                    if let Some(gap) = gaps.last_mut().filter(|gap| gap.until == at) {
                        gap.next = Some(header.index);
                    }
                    expected = header.index + 1;
                    record(at, header);
                }
            }
        }
        Ok(gaps)
    }
}
