//! One backend's writes on disk, in the order in which they were appended, each settled once, in
//! any order.
//!
//! Called by the backend's sender thread, which says when files are synced and when old records
//! go. Synchronous; no thread, no clock, no log of its own, and it knows nothing of backends.
//!
//! A spool is a directory of *segments*, each a file of records (`record`) and, once some of those
//! are settled, a file of `marks`. A segment is removed when all its records are settled. Memory
//! is two bits for each record, one window of 256 KiB or the largest record, and at most 16 open
//! files beside the one appended to, the directory and its lock; a [`Commit`] may have 32 more.
//!
//! Removal of a segment is two removals, the records first: a file system that keeps the order of
//! a directory's changes (all with a journal do) never leaves records whose marks are gone.

mod append;
mod commit;
mod disk;
mod handles;
mod marks;
mod name;
mod read;
mod record;
mod recover;
mod scan;
mod segment;
mod settle;
mod window;

pub use commit::Commit;
pub use disk::{Directory, Disk, DiskFile};
pub use read::{Cursor, Kept};
pub use record::Record;
pub use recover::Recovered;
pub use settle::{Trimmed, Why};

use commit::Dirty;
use handles::Handles;
use name::{Name, Parsed, Part};
use read::Known;
use segment::Segment;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use window::Window;

/// A segment holds this part of the whole, so that little is lost when the oldest must go.
const SEGMENTS: u64 = 32;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes on disk. The owner keeps to it by [`Spool::trim`].
    pub bytes_max: u64,
    /// Older records go, a segment at a time.
    pub age_max: Option<Duration>,
}

fn segment_bytes(limits: Limits) -> u64 {
    (limits.bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

/// Where a record is. Records appended later have higher places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    segment: u64,
    index: u32,
    lines: u32,
}

impl Place {
    /// The number of its segment, as in [`Trimmed`].
    #[must_use]
    pub fn segment(self) -> u64 {
        self.segment
    }

    /// How many lines it has; 0 for an opaque body.
    #[must_use]
    pub fn lines(self) -> u64 {
        u64::from(self.lines)
    }
}

/// Whether the owner has a record in memory too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has: [`Spool::read`] does not give it again.
    Held,
    /// It is on disk only.
    Unread,
}

/// Sums of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub records: u64,
    /// Their lines.
    pub lines: u64,
    /// How many of them are opaque bodies, which have no lines.
    pub opaque: u64,
}

impl Tally {
    fn add(&mut self, more: Self) {
        self.records += more.records;
        self.lines += more.lines;
        self.opaque += more.opaque;
    }
}

/// A file that was there at the start.
#[derive(Clone, Copy, Debug)]
struct Listed {
    name: Name,
    has_records: bool,
    has_marks: bool,
}

/// See above.
#[derive(Debug)]
pub struct Spool<D: Disk = Directory> {
    disk: D,
    limits: Limits,
    /// A segment with more is not appended to.
    segment_bytes: u64,
    /// What [`recover`](Self::recover) is still to look at.
    listed: BTreeMap<u64, Listed>,
    segments: BTreeMap<u64, Segment>,
    /// The segment that is appended to.
    active: Option<(u64, Arc<D::File>)>,
    next_id: u64,
    handles: Handles<D::File>,
    window: Window,
    /// What is being written.
    scratch: Vec<u8>,
    dirty: Dirty,
    /// Segments with settled records that have no mark on disk, or with nothing unsettled.
    touched: Vec<u64>,
    pending_marks: usize,
    last: Option<Place>,
    /// What all segments take.
    bytes: u64,
    known: Option<Known>,
    corrupt: u64,
    lost: Tally,
}

impl<D: Disk> Spool<D> {
    /// Lists what is there. Call [`recover`](Self::recover) next.
    ///
    /// # Errors
    /// The disk's; and `InvalidData` for files that another version wrote, or that say they are
    /// the same segment.
    pub fn open(disk: D, limits: Limits) -> io::Result<Self> {
        let mut listed = BTreeMap::new();
        for file in disk.list()? {
            let (name, part) = match Name::parse(&file) {
                Parsed::Ours(name, part) => (name, part),
                Parsed::Foreign => continue,
                Parsed::OtherVersion => {
                    let words = "another version of the relay wrote it: start that one until the \
                                 spool is empty, or move the file away";
                    return Err(invalid(&file, words));
                }
            };
            let new = Listed { name, has_records: false, has_marks: false };
            let entry: &mut Listed = listed.entry(name.id).or_insert(new);
            if entry.name != name {
                let words = "there are two segments with its number: move one of them away";
                return Err(invalid(&file, words));
            }
            match part {
                Part::Records => entry.has_records = true,
                Part::Settled => entry.has_marks = true,
            }
        }
        let next_id = listed.last_key_value().map_or(1, |(&id, _)| id.saturating_add(1));
        Ok(Self {
            disk,
            limits,
            segment_bytes: segment_bytes(limits),
            listed,
            segments: BTreeMap::new(),
            active: None,
            next_id,
            handles: Handles::default(),
            window: Window::default(),
            scratch: Vec::new(),
            dirty: Dirty::default(),
            touched: Vec::new(),
            pending_marks: 0,
            last: None,
            bytes: 0,
            known: None,
            corrupt: 0,
            lost: Tally::default(),
        })
    }

    /// Bytes on disk, records and marks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that are not settled.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.unsettled)).sum()
    }

    /// Their lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.segments.values().map(|segment| segment.lines).sum()
    }

    /// Records that are on disk only.
    #[must_use]
    pub fn unread_records(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.unread)).sum()
    }

    /// Their lines.
    #[must_use]
    pub fn unread_lines(&self) -> u64 {
        self.segments.values().map(|segment| segment.unread_lines).sum()
    }

    /// When the oldest record of the oldest segment was taken, settled or not, in seconds since
    /// the epoch: at most a segment earlier than the oldest that waits.
    #[must_use]
    pub fn oldest_s(&self) -> Option<u64> {
        let (_, oldest) = self.segments.iter().find(|(_, segment)| segment.unsettled > 0)?;
        Some(oldest.oldest_s)
    }

    /// What is on disk only.
    #[must_use]
    pub fn unread(&self) -> Tally {
        let mut unread = Tally::default();
        for segment in self.segments.values() {
            let Segment { unread: records, unread_lines: lines, unread_opaque, .. } = *segment;
            let opaque = u64::from(unread_opaque);
            unread.add(Tally { records: u64::from(records), lines, opaque });
        }
        unread
    }

    /// From now on keeps within `limits`.
    pub fn set_limits(&mut self, limits: Limits) {
        self.segment_bytes = segment_bytes(limits);
        self.limits = limits;
    }

    /// How much it may keep.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether a segment is there.
    #[must_use]
    pub fn has(&self, segment: u64) -> bool {
        self.segments.contains_key(&segment)
    }

    /// How many segments there are.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Records and damaged stretches that were passed over, ever.
    #[must_use]
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }

    /// What was lost since the last call: it is in no gauge any more.
    pub fn take_lost(&mut self) -> Tally {
        std::mem::take(&mut self.lost)
    }

    /// The directory.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Removes a segment's files and all that is known of it.
    fn remove(&mut self, id: u64) -> io::Result<()> {
        let Some(segment) = self.segments.get(&id) else { return Ok(()) };
        self.disk.remove(&segment.name.file(Part::Records))?;
        if segment.has_marks {
            // Marks alone say nothing; the next recovery removes those that stay.
            drop(self.disk.remove(&segment.name.file(Part::Settled)));
        }
        self.pending_marks -= segment.pending.len();
        self.bytes -= segment.bytes();
        self.segments.remove(&id);
        self.active.take_if(|(active, _)| *active == id);
        self.handles.close(id);
        self.dirty.forget(id);
        if let Some((&only, _)) =
            self.segments.first_key_value().filter(|_| self.segments.len() == 1)
        {
            // It may have stayed only because there were others.
            self.touched.push(only);
        }
        Ok(())
    }
}

fn invalid(file: &str, words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file}: {words}"))
}

#[cfg(test)]
mod tests;
