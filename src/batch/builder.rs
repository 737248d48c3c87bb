//! Gathers lines into the buffers of a pool until they are sealed into a [`Batch`].

use super::{Batch, Data};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// A batch that fills less than this part of its buffer is copied out of it: a queue of small
/// batches must not hold a large buffer each.
const COPY_BELOW: usize = 4;
/// Sizes the table of line ends; longer tables grow and keep their size in the pool.
const TYPICAL_LINE_BYTES: usize = 64;
/// Space, sign and digits of the longest stamp.
const STAMP_BYTES: usize = 21;

/// The buffers of one batch.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<u32>,
}

impl Buffers {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Buffers of one front, which come back from the backends. The one that came back last is used
/// first, for it is in the cache. Locked once a batch, never for long.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<Buffers>>,
    buffers_max: usize,
    capacity_bytes: usize,
}

impl Pool {
    /// A pool that keeps at most `buffers_max` buffers of `capacity_bytes`; none is allocated yet.
    #[must_use]
    pub fn new(buffers_max: usize, capacity_bytes: usize) -> Arc<Self> {
        let idle = Mutex::new(Vec::with_capacity(buffers_max));
        Arc::new(Self { idle, buffers_max, capacity_bytes })
    }

    fn take(&self) -> Buffers {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Buffers {
            bytes: Vec::with_capacity(self.capacity_bytes),
            ends: Vec::with_capacity(self.capacity_bytes / TYPICAL_LINE_BYTES),
        })
    }

    pub(super) fn give_back(&self, buffers: Buffers) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.buffers_max {
            idle.push(buffers);
        }
    }
}

/// A layout for backends that cut a batch into datagrams of one size: no line crosses a multiple
/// of `bytes`, and gaps are filled with newlines, which line protocol allows. Such a batch leaves
/// as it lies, in one segmented send, without a look at its lines.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    /// The size of a segment.
    pub bytes: NonZeroUsize,
    /// How many one batch may have.
    pub count_max: usize,
}

/// Gathers lines until full, then seals them.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Without capacity until the first line after a seal.
    buffers: Buffers,
    pool: Arc<Pool>,
    layout: Option<Segments>,
    /// Where the segment ends that is being filled.
    segment_end: usize,
    /// A line that fits no segment is alone in its batch, which then has no layout.
    outsized: bool,
}

impl BatchBuilder {
    /// A builder that takes its buffers from `pool` and lays lines out in segments, if told to.
    #[must_use]
    pub fn new(pool: Arc<Pool>, layout: Option<Segments>) -> Self {
        let segment_end = layout.map_or(0, |layout| layout.bytes.get());
        Self { buffers: Buffers::default(), pool, layout, segment_end, outsized: false }
    }

    /// Whether nothing was pushed since the last seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffers.ends.is_empty()
    }

    /// Adds one line (without its newline), and a stamp if it came without one. Answers whether
    /// there was room; an empty builder has room for any line.
    #[must_use]
    pub fn push(&mut self, line: &[u8], stamp: Option<i64>) -> bool {
        let bytes = line.len() + stamp.map_or(0, |_| STAMP_BYTES) + 1;
        if !self.make_room(bytes) {
            return false;
        }
        let out = &mut self.buffers.bytes;
        out.extend_from_slice(line);
        if let Some(stamp) = stamp {
            out.push(b' ');
            out.extend_from_slice(itoa::Buffer::new().format(stamp).as_bytes());
        }
        out.push(b'\n');
        let end = offset(out.len());
        self.buffers.ends.push(end);
        true
    }

    fn make_room(&mut self, bytes: usize) -> bool {
        if self.buffers.bytes.capacity() == 0 {
            self.buffers = self.pool.take();
        }
        let Some(layout) = self.layout else {
            return self.is_empty() || self.buffers.bytes.len() + bytes <= self.pool.capacity_bytes;
        };
        if self.outsized {
            return false;
        }
        if bytes > layout.bytes.get() {
            self.outsized = self.is_empty();
            return self.outsized;
        }
        if self.buffers.bytes.len() + bytes <= self.segment_end {
            return true;
        }
        if self.segment_end >= layout.count_max * layout.bytes.get() {
            return false;
        }
        self.fill_segment();
        self.segment_end += layout.bytes.get();
        true
    }

    /// The padding belongs to the line before it.
    fn fill_segment(&mut self) {
        self.buffers.bytes.resize(self.segment_end, b'\n');
        let last = self.buffers.ends.last_mut().expect("a segment is left with a line in it");
        *last = offset(self.segment_end);
    }

    /// Seals what was pushed; `None` if that is nothing.
    pub fn seal(&mut self) -> Option<Arc<Batch>> {
        if self.is_empty() {
            return None;
        }
        let segment = self.layout.filter(|_| !self.outsized).map(|layout| layout.bytes);
        self.segment_end = self.layout.map_or(0, |layout| layout.bytes.get());
        self.outsized = false;
        if self.buffers.bytes.len() < self.pool.capacity_bytes / COPY_BELOW {
            let data = Data::Built(self.buffers.bytes.as_slice().into());
            let ends = self.buffers.ends.as_slice().into();
            self.buffers.clear();
            return Some(Arc::new(Batch { data, ends, segment, home: None }));
        }
        let Buffers { bytes, ends } = std::mem::take(&mut self.buffers);
        let home = Some(Arc::clone(&self.pool));
        Some(Arc::new(Batch { data: Data::Built(bytes), ends, segment, home }))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a batch is far smaller than 4 GiB")]
fn offset(bytes: usize) -> u32 {
    bytes as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn builder(capacity_bytes: usize) -> BatchBuilder {
        BatchBuilder::new(Pool::new(2, capacity_bytes), None)
    }

    fn segments(bytes: usize, count_max: usize) -> BatchBuilder {
        let bytes = NonZeroUsize::new(bytes).expect("not zero");
        let layout = Segments { bytes, count_max };
        BatchBuilder::new(Pool::new(2, bytes.get() * count_max), Some(layout))
    }

    #[test]
    fn seals_lines_with_their_ends_and_stamps() {
        let mut builder = builder(100);
        assert!(builder.seal().is_none());
        assert!(builder.push(b"a f=1 1", None));
        assert!(builder.push(b"b f=2", Some(-7)));
        let batch = builder.seal().expect("two lines were pushed");
        assert_eq!(batch.bytes(), b"a f=1 1\nb f=2 -7\n");
        assert_eq!(batch.ends(), [8, 17]);
        assert!(builder.is_empty());
    }

    #[test]
    fn has_room_up_to_the_capacity_and_always_when_empty() {
        let mut builder = builder(10);
        assert!(builder.push(b"1234", None));
        assert!(builder.push(b"6789", None));
        assert!(!builder.push(b"", None));
        drop(builder.seal());
        assert!(builder.push(&[b'x'; 1_000], None));
    }

    #[test]
    fn a_small_batch_does_not_keep_a_large_buffer() {
        let mut builder = builder(100_000);
        assert!(builder.push(b"a f=1 1", None));
        let batch = builder.seal().expect("one line");
        assert_eq!((batch.bytes(), batch.ends()), (&b"a f=1 1\n"[..], &[8][..]));
        assert!(batch.footprint() < 500, "{}", batch.footprint());
        assert!(builder.is_empty());
    }

    #[test]
    fn buffers_come_home_when_the_last_holder_lets_go() {
        let mut builder = builder(10);
        assert!(builder.push(b"a f=1 1", None));
        let batch = builder.seal().expect("one line");
        let address = batch.bytes().as_ptr();
        let body = batch.to_body();
        drop(batch);
        assert_eq!(&body[..], b"a f=1 1\n");
        drop(body);
        assert!(builder.push(b"b f=1 1", None));
        assert_eq!(builder.buffers.bytes.as_ptr(), address, "the first buffer is used again");
    }

    #[test]
    fn segments_are_filled_up_with_newlines_but_for_the_last() {
        let mut builder = segments(10, 3);
        for line in [&b"aaaa"[..], b"bbb", b"cccc", b"d"] {
            assert!(builder.push(line, None));
        }
        let batch = builder.seal().expect("four lines");
        assert_eq!(batch.bytes(), b"aaaa\nbbb\n\ncccc\nd\n");
        assert_eq!(batch.ends(), [5, 10, 15, 17]);
        assert_eq!(batch.segment().map(NonZeroUsize::get), Some(10));
    }

    #[test]
    fn a_line_that_fits_no_segment_is_alone_in_a_batch_without_layout() {
        let mut builder = segments(10, 3);
        assert!(builder.push(b"short", None));
        assert!(!builder.push(b"ten bytes.", None));
        drop(builder.seal());
        assert!(builder.push(b"ten bytes.", None));
        assert!(!builder.push(b"short", None));
        let batch = builder.seal().expect("one line");
        assert_eq!((batch.bytes(), batch.segment()), (&b"ten bytes.\n"[..], None));
        assert!(builder.push(b"short", None));
        assert!(builder.seal().is_some_and(|batch| batch.segment().is_some()));
    }

    proptest! {
        #[test]
        fn laid_out_lines_are_all_there_in_order_and_cross_no_segment(
            lengths in proptest::collection::vec(1usize..40, 1..200),
        ) {
            let mut builder = segments(32, 4);
            let mut batches = Vec::new();
            let lines: Vec<Vec<u8>> = lengths.iter().map(|&n| vec![b"abcdefg"[n % 7]; n]).collect();
            for line in &lines {
                if !builder.push(line, None) {
                    batches.extend(builder.seal());
                    prop_assert!(builder.push(line, None));
                }
            }
            batches.extend(builder.seal());
            let mut seen = Vec::new();
            for batch in &batches {
                let end = batch.ends().last().map(|&end| end as usize);
                prop_assert_eq!(end, Some(batch.bytes().len()));
                let size = batch.segment().map_or(usize::MAX, NonZeroUsize::get);
                prop_assert!(batch.segment().is_none() || batch.bytes().len() <= 4 * 32);
                for segment in batch.bytes().chunks(size.min(batch.bytes().len())) {
                    prop_assert_eq!(segment.last(), Some(&b'\n'));
                    let lines = segment.split(|&byte| byte == b'\n');
                    seen.extend(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
                }
            }
            prop_assert_eq!(seen, lines);
        }
    }
}
