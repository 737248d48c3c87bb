//! Appending: one write call for each record, and nothing half-written that could be read.

use super::disk::{Disk, DiskFile, write_all};
use super::name::{Name, Part};
use super::record::{self, Record};
use super::segment::Segment;
use super::{Place, Spool, State};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// The scratch buffer is given back when it has grown beyond this.
const SCRATCH_BYTES_MAX: usize = 256 << 10;

impl<D: Disk> Spool<D> {
    /// Appends a record. It is in the page cache then: see [`unsynced`](Self::unsynced). Call
    /// [`trim`](Self::trim) before or after, for this keeps to the limit but roughly.
    ///
    /// # Errors
    /// `InvalidInput` for a record that can never be kept; `StorageFull` if nothing was trimmed;
    /// the disk's. Nothing is kept then.
    pub fn append(&mut self, record: &Record<'_>, state: State) -> io::Result<Place> {
        let bytes = record::len(record);
        self.admit(bytes)?;
        let (id, file) = self.active_for(bytes)?;
        let segment = self.segments.get_mut(&id).expect("the active segment is there");
        let (index, end) = (segment.records, segment.end);
        record::encode(&mut self.scratch, segment.seal, index, record);
        let mut parts = [IoSlice::new(&self.scratch), IoSlice::new(record.batch.bytes())];
        if let Err(error) = write_all(&*file, &mut parts, end) {
            if file.set_len(end).is_err() {
                self.abandon(id, index);
            }
            // It may be a new segment, and have nothing in it. The cut wants to last, too.
            self.touched.push(id);
            self.records_dirty(id);
            return Err(error);
        }
        self.scratch.shrink_to(SCRATCH_BYTES_MAX);
        let lines = u32::try_from(record.batch.lines()).expect("they fit into the record");
        segment.end += bytes;
        self.bytes += bytes;
        segment.add(index, lines, record.kept_s, state == State::Held);
        self.records_dirty(id);
        let place = Place { segment: id, index, lines };
        self.last = Some(place);
        Ok(place)
    }

    fn admit(&self, bytes: u64) -> io::Result<()> {
        let most = self.limits.bytes_max.min(u64::from(u32::MAX));
        if bytes > most {
            let words = format!("a record of {bytes} bytes is more than the spool's {most}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        if self.bytes() > self.limits.bytes_max + self.segment_bytes {
            let words = "the spool is full, and its oldest segment could not be removed";
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        Ok(())
    }

    /// The segment that a record of so many bytes goes to.
    fn active_for(&mut self, bytes: u64) -> io::Result<(u64, Arc<D::File>)> {
        if let Some((id, file)) = &self.active {
            let segment = &self.segments[id];
            let fits = segment.end + bytes <= self.segment_bytes;
            if fits || segment.records == 0 {
                return Ok((*id, Arc::clone(file)));
            }
        }
        let name = Name { id: self.next_id, salt: self.disk.random()? };
        let file = Arc::new(self.disk.create(&name.file(Part::Records))?);
        self.next_id += 1;
        self.dirty.directory = true;
        if let Some((full, _)) = self.active {
            self.close_active(full);
        }
        self.segments.insert(name.id, Segment::new(name));
        self.active = Some((name.id, Arc::clone(&file)));
        Ok((name.id, file))
    }

    fn records_dirty(&mut self, id: u64) {
        if let Some(segment) = self.segments.get_mut(&id)
            && !std::mem::replace(&mut segment.records_dirty, true)
        {
            self.dirty.records.push(id);
        }
    }

    /// What was written at the end of a segment failed and could not be cut off: nothing is
    /// appended behind it, and a mark says that it does not count, should it be whole after all.
    fn abandon(&mut self, id: u64, index: u32) {
        self.close_active(id);
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.records += 1;
            segment.mark(index);
        }
        self.pend(id, index);
    }
}
