//! Receive datagrams over loopback: the relay's ring against `recv`, both draining what a sender
//! has put into the socket beforehand; in datagrams per second. `cargo bench --bench receive`

use divan::Bencher;
use divan::counter::ItemsCount;
use ringrelay::ring::{Event, ReceiveRing};
use ringrelay::{segment, sys};
use std::net::UdpSocket;
use std::time::Duration;

fn main() {
    divan::main();
}

/// Datagrams in one burst: they fit the receive buffer of any system's defaults.
const BURST: usize = 64;
const PAYLOAD: [u8; 110] = [b'x'; 110];

fn pair() -> (UdpSocket, UdpSocket) {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let receiver = sys::bind_udp(loopback, 1).expect("loopback has free ports").remove(0);
    let sender = UdpSocket::bind(loopback).expect("loopback has free ports");
    sender.connect(receiver.local_addr().expect("it is bound")).expect("loopback connects");
    (receiver, sender)
}

fn send_burst(sender: &UdpSocket) {
    for _ in 0..BURST {
        sender.send(&PAYLOAD).expect("loopback takes it");
    }
}

#[divan::bench]
fn recv(bencher: Bencher<'_, '_>) {
    let (receiver, sender) = pair();
    let mut buffer = [0; 2048];
    bencher.counter(ItemsCount::new(BURST)).with_inputs(|| send_burst(&sender)).bench_local_values(
        |()| {
            for _ in 0..BURST {
                receiver.recv(&mut buffer).expect("one burst is queued");
            }
        },
    );
}

#[divan::bench]
fn ring(bencher: Bencher<'_, '_>) {
    let (receiver, sender) = pair();
    sys::set_receive_options(&receiver).expect("the kernel has GRO");
    let mut ring = ReceiveRing::new(receiver, 256).expect("io_uring is allowed");
    bencher.counter(ItemsCount::new(BURST)).with_inputs(|| send_burst(&sender)).bench_local_values(
        |()| {
            let mut seen = 0;
            while seen < BURST {
                ring.wait(BURST - seen, Duration::from_millis(1), Duration::from_millis(100))
                    .expect("the ring waits");
                ring.drain(BURST * 2, |event| {
                    if let Event::Datagrams(received) = event {
                        seen += segment::datagrams(received.payload, received.stride).count();
                    }
                });
            }
        },
    );
}
