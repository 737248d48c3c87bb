//! Who sends what is no line protocol, and what of it is told: address, count, first bytes.
//!
//! A front's thread writes into its [`Notes`], for refused lines alone: good ones never come here.
//! `relay` gathers all notes once a second and has the [`Teller`] say what is worth a line of the
//! log. Pure: the time comes in, nothing is logged here. Everything is bounded, whatever addresses
//! a flood claims to come from.

mod shown;
mod teller;

pub use shown::Shown;
pub use teller::{Report, Teller};

use crate::line::Reason;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much of a refused line is told.
pub const SHOWN_BYTES: usize = 100;
/// Senders that one thread tells apart between two gatherings.
const NOTED_MAX: usize = 256;

/// What one thread has noted for one listener since it was last gathered.
#[derive(Debug)]
pub struct Notes {
    listener: Arc<str>,
    page: Mutex<Page>,
}

#[derive(Debug, Default)]
struct Page {
    senders: HashMap<IpAddr, Note>,
    /// Lines of senders that are not among them.
    others: u64,
}

/// What one sender sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    /// Of the first line; 0 where ports tell nothing.
    port: u16,
    /// Lines refused.
    lines: u64,
    /// Why the first one was.
    reason: Reason,
    /// The first one, with a byte more if it goes on.
    first: Box<[u8]>,
}

impl Notes {
    /// An empty page for `listener`.
    #[must_use]
    pub fn new(listener: Arc<str>) -> Self {
        Self { listener, page: Mutex::default() }
    }

    /// Notes that `lines` of `from` were refused, the first of them for `reason`. Port 0 is none.
    pub fn note(&self, from: SocketAddr, lines: u64, reason: Reason, first: &[u8]) {
        let mut page = self.page();
        // A client by IPv4 has an IPv6 address on a socket that serves both.
        let address = from.ip().to_canonical();
        if let Some(note) = page.senders.get_mut(&address) {
            note.lines += lines;
        } else if page.senders.len() < NOTED_MAX {
            let first = first[..first.len().min(SHOWN_BYTES + 1)].into();
            page.senders.insert(address, Note { port: from.port(), lines, reason, first });
        } else {
            page.others += lines;
        }
    }

    fn take(&self) -> Page {
        std::mem::take(&mut self.page())
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const REASON: Reason = Reason::MissingFields;

    #[test]
    fn one_sender_has_one_note_whatever_its_port_and_family() {
        let notes = Notes::new("in".into());
        let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
        notes.note("10.0.0.1:5000".parse().expect("an address"), 2, REASON, b"one");
        notes.note((mapped, 5001).into(), 3, Reason::BadTimestamp, b"two");
        let page = notes.take();
        let note = Note { port: 5000, lines: 5, reason: REASON, first: (*b"one").into() };
        assert_eq!(page.senders, HashMap::from([(Ipv4Addr::new(10, 0, 0, 1).into(), note)]));
        assert!(notes.take().senders.is_empty(), "it was taken");
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_room() {
        let notes = Notes::new("in".into());
        for n in 0..10_000_u32 {
            notes.note((Ipv4Addr::from(n), 1).into(), 2, REASON, &[b'x'; 1_000]);
        }
        let page = notes.take();
        assert_eq!((page.senders.len(), page.others), (256, 2 * (10_000 - 256)));
        assert!(page.senders.values().all(|note| note.first.len() == 101));
    }
}
