//! A write on its way through the lanes, the parts that it is cut into, and who waits for it.
//!
//! Made by the sender loop, kept and settled by the backlog.

use crate::answers::Wakes;
use crate::batch::Batch;
use crate::metrics::Drop;
use crate::queue::Weigh;
use crate::spool::Place;
use crate::write::{Answer, Client, Write};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A write, or a part of one, on its way through the lanes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) write: Write,
    /// What it takes on the gauges. A part's share is not what its batch weighs.
    pub(super) bytes: u64,
    /// When it was taken into the backlog, in seconds since the epoch.
    pub(super) kept_s: Option<u64>,
    /// Where it is on disk, if it is; shared by the parts of a write.
    pub(super) stored: Option<Rc<Stored>>,
    /// The write that this is a part of, while its client waits.
    whole: Option<Rc<RefCell<Whole>>>,
}

/// A write on disk, and how many parts of it are not settled.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: Place,
    pub(super) parts: Cell<usize>,
    /// Why the disk does not have it any more, if it dropped it.
    pub(super) gone: Cell<Option<Drop>>,
}

impl Stored {
    pub(super) fn new(at: Place) -> Rc<Self> {
        Rc::new(Self { at, parts: Cell::new(1), gone: Cell::default() })
    }
}

/// Who is told what became of a write: nobody, its client, or that of the write it is a part of.
#[derive(Debug)]
pub(super) struct Waiter {
    client: Option<Client>,
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
        Self { write, bytes, kept_s: None, stored: None, whole: None }
    }

    /// Bytes that it adds to a request: `max-batch-kb` is about these, not about what it holds in
    /// memory. Two opaque bodies never fit into one.
    pub(super) fn request_bytes(held: &Self) -> u64 {
        let batch = &held.write.batch;
        if batch.is_opaque() { u64::MAX / 2 } else { batch.bytes().len() as u64 }
    }

    pub(super) fn has_client(&self) -> bool {
        self.write.client.is_some() || self.whole.is_some()
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
    pub(super) fn answer(&mut self, answer: Answer, wakes: &mut Wakes) {
        self.waiter().answer(answer, wakes);
    }

    /// Takes out who waits.
    pub(super) fn waiter(&mut self) -> Waiter {
        Waiter { client: self.write.client.take(), whole: self.whole.take() }
    }

    /// The segment of the spool that it is in.
    pub(super) fn segment(&self) -> Option<u64> {
        self.stored.as_ref().map(|stored| stored.at.segment())
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
        if let Some(stored) = &self.stored {
            stored.parts.update(|parts| parts + 1);
        }
        let halves = [self.bytes / 2, self.bytes - self.bytes / 2];
        let mut parts = batches.into_iter().zip(halves).map(|(batch, bytes)| {
            let destination = Arc::clone(&self.write.destination);
            let write = Write { batch, destination, client: None };
            let (stored, whole) = (self.stored.clone(), self.whole.clone());
            Self { write, bytes, kept_s: self.kept_s, stored, whole }
        });
        Ok(std::array::from_fn(|_| parts.next().expect("there are two")))
    }
}

impl Waiter {
    /// Whether anybody waits.
    pub(super) fn waits(&self) -> bool {
        self.client.is_some() || self.whole.is_some()
    }

    pub(super) fn answer(self, answer: Answer, wakes: &mut Wakes) {
        if let Some(client) = self.client {
            client.answer(answer, wakes);
        } else if let Some(whole) = self.whole {
            let mut whole = whole.borrow_mut();
            whole.parts -= 1;
            let good = matches!(answer, Answer::Delivered | Answer::Buffered);
            if !good {
                whole.bad.get_or_insert_with(|| answer.clone());
            }
            if whole.parts == 0 {
                let answer = whole.bad.take().unwrap_or(answer);
                whole.client.answer(answer, wakes);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::answers::{self, Receiver};
    use crate::write::Destination;
    use bytes::Bytes;

    pub(in crate::backend::http) fn held(lines: usize) -> (Held, Receiver) {
        let body = "a f=1 1\n".repeat(lines);
        let ends = (1..=lines).map(|n| u32::try_from(n * 8).expect("a short body")).collect();
        let (answers, answer) = answers::channel();
        let write = Write {
            batch: Batch::from_body(Bytes::from(body), ends),
            destination: Arc::new(Destination::default()),
            client: Some(Client { output: 0, answers }),
        };
        (Held::new(write), answer)
    }

    #[test]
    fn a_cut_write_is_answered_once_with_its_worst_part() {
        let (mut wakes, (whole, mut answer)) = (Wakes::default(), held(3));
        let [first, rest] = whole.cut().expect("three lines");
        let [mut second, mut third] = rest.cut().expect("two lines");
        assert_eq!(second.write.batch.bytes(), b"a f=1 1\n");
        assert_eq!(third.write.batch.ends(), [8]);
        let mut first = *first.cut().expect_err("one line");
        first.answer(Answer::Delivered, &mut wakes);
        second.answer(Answer::Unavailable, &mut wakes);
        assert!(answer.try_recv().is_none(), "one part is open");
        third.answer(Answer::Delivered, &mut wakes);
        let (_, answer) = answer.try_recv().expect("all parts are answered");
        assert!(matches!(answer, Answer::Unavailable), "{answer:?}");
    }
}
