//! Reading back, in order, what the owner does not hold.

use super::disk::Disk;
use super::name::Part;
use super::record::{self, HEADER_BYTES, Header, Payload};
use super::segment::Segment;
use super::{Place, Spool, Tally};
use crate::batch::Batch;
use crate::write::Destination;
use std::io;
use std::sync::Arc;

/// Between two records. One that is further on is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    segment: u64,
    index: u32,
    offset: u64,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What settles it.
    pub place: Place,
    /// Where it goes. Records next to each other share an equal one.
    pub destination: Arc<Destination>,
    /// What is written.
    pub batch: Arc<Batch>,
    /// When it was taken, in seconds since the epoch.
    pub kept_s: u64,
}

/// The destination that was read last.
#[derive(Debug)]
pub(super) struct Known {
    bytes: Vec<u8>,
    api: u8,
    destination: Arc<Destination>,
}

/// What is at a cursor.
enum At {
    Record(Kept),
    /// Nothing that is wanted: the cursor is behind it.
    Passed,
    Damage,
}

impl<D: Disk> Spool<D> {
    /// Before all records.
    #[must_use]
    pub fn head(&self) -> Cursor {
        let segment = self.segments.keys().next().copied().unwrap_or_default();
        Cursor { segment, index: 0, offset: 0 }
    }

    /// Behind all records.
    #[must_use]
    pub fn tail(&self) -> Cursor {
        let end = |(&id, last): (_, &Segment)| (id, last.records, last.end);
        let (segment, index, offset) = self.segments.last_key_value().map(end).unwrap_or_default();
        Cursor { segment, index, offset }
    }

    /// Whether no record is behind the cursor, read or unread.
    #[must_use]
    pub fn is_at_end(&self, cursor: &Cursor) -> bool {
        // A segment whose first record failed to be written has none.
        let last = self.segments.iter().rev().find(|(_, segment)| segment.end > 0);
        last.is_none_or(|(&id, last)| (cursor.segment, cursor.offset) >= (id, last.end))
    }

    /// The next record that is on disk only and whose destination is `wanted`: it is held from
    /// now on. The cursor is behind it then. `None` at the end, or at `upto`.
    ///
    /// # Errors
    /// The disk's, but for what it can never read: that is passed over, and counted in
    /// [`corrupt`](Self::corrupt) and [`take_lost`](Self::take_lost).
    pub fn read(
        &mut self,
        cursor: &mut Cursor,
        upto: Option<&Cursor>,
        wanted: &mut dyn FnMut(&Destination) -> bool,
    ) -> io::Result<Option<Kept>> {
        let mut repaired = None;
        while upto.is_none_or(|upto| *cursor < *upto) {
            let Some((&id, segment)) = self.segments.range(cursor.segment..).next() else {
                return Ok(None);
            };
            if id != cursor.segment {
                *cursor = Cursor { segment: id, index: 0, offset: 0 };
            }
            if segment.unread == 0 || cursor.offset >= segment.end {
                (cursor.index, cursor.offset) = (segment.records, segment.end);
                let Some((&next, _)) = self.segments.range(id + 1..).next() else {
                    return Ok(None);
                };
                *cursor = Cursor { segment: next, index: 0, offset: 0 };
                continue;
            }
            if let Some(&(offset, index)) = segment.gaps.get(&cursor.offset) {
                (cursor.index, cursor.offset) = (index, offset);
                continue;
            }
            match self.at(cursor, wanted)? {
                At::Record(kept) => return Ok(Some(kept)),
                At::Passed => {}
                At::Damage if repaired.as_ref() == Some(cursor) => {
                    let words = "it reads differently each time";
                    return Err(super::invalid(&segment_file(self, id), words));
                }
                At::Damage => {
                    self.repair(cursor)?;
                    repaired = Some(cursor.clone());
                }
            }
        }
        Ok(None)
    }

    /// Reads the record at the cursor.
    fn at(
        &mut self,
        cursor: &mut Cursor,
        wanted: &mut dyn FnMut(&Destination) -> bool,
    ) -> io::Result<At> {
        let segment = self.segments.get_mut(&cursor.segment).expect("the cursor is in it");
        let file = match &self.active {
            Some((id, file)) if *id == cursor.segment => Arc::clone(file),
            _ => match self.handles.get(&self.disk, segment.name, Part::Records) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(At::Damage),
                file => file?,
            },
        };
        let (file, end) = ((cursor.segment, &*file), segment.end);
        let head = self.window.get(file, cursor.offset, HEADER_BYTES, end)?;
        let header = Header::parse(head, segment.seal)
            .filter(|header| header.index == cursor.index)
            .filter(|header| header.record_bytes() <= end - cursor.offset);
        let Some(header) = header else { return Ok(At::Damage) };
        let len = usize::try_from(header.record_bytes()).unwrap_or(usize::MAX);
        let record = &self.window.get(file, cursor.offset, len, end)?[..len];
        if !header.holds(record, segment.seal) {
            return Ok(At::Damage);
        }
        let (index, lines) = (header.index, header.lines);
        cursor.index += 1;
        cursor.offset += header.record_bytes();
        if !segment.is_unread(index) {
            return Ok(At::Passed);
        }
        let payload = Payload::parse(&record[HEADER_BYTES..], header);
        let destination = payload
            .as_ref()
            .and_then(|payload| known(&mut self.known, payload.destination, header.api));
        let (Some(payload), Some(destination)) = (payload, destination) else {
            // Its checksum holds, so nobody harmed it, and nobody can read it.
            self.corrupt += 1;
            let opaque = u64::from(lines == 0);
            self.lost.add(Tally { records: 1, lines: u64::from(lines), opaque });
            let place = Place { segment: cursor.segment, index, lines };
            self.settle(place)?;
            return Ok(At::Passed);
        };
        if !wanted(&destination) {
            return Ok(At::Passed);
        }
        let (batch, kept_s) = (payload.batch(), header.kept_s);
        segment.hold(index, lines);
        let place = Place { segment: cursor.segment, index, lines };
        Ok(At::Record(Kept { place, destination, batch, kept_s }))
    }

    /// Moves a cursor that is in the midst of damage behind it.
    fn repair(&mut self, cursor: &mut Cursor) -> io::Result<()> {
        let positions = self.sweep(cursor.segment, cursor.index)?;
        (cursor.index, cursor.offset) = positions;
        Ok(())
    }
}

fn segment_file<D: Disk>(spool: &Spool<D>, id: u64) -> String {
    spool.segments.get(&id).map(|segment| segment.name.file(Part::Records)).unwrap_or_default()
}

/// The destination of these bytes, which most often is the one before it.
fn known(last: &mut Option<Known>, bytes: &[u8], api: u8) -> Option<Arc<Destination>> {
    if let Some(known) = last
        && known.bytes == bytes
        && known.api == api
    {
        return Some(Arc::clone(&known.destination));
    }
    let destination = Arc::new(record::decode_destination(bytes, api)?);
    *last = Some(Known { bytes: bytes.to_vec(), api, destination: Arc::clone(&destination) });
    Some(destination)
}
