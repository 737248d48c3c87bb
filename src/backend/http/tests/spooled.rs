//! A spool on real sockets: what the next life of the relay finds in it, and in which order.

use super::kept::{keeping, lines};
use super::*;
use crate::config;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// A target with 2000 bytes of memory and 20,000 of disk.
fn spooling(address: SocketAddr, dir: &Path) -> HttpTarget {
    let mut target = keeping(address, 2_000);
    let (dir, fsync) = (dir.to_owned(), config::Fsync::Always);
    let spool = config::Spool { dir, bytes_max: 20_000, age_max: None, fsync };
    target.backlog.as_mut().expect("it keeps").spool = Some(spool);
    target
}

/// A backend that is back gets its backlog, which fills the memory: what comes meanwhile goes to
/// disk alone, behind all that came before it, also what is not kept but waits for its turn.
#[test]
fn what_waits_for_its_turn_stays_in_front_of_what_goes_to_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let up = Arc::new(AtomicBool::new(false));
    let (is_up, taken) = (Arc::clone(&up), AtomicUsize::new(0));
    let (stalls, stalled) = channel();
    let (address, _requests) = backend(move |_, _| {
        if !is_up.load(Ordering::Relaxed) {
            return answer("500 Internal Server Error");
        }
        if taken.fetch_add(1, Ordering::Relaxed) == 0 {
            return answer("204 No Content");
        }
        stalls.send(()).expect("the test waits");
        loop {
            thread::park();
        }
    });
    let sender = spooling(address, dir.path());
    let sender = start(HttpTarget { in_flight_max: 1, batch_bytes_max: 8, ..sender });
    // One of these writes weighs between 264 and 299 bytes.
    for n in 0..7 {
        assert!(matches!(settled(sender.write("a", &format!("a f={n} 1"))), Answer::Buffered));
    }
    up.store(true, Ordering::Relaxed);
    stalled.recv_timeout(DEADLINE).expect("the backlog is sent");
    let _waits = sender.write("b", "b f=0 1");
    for n in 7..20 {
        assert!(matches!(settled(sender.write("a", &format!("a f={n} 1"))), Answer::Buffered));
    }
    for n in 1..4 {
        assert!(matches!(settled(sender.write("b", &format!("b f={n} 1"))), Answer::Buffered));
    }
    sender.stopper.stop(Instant::now());
    let metrics = sender.finish();
    assert_eq!(metrics.delivered.get() + metrics.spool.left.get(), 24, "all that came");

    let (address, requests) = backend(|_, _| answer("204 No Content"));
    start(spooling(address, dir.path())).finish();
    let bodies: Vec<_> = requests.try_iter().map(|request| request.body).collect();
    let of_b: Vec<_> = lines(&bodies).into_iter().filter(|line| line.starts_with('b')).collect();
    assert_eq!(of_b, (0..4).map(|n| format!("b f={n} 1")).collect::<Vec<_>>());
}

#[test]
fn no_client_is_promised_a_disk_that_did_not_take_its_write() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (fails, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let (address, requests) = backend(move |_, body| {
        if body.starts_with('b') && !is_up.load(Ordering::Relaxed) {
            assert!(gate.lock().expect("nobody panics").recv().is_err(), "its end opens it");
        }
        match is_up.load(Ordering::Relaxed) {
            true => answer("204 No Content"),
            false => answer("500 Internal Server Error"),
        }
    });
    let sender = start(spooling(address, dir.path()));
    let large = sender.write("b", &format!("b f=\"{}\" 1", "x".repeat(30_000)));
    assert!(next(&requests).body.starts_with('b'));
    // An outage, in which all that is in flight is kept; the disk has no room for this.
    assert!(matches!(settled(sender.write("a", "a f=0 1")), Answer::Buffered));
    assert_eq!(sender.metrics.spool.errors.get(), 1);
    drop(fails);
    assert!(matches!(settled(large), Answer::Unavailable), "it is in memory alone");
    up.store(true, Ordering::Relaxed);
    assert_eq!(sender.finish().delivered.get(), 2, "and not lost");
}

#[test]
fn what_a_full_spool_drops_while_it_is_in_flight_is_counted_so_at_the_end() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, requests) = backend(|_, body| {
        if body.starts_with('b') {
            loop {
                thread::park();
            }
        }
        answer("500 Internal Server Error")
    });
    let sender = start(spooling(address, dir.path()));
    let _in_flight = sender.write("b", "b f=0 1");
    assert!(next(&requests).body.starts_with('b'));
    // A segment has 1 MiB.
    for n in 0..150 {
        let line = format!("a f=\"{}\" {n}", "x".repeat(10_000));
        assert!(matches!(settled(sender.write("a", &line)), Answer::Buffered));
    }
    sender.stopper.stop(Instant::now());
    let metrics = sender.finish();
    let (full, left) = (dropped(&metrics, Drop::SpoolFull), metrics.spool.left.get());
    assert!(full > 100, "the oldest segment is gone, and what is in flight was in it");
    assert_eq!((full + left, dropped(&metrics, Drop::Shutdown)), (151, 0));
}

#[test]
fn a_write_that_was_put_on_disk_while_in_flight_is_promised_at_once_when_it_fails() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (fails, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let (address, requests) = backend(move |_, body| {
        if body.starts_with('b') {
            assert!(gate.lock().expect("nobody panics").recv().is_err(), "its end opens it");
        }
        answer("500 Internal Server Error")
    });
    let sender = start(spooling(address, dir.path()));
    let in_flight = sender.write("b", "b f=0 1");
    assert!(next(&requests).body.starts_with('b'));
    assert!(matches!(settled(sender.write("a", "a f=0 1")), Answer::Buffered));
    // Both are on the disk by now, and nothing else comes.
    drop(fails);
    assert!(matches!(settled(in_flight), Answer::Buffered));
    sender.stopper.stop(Instant::now());
    assert_eq!(sender.finish().spool.left.get(), 2);
}
