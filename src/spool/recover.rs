//! What is on disk is taken in after a start, and once more where it turns out to be damaged.

use super::disk::{Disk, DiskFile};
use super::name::Part;
use super::record::Header;
use super::scan::Scan;
use super::segment::{Bits, Segment};
use super::{Listed, Spool, Tally, marks};
use std::io;

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records that are not settled.
    pub records: u64,
    /// Their lines.
    pub lines: u64,
    /// How many of the records are opaque bodies, which have no lines.
    pub opaque: u64,
    /// What all segments take on disk.
    pub bytes: u64,
    /// When the oldest record was taken, in seconds since the epoch.
    pub oldest_s: Option<u64>,
    /// Records, or damaged stretches if it cannot be known how many, that are lost.
    pub corrupt: u64,
    /// What was cut off the end of the last segment: a write that never came to its end.
    pub torn_bytes: u64,
}

impl<D: Disk> Spool<D> {
    /// Takes in what is on disk, in one pass: cuts off a torn end, passes over damage, removes
    /// what is all settled. All that is left is unread. Nothing is appended to what was found.
    ///
    /// # Errors
    /// The disk's. It can be called again then.
    pub fn recover(&mut self) -> io::Result<Recovered> {
        let mut recovered = Recovered::default();
        let last = self.listed.values().rfind(|listed| listed.has_records).map(|last| last.name.id);
        while let Some((&id, &listed)) = self.listed.first_key_value() {
            if listed.has_records {
                self.recover_segment(listed, last == Some(id), &mut recovered)?;
            } else {
                // Its records went, and the marks were to follow.
                self.disk.remove(&listed.name.file(Part::Settled))?;
                self.dirty.directory = true;
            }
            self.listed.remove(&id);
        }
        self.window.forget();
        self.corrupt += recovered.corrupt;
        recovered.records = self.records();
        recovered.lines = self.lines();
        recovered.opaque = self.unread().opaque;
        recovered.bytes = self.bytes();
        recovered.oldest_s = self.oldest_s();
        Ok(recovered)
    }

    fn recover_segment(
        &mut self,
        listed: Listed,
        is_last: bool,
        recovered: &mut Recovered,
    ) -> io::Result<()> {
        let name = listed.name;
        let file = self.disk.open(&name.file(Part::Records), is_last)?;
        let mut segment = Segment::new(name);
        segment.end = file.size()?;
        if listed.has_marks {
            let marks = self.disk.open(&name.file(Part::Settled), false)?;
            let end = segment.end;
            marks::load(&mut segment, &marks, &mut self.window, end)?;
        }
        let scan = Scan::new(name, &file, &mut self.window, segment.end);
        let mut there = Bits::default();
        let gaps = scan.survey(|_, header| {
            there.put(header.index, true);
            segment.recover(header);
        })?;
        for gap in gaps {
            match gap.next {
                None if is_last => {
                    file.set_len(gap.at)?;
                    recovered.torn_bytes += gap.until - gap.at;
                    segment.end = gap.at;
                }
                None => {
                    recovered.corrupt += 1;
                    segment.gaps.insert(gap.at, (gap.until, segment.records));
                }
                Some(next) => {
                    recovered.corrupt += missing(&mut segment, gap.expected, next);
                    segment.gaps.insert(gap.at, (gap.until, next));
                }
            }
        }
        // What was moved behind its successors, by whatever it was, is no record any more.
        for index in (0..segment.records).filter(|index| !there.get(*index)) {
            recovered.corrupt += u64::from(segment.mark(index));
        }
        let is_done = segment.unsettled == 0;
        self.bytes += segment.bytes();
        self.segments.insert(name.id, segment);
        if is_done && self.remove(name.id).is_err() {
            // Nothing is wrong with what else is there: it is tried again with the marks.
            self.touched.push(name.id);
        }
        Ok(())
    }

    /// Looks at all of a segment, in which a record at `index` cannot be read: counts what is lost
    /// and notes where the gaps are. Gives the index and place of the first record from `index` on
    /// that can be read.
    pub(super) fn sweep(&mut self, id: u64, index: u32) -> io::Result<(u32, u64)> {
        let segment = self.segments.get_mut(&id).expect("a cursor is in it");
        let end = segment.end;
        let (mut there, mut tally) = (Bits::default(), Tally::default());
        let mut next = (segment.records, end);
        let mut record = |at, header: Header| {
            there.put(header.index, true);
            if segment.is_unread(header.index) {
                tally.lines += u64::from(header.lines);
                tally.opaque += u64::from(header.lines == 0);
            }
            if header.index >= index && header.index < next.0 {
                next = (header.index, at);
            }
        };
        let gaps = match self.disk.open(&segment.name.file(Part::Records), false) {
            Ok(file) => {
                Scan::new(segment.name, &file, &mut self.window, end).survey(&mut record)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        self.window.forget();
        segment.gaps.clear();
        for gap in gaps {
            segment.gaps.insert(gap.at, (gap.until, gap.next.unwrap_or(segment.records)));
        }
        let lost = segment.lose(&there, tally);
        self.corrupt += lost.records;
        self.lost.add(lost);
        self.touched.push(id);
        Ok(next)
    }
}

/// How many records a gap has swallowed that were not settled; they are now, for nobody can read
/// them. One, if it cannot be known.
fn missing(segment: &mut Segment, expected: u32, next: u32) -> u64 {
    if expected == next {
        return 1;
    }
    (expected..next).map(|index| u64::from(segment.mark(index))).sum()
}
