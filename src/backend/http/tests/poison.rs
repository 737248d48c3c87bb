//! Writes that the backend fails for: which are set aside, and which are not.

use super::kept::{keeping, lines, wait};
use super::*;
use crate::config::DeadLetters;

#[test]
fn a_poison_write_is_set_aside_once_the_backend_takes_the_next() {
    for with_file in [false, true] {
        let (address, requests) = backend(|_, body| match body.contains("poison") {
            true => Some("HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\npanic".to_owned()),
            false => answer("204 No Content"),
        });
        let dir = tempfile::tempdir().expect("a directory");
        let letters = DeadLetters { dir: dir.path().into(), bytes_max: 1 << 20 };
        let mut target = keeping(address, 1 << 20);
        let backlog = target.backlog.as_mut().expect("it has one");
        backlog.dead_letters = with_file.then_some(letters);
        let sender = start(target);
        let path = dir.path().join("relay.out.lp");
        let mut written: Vec<_> = (0..40).map(|n| format!("a f={n} 1")).collect();
        written[17] = "poison f=17 1".to_owned();
        for line in &written {
            drop(sender.write("d", line));
        }
        let metrics = Arc::clone(&sender.metrics);
        wait("only the poison is dropped", || metrics.owed.lines() == 0);
        sender.finish();
        assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Poison)), (39, 1));
        assert_eq!(metrics.backlog.dead_letters.get(), u64::from(with_file));
        // The one behind it came ahead of its last try, and has the last word.
        written[17] = written[18].clone();
        let bodies = requests.try_iter().map(|request| request.body);
        let taken: Vec<_> = bodies.filter(|body| !body.contains("poison")).collect();
        assert_eq!(lines(&taken), written, "in order");
        let letters = std::fs::read_to_string(path).unwrap_or_default();
        match with_file {
            true => {
                assert!(letters.ends_with("it answers 500: panic\npoison f=17 1\n"), "{letters}")
            }
            false => assert_eq!(letters, ""),
        }
    }
}

/// The backend fails for a while, and is well again when the next write goes past the first.
#[test]
fn a_write_that_is_taken_at_its_last_try_is_not_set_aside() {
    let well = std::sync::atomic::AtomicBool::new(false);
    let (address, requests) = backend(move |_, body| {
        let is_well = well.fetch_or(body.contains("f=1"), Ordering::Relaxed);
        answer(if is_well || body.contains("f=1") { "204 No Content" } else { "500 Oops" })
    });
    let sender = start(keeping(address, 1 << 20));
    for n in 0..2 {
        assert!(matches!(settled(sender.write("d", &format!("a f={n} 1"))), Answer::Buffered));
    }
    let metrics = Arc::clone(&sender.metrics);
    wait("both are delivered", || metrics.owed.lines() == 0);
    sender.finish();
    assert_eq!((metrics.delivered.get(), metrics.dropped_total()), (2, 0));
    assert_eq!(metrics.backlog.resent.get(), 1, "that it came twice is counted");
    let bodies: Vec<_> = requests.try_iter().map(|request| request.body).collect();
    let bodies = bodies.iter().map(|body| body.trim_end()).collect::<Vec<_>>();
    assert_eq!(bodies[bodies.len() - 3..], ["a f=1 1", "a f=0 1", "a f=1 1"]);
}

#[test]
fn no_write_is_set_aside_while_the_backend_takes_none() {
    let (address, _requests) = backend(|_, _| answer("500 Internal Server Error"));
    let sender = start(keeping(address, 1 << 20));
    for n in 0..3 {
        assert!(matches!(settled(sender.write("d", &format!("a f={n} 1"))), Answer::Buffered));
    }
    let metrics = Arc::clone(&sender.metrics);
    wait("it is tried many times", || metrics.backlog.retries.get() >= 30);
    sender.stopper.stop(Instant::now());
    let metrics = sender.finish();
    assert_eq!(dropped(&metrics, Drop::Shutdown), 3, "all of them were still there");
}
