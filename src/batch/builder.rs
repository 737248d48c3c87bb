//! Gathers lines into the buffers of a pool until they are sealed into a [`Batch`].

use super::{Batch, Data};
use crate::timestamp::StampText;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// A batch that fills less than this part of its buffer is copied out of it: a queue of small
/// batches must not hold a large buffer each.
const COPY_BELOW: usize = 4;
/// Sizes the table of line ends; longer tables grow and keep their size in the pool.
const TYPICAL_LINE_BYTES: usize = 64;

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
            bytes: Vec::with_capacity(self.capacity_bytes + StampText::COPIED),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    stamp: StampText,
}

impl BatchBuilder {
    /// A builder that takes its buffers from `pool` and lays lines out in segments, if told to.
    #[must_use]
    pub fn new(pool: Arc<Pool>, layout: Option<Segments>) -> Self {
        let segment_end = layout.map_or(0, |layout| layout.bytes.get());
        let (buffers, stamp) = (Buffers::default(), StampText::default());
        Self { buffers, pool, layout, segment_end, outsized: false, stamp }
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
        let bytes = line.len() + stamp.map_or(1, |_| StampText::BYTES_MAX);
        if !self.make_room(bytes) {
            return false;
        }
        let out = &mut self.buffers.bytes;
        out.extend_from_slice(line);
        match stamp {
            Some(stamp) => self.stamp.append(stamp, out),
            None => out.push(b'\n'),
        }
        let end = offset(out.len());
        self.buffers.ends.push(end);
        true
    }

    /// Adds lines that need no stamp and lie one behind the other in `bytes`, each but the last
    /// followed by a newline: the first begins at `start`, and `ends` are the offsets behind them.
    /// Answers how many there was room for, as [`push`](Self::push) would.
    #[must_use]
    pub fn push_run(&mut self, bytes: &[u8], mut start: usize, ends: &[u32]) -> usize {
        let mut pushed = 0;
        while let Some(&first) = ends.get(pushed) {
            let first_bytes = first as usize + 1 - start;
            if !self.make_room(first_bytes) {
                break;
            }
            let until = start + self.room().max(first_bytes);
            let more = ends[pushed..].iter().take_while(|&&end| (end as usize) < until).count();
            let run = &ends[pushed..pushed + more];
            let end = run[more - 1] as usize;
            let out = &mut self.buffers.bytes;
            // What is added to an offset in `bytes` to have that behind the line's newline here.
            let moved = offset(out.len()).wrapping_sub(offset(start)).wrapping_add(1);
            self.buffers.ends.extend(run.iter().map(|end| end.wrapping_add(moved)));
            out.extend_from_slice(&bytes[start..end]);
            out.push(b'\n');
            start = end + 1;
            pushed += more;
        }
        pushed
    }

    /// How many bytes fit without a new segment.
    fn room(&self) -> usize {
        let end = self.layout.map_or(self.pool.capacity_bytes, |_| self.segment_end);
        end.saturating_sub(self.buffers.bytes.len())
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

        #[test]
        fn a_run_is_pushed_as_its_lines_one_by_one(
            lengths in proptest::collection::vec(0usize..40, 1..200),
            layout: bool,
            skip in 0usize..3,
        ) {
            let lines: Vec<Vec<u8>> = lengths.iter().map(|&n| vec![b"abcdefg"[n % 7]; n]).collect();
            let bytes = lines.join(&b'\n');
            let ends = lines.iter().scan(0, |end, line| {
                *end += line.len() + 1;
                Some(offset(*end - 1))
            });
            let ends: Vec<u32> = ends.collect();
            let make = || if layout { segments(32, 4) } else { builder(100) };
            let (mut by_run, mut by_line) = (make(), make());
            let mut next = skip.min(lines.len() - 1);
            while next < lines.len() {
                let start = next.checked_sub(1).map_or(0, |last| ends[last] as usize + 1);
                let pushed = by_run.push_run(&bytes, start, &ends[next..]);
                for line in &lines[next..next + pushed] {
                    prop_assert!(by_line.push(line, None));
                }
                next += pushed;
                prop_assert!(next == lines.len() || !by_line.push(&lines[next], None));
                let (run, line) = (by_run.seal(), by_line.seal());
                let told = |batch: Option<Arc<Batch>>| {
                    batch.map(|b| (b.bytes().to_vec(), b.ends().to_vec(), b.segment()))
                };
                prop_assert_eq!(told(run), told(line));
            }
        }
    }
}
