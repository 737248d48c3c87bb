//! What becomes of queued writes when the relay stops.

use super::*;

#[test]
fn at_the_deadline_what_is_left_is_dropped_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let sender = start(target(listener.local_addr().expect("it is bound")));
    let answers: Vec<_> = (0..5).map(|n| sender.write("d", &format!("a f={n} 1"))).collect();
    sender.stopper.stop(Instant::now() + Duration::from_millis(100));
    for answer in answers {
        assert!(matches!(settled(answer), Answer::Unavailable));
    }
    let metrics = sender.finish();
    assert_eq!(dropped(&metrics, Drop::Shutdown), 5);
}

#[test]
fn what_is_queued_before_the_end_is_still_sent() {
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let sender = start(target(address));
    for n in 0..50 {
        drop(sender.write(&format!("d{}", n % 7), &format!("a f={n} 1")));
    }
    sender.stopper.stop(Instant::now() + DEADLINE);
    assert_eq!(sender.finish().delivered.get(), 50);
    let lines: usize = requests.try_iter().map(|request| request.body.lines().count()).sum();
    assert_eq!(lines, 50);
}
