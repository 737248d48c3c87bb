//! The files that are open beside the one that is appended to. Called by the spool.

use super::disk::Disk;
use super::name::{Name, Part};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// How many files stay open, those used last.
const OPEN_MAX: usize = 16;

/// A file that is open.
#[derive(Debug)]
struct Open<F> {
    id: u64,
    part: Part,
    file: Arc<F>,
}

/// Open files, the one used last behind all others.
#[derive(Debug)]
pub(super) struct Handles<F>(VecDeque<Open<F>>);

impl<F> Default for Handles<F> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<F> Handles<F> {
    pub(super) fn insert(&mut self, id: u64, part: Part, file: Arc<F>) {
        if self.0.len() >= OPEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Open { id, part, file });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Closes both files of a segment, if they are open.
    pub(super) fn close(&mut self, id: u64) {
        self.0.retain(|open| open.id != id);
    }

    /// An open file, or one that is opened now: marks to be written too.
    pub(super) fn get<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: Name,
        part: Part,
    ) -> io::Result<Arc<F>> {
        let same = |open: &Open<F>| open.id == name.id && open.part == part;
        if let Some(at) = self.0.iter().rposition(same) {
            let open = self.0.remove(at).expect("it was found there");
            let file = Arc::clone(&open.file);
            self.0.push_back(open);
            return Ok(file);
        }
        let file = Arc::new(disk.open(&name.file(part), part == Part::Settled)?);
        self.insert(name.id, part, Arc::clone(&file));
        Ok(file)
    }
}
