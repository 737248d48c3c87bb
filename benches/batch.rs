//! Split, validate and batch one received payload, as a UDP worker does; in bytes and lines per
//! second. `cargo bench --bench batch`

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ringrelay::batch::{BatchBuilder, Pool};
use ringrelay::line::{Item, Lines};
use ringrelay::timestamp::Precision;
use std::fmt::Write as _;
use std::num::NonZeroUsize;

fn main() {
    divan::main();
}

/// Lines in the payload: what 64 KiB of joined datagrams hold.
const LINES: usize = 550;
const MTU: usize = 1400;

fn payload(stamped: bool) -> Vec<u8> {
    let mut text = String::new();
    for n in 0..LINES {
        let stamp = if stamped { " 1434055562000000000" } else { "" };
        writeln!(
            text,
            "cpu,host=server{:02},region=eu-west,core={} \
             usage_user=12.5,usage_idle=84.25,ctx={}i{stamp}",
            n % 64,
            n % 8,
            100_000 + n,
        )
        .expect("a string takes all");
    }
    text.into_bytes()
}

fn builder(laid_out: bool) -> BatchBuilder {
    let layout = NonZeroUsize::new(MTU).filter(|_| laid_out).map(ringrelay::backend::udp::layout);
    BatchBuilder::new(Pool::new(8, 60 << 10), layout)
}

fn take(builder: &mut BatchBuilder, payload: &[u8], stride: Option<usize>) {
    let stride = stride.unwrap_or(payload.len());
    let mut lines = Lines::of_parts(payload, stride, Precision::Nanosecond);
    loop {
        while let Some(run) = lines.next_run() {
            assert_eq!(builder.push_run(run.bytes, run.start, run.ends), run.ends.len());
        }
        let Some(item) = lines.next() else { break };
        let Item::Line(line) = item else { continue };
        let stamp = (!line.stamped).then_some(1_434_055_562_000_000_000);
        if !builder.push(line.bytes, stamp) {
            drop(builder.seal());
            assert!(builder.push(line.bytes, stamp), "an empty builder has room");
        }
    }
    drop(divan::black_box(builder.seal()));
}

#[divan::bench(args = [true, false])]
fn stamped_into_segments(bencher: Bencher<'_, '_>, laid_out: bool) {
    let payload = payload(true);
    let mut builder = builder(laid_out);
    bencher
        .counter(BytesCount::of_slice(&payload))
        .counter(ItemsCount::new(LINES))
        .bench_local(|| take(&mut builder, &payload, None));
}

#[divan::bench]
fn one_line_per_joined_datagram(bencher: Bencher<'_, '_>) {
    let line = &payload(true)[..];
    let line = &line[..=memchr::memchr(b'\n', line).expect("lines end")];
    let payload = line.repeat(LINES);
    let mut builder = builder(true);
    bencher
        .counter(BytesCount::of_slice(&payload))
        .counter(ItemsCount::new(LINES))
        .bench_local(|| take(&mut builder, &payload, Some(line.len())));
}

#[divan::bench]
fn unstamped(bencher: Bencher<'_, '_>) {
    let payload = payload(false);
    let mut builder = builder(true);
    bencher
        .counter(BytesCount::of_slice(&payload))
        .counter(ItemsCount::new(LINES))
        .bench_local(|| take(&mut builder, &payload, None));
}
