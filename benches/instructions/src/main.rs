//! The work of a UDP worker's rooms, case by case, to be counted in instructions by callgrind:
//! `perf/instructions.sh` runs it, and says what a count means.
//!
//! Without a case it prints what there is: names, and the lines that one turn of each handles. The
//! benches of the same rooms measure time; counts are the same on every machine of one kind.

use ringrelay::backend::udp::pack::{Datagram, Packer};
use ringrelay::batch::{Batch, BatchBuilder, Pool};
use ringrelay::line::{Item, Lines};
use ringrelay::timestamp::Precision;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

/// What 64 KiB of joined datagrams hold.
const LINES: usize = 550;
const MTU: usize = 1400;
const STAMP: i64 = 1_434_055_562_000_000_000;

/// What is counted: one turn answers how many lines it handled.
trait Work {
    fn turn(&mut self) -> usize;
}

type Make = fn() -> Box<dyn Work>;

const CASES: [(&str, Make); 8] = [
    ("split-validate", || Box::new(Validate::new(&typical(true), None))),
    ("split-validate-one-line", || Box::new(Validate::one())),
    ("split-validate-joined", || Box::new(Validate::joined())),
    ("split-validate-strings", || Box::new(Validate::new(&strings(), None))),
    ("batch", || Box::new(Fill::new(true))),
    ("batch-stamping", || Box::new(Fill::new(false))),
    ("pack", || Box::new(Pack::new(MTU))),
    ("pack-jumbo", || Box::new(Pack::new(8_900))),
];

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else { return list() };
    let Some((_, make)) = CASES.iter().find(|(case, _)| *case == name) else {
        eprintln!("instructions: no case {name:?}");
        return ExitCode::from(2);
    };
    let mut work = make();
    // What is done once in a process (choosing an instruction set, the first allocation) is not
    // counted.
    let warm = work.turn();
    if measured(&mut *work) != warm || warm == 0 {
        eprintln!("instructions: {name} did not do the same work twice");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Callgrind counts from when this is entered until it is left.
#[inline(never)]
fn measured(work: &mut dyn Work) -> usize {
    black_box(work).turn()
}

fn list() -> ExitCode {
    let mut text = String::new();
    for (name, make) in CASES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}\t{}", make().turn());
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

fn typical(stamped: bool) -> String {
    let mut text = String::new();
    for n in 0..LINES {
        let (host, core, context) = (n % 64, n % 8, 100_000 + n);
        let stamp = if stamped { format!(" {STAMP}") } else { String::new() };
        text += &format!(
            "cpu,host=server{host:02},region=eu-west,core={core} \
             usage_user=12.5,usage_idle=84.25,ctx={context}i{stamp}\n"
        );
    }
    text
}

fn strings() -> String {
    let line = |n: usize| {
        let (host, user, ms) = (n % 64, 10_000 + n, n % 97);
        format!(
            "log,host=server\\ {host:02},level=info \
             message=\"GET /api/v1/users/{user} took, all in all, {ms:02} ms\",status=200i \
             {STAMP}\n"
        )
    };
    (0..LINES).map(line).collect()
}

/// Splits and validates lines, as both fronts do.
struct Validate {
    payload: Vec<u8>,
    stride: usize,
}

impl Validate {
    fn new(payload: &str, stride: Option<usize>) -> Self {
        Self { payload: payload.into(), stride: stride.unwrap_or(payload.len()) }
    }

    fn one() -> Self {
        let text = typical(true);
        Self::new(text.split_inclusive('\n').next().unwrap_or_default(), None)
    }

    /// Datagrams of one line that the kernel has joined.
    fn joined() -> Self {
        let line = Self::one().payload;
        Self { payload: line.repeat(LINES), stride: line.len() }
    }
}

impl Work for Validate {
    fn turn(&mut self) -> usize {
        let mut lines = Lines::of_parts(&self.payload, self.stride, Precision::Nanosecond);
        let mut count = 0;
        loop {
            while let Some(run) = lines.next_run() {
                count += black_box(run.ends).len();
            }
            match lines.next() {
                Some(item) => count += usize::from(matches!(black_box(item), Item::Line(_))),
                None => return count,
            }
        }
    }
}

/// Splits, validates and lays lines out for the `mtu`, as a UDP worker does.
struct Fill {
    payload: String,
    builder: BatchBuilder,
    sealed: Option<Arc<Batch>>,
}

impl Fill {
    fn new(stamped: bool) -> Self {
        let layout = NonZeroUsize::new(MTU).map(ringrelay::backend::udp::layout);
        let builder = BatchBuilder::new(Pool::new(8, 60 << 10), layout);
        Self { payload: typical(stamped), builder, sealed: None }
    }

    fn seal(&mut self) -> usize {
        self.sealed = self.builder.seal();
        self.sealed.as_ref().map_or(0, |batch| batch.ends().len())
    }
}

impl Work for Fill {
    fn turn(&mut self) -> usize {
        let payload = std::mem::take(&mut self.payload);
        let mut lines = Lines::new(payload.as_bytes(), Precision::Nanosecond);
        let mut count = 0;
        loop {
            while let Some(run) = lines.next_run() {
                let mut ends = run.ends;
                let mut start = run.start;
                while !ends.is_empty() {
                    let pushed = self.builder.push_run(run.bytes, start, ends);
                    if let Some(last) = pushed.checked_sub(1) {
                        start = ends[last] as usize + 1;
                    }
                    ends = &ends[pushed..];
                    if !ends.is_empty() {
                        count += self.seal();
                    }
                }
            }
            let Some(item) = lines.next() else { break };
            let Item::Line(line) = item else { continue };
            let stamp = (!line.stamped).then_some(STAMP);
            if !self.builder.push(line.bytes, stamp) {
                count += self.seal();
                assert!(self.builder.push(line.bytes, stamp), "an empty builder has room");
            }
        }
        count += self.seal();
        self.payload = payload;
        count
    }
}

/// Packs the lines of a batch into datagrams.
struct Pack {
    ends: Vec<u32>,
    mtu: usize,
    run: [Datagram; 64],
}

impl Pack {
    fn new(mtu: usize) -> Self {
        let ends = (1..=550).map(|line| line * 110 + line % 7).collect();
        Self { ends, mtu, run: [Datagram::default(); 64] }
    }
}

impl Work for Pack {
    fn turn(&mut self) -> usize {
        let mut packer = Packer::new(&self.ends, self.mtu);
        while packer.fill(&mut self.run, 65_507) > 0 {
            black_box(&self.run);
        }
        self.ends.len()
    }
}
