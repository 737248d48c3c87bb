//! What one backend has stored, and the evidence about every line that came more than once.
//!
//! The backend's connections commit here, one request at a time: the order of the commits is the
//! order in which a database would have applied them. `judge` reads it when all is over.

use crate::line::Line;
use rustix::net::{RecvFlags, recv};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Arc, Weak};

/// A line that is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) line: Line,
    pub(crate) stamp: i64,
    /// The request that stored it last.
    request: usize,
}

/// A request that stored its lines.
#[derive(Debug)]
struct Request {
    /// Gone once this end has closed it.
    connection: Weak<TcpStream>,
    life: usize,
    told: Told,
    /// A line of it came again.
    repeated: bool,
}

/// What the sender of a stored request gets to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// That all of it is stored.
    All,
    /// That it was refused, for a line that is not stored.
    Partly,
    /// Nothing, or that the backend fails.
    Nothing,
}

/// Lines that were stored again, by what excuses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeats {
    /// The backend did not say that it had stored them.
    pub(crate) untold: usize,
    /// It refused them for the sake of another line, and had stored them all the same.
    pub(crate) partly: usize,
    /// It said so, and the relay had closed the connection by then: it did not wait for the
    /// answer.
    pub(crate) unheard: usize,
    /// They came in an earlier life of the relay.
    pub(crate) replayed: usize,
    /// Requests of each life that said that all is stored, and of which lines came in a later one.
    pub(crate) requests_replayed: HashMap<usize, usize>,
    /// It said so, and its connection is open: the relay knows, and sends a write again that it has
    /// sent ahead of a suspect.
    pub(crate) ahead: Vec<(usize, usize)>,
    /// Requests of which the relay cannot but know that their answer was lost.
    pub(crate) requests_untold: usize,
}

/// All that one backend has.
#[derive(Debug, Default)]
pub(crate) struct Store {
    requests: Vec<Request>,
    lines: HashMap<(usize, usize), Stored>,
    /// Source and number, in the order in which the lines came first.
    pub(crate) first: Vec<(usize, usize)>,
    /// What stands at the end, by source and series: the number that was stored last.
    pub(crate) last: HashMap<(usize, usize), usize>,
    pub(crate) repeats: Repeats,
    /// What no fault of this backend excuses.
    pub(crate) defects: Vec<String>,
}

impl Store {
    /// Applies a request, of which its sender will know what `told` says. `false` if the sender has
    /// hung up already: what is behind the times is not applied, as a backend that did so could
    /// overwrite new values with old ones, which no relay can prevent.
    pub(crate) fn commit(
        &mut self,
        connection: &Arc<TcpStream>,
        life: usize,
        lines: &[(Line, i64)],
        told: Told,
    ) -> bool {
        if has_hung_up(connection) {
            return false;
        }
        let request = self.requests.len();
        self.requests.push(Request {
            connection: Arc::downgrade(connection),
            life,
            told,
            repeated: false,
        });
        for &(line, stamp) in lines {
            let key = (line.source, line.number);
            self.last.insert((line.source, line.series), line.number);
            let new = Stored { line, stamp, request };
            if let Some(before) = self.lines.insert(key, new) {
                self.lines.insert(key, Stored { request, ..before });
                self.repeated(&before, stamp, life);
            } else {
                self.first.push(key);
            }
        }
        true
    }

    /// Whether a line was stored, for the last time, by a later request than another.
    pub(crate) fn stands_behind(&self, source: usize, line: usize, other: usize) -> bool {
        let request = |number| self.lines.get(&(source, number)).map(|stored| stored.request);
        request(line) > request(other)
    }

    fn repeated(&mut self, before: &Stored, stamp: i64, life: usize) {
        let request = &mut self.requests[before.request];
        let again = std::mem::replace(&mut request.repeated, true);
        let Line { source, number, .. } = before.line;
        if before.stamp != stamp {
            let of = before.stamp;
            self.defects.push(format!("{source}/{number} came with stamps {of} and {stamp}"));
        }
        if request.life != life {
            self.repeats.replayed += 1;
            if request.told == Told::All && !again {
                *self.repeats.requests_replayed.entry(request.life).or_default() += 1;
            }
        } else if request.told == Told::Nothing {
            self.repeats.untold += 1;
            self.repeats.requests_untold += usize::from(!again);
        } else if request.told == Told::Partly {
            self.repeats.partly += 1;
        } else if request.connection.upgrade().is_none_or(|open| has_hung_up(&open)) {
            self.repeats.unheard += 1;
        } else {
            self.repeats.ahead.push((source, number));
        }
    }

    /// What is known of a line.
    pub(crate) fn get(&self, source: usize, number: usize) -> Option<&Stored> {
        self.lines.get(&(source, number))
    }

    /// All lines, in no order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &Stored> {
        self.lines.values()
    }
}

/// Whether the other end, or this one, has closed the connection.
fn has_hung_up(connection: &TcpStream) -> bool {
    let mut byte = [0];
    match recv(connection, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, read)) => read == 0,
        Err(error) => error != rustix::io::Errno::AGAIN,
    }
}
