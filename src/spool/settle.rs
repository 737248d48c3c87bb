//! How records leave: settled one by one, or dropped with their segment when they are too many or
//! too old.

use super::disk::{Disk, write_all};
use super::marks;
use super::name::Part;
use super::{Place, Spool};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// So many marks are written without being told to: 32 KiB.
const MARKS_PENDING_MAX: usize = 4096;

/// Why a segment was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was more on disk than may be.
    Size,
    /// All its records were too old.
    Age,
}

/// A segment that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The owner drops the records that it holds of it: see [`Place::segment`].
    pub segment: u64,
    /// Records that were on disk only.
    pub unread_records: u64,
    /// Their lines.
    pub unread_lines: u64,
    /// How many of them are opaque bodies, which have no lines.
    pub unread_opaque: u64,
    /// Why.
    pub why: Why,
}

impl<D: Disk> Spool<D> {
    /// A record is done with. Its mark is written by [`flush_marks`](Self::flush_marks), or with
    /// 4095 others. One that is settled already, or that was trimmed, is left alone.
    ///
    /// # Errors
    /// The disk's. The record is settled all the same, and its mark is tried again.
    pub fn settle(&mut self, place: Place) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(&place.segment) else { return Ok(()) };
        if !segment.settle(place.index, place.lines) {
            return Ok(());
        }
        self.pend(place.segment, place.index);
        if self.pending_marks.is_multiple_of(MARKS_PENDING_MAX) {
            self.flush_marks()
        } else {
            Ok(())
        }
    }

    /// A record that the owner holds is to be on disk only again. A cursor that has passed it does
    /// not come back for it.
    pub fn release(&mut self, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.release(place.index, place.lines);
        }
    }

    pub(super) fn pend(&mut self, id: u64, index: u32) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.pending.push(index);
        self.pending_marks += 1;
        if segment.pending.len() == 1 {
            self.touched.push(id);
        }
    }

    /// Writes the marks of what was settled, and removes the segments that have nothing else left.
    /// What was settled before does not come back after this, unless power is cut.
    ///
    /// # Errors
    /// The first of the disk's; what failed is tried again by the next call.
    pub fn flush_marks(&mut self) -> io::Result<()> {
        let (mut result, mut failed) = (Ok(()), Vec::new());
        while let Some(id) = self.touched.pop() {
            let done = self.flush_segment(id);
            if done.is_err() {
                failed.push(id);
            }
            result = result.and(done);
        }
        self.touched = failed;
        result
    }

    fn flush_segment(&mut self, id: u64) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(&id) else { return Ok(()) };
        if segment.unsettled == 0 && (self.is_worth_removing(id)) {
            return self.remove(id);
        }
        self.write_marks(id)
    }

    /// A new segment is not worth removing while others must stay: a next one would follow.
    fn is_worth_removing(&self, id: u64) -> bool {
        let is_active = self.active.as_ref().is_some_and(|(active, _)| *active == id);
        !is_active || self.segments.len() == 1 || self.segments[&id].end >= self.segment_bytes / 4
    }

    fn write_marks(&mut self, id: u64) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(&id) else { return Ok(()) };
        if segment.pending.is_empty() {
            return Ok(());
        }
        if !segment.has_marks {
            let file = self.disk.create(&segment.name.file(Part::Settled))?;
            self.handles.insert(id, Part::Settled, Arc::new(file));
            segment.has_marks = true;
            self.dirty.directory = true;
        }
        let file = self.handles.get(&self.disk, segment.name, Part::Settled)?;
        marks::encode(&mut self.scratch, segment.seal, &segment.pending);
        write_all(&*file, &mut [IoSlice::new(&self.scratch)], segment.marks_end)?;
        segment.marks_end += self.scratch.len() as u64;
        self.bytes += self.scratch.len() as u64;
        self.pending_marks -= segment.pending.len();
        segment.pending.clear();
        self.mark_dirty(id);
        Ok(())
    }

    /// Drops the oldest segment, if there is more on disk than may be, or if all its records are
    /// older than may be at `now_s`, in seconds since the epoch. To be called until it gives
    /// `None`. The only segment goes by age alone.
    pub fn trim(&mut self, now_s: u64) -> Option<Trimmed> {
        let (&id, oldest) = self.segments.first_key_value()?;
        let too_old = |max: std::time::Duration| {
            oldest.records > 0 && now_s.saturating_sub(oldest.newest_s) > max.as_secs()
        };
        let why = if self.limits.age_max.is_some_and(too_old) {
            Why::Age
        } else if self.bytes() > self.limits.bytes_max && self.segments.len() > 1 {
            Why::Size
        } else {
            return None;
        };
        let trimmed = Trimmed {
            segment: id,
            unread_records: u64::from(oldest.unread),
            unread_lines: oldest.unread_lines,
            unread_opaque: u64::from(oldest.unread_opaque),
            why,
        };
        // One that cannot be removed stays, and so does all that is behind it.
        self.remove(id).ok()?;
        Some(trimmed)
    }
}
