//! Any bytes as a segment and its marks, and any harm to good ones: nothing panics, nothing is
//! made up, and what was there at the start is read or counted as lost. Memory is bounded by the
//! files: run it with `-malloc_limit_mb=64`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ringrelay::batch::Batch;
use ringrelay::spool::{Disk, DiskFile, Limits, Record, Spool, State};
use ringrelay::write::Destination;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

const LIMITS: Limits = Limits { bytes_max: 1 << 20, age_max: None };
/// A name as the spool gives them.
const SEGMENT: &str = "v1-00000000000000000007-0123456789abcdef";

/// Files in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Rc<RefCell<BTreeMap<String, File>>>);

#[derive(Clone, Debug, Default)]
struct File(Rc<RefCell<Vec<u8>>>);

impl Memory {
    fn harm(&self, suffix: &str, harm: impl FnOnce(&mut Vec<u8>)) {
        let files = self.0.borrow();
        if let Some((_, file)) = files.iter().find(|(name, _)| name.ends_with(suffix)) {
            harm(&mut file.0.borrow_mut());
        }
    }
}

impl Disk for Memory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        Ok(self.0.borrow_mut().entry(name.to_owned()).or_default().clone())
    }

    fn open(&self, name: &str, _writes: bool) -> io::Result<File> {
        self.0.borrow().get(name).cloned().ok_or(ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().remove(name);
        Ok(())
    }

    fn directory(&self) -> Arc<File> {
        Arc::default()
    }

    fn random(&self) -> io::Result<u64> {
        Ok(0x0123_4567_89ab_cdef)
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let file = self.0.borrow();
        let rest = file.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let (mut file, at) = (self.0.borrow_mut(), at as usize);
        let len = file.len().max(at + bytes.len());
        file.resize(len, 0);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.0.borrow_mut().resize(size as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

fn recover(disk: &Memory) -> Spool<Memory> {
    let mut spool = Spool::open(disk.clone(), LIMITS).expect("the names are good");
    let recovered = spool.recover().expect("the disk does not fail");
    assert_eq!((recovered.records, recovered.lines), (spool.records(), spool.lines()));
    spool
}

/// All that can be read: with what is lost, it is all that was there.
fn drain(spool: &mut Spool<Memory>) -> Vec<Vec<u8>> {
    let (records, lines) = (spool.unread_records(), spool.unread_lines());
    let (mut cursor, mut bodies, mut read) = (spool.head(), Vec::new(), 0);
    while let Some(kept) = spool.read(&mut cursor, None, &mut |_| true).expect("it reads") {
        read += kept.batch.lines();
        assert_eq!(kept.batch.each_line().count() as u64, kept.batch.lines());
        bodies.push(kept.batch.bytes().to_vec());
        spool.settle(kept.place).expect("the disk does not fail");
    }
    let lost = spool.take_lost();
    assert_eq!((bodies.len() as u64 + lost.records, read + lost.lines), (records, lines));
    spool.flush_marks().expect("the disk does not fail");
    assert_eq!((spool.records(), spool.lines(), spool.segments()), (0, 0, 0));
    bodies
}

/// The first three: bytes for a file of records, whether its magic is put in here and there, and
/// bytes for its marks. Then batches for a good file, and what is done to it.
type Input = (Vec<u8>, Vec<u16>, Vec<u8>, Vec<(Vec<u8>, bool)>, Vec<(u16, u8)>, Option<u16>);

fuzz_target!(|input: Input| {
    let (mut records, magics, marks, bodies, harm, cut) = input;
    for at in magics {
        let end = usize::from(at) + 4;
        if end <= records.len() {
            records[end - 4..end].copy_from_slice(&[0xef, 0xcd, 0xab, 0x89]);
        }
    }
    let disk = Memory::default();
    *disk.create(&format!("{SEGMENT}.records")).expect("memory").0.borrow_mut() = records;
    *disk.create(&format!("{SEGMENT}.settled")).expect("memory").0.borrow_mut() = marks;
    drain(&mut recover(&disk));

    let disk = Memory::default();
    let mut spool = recover(&disk);
    let mut written = Vec::new();
    for (number, (mut body, is_settled)) in bodies.into_iter().take(64).enumerate() {
        // No two are alike, so that each can be told.
        body.extend((number as u32).to_le_bytes());
        body.push(b'\n');
        let end = body.len() as u32;
        let batch = match number % 3 {
            0 => Batch::opaque(Bytes::from(body.clone())),
            1 => Batch::from_body(Bytes::from(body.clone()), vec![end]),
            _ => Batch::from_body(Bytes::from(body.clone()), vec![end - 1, end]),
        };
        let destination = Destination { query: format!("db={}", number % 5), ..Default::default() };
        let record = Record { destination: &destination, batch: &batch, kept_s: 1 };
        let place = spool.append(&record, State::Unread).expect("there is room");
        written.push(body);
        if is_settled {
            spool.settle(place).expect("the disk does not fail");
        }
    }
    spool.flush_marks().expect("the disk does not fail");
    let flip = |bytes: &mut Vec<u8>, harm: &[(u16, u8)]| {
        for &(at, bits) in harm {
            let at = usize::from(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
    };
    let (before, after) = harm.split_at(harm.len() / 2);
    disk.harm(".records", |bytes| {
        flip(bytes, before);
        bytes.truncate(cut.map_or(usize::MAX, usize::from));
    });
    disk.harm(".settled", |bytes| flip(bytes, before));
    let mut spool = recover(&disk);
    disk.harm(".records", |bytes| flip(bytes, after));
    let read = drain(&mut spool);
    let places: Vec<_> = read.iter().map(|body| written.iter().position(|w| w == body)).collect();
    assert!(places.iter().all(Option::is_some), "none is made up");
    assert!(places.is_sorted_by(|a, b| a < b), "and they are in order");
});
