//! The backlog on real sockets: what is kept, in which order it leaves, and what is not kept.

use super::*;
use crate::config;
use crate::metrics::State;
use std::collections::HashMap;
use std::sync::Mutex;

/// A target with a backlog that is tried again quickly.
pub(super) fn keeping(address: SocketAddr, bytes_max: u64) -> HttpTarget {
    let backlog = config::Backlog {
        bytes_max,
        delay_max: Duration::from_millis(20),
        keep_refused: true,
        spool: None,
        dead_letters: None,
    };
    HttpTarget { backlog: Some(backlog), ..target(address) }
}

pub(super) fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !until() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

pub(super) fn lines(bodies: &[String]) -> Vec<String> {
    bodies.iter().flat_map(|body| body.lines().map(str::to_owned)).collect()
}

#[test]
fn what_fails_is_kept_and_delivered_in_order() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let (address, requests) = backend(move |_, _| match is_up.load(Ordering::Relaxed) {
        true => answer("204 No Content"),
        false => answer("500 Internal Server Error"),
    });
    let sender = start(keeping(address, 1 << 20));
    let written: Vec<_> = (0..50).map(|n| format!("a f={n} 1")).collect();
    for line in &written {
        assert!(matches!(settled(sender.write("d", line)), Answer::Buffered));
    }
    let metrics = Arc::clone(&sender.metrics);
    assert_eq!(metrics.backlog.state(), State::Down);
    assert_eq!((metrics.backlog.lines.get(), metrics.owed.backlog_lines()), (50, 50));
    assert!(metrics.backlog.oldest_s().is_some());
    assert_eq!(metrics.owed.bytes(), metrics.owed.backlog_bytes(), "the queue has all its room");
    up.store(true, Ordering::Relaxed);
    wait("it drains", || metrics.owed.lines() == 0);
    assert!(matches!(settled(sender.write("d", "a f=50 1")), Answer::Delivered));
    let metrics = sender.finish();
    assert_eq!(metrics.backlog.state(), State::Up);
    assert_eq!((metrics.delivered.get(), metrics.backlog.oldest_s()), (51, None));
    let failed = usize::try_from(metrics.backlog.retries.get()).expect("a few");
    let bodies: Vec<_> = requests.try_iter().map(|request| request.body).collect();
    assert_eq!(lines(&bodies[failed..bodies.len() - 1]), written, "once each, in order");
}

#[test]
fn a_dead_backend_is_tried_by_one_request_at_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let started = Instant::now();
    let sender = start(keeping(address, 1 << 20));
    for n in 0..300 {
        let answer = settled(sender.write(&format!("d{}", n % 7), &format!("a f={n} 1")));
        assert!(matches!(answer, Answer::Buffered), "{n}: {answer:?}");
    }
    let tries = sender.metrics.requests[STATUS_CLASSES].get();
    // The first of each lane that started before it was known, and then one each 15 ms at most.
    assert!(u128::from(tries) <= 8 + started.elapsed().as_millis() / 15, "{tries} tries");
    let metrics = Arc::clone(&sender.metrics);
    sender.stopper.stop(Instant::now() + Duration::from_millis(50));
    assert_eq!(dropped(&sender.finish(), Drop::Shutdown), 300);
    assert_eq!(metrics.backlog.oldest_s(), None);
}

#[test]
fn a_full_backlog_refuses_the_newest() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    // One of these writes weighs between 264 and 299 bytes.
    let sender = start(keeping(address, 900));
    let answers: Vec<_> = (0..5).map(|_| settled(sender.write("d", "a f=1 1"))).collect();
    let buffered = |answer: &Answer| matches!(answer, Answer::Buffered);
    assert!(answers[..3].iter().all(buffered), "{answers:?}");
    assert!(answers[3..].iter().all(|answer| matches!(answer, Answer::Unavailable)));
    sender.stopper.stop(Instant::now());
    let metrics = sender.finish();
    assert_eq!((dropped(&metrics, Drop::BufferFull), dropped(&metrics, Drop::Shutdown)), (2, 3));
}

#[test]
fn a_write_larger_than_the_backlog_still_finds_out_that_the_backend_is_back() {
    let (address, _requests) = backend(|number, _| match number {
        0 | 1 => answer("503 Service Unavailable"),
        _ => answer("204 No Content"),
    });
    let sender = start(keeping(address, 100));
    for n in 0..2 {
        let answer = settled(sender.write("d", "a f=1 1"));
        assert!(matches!(answer, Answer::Unavailable), "{n}: {answer:?}");
        wait("the state is told", || sender.metrics.backlog.state() == State::Down);
    }
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Delivered));
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::BufferFull)), (1, 2));
}

/// How long after its first answer, which is `first`, a backend is asked again for a write, which
/// it takes then.
pub(super) fn pause_after(first: &'static str) -> Duration {
    let (times, seen) = channel();
    let (address, _requests) = backend(move |number, _| {
        times.send(Instant::now()).expect("the test waits");
        match number {
            0 => Some(first.to_owned()),
            _ => answer("204 No Content"),
        }
    });
    let sender = start(keeping(address, 1 << 20));
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Buffered));
    let next = || seen.recv_timeout(DEADLINE).expect("a request comes");
    let (first, second) = (next(), next());
    assert_eq!(sender.finish().delivered.get(), 1);
    second - first
}

#[test]
fn retry_after_is_honoured() {
    let pause = pause_after(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(pause >= Duration::from_secs(1), "{pause:?}");
}

/// Answers 404 to the first three requests for its lines, and keeps others going.
fn missing_database(keep_refused: bool) -> (Sending, Requests<Request>) {
    let count = AtomicUsize::new(0);
    let (address, requests) = backend(move |_, body| {
        match body.starts_with('a') && count.fetch_add(1, Ordering::Relaxed) < 3 {
            true => answer("404 Not Found"),
            false => answer("204 No Content"),
        }
    });
    let mut target = keeping(address, 1 << 20);
    target.backlog.as_mut().expect("it has one").keep_refused = keep_refused;
    (start(target), requests)
}

#[test]
fn a_missing_database_is_told_and_waited_for_while_others_pass() {
    let (sender, requests) = missing_database(true);
    for n in 0..3 {
        match settled(sender.write("missing", &format!("a f={n} 1"))) {
            Answer::Refused(refusal) => assert_eq!(refusal.status, 404),
            Answer::Delivered if n > 0 => {} // It was quick.
            other => panic!("{other:?}"),
        }
        assert!(matches!(settled(sender.write("other", "b f=1 1")), Answer::Delivered));
    }
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), metrics.dropped_total()), (6, 0));
    let bodies: Vec<_> = requests.try_iter().map(|request| request.body).collect();
    let of_a: Vec<_> = lines(&bodies).into_iter().filter(|line| line.starts_with('a')).collect();
    assert_eq!(of_a.last().map(String::as_str), Some("a f=2 1"));
}

#[test]
fn a_missing_database_is_dropped_if_that_is_wanted() {
    let (sender, _requests) = missing_database(false);
    for _ in 0..3 {
        let answer = settled(sender.write("missing", "a f=1 1"));
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    }
    assert_eq!(dropped(&sender.finish(), Drop::Refused), 3);
}

#[test]
fn what_is_too_large_is_cut_down_to_its_lines() {
    for bytes_max in [0, 1 << 20] {
        let (address, requests) = backend(|_, body| match body.len() {
            0..=20 => answer("204 No Content"),
            _ => answer("413 Request Entity Too Large"),
        });
        let mut target = keeping(address, bytes_max);
        if bytes_max == 0 {
            target.backlog = None;
        }
        let sender = start(target);
        let good: Vec<_> = (0..7).map(|n| format!("a f={n} 1")).collect();
        assert!(matches!(settled(sender.write("d", &good.join("\n"))), Answer::Delivered));
        let with_long = format!("b f=1 1\nb f={} 1\nb f=2 1", "7".repeat(30));
        match settled(sender.write("d", &with_long)) {
            Answer::Refused(refusal) => assert_eq!(refusal.status, 413),
            other => panic!("{other:?}"),
        }
        let metrics = sender.finish();
        assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Refused)), (9, 1));
        let taken = requests.try_iter().map(|request| request.body).filter(|body| body.len() <= 20);
        let taken = lines(&taken.collect::<Vec<_>>());
        assert_eq!(taken[..7], good, "in order");
        assert_eq!(taken[7..], ["b f=1 1", "b f=2 1"]);
    }
}

/// A number from a seed and a position, evenly spread.
fn hash(seed: u64, at: u64) -> u64 {
    let mut x = (seed << 32 ^ at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ x >> 29
}

/// Whether the random test writes its `n`th point of a database.
fn is_written(seed: u64, n: u64, database: u64) -> bool {
    !hash(seed, 1_000 + 4 * n + database).is_multiple_of(3)
}

#[test]
fn under_random_answers_every_destination_ends_complete_and_in_order() {
    const DATABASES: u64 = 4;
    const WRITES: u64 = 150;
    for seed in 0..8 {
        let taken: Arc<Mutex<HashMap<String, Vec<u64>>>> = Arc::default();
        let store = Arc::clone(&taken);
        // Whole runs of requests fail, one way or another; at the end all are taken. Not so many
        // in a row with 500 that a write would be taken for poison.
        let (address, _requests) = backend(move |number, body| {
            let at = number as u64;
            let fate = match hash(seed, at / 5) % 10 {
                _ if at > 400 => 9,
                0 if at % 5 > 2 => 9,
                fate => fate,
            };
            if fate >= 6 || fate == 4 && hash(seed, at).is_multiple_of(2) {
                let mut taken = store.lock().expect("nobody panics with it");
                for line in body.lines() {
                    let (database, rest) = line.split_once(" f=").expect("a line of this test");
                    let value = rest.split(' ').next().expect("a value");
                    let value = value.parse().expect("a number");
                    taken.entry(database.to_owned()).or_default().push(value);
                }
            }
            match fate {
                0 => answer("500 Internal Server Error"),
                1 => answer("503 Service Unavailable"),
                2 => answer("404 Not Found"),
                3 => answer("302 Found"),
                // Cut off, with the lines stored or not.
                4 => None,
                5 => answer("413 Request Entity Too Large")
                    .filter(|_| body.lines().count() > 1)
                    .or_else(|| answer("429 Too Many Requests")),
                _ => answer("204 No Content"),
            }
        });
        let mut target = keeping(address, 1 << 20);
        target.backlog.as_mut().expect("it has one").delay_max = Duration::from_millis(2);
        let sender = start(target);
        for n in 0..WRITES {
            for database in 0..DATABASES {
                if is_written(seed, n, database) {
                    let database = format!("d{database}");
                    drop(sender.write(&database, &format!("{database} f={n} 1")));
                }
            }
            if hash(seed, n).is_multiple_of(4) {
                thread::yield_now();
            }
        }
        let metrics = sender.finish();
        assert_eq!(metrics.dropped_total(), 0, "seed {seed}: nothing is lost");
        let taken = taken.lock().expect("nobody panics with it");
        for database in 0..DATABASES {
            let expected: Vec<_> = (0..WRITES).filter(|&n| is_written(seed, n, database)).collect();
            let values = &taken[&format!("d{database}")];
            // A request whose answer was lost is sent again: a step back, and then all again.
            let mut distinct: Vec<u64> = Vec::new();
            for &value in values {
                if !distinct.contains(&value) {
                    distinct.push(value);
                }
            }
            assert_eq!(distinct, expected, "seed {seed}, d{database}: complete and in order");
            assert_eq!(values.last(), expected.last(), "seed {seed}: the last value stands");
        }
    }
}

#[test]
fn opaque_bodies_are_kept_each_by_itself_and_counted_as_bodies() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let (address, requests) = backend(move |_, body| match is_up.load(Ordering::Relaxed) {
        true if body == "large" => answer("413 Payload Too Large"),
        true => answer("204 No Content"),
        false => answer("503 Service Unavailable"),
    });
    let sender = start(keeping(address, 1 << 20));
    for body in ["one", "two", "large", "three"] {
        assert!(matches!(settled(sender.write_opaque(body)), Answer::Buffered));
    }
    let metrics = Arc::clone(&sender.metrics);
    assert_eq!((metrics.opaque.queued.get(), metrics.owed.lines()), (4, 0));
    assert!(metrics.owed.backlog_bytes() > 0);
    up.store(true, Ordering::Relaxed);
    wait("it drains", || metrics.opaque.queued.get() == 0);
    let metrics = sender.finish();
    let refused = metrics.opaque.dropped[Drop::Refused as usize].get();
    assert_eq!((metrics.opaque.delivered.get(), refused), (3, 1));
    assert_eq!((metrics.delivered.get(), metrics.dropped_total()), (0, 0));
    let failed = usize::try_from(metrics.backlog.retries.get()).expect("a few");
    let bodies: Vec<_> = requests.try_iter().skip(failed).map(|request| request.body).collect();
    assert_eq!(bodies, ["one", "two", "large", "three"], "in order, never merged");
}

#[test]
fn a_flush_drops_the_backlog_too() {
    let (address, _requests) = backend(|_, _| answer("503 Service Unavailable"));
    let sender = start(keeping(address, 1 << 20));
    for n in 0..5 {
        assert!(matches!(settled(sender.write("d", &format!("a f={n} 1"))), Answer::Buffered));
    }
    assert!(matches!(settled(sender.write_opaque("opaque")), Answer::Buffered));
    let metrics = Arc::clone(&sender.metrics);
    let mut flushed = 0;
    wait("all is flushed", || {
        // What is in flight is spared, and waits again when it has failed.
        let answer = sender.control.give(Command::Flush).blocking_recv();
        flushed += answer.expect("it is running").writes;
        flushed == 6
    });
    assert_eq!((metrics.owed.bytes(), metrics.backlog.oldest_s()), (0, None));
    assert_eq!(metrics.opaque.dropped[Drop::Flushed as usize].get(), 1);
    assert_eq!(dropped(&sender.finish(), Drop::Flushed), 5);
}
