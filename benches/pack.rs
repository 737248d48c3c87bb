//! Pack the lines of one batch into datagrams of several sizes; in lines per second.
//! `cargo bench --bench pack`

use divan::Bencher;
use divan::counter::ItemsCount;
use ringrelay::backend::udp::pack::{Datagram, Packer};

fn main() {
    divan::main();
}

#[divan::bench(args = [512, 1400, 8900])]
fn pack(bencher: Bencher<'_, '_>, mtu: usize) {
    let ends: Vec<u32> = (1..=550).map(|line| line * 110 + line % 7).collect();
    let mut run = [Datagram::default(); 64];
    bencher.counter(ItemsCount::new(ends.len())).bench_local(|| {
        let mut packer = Packer::new(&ends, mtu);
        let mut datagrams = 0;
        loop {
            match packer.fill(&mut run, 65_507) {
                0 => return datagrams,
                count => datagrams += count,
            }
        }
    });
}
