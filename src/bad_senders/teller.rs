//! Which senders are told, and when: one line for a sender at once, the next a minute later at the
//! soonest, and no more than [`TOLD_MAX`] lines in a minute for all of them.

use super::{Note, Notes, Page, Shown};
use crate::line::Reason;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a sender, or the cap, has its peace.
const MINUTE: Duration = Duration::from_secs(60);
/// Senders that are told apart.
const SENDERS_MAX: usize = 1_024;
/// Lines about senders in a minute.
const TOLD_MAX: usize = 30;

/// What has come of each sender, and what of it was told.
#[derive(Debug, Default)]
pub struct Teller {
    accounts: HashMap<(Arc<str>, IpAddr), Account>,
    /// Lines of senders that have no account, and lines that nobody was told of in their minute.
    others: Others,
    /// When the first line of this minute was told.
    minute: Option<Instant>,
    told: usize,
}

#[derive(Debug)]
struct Account {
    /// Since it was last told; without lines if there is nothing to tell.
    note: Note,
    told: Option<Instant>,
    /// It was to be told, and the cap was reached.
    passed_over: bool,
}

#[derive(Debug, Default)]
struct Others {
    senders: usize,
    /// There are senders that were not told apart.
    more: bool,
    lines: u64,
}

/// What is worth a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// About one sender.
    Sender {
        /// The listener's name.
        listener: Arc<str>,
        /// The sender, with its port if that tells anything.
        from: String,
        /// Lines refused since it was last told.
        lines: u64,
        /// Why the first of these was.
        reason: Reason,
        /// The first of these, fit for a log.
        first: String,
    },
    /// About those that went over the cap.
    Others {
        /// How many they are; see `more`.
        senders: usize,
        /// They are more than that.
        more: bool,
        /// Their lines.
        lines: u64,
    },
}

impl Teller {
    /// Gathers `notes`, and answers what is to be told at `now`. To be called about every second.
    #[must_use]
    pub fn tell<'a>(
        &mut self,
        notes: impl IntoIterator<Item = &'a Arc<Notes>>,
        now: Instant,
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        if self.minute.is_some_and(|minute| now - minute >= MINUTE) {
            self.end_minute(&mut reports);
        }
        for notes in notes {
            self.gather(&notes.listener, notes.take());
        }
        self.tell_senders(|account| account.is_due(now), now, &mut reports);
        // Nothing to tell of it, and free to be told at once: as if it were new.
        self.accounts.retain(|_, account| account.note.lines > 0 || !account.is_free(now));
        reports
    }

    /// What has not been told yet, for the end.
    #[must_use]
    pub fn rest<'a>(
        &mut self,
        notes: impl IntoIterator<Item = &'a Arc<Notes>>,
        now: Instant,
    ) -> Vec<Report> {
        let mut reports = self.tell(notes, now);
        self.tell_senders(|account| account.note.lines > 0, now, &mut reports);
        self.end_minute(&mut reports);
        reports
    }

    fn gather(&mut self, listener: &Arc<str>, page: Page) {
        for (address, note) in page.senders {
            let key = (Arc::clone(listener), address);
            let room = self.accounts.len() < SENDERS_MAX;
            match self.accounts.get_mut(&key) {
                Some(account) if account.note.lines > 0 => account.note.lines += note.lines,
                Some(account) => account.note = note,
                None if room => drop(self.accounts.insert(key, Account::new(note))),
                None => {
                    self.others.more = true;
                    self.others.lines += note.lines;
                }
            }
        }
        self.others.more |= page.others > 0;
        self.others.lines += page.others;
    }

    /// Tells those for whom `due` holds, as far as the cap allows; who sent most comes first.
    fn tell_senders(
        &mut self,
        due: impl Fn(&Account) -> bool,
        now: Instant,
        reports: &mut Vec<Report>,
    ) {
        let mut senders: Vec<_> =
            self.accounts.iter_mut().filter(|(_, account)| due(account)).collect();
        senders.sort_by(|(a, x), (b, y)| y.note.lines.cmp(&x.note.lines).then(a.cmp(b)));
        for ((listener, address), account) in senders {
            if self.told == TOLD_MAX {
                account.passed_over = true;
                continue;
            }
            self.told += 1;
            self.minute.get_or_insert(now);
            account.told = Some(now);
            let note = &mut account.note;
            reports.push(Report::Sender {
                listener: Arc::clone(listener),
                from: shown(*address, note.port),
                lines: std::mem::take(&mut note.lines),
                reason: note.reason,
                first: Shown(&note.first).to_string(),
            });
        }
    }

    /// Tells how many were not told for want of room, and gives the room anew.
    fn end_minute(&mut self, reports: &mut Vec<Report>) {
        (self.minute, self.told) = (None, 0);
        let mut others = std::mem::take(&mut self.others);
        self.accounts.retain(|_, account| {
            if account.passed_over {
                others.senders += 1;
                others.lines += account.note.lines;
            }
            !account.passed_over
        });
        let Others { senders, more, lines } = others;
        if lines > 0 {
            reports.push(Report::Others { senders, more, lines });
        }
    }
}

impl Account {
    fn new(note: Note) -> Self {
        Self { note, told: None, passed_over: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.note.lines > 0 && self.is_free(now)
    }

    fn is_free(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now - told >= MINUTE)
    }
}

fn shown(address: IpAddr, port: u16) -> String {
    if port == 0 { address.to_string() } else { SocketAddr::new(address, port).to_string() }
}

#[cfg(test)]
mod tests;
