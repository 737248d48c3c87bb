//! A batch: whole, valid, stamped lines in one contiguous run of bytes, and where each ends.
//!
//! Fronts push lines into a [`BatchBuilder`] and seal it; the sealed [`Batch`] is immutable and
//! is shared by reference count between all backends. It is the only thing that crosses from a
//! front to a sender. A batch that came from a [`Pool`] gives its buffers back when the last
//! backend lets go of it. This file knows nothing of sockets, queues or line protocol.

mod builder;

pub use builder::{BatchBuilder, Pool, Segments};

use builder::Buffers;
use bytes::Bytes;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Sealed lines: every line is complete and ends with one `\n`.
#[derive(Debug)]
pub struct Batch {
    data: Data,
    /// Where each line ends: the offset behind its `\n` and the padding that follows, ascending;
    /// the last is `bytes().len()`.
    ends: Vec<u32>,
    segment: Option<NonZeroUsize>,
    home: Option<Arc<Pool>>,
}

#[derive(Debug)]
enum Data {
    Built(Vec<u8>),
    /// A request body that goes out as the very bytes that came in.
    Body(Bytes),
}

impl Batch {
    /// Wraps a body whose lines need no change. `ends` are the offsets behind each line's `\n`;
    /// the last must be the body's length.
    ///
    /// # Panics
    /// If `ends` is empty or its last entry is not the body's length.
    #[must_use]
    pub fn from_body(body: Bytes, ends: Vec<u32>) -> Arc<Self> {
        assert_eq!(
            ends.last().map(|&end| end as usize),
            Some(body.len()),
            "the last line ends where the body ends"
        );
        Arc::new(Self { data: Data::Body(body), ends, segment: None, home: None })
    }

    /// All lines, each with its `\n`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Built(bytes) => bytes,
            Data::Body(bytes) => bytes,
        }
    }

    /// The size of the segments that the lines are laid out in, if they are: no line crosses a
    /// multiple of it, and each segment but the last is filled up with newlines.
    #[must_use]
    pub fn segment(&self) -> Option<NonZeroUsize> {
        self.segment
    }

    /// The offsets behind each line's `\n` (and behind the padding, where some follows), ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// How many lines there are (at least one).
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The lines one by one, each without its `\n` and without padding.
    pub fn each_line(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.bytes();
        self.ends.iter().scan(0, move |start, &end| {
            let line = &bytes[*start..end as usize];
            *start = end as usize;
            // A whole line ends with its timestamp: what newlines follow are no part of it.
            let len = line.iter().rposition(|&byte| byte != b'\n').map_or(0, |last| last + 1);
            Some(&line[..len])
        })
    }

    /// What the batch occupies in memory, in bytes, for as long as anybody holds it.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let bytes = match &self.data {
            Data::Built(bytes) => bytes.capacity(),
            Data::Body(bytes) => bytes.len(),
        };
        bytes + self.ends.capacity() * size_of::<u32>() + OVERHEAD_BYTES
    }

    /// The batch's bytes for a body that outlives this borrow, without a copy.
    #[must_use]
    pub fn to_body(self: &Arc<Self>) -> Bytes {
        match &self.data {
            Data::Built(_) => Bytes::from_owner(Owned(Arc::clone(self))),
            Data::Body(bytes) => bytes.clone(),
        }
    }
}

/// The batch itself, its reference counts, and its place in a queue, rounded up.
const OVERHEAD_BYTES: usize = 256;

struct Owned(Arc<Batch>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let (Some(home), Data::Built(bytes)) = (&self.home, &mut self.data) {
            let mut buffers =
                Buffers { bytes: std::mem::take(bytes), ends: std::mem::take(&mut self.ends) };
            buffers.clear();
            home.give_back(buffers);
        }
    }
}
