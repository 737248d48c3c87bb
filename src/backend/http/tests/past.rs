//! Fronts that send past the queue: what they deliver, what they hand over, and what waits.

use super::*;
use crate::fanout::{Opener as _, Way};

fn to(database: &str) -> Destination {
    Destination { query: format!("db={database}"), ..Destination::default() }
}

type Answers = mpsc::Receiver<(usize, Answer)>;

/// Runs `test` on a front thread's way to the backend.
fn on_a_front<R>(
    sender: &Sending,
    target: HttpTarget,
    test: impl AsyncFnOnce(&Rc<dyn Way>) -> R,
) -> R {
    let queue = sender.queue.clone().expect("not finished yet");
    let opener = Opener::new(target, Arc::clone(&sender.past), queue);
    let runtime = runtime::new().expect("io_uring works");
    runtime::block_on(&runtime, async {
        let way = opener.open();
        let result = test(&way).await;
        way.close(Instant::now() + DEADLINE).await;
        result
    })
}

/// Carries a write, once the way has its connection and nothing else is owed.
async fn carried(way: &Rc<dyn Way>, database: &str, line: &str) -> Answers {
    let (mut write, answer) = written(to(database), line);
    let end = Instant::now() + DEADLINE;
    while let Err(back) = way.carry(write) {
        assert!(Instant::now() < end, "the way stays closed");
        write = back;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    answer
}

async fn answered(mut answers: Answers) -> Answer {
    let answer = timeout(DEADLINE, answers.recv()).await.expect("an answer in time");
    answer.expect("one answer").1
}

/// The next request that the backend gets, while the front's tasks go on.
async fn got(requests: &Requests<Request>) -> Request {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Ok(request) = requests.try_recv() {
            return request;
        }
        assert!(Instant::now() < end, "no request comes");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_front_delivers_by_itself_and_the_books_close() {
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let sender = start(target(address));
    on_a_front(&sender, target(address), async |way| {
        for n in 0..3 {
            let answer = carried(way, "d", &format!("a f={n} 1")).await;
            assert!(matches!(answered(answer).await, Answer::Delivered));
        }
    });
    for n in 0..3 {
        let request = next(&requests);
        assert_eq!((request.connection, request.body), (0, format!("a f={n} 1\n")));
    }
    let metrics = sender.finish();
    assert_eq!(
        (metrics.taken.get(), metrics.delivered.get(), metrics.requests[0].get()),
        (3, 3, 3)
    );
}

#[test]
fn what_fails_is_judged_once_by_the_sender_which_has_the_way_closed_until_it_succeeds() {
    let (address, requests) = backend(|number, _| match number {
        0 => answer("503 Service Unavailable"),
        1 => answer("404 Not Found"),
        _ => answer("204 No Content"),
    });
    let sender = start(target(address));
    on_a_front(&sender, target(address), async |way| {
        let failed = carried(way, "d", "a f=0 1").await;
        assert!(matches!(answered(failed).await, Answer::Unavailable));
        let (write, _) = written(to("d"), "a f=1 1");
        assert!(way.carry(write).is_err(), "all is for the sender now");
        let refused = answered(sender.write("d", "a f=1 1")).await;
        assert!(matches!(refused, Answer::Refused(refusal) if refusal.status == 404));
        let delivered = carried(way, "d", "a f=2 1").await;
        assert!(matches!(answered(delivered).await, Answer::Delivered));
    });
    let bodies: Vec<_> = (0..3).map(|_| next(&requests).body).collect();
    assert_eq!(bodies, ["a f=0 1\n", "a f=1 1\n", "a f=2 1\n"]);
    let metrics = sender.finish();
    assert!(requests.try_recv().is_err(), "nothing is sent twice");
    assert_eq!(metrics.requests.each_ref().map(|count| count.get()), [1, 0, 1, 1, 0]);
    assert_eq!((dropped(&metrics, Drop::Unavailable), dropped(&metrics, Drop::Refused)), (1, 1));
}

#[test]
fn writes_wait_for_a_flight_to_their_destination_and_others_pass() {
    let (script, gate) = gated(|number, _| match number {
        0 => answer("413 Payload Too Large"),
        _ => answer("204 No Content"),
    });
    let (address, requests) = backend(script);
    let sender = start(target(address));
    on_a_front(&sender, target(address), async |way| {
        let first = carried(way, "slow", "a f=0 1\na f=1 1").await;
        assert_eq!(got(&requests).await.body, "a f=0 1\na f=1 1\n");
        let (write, _) = written(to("slow"), "a f=9 1");
        assert!(way.carry(write).is_err(), "something is owed");
        let behind = sender.write("slow", "a f=2 1");
        assert!(matches!(answered(sender.write("other", "b f=1 1")).await, Answer::Delivered));
        assert_eq!(got(&requests).await.body, "b f=1 1\n");
        gate.send(()).expect("the backend waits");
        for answer in [first, behind] {
            assert!(matches!(answered(answer).await, Answer::Delivered));
        }
    });
    let metrics = sender.finish();
    let bodies: String = requests.try_iter().map(|request| request.body).collect();
    assert_eq!(bodies, "a f=0 1\na f=1 1\na f=2 1\n", "in halves, in order");
    assert_eq!(metrics.delivered.get(), 4);
}
