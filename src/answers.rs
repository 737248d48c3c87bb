//! What backends tell a client that waits: one answer of each, in any order.
//!
//! `fanout` makes a pair for each client, `backend` holds the sending ends and a front waits at the
//! other. To wake a thread is a system call, and a backend often answers many clients of one front
//! at once: it gathers whom to wake ([`Wakes`]), and a front that is woken finds all of them. Who
//! gathers holds up nobody: a client is woken by whichever backend is the first to wake it.

use bytes::Bytes;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// Nothing that is done under the lock can.
const NOBODY_PANICS: &str = "nobody panics while they hold the lock";

/// What one backend made of a write.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The backend has it.
    Delivered,
    /// The backend's backlog has it, and will deliver it.
    Buffered,
    /// The backend will never take it: its own words for the client.
    Refused(Refusal),
    /// The backend did not take it: full queue, no connection, no answer in time, or 5xx.
    Unavailable,
}

/// A backend's 4xx.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status, 400 to 499.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: Option<Bytes>,
    /// The `X-Influxdb-Error` header.
    pub error: Option<Bytes>,
    /// The body, cut to 64 KiB.
    pub body: Bytes,
}

/// The end of one backend.
#[derive(Debug)]
pub struct Sender(Arc<Mutex<State>>);

/// The end of the client.
#[derive(Debug)]
pub struct Receiver(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answers: Vec<(usize, Answer)>,
    senders: usize,
    waker: Option<Waker>,
    /// Nobody waits any more.
    left: bool,
}

/// Both ends for one client.
#[must_use]
pub fn channel() -> (Sender, Receiver) {
    let state = Arc::new(Mutex::new(State { senders: 1, ..State::default() }));
    (Sender(Arc::clone(&state)), Receiver(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect(NOBODY_PANICS)
}

impl Sender {
    /// Gives the client the answer of an output, by its index. A client that no longer waits is no
    /// error.
    pub fn send(&self, output: usize, answer: Answer, wakes: &mut Wakes) {
        let mut state = lock(&self.0);
        if !state.left {
            state.answers.push((output, answer));
            if state.waker.is_some() {
                wakes.0.push(Arc::clone(&self.0));
            }
        }
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.senders -= 1;
        let waker = if state.senders == 0 { state.waker.take() } else { None };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Receiver {
    /// The next answer: (index of the output, answer). `None` once there can be no more.
    pub async fn recv(&mut self) -> Option<(usize, Answer)> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Option<(usize, Answer)>> {
        let mut state = lock(&self.0);
        match state.answers.pop() {
            Some(answer) => Poll::Ready(Some(answer)),
            None if state.senders == 0 => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.left = true;
        state.waker = None;
        state.answers.clear();
    }
}

/// Clients that have an answer and may not know it yet. They are told when it is dropped, at the
/// latest.
#[derive(Debug, Default)]
pub struct Wakes(Vec<Arc<Mutex<State>>>);

impl Wakes {
    /// Tells them.
    pub fn wake(&mut self) {
        for state in self.0.drain(..) {
            let waker = lock(&state).waker.take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_waker::counting;

    impl Receiver {
        /// An answer that is there, if one is.
        pub(crate) fn try_recv(&mut self) -> Option<(usize, Answer)> {
            lock(&self.0).answers.pop()
        }
    }

    #[test]
    fn an_answer_comes_when_its_wake_is_given_or_dropped() {
        let (count, waker) = counting();
        let context = Context::from_waker(&waker);
        let (one, mut receiver) = channel();
        let two = one.clone();
        assert!(receiver.poll_recv(&context).is_pending());
        let mut wakes = Wakes::default();
        one.send(0, Answer::Delivered, &mut wakes);
        drop(one);
        assert_eq!(count.get(), 0, "whom to wake is gathered");
        wakes.wake();
        assert_eq!(count.get(), 1);
        assert!(matches!(receiver.poll_recv(&context), Poll::Ready(Some((0, Answer::Delivered)))));
        assert!(receiver.poll_recv(&context).is_pending());
        two.send(1, Answer::Unavailable, &mut Wakes::default());
        assert_eq!(count.get(), 2, "gathered, and dropped at once");
        assert!(matches!(receiver.try_recv(), Some((1, Answer::Unavailable))));
        assert!(receiver.poll_recv(&context).is_pending());
        drop(two);
        assert_eq!(count.get(), 3, "no more can come");
        assert!(matches!(receiver.poll_recv(&context), Poll::Ready(None)));
    }

    #[test]
    fn who_gathers_holds_up_nobody() {
        let (count, waker) = counting();
        let (slow, mut receiver) = channel();
        let fast = slow.clone();
        assert!(receiver.poll_recv(&Context::from_waker(&waker)).is_pending());
        let (mut of_slow, mut of_fast) = (Wakes::default(), Wakes::default());
        slow.send(0, Answer::Unavailable, &mut of_slow);
        fast.send(1, Answer::Delivered, &mut of_fast);
        of_fast.wake();
        assert_eq!(count.get(), 1, "whoever is first wakes");
        of_slow.wake();
        assert_eq!(count.get(), 1, "and the other need not");
    }

    #[test]
    fn who_has_left_is_told_nothing() {
        let (count, waker) = counting();
        let (sender, mut receiver) = channel();
        assert!(receiver.poll_recv(&Context::from_waker(&waker)).is_pending());
        drop(receiver);
        let mut wakes = Wakes::default();
        sender.send(0, Answer::Delivered, &mut wakes);
        assert!(wakes.0.is_empty() && lock(&sender.0).answers.is_empty());
        drop((sender, wakes));
        assert_eq!(count.get(), 0);
    }
}
