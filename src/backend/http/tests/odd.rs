//! Backends that answer oddly, and writes that cannot be sent: neither may hold up the rest.

use super::kept::{keeping, pause_after};
use super::*;
use bytes::Bytes;

/// A backend that answers the writes whose body starts with `a` with `odd`, and takes others.
fn odd_to_a(odd: &'static str) -> (SocketAddr, Requests<Request>) {
    backend(move |_, body| match body.starts_with('a') {
        true => Some(odd.to_owned()),
        false => answer("204 No Content"),
    })
}

#[test]
fn what_cannot_be_put_into_a_request_is_refused_and_blocks_nobody() {
    let (address, _requests) = backend(|_, _| answer("204 No Content"));
    for target in [target(address), keeping(address, 1 << 20)] {
        let sender = start(target);
        let authorization = Some(Bytes::from_static(b"Token a\nb:c"));
        let destination = Destination { authorization, ..Destination::default() };
        match settled(sender.write_to(destination, "a f=1 1")) {
            Answer::Refused(refusal) => assert_eq!(refusal.status, 400),
            other => panic!("{other:?}"),
        }
        assert!(matches!(settled(sender.write("d", "b f=1 1")), Answer::Delivered));
        let metrics = sender.finish();
        assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Refused)), (1, 1));
        assert_eq!(metrics.requests[STATUS_CLASSES].get(), 0, "nothing was sent of it");
    }
}

#[test]
fn an_answer_with_more_behind_it_than_it_said_spoils_nothing() {
    for status in ["204 No Content", "200 OK"] {
        let (address, _requests) = backend(move |_, _| {
            Some(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\nnobody asked for this"))
        });
        let sender = start(target(address));
        for n in 0..50 {
            let answer = settled(sender.write("d", &format!("a f={n} 1")));
            assert!(matches!(answer, Answer::Delivered), "{status}, {n}: {answer:?}");
        }
        sender.finish();
    }
}

#[test]
fn an_answer_that_never_ends_counts_by_its_status() {
    for (head, taken) in [("200 OK", true), ("400 Bad Request", false)] {
        let half = format!("HTTP/1.1 {head}\r\nContent-Length: 5\r\n\r\nab");
        let (address, requests) = backend(move |_, _| Some(half.clone()));
        let mut target = target(address);
        target.timeout = Duration::from_millis(200);
        let sender = start(target);
        match settled(sender.write("d", "a f=1 1")) {
            Answer::Delivered if taken => {}
            Answer::Refused(refusal) if !taken => assert_eq!(refusal.body, "ab"),
            other => panic!("{head}: {other:?}"),
        }
        sender.finish();
        assert_eq!(requests.try_iter().count(), 1, "{head}");
    }
}

#[test]
fn a_retry_after_that_is_a_date_is_counted_from_the_answers_own_date() {
    let pause = pause_after(
        "HTTP/1.1 503 Busy\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Retry-After: Sun, 06 Nov 1994 08:49:38 GMT\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(pause >= Duration::from_secs(1), "{pause:?}");
}

#[test]
fn a_destination_that_is_asked_to_wait_waits_alone() {
    let (address, requests) =
        odd_to_a("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n");
    let sender = start(keeping(address, 64 << 20));
    assert!(matches!(settled(sender.write("a", "a f=1 1")), Answer::Buffered));
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let answers: Vec<_> = (0..20).map(|n| sender.write("b", &format!("b f={n} 1"))).collect();
        for answer in answers {
            let answer = settled(answer);
            assert!(matches!(answer, Answer::Delivered | Answer::Buffered), "{answer:?}");
        }
        // While all wait, what comes is answered at once, and must find room in the backlog.
        kept::wait("the backlog to drain", || sender.metrics.owed.backlog_bytes() < 1 << 20);
    }
    let metrics = Arc::clone(&sender.metrics);
    let end = Instant::now() + DEADLINE;
    while metrics.owed.lines() > 1 {
        assert!(Instant::now() < end, "{} lines wait", metrics.owed.lines());
        std::thread::yield_now();
    }
    assert!(metrics.delivered.get() > 20, "{} lines passed", metrics.delivered.get());
    let bodies = requests.try_iter().map(|request| request.body);
    assert_eq!(bodies.filter(|body| body.starts_with('a')).count(), 1, "it asked for a minute");
    sender.stopper.stop(Instant::now());
    assert_eq!(dropped(&sender.finish(), Drop::Shutdown), 1);
}

#[test]
fn a_destination_that_alone_fails_is_not_hammered_while_others_pass() {
    let (address, requests) = odd_to_a("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let sender = start(keeping(address, 64 << 20));
    let started = Instant::now();
    assert!(matches!(settled(sender.write("a", "a f=1 1")), Answer::Buffered));
    while started.elapsed() < Duration::from_millis(500) {
        let answers: Vec<_> = (0..20).map(|n| sender.write("b", &format!("b f={n} 1"))).collect();
        answers.into_iter().for_each(|answer| drop(settled(answer)));
    }
    let tries_max = 2 + started.elapsed().as_millis() / 15;
    sender.stopper.stop(Instant::now());
    sender.finish();
    let bodies = requests.try_iter().map(|request| request.body);
    let tries = bodies.filter(|body| body.starts_with('a')).count();
    assert!(tries as u128 <= tries_max, "{tries} tries where {tries_max} have their time");
}

#[test]
fn what_comes_late_behind_an_answer_is_not_the_next_answer() {
    // Nothing belongs behind a 204, and it comes when the next request has been sent.
    let (address, requests) = backend(|number, _| match number {
        1 => Some("it came too late\r\n\r\n".to_owned()),
        _ => answer("204 No Content"),
    });
    let sender = start(target(address));
    for n in 0..3 {
        let answer = settled(sender.write("d", &format!("a f={n} 1")));
        assert!(matches!(answer, Answer::Delivered), "{n}: {answer:?}");
    }
    sender.finish();
    let connections: Vec<_> = requests.try_iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1], "once more, on a new connection");
}

#[test]
fn poison_writes_in_a_row_are_set_aside_one_by_one() {
    let (address, requests) = backend(|_, body| match body.contains("poison") {
        true => answer("500 Internal Server Error"),
        false => answer("204 No Content"),
    });
    let sender = start(keeping(address, 1 << 20));
    let written = ["a f=0 1", "poison f=1 1", "poison f=2 1", "poison f=3 1", "a f=4 1", "a f=5 1"];
    for line in written {
        drop(sender.write("d", line));
    }
    let end = Instant::now() + DEADLINE;
    while sender.metrics.owed.lines() > 0 {
        assert!(Instant::now() < end, "they block the rest");
        thread::yield_now();
    }
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Poison)), (3, 3));
    let bodies = requests.try_iter().map(|request| request.body);
    let taken: Vec<_> = bodies.filter(|body| !body.contains("poison")).collect();
    let last = taken.last().expect("some were taken");
    assert!(last.ends_with("a f=5 1\n"), "the last has the last word: {taken:?}");
}
