//! A disk in memory that writes down what is done to it, so that power can be cut at any moment,
//! and that fails when told to.

use crate::spool::disk::{Disk, DiskFile};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

/// What was done to the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(String, usize),
    Remove(String),
    Write { inode: usize, at: usize, bytes: Vec<u8> },
    SetLen { inode: usize, len: usize },
    Sync(usize),
    SyncDirectory,
}

/// Numbers that look random and are the same each time.
#[derive(Debug)]
pub(super) struct Random(Cell<u64>);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// SplitMix64.
    pub(super) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default)]
struct Image {
    names: BTreeMap<String, usize>,
    inodes: Vec<Vec<u8>>,
}

impl Image {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(name, inode) => {
                self.inodes.resize(self.inodes.len().max(inode + 1), Vec::new());
                self.names.insert(name.clone(), *inode);
            }
            Op::Remove(name) => drop(self.names.remove(name)),
            Op::Write { inode, at, bytes } => {
                let file = &mut self.inodes[*inode];
                file.resize(file.len().max(at + bytes.len()), 0);
                file[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Op::SetLen { inode, len } => self.inodes[*inode].resize(*len, 0),
            Op::Sync(_) | Op::SyncDirectory => {}
        }
    }
}

/// What fails next, once each.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A write ends after so many bytes, and the next finds the disk full; or it fails when all
    /// is written.
    pub(super) full_after: Cell<Option<usize>>,
    pub(super) is_full: Cell<bool>,
    pub(super) cut: Cell<bool>,
    pub(super) sync: Cell<bool>,
    pub(super) remove: Cell<bool>,
    /// Reads of this range of any file fail for ever.
    pub(super) unreadable: Cell<Option<(u64, u64)>>,
}

#[derive(Debug, Default)]
struct World {
    image: Image,
    log: Vec<Op>,
    faults: Faults,
    randoms: u64,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Model(Rc<RefCell<World>>);

/// One of its files; the directory has no inode.
#[derive(Debug)]
pub(super) struct ModelFile {
    model: Model,
    inode: Option<usize>,
}

/// What happens to that which was not synced when power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All of it was written: only the process died.
    Kept,
    /// Nothing of it was written.
    Lost,
    /// Each write by itself was written, in part, not at all, or garbage was.
    Mixed,
}

impl Model {
    pub(super) fn log(&self) -> Vec<Op> {
        self.0.borrow().log.clone()
    }

    pub(super) fn log_len(&self) -> usize {
        self.0.borrow().log.len()
    }

    pub(super) fn faults<T>(&self, set: impl FnOnce(&Faults) -> T) -> T {
        set(&self.0.borrow().faults)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.borrow().image.names.keys().cloned().collect()
    }

    /// The bytes of the file whose name ends so, to be harmed.
    pub(super) fn harm(&self, suffix: &str, harm: impl FnOnce(&mut Vec<u8>)) {
        let image = &mut self.0.borrow_mut().image;
        let found = image.names.iter().find(|(name, _)| name.ends_with(suffix));
        let inode = *found.expect("there is one").1;
        harm(&mut image.inodes[inode]);
    }

    /// The file whose name ends so is gone, as if somebody had removed it.
    pub(super) fn vanish(&self, suffix: &str) {
        let names = &mut self.0.borrow_mut().image.names;
        let found = names.keys().find(|name| name.ends_with(suffix)).cloned();
        names.remove(&found.expect("there is one"));
    }

    fn apply(&self, op: Op) {
        let mut world = self.0.borrow_mut();
        world.image.apply(&op);
        world.log.push(op);
    }

    /// The disk after `ops`, when power is cut then. A directory's changes last in their order, as
    /// with any journal; all else is as `fate` has it.
    pub(super) fn after(ops: &[Op], fate: Fate, random: &Random) -> Self {
        let (mut live, mut names) = (Image::default(), BTreeMap::new());
        let mut changes = Vec::new();
        let mut inodes: Vec<(Vec<u8>, Vec<&Op>)> = Vec::new();
        for op in ops {
            live.apply(op);
            inodes.resize(live.inodes.len(), Default::default());
            match op {
                Op::Create(..) | Op::Remove(_) => changes.push(op),
                Op::Write { inode, .. } | Op::SetLen { inode, .. } => inodes[*inode].1.push(op),
                Op::Sync(inode) => inodes[*inode] = (live.inodes[*inode].clone(), Vec::new()),
                Op::SyncDirectory => {
                    names = live.names.clone();
                    changes.clear();
                }
            }
        }
        let kept = match fate {
            Fate::Kept => changes.len(),
            Fate::Lost => 0,
            Fate::Mixed => random.below(changes.len() + 1),
        };
        let durable = inodes.iter().map(|(bytes, _)| bytes.clone()).collect();
        let mut image = Image { names, inodes: durable };
        changes.into_iter().take(kept).for_each(|op| image.apply(op));
        for op in inodes.iter().flat_map(|(_, unsynced)| unsynced) {
            if let Some(op) = survives(op, fate, random) {
                image.apply(&op);
            }
        }
        let model = Self::default();
        model.0.borrow_mut().image = image;
        // The salts of what is made after it are others.
        model.0.borrow_mut().randoms = ops.len() as u64 + 1000;
        model
    }
}

/// What of an unsynced change is there after power was cut.
fn survives(op: &Op, fate: Fate, random: &Random) -> Option<Op> {
    let choice = match fate {
        Fate::Kept => 0,
        Fate::Lost => return None,
        Fate::Mixed => random.below(5),
    };
    match (choice, op) {
        (0 | 1, op) => Some(op.clone()),
        (2, Op::Write { inode, at, bytes }) => {
            let bytes = bytes[..random.below(bytes.len() + 1)].to_vec();
            Some(Op::Write { inode: *inode, at: *at, bytes })
        }
        (3, Op::Write { inode, at, bytes }) => {
            let garbage = random.below(2) == 0;
            let byte = |_| if garbage { random.next().to_le_bytes()[0] } else { 0 };
            let bytes = bytes.iter().map(byte).collect();
            Some(Op::Write { inode: *inode, at: *at, bytes })
        }
        _ => None,
    }
}

impl Disk for Model {
    type File = ModelFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        if self.0.borrow().image.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.0.borrow().image.inodes.len();
        self.apply(Op::Create(name.to_owned(), inode));
        Ok(ModelFile { model: self.clone(), inode: Some(inode) })
    }

    fn open(&self, name: &str, _writes: bool) -> io::Result<ModelFile> {
        let inode = self.0.borrow().image.names.get(name).copied();
        let inode = inode.ok_or(ErrorKind::NotFound)?;
        Ok(ModelFile { model: self.clone(), inode: Some(inode) })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if self.faults(|faults| faults.remove.take()) {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        self.apply(Op::Remove(name.to_owned()));
        Ok(())
    }

    fn directory(&self) -> Arc<ModelFile> {
        #[expect(clippy::arc_with_non_send_sync, reason = "the trait wants it; one thread here")]
        Arc::new(ModelFile { model: self.clone(), inode: None })
    }

    fn random(&self) -> io::Result<u64> {
        let mut world = self.0.borrow_mut();
        world.randoms += 1;
        Ok(Random::new(world.randoms).next())
    }
}

impl ModelFile {
    fn inode(&self) -> usize {
        self.inode.expect("it is a file")
    }
}

impl DiskFile for ModelFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.model.0.borrow().image.inodes[self.inode()].len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let world = self.model.0.borrow();
        let mut len = bytes.len();
        if let Some((from, until)) = world.faults.unreadable.get() {
            if (from..until).contains(&at) {
                return Err(io::Error::from_raw_os_error(5));
            }
            if at < from {
                len = len.min(usize::try_from(from - at).expect("it is short"));
            }
        }
        let file = &world.image.inodes[self.inode()];
        let rest = file.get(usize::try_from(at).expect("it is short")..).unwrap_or_default();
        let read = rest.len().min(len);
        bytes[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let after = self.model.faults(|faults| faults.full_after.take());
        if after == Some(0) || self.model.faults(|faults| faults.is_full.take()) {
            return Err(ErrorKind::StorageFull.into());
        }
        let is_whole = after.is_some_and(|after| after >= bytes.len());
        if let Some(after) = after.filter(|_| !is_whole) {
            self.model.faults(|faults| faults.is_full.set(true));
            bytes.truncate(after);
        }
        let written = bytes.len();
        let at = usize::try_from(at).expect("it is short");
        self.model.apply(Op::Write { inode: self.inode(), at, bytes });
        if is_whole { Err(io::Error::from_raw_os_error(5)) } else { Ok(written) }
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        if self.model.faults(|faults| faults.cut.take()) {
            return Err(ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(size).expect("it is short");
        self.model.apply(Op::SetLen { inode: self.inode(), len });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.model.faults(|faults| faults.sync.take()) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.model.apply(self.inode.map_or(Op::SyncDirectory, Op::Sync));
        Ok(())
    }
}
