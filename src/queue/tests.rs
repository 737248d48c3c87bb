//! What the queue takes, refuses and owes, and whom it wakes.

use super::*;
use crate::test_waker::counting;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

#[derive(Debug, PartialEq)]
struct Item(u64);

impl Weigh for Item {
    fn bytes(&self) -> u64 {
        self.0
    }
    fn lines(&self) -> u64 {
        1
    }
}

#[test]
fn refuses_over_either_limit_and_owes_until_settled() {
    let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
    assert_eq!(push.try_push(Item(100)), Ok(()), "an empty queue takes an outsized item");
    assert_eq!(push.try_push(Item(1)), Err(Item(1)), "over the byte limit");
    assert_eq!(pop.try_pop(), Ok(Item(100)));
    assert_eq!(push.try_push(Item(1)), Err(Item(1)), "popped is still owed");
    pop.owed().settle(100, 1);
    assert_eq!(push.try_push(Item(1)), Ok(()));
    assert_eq!(push.try_push(Item(1)), Ok(()));
    assert_eq!(push.try_push(Item(1)), Err(Item(1)), "over the item limit");
    assert_eq!((pop.owed().bytes(), pop.owed().lines()), (2, 2));
}

#[test]
fn what_is_kept_in_a_backlog_is_owed_and_takes_no_room() {
    let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
    assert_eq!(push.try_push(Item(10)), Ok(()));
    assert_eq!(pop.try_pop(), Ok(Item(10)));
    let owed = pop.owed();
    owed.keep(10, 1);
    assert_eq!((owed.bytes(), owed.backlog_bytes(), owed.backlog_lines()), (10, 10, 1));
    assert_eq!(push.try_push(Item(10)), Ok(()), "the queue has all of its room");
    assert_eq!((owed.bytes(), owed.queue_bytes(), owed.lines()), (20, 10, 2));
    owed.settle_kept(10, 1);
    assert_eq!((owed.bytes(), owed.lines(), owed.backlog_bytes()), (10, 1, 0));
}

#[test]
fn a_poke_ends_a_wait_without_an_item() {
    let (push, pop) = bounded::<Item>(Limits { items_max: 1, bytes_max: 1 });
    let poke = pop.poke();
    let (tell, woken) = channel(1);
    let popper = std::thread::spawn(move || pop.pop_or(|| _ = tell.try_send(())));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while woken.try_recv().is_err() {
        assert!(std::time::Instant::now() < end, "the poke is not felt");
        poke.poke();
    }
    drop(push);
    assert_eq!(popper.join().expect("the popper does not panic"), None);
}

#[test]
fn what_is_spilled_is_owed_in_lines_and_takes_no_memory_until_it_is_back() {
    let (push, pop) = bounded(Limits { items_max: 2, bytes_max: 10 });
    assert_eq!(push.try_push(Item(10)), Ok(()));
    let owed = pop.owed();
    owed.restore(5);
    owed.spill(10, 1);
    assert_eq!((owed.bytes(), owed.lines(), owed.backlog_lines()), (0, 6, 6));
    owed.unspill(10);
    owed.settle_kept(10, 1);
    owed.settle_spilled(5);
    assert_eq!((owed.bytes(), owed.lines(), owed.backlog_lines()), (0, 0, 0));
}

/// An item of a kind.
#[derive(Debug, PartialEq)]
struct Of(u64);

impl Weigh for Of {
    fn bytes(&self) -> u64 {
        1
    }
    fn lines(&self) -> u64 {
        1
    }
    fn kind(&self) -> u64 {
        self.0
    }
}

#[test]
fn what_waits_anyway_wakes_nobody_until_it_fills_the_queue() {
    let (push, pop) = bounded(Limits { items_max: 8, bytes_max: u64::MAX });
    let (count, waker) = counting();
    // Whether a receiver that waits is woken for an item of this kind.
    let wakes = |kind| {
        while pop.poll_pop(&mut Context::from_waker(&waker)).is_ready() {}
        let before = count.get();
        push.try_push(Of(kind)).expect("there is room");
        push.wake();
        count.get() > before
    };
    pop.hush(3);
    assert_eq!([3, 4, 0].map(wakes), [false, true, true]);
    pop.hush_all(true);
    assert_eq!([3, 4, 0].map(wakes), [false; 3]);
    pop.hush_all(false);
    assert_eq!([3, 4, 0].map(wakes), [false, true, true]);
    pop.rouse(3);
    assert_eq!([3, 4].map(wakes), [true; 2]);
    pop.hush(3);
    pop.rouse_all();
    assert!(wakes(3));

    pop.hush(3);
    assert!(!wakes(3));
    let before = count.get();
    for n in 2..=8 {
        push.try_push(Of(3)).expect("there is room");
        push.wake();
        assert_eq!(count.get() > before, n > 4, "{n} of 8");
    }
}

/// Each item is pushed when the one before has been taken, at about the time when the receiver
/// hushes its kind, ends that, looks, and waits: any that is neither seen nor wakes ends the test.
#[test]
fn an_item_that_woke_nobody_is_seen_when_its_kind_wakes_again() {
    const ITEMS: usize = 50_000;
    let (push, pop) = bounded(Limits { items_max: 8, bytes_max: u64::MAX });
    let taken = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&taken);
    let popper = std::thread::spawn(move || {
        for round in 0.. {
            if pop.pop_blocking().is_none() {
                return;
            }
            match round % 3 {
                0 => pop.hush_all(true),
                _ => pop.hush(1),
            }
            // From here on the next comes.
            seen.fetch_add(1, Ordering::Release);
            (0..round % 200).for_each(|_| std::hint::spin_loop());
            match round % 3 {
                0 => pop.hush_all(false),
                1 => pop.rouse(1),
                _ => pop.rouse_all(),
            }
        }
    });
    for n in 0..ITEMS {
        push.try_push(Of(1)).expect("it is empty");
        push.wake();
        let end = Instant::now() + Duration::from_secs(10);
        while taken.load(Ordering::Acquire) == n {
            assert!(Instant::now() < end, "item {n} is in the queue, and the receiver sleeps");
            std::hint::spin_loop();
        }
    }
    drop(push);
    popper.join().expect("the popper does not panic");
}

#[test]
fn wakes_a_parked_thread_and_ends_after_the_last_item() {
    let (push, pop) = bounded(Limits { items_max: 4, bytes_max: u64::MAX });
    let popper = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(Item(n)) = pop.pop_blocking() {
            seen.push(n);
        }
        seen
    });
    for n in 0..1_000 {
        while push.try_push(Item(n)).is_err() {
            std::thread::yield_now();
        }
        push.wake();
    }
    drop(push);
    let seen = popper.join().expect("the popper does not panic");
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
}
