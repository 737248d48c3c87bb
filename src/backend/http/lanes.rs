//! Which writes share a request, and in which order requests leave.
//!
//! Called by the sender loop. Pure: no I/O, no clock. A lane is what waits for one destination:
//! at most one request of it is in flight, in the order of its writes; what comes meanwhile is
//! merged into the next one. A lane exists only while it holds something.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// All destinations that have something waiting or in flight.
#[derive(Debug)]
pub(super) struct Lanes<K, T> {
    lanes: HashMap<K, Lane<T>>,
    /// Lanes with something waiting and nothing in flight, longest ready first.
    ready: VecDeque<K>,
    bytes: fn(&T) -> u64,
}

#[derive(Debug)]
struct Lane<T> {
    flight: Vec<T>,
    waiting: VecDeque<T>,
    /// This many at the head of `waiting` were refused together: each goes alone.
    alone: usize,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// No lanes yet. `bytes` gives what an item adds to a request.
    pub(super) fn new(bytes: fn(&T) -> u64) -> Self {
        Self { lanes: HashMap::new(), ready: VecDeque::new(), bytes }
    }

    /// Adds an item behind all others of its destination.
    pub(super) fn push(&mut self, key: &K, item: T) {
        match self.lanes.entry(key.clone()) {
            Entry::Occupied(mut lane) => lane.get_mut().waiting.push_back(item),
            Entry::Vacant(vacant) => {
                let (flight, waiting) = (Vec::new(), VecDeque::from([item]));
                vacant.insert(Lane { flight, waiting, alone: 0 });
                self.ready.push_back(key.clone());
            }
        }
    }

    /// Puts a request in flight: what waits in the lane that was ready first, up to `bytes_max`
    /// but at least one item. `None` if no lane is ready.
    pub(super) fn start(&mut self, bytes_max: u64) -> Option<K> {
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key).expect("a ready lane has something waiting");
        let first = lane.waiting.pop_front().expect("a ready lane has something waiting");
        let mut bytes = (self.bytes)(&first);
        lane.flight.push(first);
        if lane.alone > 0 {
            lane.alone -= 1;
            return Some(key);
        }
        while let Some(next) = lane.waiting.front() {
            bytes += (self.bytes)(next);
            if bytes > bytes_max {
                break;
            }
            lane.flight.extend(lane.waiting.pop_front());
        }
        Some(key)
    }

    /// What is in flight for a destination.
    pub(super) fn flight(&self, key: &K) -> &[T] {
        self.lanes.get(key).map_or(&[], |lane| &lane.flight)
    }

    /// Ends the request in flight of a destination and gives what was in it.
    pub(super) fn finish(&mut self, key: &K) -> Vec<T> {
        let Some(lane) = self.lanes.get_mut(key) else { return Vec::new() };
        let flight = std::mem::take(&mut lane.flight);
        if lane.waiting.is_empty() {
            self.lanes.remove(key);
        } else {
            self.ready.push_back(key.clone());
        }
        flight
    }

    /// Ends the request in flight; its items go again, first and one by one.
    pub(super) fn split(&mut self, key: &K) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.alone += lane.flight.len();
        for item in lane.flight.drain(..).rev() {
            lane.waiting.push_front(item);
        }
        self.ready.push_back(key.clone());
    }

    /// Takes everything out, in flight or waiting, each destination's items in their order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.ready.clear();
        self.lanes.drain().flat_map(|(_, lane)| lane.flight.into_iter().chain(lane.waiting))
    }

    /// Whether nothing waits and nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An item of one lane: its number in the lane, and its size.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Item(usize, u64);

    fn numbers(items: &[Item]) -> Vec<usize> {
        items.iter().map(|item| item.0).collect()
    }

    #[test]
    fn merges_what_waits_up_to_the_limit() {
        let mut lanes = Lanes::new(|item: &Item| item.1);
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
    fn what_was_refused_together_goes_alone_before_later_writes() {
        let mut lanes = Lanes::new(|item: &Item| item.1);
        for n in 0..3 {
            lanes.push(&"a", Item(n, 1));
        }
        lanes.start(10);
        lanes.push(&"a", Item(3, 1));
        lanes.push(&"a", Item(4, 1));
        lanes.split(&"a");
        let mut requests = Vec::new();
        while let Some(key) = lanes.start(10) {
            requests.push(numbers(&lanes.finish(&key)));
        }
        assert_eq!(requests, [vec![0], vec![1], vec![2], vec![3, 4]]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn lanes_take_turns() {
        let mut lanes = Lanes::new(|item: &Item| item.1);
        for key in ["a", "b", "a", "c"] {
            lanes.push(&key, Item(0, 1));
        }
        assert_eq!(lanes.start(1), Some("a"));
        lanes.finish(&"a");
        let order: Vec<_> = std::iter::from_fn(|| lanes.start(1)).collect();
        assert_eq!(order, ["b", "c", "a"]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8, u64),
        Start,
        Finish(u8),
        Split(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u8, 1..20_u64).prop_map(|(key, bytes)| Step::Push(key, bytes)),
            3 => Just(Step::Start),
            2 => (0..4_u8).prop_map(Step::Finish),
            1 => (0..4_u8).prop_map(Step::Split),
        ]
    }

    proptest! {
        #[test]
        fn every_item_ends_once_and_in_the_order_of_its_lane(
            steps in prop::collection::vec(step(), 0..200),
            bytes_max in 1..40_u64,
        ) {
            let mut lanes = Lanes::new(|item: &Item| item.1);
            let (mut pushed, mut ended) = ([0; 4], [const { Vec::new() }; 4]);
            for step in steps {
                match step {
                    Step::Push(key, bytes) => {
                        lanes.push(&key, Item(pushed[key as usize], bytes));
                        pushed[key as usize] += 1;
                    }
                    Step::Start => {
                        if let Some(key) = lanes.start(bytes_max) {
                            let flight = lanes.flight(&key);
                            let bytes: u64 = flight.iter().map(|item| item.1).sum();
                            prop_assert!(!flight.is_empty());
                            prop_assert!(bytes <= bytes_max || flight.len() == 1);
                        }
                    }
                    // Only a request in flight can end.
                    Step::Finish(key) if !lanes.flight(&key).is_empty() => {
                        ended[key as usize].extend(numbers(&lanes.finish(&key)));
                    }
                    Step::Split(key) if lanes.flight(&key).len() > 1 => lanes.split(&key),
                    Step::Finish(_) | Step::Split(_) => {}
                }
            }
            for key in 0..4_u8 {
                if !lanes.flight(&key).is_empty() {
                    ended[key as usize].extend(numbers(&lanes.finish(&key)));
                }
            }
            while let Some(key) = lanes.start(bytes_max) {
                ended[key as usize].extend(numbers(&lanes.finish(&key)));
            }
            prop_assert!(lanes.is_empty());
            for (count, ended) in pushed.into_iter().zip(ended) {
                prop_assert_eq!(ended, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
