//! What is kept while the backend fails: how much of it, since when, and what becomes of it.
//!
//! Called by the sender loop. A [`Held`] write knows what it is charged and whether it is kept;
//! the [`Backlog`] counts. Their order is the lanes' business.

use crate::backend::{self, Outcome};
use crate::batch::Batch;
use crate::metrics;
use crate::queue::Weigh;
use crate::sys;
use crate::write::{Answer, Client, Write};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// A write, or a part of one, on its way through the lanes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) write: Write,
    /// What it takes on the gauges. A part's share is not what its batch weighs.
    bytes: u64,
    /// When it was taken into the backlog, in seconds since the epoch.
    kept_s: Option<u64>,
    /// The write that this is a part of, while its client waits.
    whole: Option<Rc<RefCell<Whole>>>,
}

/// A client whose write was cut, and what has become of its parts.
#[derive(Debug)]
struct Whole {
    client: Client,
    parts: usize,
    /// The first answer that is none of success.
    bad: Option<Answer>,
}

impl Held {
    pub(super) fn new(write: Write) -> Self {
        let bytes = write.bytes();
        Self { write, bytes, kept_s: None, whole: None }
    }

    /// Bytes that it adds to a request: `max-batch-kb` is about these, not about what it holds in
    /// memory. Two opaque bodies never fit into one.
    pub(super) fn request_bytes(held: &Self) -> u64 {
        let batch = &held.write.batch;
        if batch.is_opaque() { u64::MAX / 2 } else { batch.bytes().len() as u64 }
    }

    /// Whether two writes to one place can share a request.
    pub(super) fn merges(one: &Self, other: &Self) -> bool {
        one.write.destination == other.write.destination
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept_s.is_some()
    }

    /// Answers the client, if one still waits. The client of a write that was cut is answered
    /// when all parts are.
    pub(super) fn answer(&mut self, answer: Answer) {
        if let Some(client) = self.write.client.take() {
            client.answer(answer);
        } else if let Some(whole) = self.whole.take() {
            let mut whole = whole.borrow_mut();
            whole.parts -= 1;
            let good = matches!(answer, Answer::Delivered | Answer::Buffered);
            if !good {
                whole.bad.get_or_insert_with(|| answer.clone());
            }
            if whole.parts == 0 {
                let answer = whole.bad.take().unwrap_or(answer);
                whole.client.answer(answer);
            }
        }
    }

    /// Cuts it into two halves, by lines; gives it back if it is one line.
    pub(super) fn cut(mut self) -> Result<[Self; 2], Box<Self>> {
        let batch = &self.write.batch;
        let ends = batch.ends();
        if ends.len() < 2 {
            return Err(Box::new(self));
        }
        let body = batch.to_body();
        let (left, right) = ends.split_at(ends.len() / 2);
        let at = left[left.len() - 1];
        let right = right.iter().map(|end| end - at).collect();
        let batches = [
            Batch::from_body(body.slice(..at as usize), left.to_vec()),
            Batch::from_body(body.slice(at as usize..), right),
        ];
        if let Some(client) = self.write.client.take() {
            self.whole = Some(Rc::new(RefCell::new(Whole { client, parts: 1, bad: None })));
        }
        if let Some(whole) = &self.whole {
            whole.borrow_mut().parts += 1;
        }
        let halves = [self.bytes / 2, self.bytes - self.bytes / 2];
        let mut parts = batches.into_iter().zip(halves).map(|(batch, bytes)| {
            let destination = Arc::clone(&self.write.destination);
            let write = Write { batch, destination, client: None };
            Self { write, bytes, kept_s: self.kept_s, whole: self.whole.clone() }
        });
        Ok(std::array::from_fn(|_| parts.next().expect("there are two")))
    }
}

/// How much of the backlog a write may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// The backend is down: all of it.
    All,
    /// The backend takes other destinations, and needs room for the next time it is down.
    Half,
}

/// The account of what is kept.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes_max: u64,
    metrics: Arc<metrics::Backend>,
    /// How many of the kept writes were taken in which second.
    ages: BTreeMap<u64, u64>,
}

impl Backlog {
    /// At most `bytes_max` bytes; 0 keeps nothing.
    pub(super) fn new(bytes_max: u64, metrics: Arc<metrics::Backend>) -> Self {
        Self { bytes_max, metrics, ages: BTreeMap::new() }
    }

    /// Takes a write into the backlog, and answers its client with `answer`. One that is there
    /// already stays. `false` if there is no room for it.
    pub(super) fn keep(&mut self, held: &mut Held, share: Share, answer: Answer) -> bool {
        if held.is_kept() {
            return true;
        }
        let bytes_max = match share {
            Share::All => self.bytes_max,
            Share::Half => self.bytes_max / 2,
        };
        let owed = &self.metrics.owed;
        if owed.backlog_bytes() + held.bytes > bytes_max {
            return false;
        }
        let lines = held.write.batch.lines();
        owed.keep(held.bytes, lines);
        self.metrics.backlog.lines.add(lines);
        let now_s = sys::now_s();
        held.kept_s = Some(now_s);
        *self.ages.entry(now_s).or_default() += 1;
        self.publish();
        held.answer(answer);
        true
    }

    /// Cuts a write in two; gives it back if it is one line.
    pub(super) fn cut(&mut self, held: Held) -> Result<[Held; 2], Box<Held>> {
        let parts = held.cut()?;
        if let Some(age) = parts[0].kept_s.and_then(|kept_s| self.ages.get_mut(&kept_s)) {
            *age += 1;
        }
        Ok(parts)
    }

    /// Settles a write: counts it, takes it off the gauges, answers its client.
    pub(super) fn settle(&mut self, mut held: Held, outcome: Outcome) {
        self.settle_in_place(&mut held, outcome);
    }

    /// As [`settle`](Self::settle), of a write that its owner drops next.
    pub(super) fn settle_in_place(&mut self, held: &mut Held, outcome: Outcome) {
        let answer = backend::book(&self.metrics, &held.write.batch, outcome);
        let (owed, lines) = (&self.metrics.owed, held.write.batch.lines());
        match held.kept_s.take() {
            None => owed.settle(held.bytes, lines),
            Some(kept_s) => {
                owed.settle_kept(held.bytes, lines);
                self.forget(kept_s);
            }
        }
        held.answer(answer);
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    fn forget(&mut self, kept_s: u64) {
        let age = self.ages.get_mut(&kept_s).expect("a kept write was counted");
        *age -= 1;
        if *age == 0 {
            self.ages.remove(&kept_s);
        }
        self.publish();
    }

    fn publish(&self) {
        let oldest = self.ages.first_key_value().map(|(&second, _)| second);
        self.metrics.backlog.set_oldest(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Limits, bounded};
    use crate::write::Destination;
    use bytes::Bytes;
    use tokio::sync::mpsc;

    fn held(lines: usize) -> (Held, mpsc::Receiver<(usize, Answer)>) {
        let body = "a f=1 1\n".repeat(lines);
        let ends = (1..=lines).map(|n| u32::try_from(n * 8).expect("a short body")).collect();
        let (answers, answer) = mpsc::channel(1);
        let write = Write {
            batch: Batch::from_body(Bytes::from(body), ends),
            destination: Arc::new(Destination::default()),
            client: Some(Client { output: 0, answers }),
        };
        (Held::new(write), answer)
    }

    /// A backlog whose queue has let `held` through.
    fn backlog(bytes_max: u64, held: &[&Held]) -> Backlog {
        let limits = Limits { items_max: 10, bytes_max: u64::MAX };
        let (push, _pop) = bounded(limits);
        for held in held {
            push.try_push(held.write.clone()).expect("there is room");
        }
        let owed = Arc::clone(push.owed());
        let metrics = metrics::Backend::new("relay".into(), "out".into(), owed);
        Backlog::new(bytes_max, Arc::new(metrics))
    }

    #[test]
    fn keeps_what_it_has_room_for_and_forgets_what_is_settled() {
        let ((mut a, mut answer), (mut b, _b), (mut c, _c)) = (held(2), held(1), held(2));
        let bytes = a.bytes + b.bytes;
        let mut backlog = backlog(bytes, &[&a, &b, &c]);
        let owed = Arc::clone(&backlog.metrics.owed);
        assert!(!backlog.keep(&mut a, Share::Half, Answer::Buffered), "more than a half");
        assert!(backlog.keep(&mut a, Share::All, Answer::Buffered));
        assert!(matches!(answer.try_recv(), Ok((0, Answer::Buffered))));
        assert!(backlog.keep(&mut b, Share::All, Answer::Buffered));
        assert!(!backlog.keep(&mut c, Share::All, Answer::Buffered), "it is full");
        assert_eq!((owed.backlog_bytes(), owed.backlog_lines()), (bytes, 3));
        assert!(backlog.metrics.backlog.oldest_s().is_some());
        let parts = backlog.cut(a).expect("two lines");
        for held in parts.into_iter().chain([b]) {
            assert!(!backlog.is_empty());
            backlog.settle(held, Outcome::Delivered);
        }
        backlog.settle(c, Outcome::Dropped(metrics::Drop::BufferFull));
        assert!(backlog.is_empty());
        assert_eq!(backlog.metrics.backlog.oldest_s(), None);
        assert_eq!((owed.backlog_bytes(), owed.bytes(), owed.lines()), (0, 0, 0));
        assert_eq!(backlog.metrics.delivered.get(), 3);
    }

    #[test]
    fn a_cut_write_is_answered_once_with_its_worst_part() {
        let (whole, mut answer) = held(3);
        let [first, rest] = whole.cut().expect("three lines");
        let [mut second, mut third] = rest.cut().expect("two lines");
        assert_eq!(second.write.batch.bytes(), b"a f=1 1\n");
        assert_eq!(third.write.batch.ends(), [8]);
        let mut first = *first.cut().expect_err("one line");
        first.answer(Answer::Delivered);
        second.answer(Answer::Unavailable);
        assert!(answer.try_recv().is_err(), "one part is open");
        third.answer(Answer::Delivered);
        let (_, answer) = answer.try_recv().expect("all parts are answered");
        assert!(matches!(answer, Answer::Unavailable), "{answer:?}");
    }
}
