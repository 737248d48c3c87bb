//! Merging, order, and what is tried again, against a model.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

/// An item of one lane: its number in the lane, and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item(usize, u64);

/// Of another kind than others of its lane, now and then.
fn alike(one: &Item, other: &Item) -> bool {
    (one.0 / 3).is_multiple_of(2) == (other.0 / 3).is_multiple_of(2)
}

fn numbers(items: &[Item]) -> Vec<usize> {
    items.iter().map(|item| item.0).collect()
}

#[test]
fn merges_what_waits_up_to_the_limit() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    lanes.push(&"a", Item(0, 50));
    assert_eq!(lanes.start(10), Some("a"), "one item goes whatever its size");
    for n in 1..5 {
        lanes.push(&"a", Item(n, 4));
    }
    assert_eq!(lanes.start(10), None, "one request at a time for a destination");
    assert_eq!(numbers(&lanes.finish(&"a")), [0]);
    assert_eq!(lanes.start(10), Some("a"));
    assert_eq!(numbers(lanes.flight(&"a")), [1, 2]);
}

#[test]
fn what_waits_is_taken_out_and_what_is_in_flight_stays() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    for n in 0..4 {
        lanes.push(&"a", Item(n, 5));
    }
    lanes.push(&"b", Item(0, 5));
    lanes.start(10);
    let mut taken = numbers(&lanes.take_waiting());
    taken.sort_unstable();
    assert_eq!(taken, [0, 2, 3]);
    assert_eq!(lanes.start(10), None, "nothing is left that could leave");
    lanes.push(&"a", Item(4, 5));
    lanes.put_back(&"a", false);
    lanes.release(&"a");
    assert_eq!(numbers(&lanes.take_waiting()), [0, 1, 4], "what is to go in pieces waits too");
    assert!(lanes.is_empty());
    lanes.push(&"a", Item(5, 5));
    lanes.push(&"a", Item(6, 5));
    lanes.start(10);
    assert_eq!(numbers(&lanes.finish(&"a")), [5, 6], "nothing of the flush stays behind");
}

#[test]
fn what_was_overtaken_and_flushed_does_not_stand_for_what_comes_next() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    lanes.push(&"a", Item(0, 5));
    lanes.push(&"a", Item(1, 5));
    lanes.start(5);
    lanes.put_back(&"a", true);
    assert!(lanes.leap(&"a", 1), "the first has failed alone");
    assert_eq!(numbers(&lanes.take_waiting()), [0]);
    lanes.push(&"a", Item(2, 5));
    assert!(!lanes.try_overtaken(&"a"));
    assert_eq!(numbers(&lanes.finish(&"a")), [1]);
    assert_eq!(lanes.start(5), Some("a"));
    assert_eq!(numbers(&lanes.finish(&"a")), [2]);
    assert!(lanes.is_empty());
}

#[test]
fn what_failed_together_goes_in_halves_before_later_writes() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    for n in 0..3 {
        lanes.push(&"a", Item(n, 1));
    }
    lanes.start(10);
    lanes.push(&"a", Item(3, 1));
    lanes.push(&"a", Item(4, 1));
    lanes.put_back(&"a", false);
    lanes.release(&"a");
    let mut requests = Vec::new();
    while let Some(key) = lanes.start(10) {
        requests.push(numbers(&lanes.finish(&key)));
    }
    assert_eq!(requests, [vec![0, 1], vec![2], vec![3, 4]]);
    assert!(lanes.is_empty());
}

#[test]
fn lanes_take_turns() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    for key in ["a", "b", "a", "c"] {
        lanes.push(&key, Item(0, 1));
    }
    assert_eq!(lanes.start(1), Some("a"));
    lanes.finish(&"a");
    let order: Vec<_> = std::iter::from_fn(|| lanes.start(1)).collect();
    assert_eq!(order, ["b", "c", "a"]);
}

#[test]
fn a_held_lane_waits_for_its_time_and_others_pass() {
    let (mut lanes, now) = (Lanes::new(|item: &Item| item.1, |_, _| true), Instant::now());
    for key in ["a", "b"] {
        lanes.push(&key, Item(0, 1));
    }
    assert_eq!(lanes.start(1), Some("a"));
    lanes.put_back(&"a", true);
    let until = now + Duration::from_secs(1);
    lanes.hold(&"a", until);
    lanes.push(&"a", Item(1, 1));
    assert_eq!((lanes.start(1), lanes.start(1)), (Some("b"), None));
    assert_eq!(lanes.next_wake(), Some(until));
    lanes.wake(until - Duration::from_millis(1));
    assert!(!lanes.is_ready());
    lanes.wake(until);
    assert_eq!((lanes.start(1), lanes.next_wake()), (Some("a"), None));
}

#[test]
fn one_that_keeps_failing_alone_may_be_passed_by_the_next() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    for n in 0..3 {
        lanes.push(&"a", Item(n, 1));
    }
    for failed in 1..=4 {
        lanes.start(10);
        lanes.put_back(&"a", true);
        // Together, together in a half, alone, alone.
        assert_eq!(lanes.leap(&"a", 2), failed == 4, "{failed}");
        if failed < 4 {
            lanes.release(&"a");
        }
    }
    assert!(lanes.leaps(&"a"));
    assert_eq!(numbers(lanes.flight(&"a")), [1]);
    lanes.put_back(&"a", true);
    assert!(lanes.leap(&"a", 2), "it failed too: the one behind it");
    assert_eq!(numbers(lanes.flight(&"a")), [2]);
    assert!(lanes.try_overtaken(&"a"), "the first is tried once more");
    lanes.release(&"a");
    lanes.start(10);
    assert_eq!(numbers(lanes.flight(&"a")), [0]);
    lanes.put_back(&"a", true);
    assert_eq!(lanes.take_condemned(&"a"), Some(Item(0, 1)));
    assert_eq!(lanes.take_condemned(&"a"), None);
    lanes.release(&"a");
    for n in [1, 2] {
        lanes.start(10);
        assert_eq!(numbers(&lanes.finish(&"a")), [n]);
    }
    assert!(lanes.is_empty());
}

#[test]
fn one_that_is_tried_once_more_and_taken_is_not_condemned() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    for n in 0..2 {
        lanes.push(&"a", Item(n, 1));
    }
    lanes.start(1);
    lanes.put_back(&"a", true);
    assert!(lanes.leap(&"a", 1), "the first has failed alone");
    assert!(lanes.try_overtaken(&"a"));
    lanes.release(&"a");
    for n in 0..2 {
        lanes.start(1);
        assert_eq!(numbers(&lanes.finish(&"a")), [n], "in their order");
    }
    assert!(lanes.is_empty());
}

#[test]
fn one_that_is_gone_does_not_condemn_the_next() {
    let mut lanes = Lanes::new(|item: &Item| item.1, |_, _| true);
    for n in 0..3 {
        lanes.push(&"a", Item(n, 1));
    }
    lanes.start(1);
    lanes.put_back(&"a", true);
    assert!(lanes.leap(&"a", 1), "the first has failed alone");
    lanes.retain_waiting(None, |_, item| item.0 > 0);
    assert!(!lanes.try_overtaken(&"a"), "it went past none that is there");
    assert_eq!(numbers(&lanes.finish(&"a")), [1]);
    lanes.start(1);
    lanes.put_back(&"a", true);
    assert_eq!(lanes.take_condemned(&"a"), None);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u8, u64),
    Start,
    Finish(u8),
    Split(u8),
    Hold(u8, u64),
    Leap(u8),
    Cut(u8),
    Wake(u64),
    Drop(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..4_u8;
    prop_oneof![
        8 => (key(), 1..20_u64).prop_map(|(key, bytes)| Step::Push(key, bytes)),
        6 => Just(Step::Start),
        3 => key().prop_map(Step::Finish),
        2 => key().prop_map(Step::Split),
        2 => (key(), 0..20_u64).prop_map(|(key, ms)| Step::Hold(key, ms)),
        4 => key().prop_map(Step::Leap),
        1 => key().prop_map(Step::Cut),
        1 => (0..20_u64).prop_map(Step::Wake),
        1 => key().prop_map(Step::Drop),
    ]
}

/// Lanes, and what ended of each in which order.
struct Model {
    lanes: Lanes<u8, Item>,
    pushed: [usize; 4],
    ended: [Vec<usize>; 4],
    start: Instant,
}

impl Model {
    fn finish(&mut self, key: u8) {
        if self.lanes.try_overtaken(&key) {
            return self.lanes.release(&key);
        }
        let ended = &mut self.ended[usize::from(key)];
        ended.extend(numbers(&self.lanes.finish(&key)));
    }

    fn put_back(&mut self, key: u8) {
        self.lanes.put_back(&key, true);
        let condemned = self.lanes.take_condemned(&key);
        self.ended[usize::from(key)].extend(condemned.map(|item| item.0));
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn step(&mut self, step: Step, bytes_max: u64) {
        match step {
            Step::Push(key, bytes) => {
                let number = &mut self.pushed[usize::from(key)];
                self.lanes.push(&key, Item(*number, bytes));
                *number += 1;
            }
            Step::Start => {
                if let Some(key) = self.lanes.start(bytes_max) {
                    let flight = self.lanes.flight(&key);
                    let bytes: u64 = flight.iter().map(|item| item.1).sum();
                    assert!(!flight.is_empty());
                    assert!(bytes <= bytes_max || flight.len() == 1);
                    assert!(flight.iter().all(|item| alike(item, &flight[0])));
                }
            }
            Step::Wake(ms) => self.lanes.wake(self.at(ms)),
            // What waits is dropped only where nothing of its lane is kept.
            Step::Drop(key) => {
                let pushed = &mut self.pushed[usize::from(key)];
                let last = *pushed - 1.min(*pushed);
                let is_last = |other: &u8, item: &Item| *other == key && item.0 == last;
                let mut dropped = false;
                self.lanes.retain_waiting(None, |key, item| {
                    dropped |= is_last(key, item);
                    !is_last(key, item)
                });
                *pushed -= usize::from(dropped);
            }
            // Only a request in flight can end.
            Step::Finish(key)
            | Step::Split(key)
            | Step::Hold(key, _)
            | Step::Leap(key)
            | Step::Cut(key)
                if self.lanes.flight(&key).is_empty() => {}
            Step::Finish(key) => self.finish(key),
            Step::Split(key) => {
                self.lanes.put_back(&key, false);
                self.lanes.release(&key);
            }
            Step::Hold(key, ms) => {
                self.put_back(key);
                self.lanes.hold(&key, self.at(ms));
            }
            Step::Leap(key) => {
                let leapt = self.lanes.leaps(&key);
                self.put_back(key);
                if leapt || !self.lanes.leap(&key, 1) {
                    self.lanes.release(&key);
                }
            }
            Step::Cut(key) => {
                if self.lanes.flight(&key).len() == 1 {
                    let item = self.lanes.take_flight(&key).expect("there is one");
                    self.lanes.put_back_parts(&key, [item]);
                    self.lanes.release(&key);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_item_ends_once_and_in_the_order_of_its_lane(
        steps in prop::collection::vec(step(), 0..300),
        bytes_max in 1..40_u64,
    ) {
        let (pushed, ended) = Default::default();
        let lanes = Lanes::new(|item: &Item| item.1, alike);
        let mut model = Model { lanes, pushed, ended, start: Instant::now() };
        for step in steps {
            model.step(step, bytes_max);
        }
        for key in 0..4_u8 {
            if !model.lanes.flight(&key).is_empty() {
                model.finish(key);
            }
        }
        model.lanes.wake_all();
        while let Some(key) = model.lanes.start(bytes_max) {
            model.finish(key);
        }
        prop_assert!(model.lanes.is_empty());
        for (count, ended) in model.pushed.into_iter().zip(model.ended) {
            prop_assert_eq!(ended, (0..count).collect::<Vec<_>>());
        }
    }
}
