//! The marks of settled records: eight bytes each, the record's index and a checksum that ties it
//! to its segment. One that is incomplete or wrong says nothing.

use super::disk::DiskFile;
use super::record::{RECORD_BYTES_MIN, Seal};
use super::segment::Segment;
use super::window::Window;
use std::io;

/// What a mark takes.
pub(super) const MARK_BYTES: usize = 8;

pub(super) fn encode(out: &mut Vec<u8>, seal: Seal, indices: &[u32]) {
    out.clear();
    for &index in indices {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&checksum(seal, index).to_le_bytes());
    }
}

fn checksum(seal: Seal, index: u32) -> u32 {
    let mut hasher = seal.hasher();
    hasher.update(&index.to_le_bytes());
    hasher.finalize()
}

/// Reads a segment's marks, whose file of records is `records_bytes` long.
pub(super) fn load(
    segment: &mut Segment,
    file: &impl DiskFile,
    window: &mut Window,
    records_bytes: u64,
) -> io::Result<()> {
    window.forget();
    let end = file.size()? / MARK_BYTES as u64 * MARK_BYTES as u64;
    let mut at = 0;
    while at < end {
        let bytes = window.get((segment.name.id, file), at, MARK_BYTES, end)?;
        let marks = bytes.as_chunks::<MARK_BYTES>().0;
        at += (marks.len() * MARK_BYTES) as u64;
        for mark in marks {
            let [a, b, c, d, crc @ ..] = *mark;
            let index = u32::from_le_bytes([a, b, c, d]);
            let possible = u64::from(index) <= records_bytes / RECORD_BYTES_MIN;
            if possible && u32::from_le_bytes(crc) == checksum(segment.seal, index) {
                segment.mark(index);
            }
        }
    }
    window.forget();
    segment.has_marks = true;
    segment.marks_end = end;
    Ok(())
}
