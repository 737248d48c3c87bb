//! What becomes of the writes of a request that ended: the second half of the sender loop.
//!
//! Without a backlog every write is settled at once. With one, what failed goes back to the head
//! of its lane and is tried again later: a failure that may be the backend's own pauses all lanes
//! (an [`Outage`]), one that others do not share pauses its lane alone. Only answers decide here;
//! when the next request starts is the loop's business. A destination is a lane's here: a place.

use super::backlog::Share;
use super::classify::{About, Failure, Trouble, Verdict, Why, classify};
use super::held::Held;
use super::{Flight, Sender};
use crate::backend::Outcome;
use crate::backoff::Backoff;
use crate::metrics::Drop;
use crate::sys;
use crate::write::{Destination, Refusal};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A write that failed this often, alone and in a row, may be what the backend fails for.
const FAILED_ALONE_MIN: u32 = 8;
/// A backend that wants to be left alone for longer is asked again after this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// While the relay stops, tries are at most this far apart.
const STOPPING_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Destinations whose writes are kept although the backend refuses them. More than these are not
/// mistakes that somebody mends, and each costs requests.
const REFUSED_MAX: usize = 64;

/// The backend fails: one request at a time tries whether it is back.
#[derive(Debug)]
pub(super) struct Outage {
    /// Not tried again before.
    pub(super) until: Instant,
    began: Instant,
    /// Of the last failure that counted.
    failed: Instant,
    backoff: Backoff,
}

/// What is wrong with one destination.
#[derive(Debug)]
pub(super) struct Ailment {
    backoff: Backoff,
    /// How many requests of all lanes had succeeded when it failed, and of its own since.
    successes: u64,
    /// The backend takes others.
    pub(super) alone: bool,
    /// What it may use of the backlog then.
    pub(super) share: Share,
    /// The backend refuses it: what each of its clients is told.
    pub(super) refusal: Option<Refusal>,
}

impl Outage {
    /// Whether the backend was tried in vain after a time.
    pub(super) fn failed_after(&self, time: Instant) -> bool {
        self.failed > time
    }

    /// It may be over: the backend is tried now.
    pub(super) fn restart(&mut self, backoff: Backoff, now: Instant) {
        (self.until, self.backoff) = (now, backoff);
    }
}

impl Ailment {
    /// Whether the backend takes others.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// It may be over: the pauses begin anew.
    pub(super) fn restart(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }
}

impl Sender {
    pub(super) fn land(&mut self, flight: Flight) {
        self.count(&flight);
        let Flight { place: destination, ended, started, .. } = flight;
        let unanswered = matches!(ended, Err(Failure::Transport(_) | Failure::Timeout(_)));
        let verdict = classify(ended);
        self.note(&verdict);
        if !matches!(verdict, Verdict::Unavailable(_) | Verdict::Unsendable(_)) {
            self.end_outage();
            self.tell(None);
        }
        let together = self.lanes.flight(&destination).len() > 1;
        match verdict {
            Verdict::Delivered => self.delivered(&destination),
            // Somebody's line is bad, or all are too much: in halves, each learns its own fate.
            Verdict::Refused(_) | Verdict::TooLarge(_) if together => {
                self.lanes.put_back(&destination, false);
                self.lanes.release(&destination);
            }
            Verdict::Refused(refusal) => self.refuse(&destination, None, &refusal),
            Verdict::TooLarge(refusal) => self.too_large(&destination, &refusal),
            Verdict::RefusedDestination(refusal) if self.keeps_refused(&destination) => {
                let why = Why::Status(refusal.status);
                let words = refusal.body.clone();
                let about = About::Destination;
                let trouble = Trouble { why, about, retry_after: None, words };
                self.keep(&destination, &trouble, Some(refusal), started);
            }
            Verdict::RefusedDestination(refusal) | Verdict::Unsendable(refusal) => {
                self.refuse(&destination, None, &refusal);
            }
            Verdict::Unavailable(trouble) if self.target.backlog.is_some() => {
                if unanswered {
                    self.count_resent(&destination);
                }
                self.keep(&destination, &trouble, None, started);
            }
            Verdict::Unavailable(trouble) => {
                self.tell(Some(&trouble));
                for held in self.lanes.finish(&destination) {
                    self.backlog.settle(held, Outcome::Dropped(Drop::Unavailable));
                }
            }
        }
        if !self.lanes.contains(&destination) {
            self.ailments.remove(&destination);
        }
        if self.ailments.len() > self.lanes.len() {
            self.ailments.retain(|destination, _| self.lanes.contains(destination));
        }
        self.publish();
    }

    /// Takes note of a failure, for people who look at the backend.
    fn note(&self, verdict: &Verdict) {
        let (why, words) = match verdict {
            Verdict::Delivered => return,
            // Nothing was tried, and why is known.
            Verdict::Unavailable(Trouble { why: Why::Failed(Failure::Waiting), .. }) => return,
            Verdict::Unavailable(trouble) => (trouble.why.to_string(), &trouble.words),
            Verdict::Unsendable(refusal) => ("no request can be made".to_owned(), &refusal.body),
            Verdict::Refused(refusal)
            | Verdict::RefusedDestination(refusal)
            | Verdict::TooLarge(refusal) => {
                (Why::Status(refusal.status).to_string(), &refusal.body)
            }
        };
        let words = shown(words);
        let between = if words.is_empty() { "" } else { ": " };
        self.metrics.backlog.failed(format!("{why}{between}{words}"), sys::now_s());
    }

    /// What is in flight is sent again, although nobody knows whether it was stored.
    pub(super) fn count_resent(&self, destination: &Arc<Destination>) {
        let lines = self.lanes.flight(destination).iter().map(|held| held.write.batch.lines());
        self.metrics.backlog.resent.add(lines.sum());
    }

    fn delivered(&mut self, destination: &Arc<Destination>) {
        self.successes += 1;
        // It was well again before this left, perhaps: what it went past has a last try.
        let tries_again = self.lanes.leaps(destination);
        if tries_again {
            self.count_resent(destination);
            self.lanes.try_overtaken(destination);
        }
        if let Some(ailment) = self.ailments.get_mut(destination) {
            ailment.successes += 1;
            ailment.alone = false;
            ailment.refusal = None;
            ailment.backoff = self.backoff.clone();
        }
        if !self.lanes.last_waiting(destination).is_some_and(Held::is_kept) {
            // Nothing of the failure is left: the next is a first one.
            self.ailments.remove(destination);
        }
        if tries_again {
            return self.lanes.release(destination);
        }
        for held in self.lanes.finish(destination) {
            self.backlog.settle(held, Outcome::Delivered);
        }
    }

    /// Settles what is in flight, and `more`, with the backend's words.
    fn refuse(&mut self, destination: &Arc<Destination>, more: Option<Held>, refusal: &Refusal) {
        let mut flight = self.lanes.finish(destination);
        flight.extend(more);
        let lines: u64 = flight.iter().map(|held| held.write.batch.lines()).sum();
        if let Some(unsaid) = self.refusals.admit(Instant::now()) {
            let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
            let (status, to) = (refusal.status, destination.shown());
            let words = shown(&refusal.body);
            tracing::warn!(relay, backend, status, lines, to, words, unsaid, "writes are refused");
        }
        for held in flight {
            self.backlog.settle(held, Outcome::Refused(refusal.clone()));
        }
    }

    /// The only write in flight is too large for the backend.
    fn too_large(&mut self, destination: &Arc<Destination>, refusal: &Refusal) {
        let Some(held) = self.lanes.take_flight(destination) else { return };
        match self.backlog.cut(held) {
            Ok(halves) => {
                self.lanes.put_back_parts(destination, halves);
                self.lanes.release(destination);
            }
            Err(line) => self.refuse(destination, Some(*line), refusal),
        }
    }

    /// Whether writes to a destination that the backend refuses are kept.
    fn keeps_refused(&self, destination: &Arc<Destination>) -> bool {
        let is_refused = |ailment: &Ailment| ailment.refusal.is_some();
        self.target.backlog.as_ref().is_some_and(|backlog| backlog.keep_refused)
            && (self.ailments.get(destination).is_some_and(is_refused)
                || self.ailments.values().filter(|ailment| is_refused(ailment)).count()
                    < REFUSED_MAX)
    }

    /// Puts the request's writes back, keeps them and what waits behind them, and says when they
    /// are tried again.
    fn keep(
        &mut self,
        destination: &Arc<Destination>,
        trouble: &Trouble,
        refusal: Option<Refusal>,
        started: Instant,
    ) {
        let leapt = self.lanes.leaps(destination);
        self.lanes.put_back(destination, trouble.about == About::Content);
        // Unless the backend fails for others by now, it is known what it fails for.
        if self.outage.is_none()
            && let Some(poison) = self.lanes.take_condemned(destination)
        {
            self.set_aside(poison, trouble);
            return self.lanes.release(destination);
        }
        self.metrics.backlog.retries.add(1);
        let successes = self.successes;
        let ailment = self.ailments.entry(Arc::clone(destination)).or_insert_with(|| Ailment {
            backoff: self.backoff.clone(),
            successes,
            alone: false,
            share: Share::All,
            refusal: None,
        });
        // Nobody has succeeded since it failed last, or it fails for the first time: no telling.
        let others_pass = std::mem::replace(&mut ailment.successes, successes) < successes;
        ailment.alone = match trouble.about {
            About::Backend => false,
            About::Either | About::Rate | About::Content => others_pass,
            About::Destination => true,
        };
        // What comes and goes may be the beginning of an outage, which is what the room is for.
        ailment.share = if trouble.about == About::Either { Share::All } else { Share::Half };
        ailment.refusal = refusal;
        if ailment.alone {
            let share = if self.outage.is_some() { Share::All } else { ailment.share };
            self.keep_waiting(Some(destination), share);
            self.make_room(destination);
        } else {
            self.keep_waiting(None, Share::All);
        }
        if !leapt
            && trouble.about == About::Content
            && self.lanes.leap(destination, FAILED_ALONE_MIN)
        {
            self.launch(Arc::clone(destination));
            return;
        }
        self.pause(destination, trouble, started);
    }

    fn pause(&mut self, destination: &Arc<Destination>, trouble: &Trouble, started: Instant) {
        let now = Instant::now();
        let retry_after = trouble.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let stopping = self.closed.is_some();
        let bounded = |pause: Duration, least: Duration| match stopping {
            true => pause.min(STOPPING_PAUSE_MAX),
            false => pause.max(least),
        };
        let ailment = self.ailments.get_mut(destination).expect("it was put there");
        if ailment.alone {
            let pause = bounded(ailment.backoff.pause(random()), retry_after);
            self.lanes.hold(destination, now + pause);
            if let Some(unsaid) = self.ailing.admit(now) {
                let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
                let (why, to) = (&trouble.why, destination.shown());
                let words = shown(&trouble.words);
                tracing::warn!(
                    relay, backend, %why, to, words, unsaid,
                    "writes to one destination wait in the backlog"
                );
            }
            return;
        }
        // What one client may not send, others may.
        let all_wait = if trouble.about == About::Rate { Duration::ZERO } else { retry_after };
        let (until, failed) = (now, now);
        let backoff = self.backoff.clone();
        let outage = self.outage.get_or_insert(Outage { until, began: now, failed, backoff });
        // What was under way when it failed says nothing new, but for how long it wants.
        if started >= outage.failed || outage.until == outage.failed {
            outage.until = now + bounded(outage.backoff.pause(random()), all_wait);
            outage.failed = now;
        } else if !stopping {
            outage.until = outage.until.max(now + all_wait);
        }
        // Should the success of another end the outage, this one has its time to wait all the same.
        let own = if stopping { now } else { now + retry_after };
        self.lanes.hold(destination, outage.until.max(own));
        self.tell(Some(trouble));
    }

    /// Sets a write aside: into the dead-letter file, if there is one.
    fn set_aside(&mut self, held: Held, trouble: &Trouble) {
        let (why, words) = (trouble.why.to_string(), &trouble.words);
        let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
        let (lines, to) = (held.write.batch.lines(), held.write.destination.shown());
        // The file is for line protocol, which can be written again by hand.
        let opaque = held.write.batch.is_opaque();
        let file = self.dead_letters.as_mut().filter(|_| !opaque);
        let written = file.map(|file| file.append(&held.write, &why, words, sys::now_s()));
        let kept = match &written {
            None if opaque => "an opaque body is not written to the dead-letter file".to_owned(),
            None => "there is no dead-letter-dir".to_owned(),
            Some(Ok(())) => {
                self.metrics.backlog.dead_letters.add(lines);
                "they are in the dead-letter file".to_owned()
            }
            Some(Err(error)) => format!("the dead-letter file does not take them: {error}"),
        };
        let words = shown(words);
        tracing::warn!(
            relay,
            backend,
            lines,
            to,
            why,
            words,
            "lines are set aside, because the backend fails for them and takes others; {kept}"
        );
        self.backlog.settle(held, Outcome::Dropped(Drop::Poison));
    }

    fn end_outage(&mut self) {
        let Some(outage) = self.outage.take() else { return };
        self.was_down = outage.began.elapsed();
    }

    /// Tells when the backend goes down and when it is back.
    fn tell(&mut self, trouble: Option<&Trouble>) {
        if !self.health.observe(trouble.is_some(), Instant::now()) {
            return;
        }
        let (relay, backend) = (&*self.metrics.relay, &*self.metrics.name);
        let owed = &self.metrics.owed;
        match (trouble, self.target.backlog.is_some()) {
            (Some(Trouble { why, .. }), false) => {
                tracing::warn!(relay, backend, "backend is down: {why}");
            }
            (Some(Trouble { why, .. }), true) => {
                tracing::warn!(
                    relay,
                    backend,
                    "backend is down: {why}; writes wait in its backlog"
                );
            }
            (None, false) => tracing::info!(relay, backend, "backend is back"),
            (None, true) => tracing::info!(
                relay,
                backend,
                down_s = self.was_down.as_secs(),
                backlog_lines = owed.backlog_lines(),
                backlog_bytes = owed.backlog_bytes(),
                "backend is back; its backlog drains"
            ),
        }
    }
}

/// A random number: the standard library's hasher keys are.
fn random() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}

/// The backend's words on one line.
fn shown(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(&words[..words.len().min(256)]);
    words.trim().replace(|c: char| c.is_control(), " ")
}
