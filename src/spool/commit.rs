//! What was written and is not yet where no power cut reaches it. The owner runs the syncs, which
//! take their time, and says how they went.

use super::disk::{Disk, DiskFile};
use super::name::Part;
use super::{Place, Spool};
use std::io;
use std::sync::Arc;

/// At most so many files of records, and so many of marks, are synced at once.
const FILES_MAX: usize = 16;

/// What is to be synced, in the order in which it was first written.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) records: Vec<u64>,
    pub(super) marks: Vec<u64>,
    pub(super) directory: bool,
    /// A commit is with the owner.
    under_way: bool,
}

impl Dirty {
    /// The files of a segment are gone, which is a change of the directory.
    pub(super) fn forget(&mut self, id: u64) {
        self.records.retain(|&dirty| dirty != id);
        self.marks.retain(|&dirty| dirty != id);
        self.directory = true;
    }
}

/// Files to sync: [`sync`](Self::sync) does it here and now. Then it must go back by
/// [`Spool::synced`] or [`Spool::sync_failed`], or there is no next one.
#[derive(Debug)]
#[must_use]
pub struct Commit<F> {
    files: Vec<Arc<F>>,
    upto: Option<Place>,
    records: Vec<u64>,
    marks: Vec<u64>,
    directory: bool,
}

impl<F: DiskFile> Commit<F> {
    /// What must be synced, all of it, by `fdatasync`; the directory may be one.
    #[must_use]
    pub fn files(&self) -> &[Arc<F>] {
        &self.files
    }

    /// Whether a record survives a power cut once this has succeeded. One of an earlier commit
    /// that failed may not, whatever this says.
    #[must_use]
    pub fn covers(&self, place: Place) -> bool {
        self.upto.is_some_and(|upto| place <= upto)
    }

    /// The last record that it covers, if it has any.
    #[must_use]
    pub fn upto(&self) -> Option<Place> {
        self.upto
    }

    /// Syncs all files, and waits for it.
    ///
    /// # Errors
    /// The first of the disk's.
    pub fn sync(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.sync_data())
    }
}

impl<D: Disk> Spool<D> {
    /// What was written since the last commit, if anything was; `None` also while that one is
    /// under way. Records that are in it, and marks that [`flush_marks`](Self::flush_marks) has
    /// written, survive a power cut once all its files are synced.
    ///
    /// # Errors
    /// The disk's, when a file must be opened for it. Nothing is taken then: it can be tried again.
    pub fn unsynced(&mut self) -> io::Result<Option<Commit<D::File>>> {
        let Dirty { records, marks, directory, under_way } = &self.dirty;
        if *under_way || (records.is_empty() && marks.is_empty() && !directory) {
            return Ok(None);
        }
        let directory = *directory;
        let records: Vec<_> = records.iter().copied().take(FILES_MAX).collect();
        let marks: Vec<_> = marks.iter().copied().take(FILES_MAX).collect();
        let mut files = Vec::new();
        let parts = records.iter().map(|id| (id, Part::Records));
        for (id, part) in parts.chain(marks.iter().map(|id| (id, Part::Settled))) {
            files.push(self.handle(*id, part)?);
        }
        if directory {
            files.push(self.disk.directory());
        }
        let is_all = records.len() == self.dirty.records.len();
        let end = |&segment| Place { segment, index: u32::MAX, lines: u32::MAX };
        let upto = if is_all { self.last } else { records.last().map(end) };
        self.dirty.records.drain(..records.len());
        self.dirty.marks.drain(..marks.len());
        self.dirty.directory = false;
        self.dirty.under_way = true;
        for id in &records {
            self.segment(*id).records_dirty = false;
        }
        for id in &marks {
            self.segment(*id).marks_dirty = false;
        }
        Ok(Some(Commit { files, upto, records, marks, directory }))
    }

    /// All files of `commit` are synced.
    pub fn synced(&mut self, commit: Commit<D::File>) {
        self.dirty.under_way = false;
        drop(commit);
    }

    /// A file of `commit` could not be synced: the kernel may have dropped what was written to it.
    /// Nothing is appended to those segments any more; what can be read of them is still given.
    pub fn sync_failed(&mut self, commit: Commit<D::File>) {
        self.dirty.under_way = false;
        self.dirty.directory |= commit.directory;
        for id in commit.records {
            self.close_active(id);
        }
        for id in commit.marks {
            self.mark_dirty(id);
        }
    }

    /// Appends no more to a segment, if it is the active one.
    pub(super) fn close_active(&mut self, id: u64) {
        if let Some((id, file)) = self.active.take_if(|(active, _)| *active == id) {
            self.handles.insert(id, Part::Records, file);
            // It may have stayed only because it was the active one.
            self.touched.push(id);
        }
    }

    pub(super) fn mark_dirty(&mut self, id: u64) {
        if let Some(segment) = self.segments.get_mut(&id)
            && !std::mem::replace(&mut segment.marks_dirty, true)
        {
            self.dirty.marks.push(id);
        }
    }

    fn handle(&mut self, id: u64, part: Part) -> io::Result<Arc<D::File>> {
        if let Some((active, file)) = &self.active
            && (*active, Part::Records) == (id, part)
        {
            return Ok(Arc::clone(file));
        }
        let name = self.segment(id).name;
        self.handles.get(&self.disk, name, part)
    }

    fn segment(&mut self, id: u64) -> &mut super::Segment {
        self.segments.get_mut(&id).expect("what is dirty is there")
    }
}
