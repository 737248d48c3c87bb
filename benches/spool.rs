//! Appending to a spool and reading it back, in memory (`/dev/shm`), in bytes of lines and records
//! per second. `cargo bench --bench spool`

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ringrelay::batch::Batch;
use ringrelay::spool::{Directory, Limits, Record, Spool, State};
use ringrelay::write::Destination;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// Lines of one round: more than one segment of 64 MiB would be slow to set up each time.
const ROUND_BYTES: usize = 16 << 20;
/// A line of line protocol takes about this.
const LINE_BYTES: usize = 100;
const SIZES: [usize; 3] = [200, 1 << 10, 64 << 10];

struct Round {
    // Dropped first: it holds the lock.
    spool: Spool,
    directory: tempfile::TempDir,
    batch: Arc<Batch>,
    destination: Destination,
    count: usize,
}

impl Round {
    fn new(size: usize) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("memory is there");
        let disk = Directory::open(directory.path()).expect("nobody else has it");
        let limits = Limits { bytes_max: 4 << 30, age_max: None };
        let spool = Spool::open(disk, limits).expect("it lists nothing");
        let mut line = b"m,host=a ".to_vec();
        line.resize(LINE_BYTES - 1, b'x');
        line.push(b'\n');
        let lines = size / LINE_BYTES;
        let end = |n: usize| u32::try_from(n * LINE_BYTES).expect("it is short");
        let batch = Batch::from_body(line.repeat(lines).into(), (1..=lines).map(end).collect());
        let destination =
            Destination { query: "db=telegraf&precision=ns".into(), ..Default::default() };
        let count = ROUND_BYTES / size;
        Self { spool, directory, batch, destination, count }
    }

    fn append(mut self) -> Self {
        for kept_s in 0..self.count as u64 {
            let record = Record { destination: &self.destination, batch: &self.batch, kept_s };
            self.spool.append(&record, State::Unread).expect("there is room");
        }
        self
    }

    /// Reads and settles all, a hundred at a time.
    fn drain(mut self) -> Self {
        let mut cursor = self.spool.head();
        let mut read = 0;
        while let Some(kept) = self.spool.read(&mut cursor, None, &mut |_| true).expect("it reads")
        {
            read += 1;
            self.spool.settle(divan::black_box(kept).place).expect("it settles");
            if read % 100 == 0 {
                self.spool.flush_marks().expect("it writes");
            }
        }
        assert_eq!(read, self.count);
        self
    }

    fn recover(self) -> Self {
        let Self { spool, directory, batch, destination, count } = self;
        drop(spool);
        let disk = Directory::open(directory.path()).expect("nobody else has it");
        let limits = Limits { bytes_max: 4 << 30, age_max: None };
        let mut spool = Spool::open(disk, limits).expect("it lists a segment");
        let recovered = spool.recover().expect("it reads");
        assert_eq!(recovered.records, count as u64);
        Self { spool, directory, batch, destination, count }
    }
}

fn bench(
    bencher: Bencher<'_, '_>,
    size: usize,
    input: fn(Round) -> Round,
    run: fn(Round) -> Round,
) {
    let records = ROUND_BYTES / size;
    bencher
        .with_inputs(|| input(Round::new(size)))
        .counter(BytesCount::new(records * (size / LINE_BYTES) * LINE_BYTES))
        .counter(ItemsCount::new(records))
        .bench_local_values(run);
}

/// The floor: the same bytes by a plain write each.
#[divan::bench(args = SIZES, sample_count = 20)]
fn plain_write(bencher: Bencher<'_, '_>, size: usize) {
    let write = |round: Round| {
        let mut file = File::create(round.directory.path().join("plain")).expect("it is made");
        for _ in 0..round.count {
            file.write_all(round.batch.bytes()).expect("there is room");
        }
        round
    };
    bench(bencher, size, |round| round, write);
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn append(bencher: Bencher<'_, '_>, size: usize) {
    bench(bencher, size, |round| round, Round::append);
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn recover(bencher: Bencher<'_, '_>, size: usize) {
    bench(bencher, size, Round::append, Round::recover);
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn read_and_settle(bencher: Bencher<'_, '_>, size: usize) {
    bench(bencher, size, Round::append, Round::drain);
}
