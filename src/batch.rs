//! A batch: whole, valid, stamped lines in one contiguous run of bytes, and where each ends.
//!
//! Fronts push lines into a [`BatchBuilder`] and seal it; the sealed [`Batch`] is immutable and
//! is shared by reference count between all backends. It is the only thing that crosses from a
//! front to a sender. A batch that came from a [`Pool`] gives its buffers back when the last
//! backend lets go of it. This file knows nothing of sockets, queues or line protocol.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;

/// Sealed lines: every line is complete and ends with one `\n`.
#[derive(Debug)]
pub struct Batch {
    data: Data,
    /// Where each line ends: the offset behind its `\n`, ascending; the last is `bytes().len()`.
    ends: Vec<u32>,
    home: Option<Sender<Buffers>>,
}

#[derive(Debug)]
enum Data {
    Built(Vec<u8>),
    /// A request body that goes out as the very bytes that came in.
    Body(Bytes),
}

#[derive(Debug)]
struct Buffers {
    bytes: Vec<u8>,
    ends: Vec<u32>,
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
        Arc::new(Self { data: Data::Body(body), ends, home: None })
    }

    /// All lines, each with its `\n`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Built(bytes) => bytes,
            Data::Body(bytes) => bytes,
        }
    }

    /// The offsets behind each line's `\n`, ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// How many lines there are (at least one).
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The lines one by one, each without its `\n`.
    pub fn each_line(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.bytes();
        self.ends.iter().scan(0, move |start, &end| {
            let line = &bytes[*start..end as usize - 1];
            *start = end as usize;
            Some(line)
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
            buffers.bytes.clear();
            buffers.ends.clear();
            // A full pool already holds as many as it may: this one is freed.
            drop(home.try_send(buffers));
        }
    }
}

/// Buffers of one front, which come back from the backends. Holds at most `buffers` of them.
#[derive(Debug)]
pub struct Pool {
    give: Sender<Buffers>,
    take: Receiver<Buffers>,
    capacity_bytes: usize,
}

impl Pool {
    /// A pool of at most `buffers` buffers of `capacity_bytes` each; none is allocated yet.
    #[must_use]
    pub fn new(buffers: usize, capacity_bytes: usize) -> Self {
        let (give, take) = bounded(buffers);
        Self { give, take, capacity_bytes }
    }

    fn take(&self) -> Buffers {
        self.take.try_recv().unwrap_or_else(|_| Buffers {
            bytes: Vec::with_capacity(self.capacity_bytes),
            ends: Vec::with_capacity(self.capacity_bytes / TYPICAL_LINE_BYTES),
        })
    }
}

/// The batch itself, its reference counts, and its place in a queue, rounded up.
const OVERHEAD_BYTES: usize = 256;
/// A batch that fills less than this part of its buffer is copied out of it: a queue of small
/// batches must not hold a large buffer each.
const COPY_BELOW: usize = 4;
/// Sizes the table of line ends; longer tables grow and keep their size in the pool.
const TYPICAL_LINE_BYTES: usize = 64;

/// Gathers lines until full, then seals them.
#[derive(Debug)]
pub struct BatchBuilder {
    buffers: Buffers,
    pool: Pool,
}

impl BatchBuilder {
    /// A builder that takes its buffers from `pool`.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { buffers: pool.take(), pool }
    }

    /// Whether nothing was pushed since the last seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffers.ends.is_empty()
    }

    /// Whether `bytes` more (line, stamp and newline) stay within the capacity. An empty builder
    /// has room for anything: a line longer than the capacity makes a batch of its own.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.is_empty() || self.buffers.bytes.len() + bytes <= self.pool.capacity_bytes
    }

    /// Adds one line (without its newline).
    pub fn push(&mut self, line: &[u8]) {
        self.buffers.bytes.extend_from_slice(line);
        self.end_line();
    }

    /// Adds one line that came without a timestamp, and its stamp, in the line's precision.
    pub fn push_stamped(&mut self, line: &[u8], stamp: i64) {
        self.buffers.bytes.extend_from_slice(line);
        self.buffers.bytes.push(b' ');
        self.buffers.bytes.extend_from_slice(itoa::Buffer::new().format(stamp).as_bytes());
        self.end_line();
    }

    #[expect(clippy::cast_possible_truncation, reason = "a batch is far smaller than 4 GiB")]
    fn end_line(&mut self) {
        self.buffers.bytes.push(b'\n');
        self.buffers.ends.push(self.buffers.bytes.len() as u32);
    }

    /// Seals what was pushed; `None` if that is nothing.
    pub fn seal(&mut self) -> Option<Arc<Batch>> {
        if self.is_empty() {
            return None;
        }
        if self.buffers.bytes.len() < self.pool.capacity_bytes / COPY_BELOW {
            let Buffers { bytes, ends } = &mut self.buffers;
            let data = Data::Built(bytes.as_slice().into());
            let batch = Batch { data, ends: ends.as_slice().into(), home: None };
            bytes.clear();
            ends.clear();
            return Some(Arc::new(batch));
        }
        let Buffers { bytes, ends } = std::mem::replace(&mut self.buffers, self.pool.take());
        let home = Some(self.pool.give.clone());
        Some(Arc::new(Batch { data: Data::Built(bytes), ends, home }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(capacity_bytes: usize) -> BatchBuilder {
        BatchBuilder::new(Pool::new(2, capacity_bytes))
    }

    #[test]
    fn seals_lines_with_their_ends_and_stamps() {
        let mut builder = builder(100);
        assert!(builder.seal().is_none());
        builder.push(b"a f=1 1");
        builder.push_stamped(b"b f=2", -7);
        let batch = builder.seal().expect("two lines were pushed");
        assert_eq!(batch.bytes(), b"a f=1 1\nb f=2 -7\n");
        assert_eq!(batch.ends(), [8, 17]);
        let lines: Vec<_> = batch.each_line().collect();
        assert_eq!(lines, [&b"a f=1 1"[..], b"b f=2 -7"]);
        assert!(builder.is_empty());
    }

    #[test]
    fn has_room_up_to_the_capacity_and_always_when_empty() {
        let mut builder = builder(10);
        assert!(builder.has_room(1_000));
        builder.push(b"12345");
        assert!(builder.has_room(4));
        assert!(!builder.has_room(5));
    }

    #[test]
    fn a_small_batch_does_not_keep_a_large_buffer() {
        let mut builder = builder(100_000);
        builder.push(b"a f=1 1");
        let batch = builder.seal().expect("one line");
        assert_eq!((batch.bytes(), batch.ends()), (&b"a f=1 1\n"[..], &[8][..]));
        assert!(batch.footprint() < 500, "{}", batch.footprint());
        assert!(builder.is_empty());
    }

    #[test]
    fn buffers_come_home_when_the_last_holder_lets_go() {
        let mut builder = builder(10);
        builder.push(b"a f=1 1");
        let batch = builder.seal().expect("one line");
        let address = batch.bytes().as_ptr();
        let body = batch.to_body();
        drop(batch);
        assert_eq!(&body[..], b"a f=1 1\n");
        drop(body);
        builder.push(b"b f=1 1");
        drop(builder.seal());
        assert_eq!(builder.buffers.bytes.as_ptr(), address, "the first buffer is used again");
    }
}
