//! What a flush drops, and what it spares.

use super::*;
use crate::control;

#[test]
fn a_flush_drops_what_waits_and_spares_what_is_in_flight() {
    let (open, closed) = channel::<()>();
    let closed = std::sync::Mutex::new(closed);
    let (address, requests) = backend(move |number, _| {
        if number == 0 {
            // Ends when the other end is dropped.
            let _ = closed.lock().expect("nobody panics with it").recv();
        }
        answer("204 No Content")
    });
    let sender = start(target(address));
    let _first = sender.write("a", "m f=0 0");
    requests.recv_timeout(DEADLINE).expect("the first write is in flight");
    let waiting: Vec<_> = (1..4).map(|n| sender.write("a", &format!("m f={n} {n}"))).collect();
    let flushed = sender.control.give(control::Command::Flush).blocking_recv();
    assert_eq!(flushed, Ok(Flushed { writes: 3, lines: 3, bytes: 24 }));
    for answer in waiting {
        assert!(matches!(settled(answer), Answer::Unavailable));
    }
    drop(open);
    let _later = sender.write("a", "m f=4 4");
    requests.recv_timeout(DEADLINE).expect("nothing of the flush stays behind");
    let metrics = sender.finish();
    assert_eq!((metrics.delivered.get(), dropped(&metrics, Drop::Flushed)), (2, 3));
}
