//! What is known in memory of one segment: two bits for each record, and sums. Called by the
//! spool; no files here.

use super::Tally;
use super::name::Name;
use super::record::{Header, Seal};
use std::collections::BTreeMap;

/// One bit for each of many; those never set are clear.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn get(&self, index: u32) -> bool {
        let word = self.0.get(index as usize / 64).copied().unwrap_or_default();
        word >> (index % 64) & 1 == 1
    }

    pub(super) fn put(&mut self, index: u32, on: bool) {
        let at = index as usize / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let bit = 1 << (index % 64);
        if on {
            self.0[at] |= bit;
        } else {
            self.0[at] &= !bit;
        }
    }
}

/// One segment. `unread <= unsettled <= records`, and the lines accordingly.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: Name,
    pub(super) seal: Seal,
    /// Where the last record ends.
    pub(super) end: u64,
    /// Where the last mark ends.
    pub(super) marks_end: u64,
    /// Whether there is a file of marks.
    pub(super) has_marks: bool,
    /// The next record gets this index.
    pub(super) records: u32,
    pub(super) unsettled: u32,
    pub(super) unread: u32,
    /// Of unsettled records.
    pub(super) lines: u64,
    pub(super) unread_lines: u64,
    /// How many of the unread are opaque bodies, which have no lines.
    pub(super) unread_opaque: u32,
    /// Of all its records, in seconds since the epoch.
    pub(super) oldest_s: u64,
    pub(super) newest_s: u64,
    settled: Bits,
    /// Unsettled, and in the owner's memory too.
    held: Bits,
    /// Settled, and not marked on disk yet.
    pub(super) pending: Vec<u32>,
    /// Where nothing can be read, and the place and index of the record behind that.
    pub(super) gaps: BTreeMap<u64, (u64, u32)>,
    pub(super) records_dirty: bool,
    pub(super) marks_dirty: bool,
}

impl Segment {
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            seal: Seal::new(name),
            end: 0,
            marks_end: 0,
            has_marks: false,
            records: 0,
            unsettled: 0,
            unread: 0,
            lines: 0,
            unread_lines: 0,
            unread_opaque: 0,
            oldest_s: u64::MAX,
            newest_s: 0,
            settled: Bits::default(),
            held: Bits::default(),
            pending: Vec::new(),
            gaps: BTreeMap::new(),
            records_dirty: false,
            marks_dirty: false,
        }
    }

    pub(super) fn is_unread(&self, index: u32) -> bool {
        index < self.records && !self.settled.get(index) && !self.held.get(index)
    }

    /// Takes in a record that is on disk, behind all others. One that `marks` name is settled.
    pub(super) fn add(&mut self, index: u32, lines: u32, kept_s: u64, held: bool) {
        self.records = index + 1;
        self.oldest_s = self.oldest_s.min(kept_s);
        self.newest_s = self.newest_s.max(kept_s);
        if self.settled.get(index) {
            return;
        }
        self.unsettled += 1;
        self.lines += u64::from(lines);
        if held {
            self.held.put(index, true);
        } else {
            self.unread += 1;
            self.unread_lines += u64::from(lines);
            self.unread_opaque += u32::from(lines == 0);
        }
    }

    /// As [`add`](Self::add), of a record that was found on disk.
    pub(super) fn recover(&mut self, header: Header) {
        self.add(header.index, header.lines, header.kept_s, false);
    }

    /// The owner has it in memory now.
    pub(super) fn hold(&mut self, index: u32, lines: u32) {
        if self.is_unread(index) {
            self.held.put(index, true);
            self.unread -= 1;
            self.unread_lines -= u64::from(lines);
            self.unread_opaque -= u32::from(lines == 0);
        }
    }

    /// The owner has it in memory no longer.
    pub(super) fn release(&mut self, index: u32, lines: u32) {
        if self.held.get(index) && !self.settled.get(index) {
            self.held.put(index, false);
            self.unread += 1;
            self.unread_lines += u64::from(lines);
            self.unread_opaque += u32::from(lines == 0);
        }
    }

    /// Whether it was not settled before.
    pub(super) fn settle(&mut self, index: u32, lines: u32) -> bool {
        if index >= self.records || self.settled.get(index) {
            return false;
        }
        self.hold(index, lines);
        self.settled.put(index, true);
        self.held.put(index, false);
        self.unsettled -= 1;
        self.lines -= u64::from(lines);
        true
    }

    /// A record that is not counted yet is settled: it has a mark on disk, or cannot be read.
    /// Whether it was not before.
    pub(super) fn mark(&mut self, index: u32) -> bool {
        let was_settled = self.settled.get(index);
        self.settled.put(index, true);
        !was_settled
    }

    /// The unread records for which `is_there` says no are no more. Gives how many those are.
    /// `there` says how many lines and opaque bodies are in the unread ones that are there.
    pub(super) fn lose(&mut self, is_there: &Bits, there: Tally) -> Tally {
        let mut records = 0;
        for index in 0..self.records {
            if self.is_unread(index) && !is_there.get(index) {
                self.settled.put(index, true);
                records += 1;
                self.unsettled -= 1;
                self.unread -= 1;
            }
        }
        let lines = self.unread_lines.saturating_sub(there.lines);
        self.unread_lines -= lines;
        self.lines -= lines;
        let opaque = u64::from(self.unread_opaque).saturating_sub(there.opaque);
        self.unread_opaque = u32::try_from(there.opaque).unwrap_or(u32::MAX);
        Tally { records, lines, opaque }
    }

    /// What its two files take.
    pub(super) fn bytes(&self) -> u64 {
        self.end + self.marks_end
    }
}
