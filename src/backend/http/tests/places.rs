//! Writes to one place in several ways keep their order; writes to several do not wait.

use super::kept::keeping;
use super::*;
use std::sync::atomic::AtomicBool;

fn to(query: &str) -> Destination {
    Destination { query: query.to_owned(), ..Destination::default() }
}

#[test]
fn what_one_source_writes_in_several_ways_keeps_its_order() {
    const WAYS: [&str; 3] = ["db=d&precision=s", "db=d", "consistency=any&db=d&rp="];
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let (address, requests) = backend(move |_, _| match is_up.load(Ordering::Relaxed) {
        true => answer("204 No Content"),
        false => answer("503 Service Unavailable"),
    });
    let sender = start(keeping(address, 1 << 20));
    let written: Vec<_> = (0..60).map(|n| format!("a f={n} 1")).collect();
    for (n, line) in written.iter().enumerate() {
        // Runs of one, two and three that can be merged.
        let way = WAYS[[0, 1, 1, 2, 2, 2][n % 6]];
        assert!(matches!(settled(sender.write_to(to(way), line)), Answer::Buffered));
    }
    let failed = || usize::try_from(sender.metrics.backlog.retries.get()).expect("a few");
    up.store(true, Ordering::Relaxed);
    let end = Instant::now() + DEADLINE;
    while sender.metrics.owed.lines() > 0 {
        assert!(Instant::now() < end, "it does not drain");
        thread::yield_now();
    }
    let failed = failed();
    sender.finish();
    let taken: Vec<_> = requests.try_iter().skip(failed).collect();
    let lines: Vec<_> = taken.iter().flat_map(|request| request.body.lines()).collect();
    assert_eq!(lines, written, "in order");
    for Request { head, body, .. } in &taken {
        for line in body.lines() {
            let n = written.iter().position(|other| other == line).expect("it was written");
            let query = head.lines().next().and_then(|line| line.split(['?', ' ']).nth(2));
            assert_eq!(query, Some(WAYS[[0, 1, 1, 2, 2, 2][n % 6]]), "{line}");
        }
    }
    assert!(taken.len() < written.len(), "neighbours are merged");
}

#[test]
fn a_client_with_wrong_credentials_holds_up_no_other() {
    let (address, _requests) = backend(|_, body| match body.starts_with("wrong") {
        true => answer("401 Unauthorized"),
        false => answer("204 No Content"),
    });
    let sender = start(keeping(address, 1 << 20));
    for n in 0..3 {
        let wrong = sender.write_to(to("db=d&u=me&p=wrong"), &format!("wrong f={n} 1"));
        assert!(matches!(settled(wrong), Answer::Refused(_)));
        let right = sender.write_to(to("db=d&u=me&p=right"), &format!("a f={n} 1"));
        assert!(matches!(settled(right), Answer::Delivered));
    }
    sender.stopper.stop(Instant::now());
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Shutdown)), (3, 3));
}
