//! Signs of life: whether every thread still turns, for the service manager's watchdog.
//!
//! `relay` gives each thread a [`Pulse`] and asks all of them, round by round, through [`Pulses`].
//! A thread that waits for work is woken to answer: waiting costs nothing between two rounds, and
//! an answer proves that the wake-up works too. Knows nothing of what the threads do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What a thread has answered that is away, or has ended.
const AWAY: u64 = u64::MAX;

/// The one who asks.
#[derive(Debug, Default)]
pub struct Pulses {
    round: watch::Sender<u64>,
    threads: Vec<Asked>,
}

struct Asked {
    thread: String,
    answered: Arc<AtomicU64>,
    wake: Box<dyn Fn() + Send>,
}

/// A thread's end. Dropping it says that the thread has ended.
#[derive(Debug)]
pub struct Pulse {
    round: watch::Receiver<u64>,
    answered: Arc<AtomicU64>,
}

impl Pulses {
    /// The pulse of a new thread.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let round = self.round.subscribe();
        let answered = Arc::new(AtomicU64::new(*round.borrow()));
        Pulse { round, answered }
    }

    /// From now on asks `thread` too, whose pulse has answered to `answers`; `wake` ends its wait.
    pub fn ask(&mut self, thread: String, answers: Answers, wake: impl Fn() + Send + 'static) {
        let wake = Box::new(wake);
        self.threads.push(Asked { thread, answered: answers.0, wake });
    }

    /// The threads that have not answered since the last call; if there are none, asks again.
    pub fn silent(&mut self) -> Vec<&str> {
        // Nobody holds the other end of a thread that has ended.
        self.threads.retain(|asked| Arc::strong_count(&asked.answered) > 1);
        let round = *self.round.borrow();
        let silent = |asked: &&Asked| asked.answered.load(Ordering::Acquire) < round;
        if !self.threads.iter().any(|asked| silent(&asked)) {
            self.round.send_replace(round + 1);
            for asked in &self.threads {
                (asked.wake)();
            }
            return Vec::new();
        }
        self.threads.iter().filter(silent).map(|asked| asked.thread.as_str()).collect()
    }
}

/// Where the answers of a [`Pulse`] are read.
#[derive(Debug)]
pub struct Answers(Arc<AtomicU64>);

impl Pulse {
    /// Where its answers are read.
    #[must_use]
    pub fn answers(&self) -> Answers {
        Answers(Arc::clone(&self.answered))
    }

    /// Answers, if there is a new question.
    pub fn beat(&self) {
        self.answered.store(*self.round.borrow(), Ordering::Release);
    }

    /// Answers every question as it comes. Never ends.
    pub async fn beat_always(mut self) {
        loop {
            self.beat();
            if self.round.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Is not asked during `call`, which others may make last long: the system's resolver.
    pub fn away<T>(&self, call: impl FnOnce() -> T) -> T {
        self.answered.store(AWAY, Ordering::Release);
        let result = call();
        self.beat();
        result
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("thread", &self.thread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pulses: &mut Pulses, thread: &str) -> Pulse {
        let pulse = pulses.pulse();
        pulses.ask(thread.to_owned(), pulse.answers(), || ());
        pulse
    }

    #[test]
    fn a_round_lasts_until_all_have_answered() {
        let mut pulses = Pulses::default();
        let (a, b) = (asked(&mut pulses, "a"), asked(&mut pulses, "b"));
        assert!(pulses.silent().is_empty(), "none was asked yet");
        a.beat();
        assert_eq!(pulses.silent(), ["b"]);
        a.beat();
        assert_eq!(pulses.silent(), ["b"]);
        b.beat();
        assert!(pulses.silent().is_empty());
        assert_eq!(pulses.silent(), ["a", "b"], "a new round");
    }

    #[test]
    fn who_is_away_or_has_ended_is_not_missed() {
        let mut pulses = Pulses::default();
        let (a, b) = (asked(&mut pulses, "a"), asked(&mut pulses, "b"));
        assert!(pulses.silent().is_empty());
        b.beat();
        a.away(|| assert!(pulses.silent().is_empty()));
        assert_eq!(pulses.silent(), ["b"], "the one that came back has answered");
        drop(b);
        assert!(pulses.silent().is_empty());
        assert_eq!(pulses.silent(), ["a"]);
    }

    #[test]
    fn every_thread_is_woken_once_a_round() {
        let mut pulses = Pulses::default();
        let (woken, pulse) = (Arc::new(AtomicU64::new(0)), pulses.pulse());
        let count = Arc::clone(&woken);
        pulses.ask("a".to_owned(), pulse.answers(), move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        for _ in 0..3 {
            pulses.silent();
        }
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        pulse.beat();
        pulses.silent();
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }
}
