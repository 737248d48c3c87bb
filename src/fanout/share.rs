//! What of a batch an output gets: all of it, its filter's choice, or the same with timestamps in
//! seconds. Pure. Called by [`super::Fanout`] for each output.
//!
//! An output without a filter that takes the batch's precision costs a reference count here.
//! Outputs that get the same share one batch.

use crate::batch::Batch;
use crate::dialect::precision_at;
use crate::filter::Filter;
use crate::timestamp::Precision;
use bytes::Bytes;
use std::sync::Arc;

use super::Output;

/// The shares of one batch, as outputs ask for them.
pub(super) struct Shares<'a> {
    batch: &'a Arc<Batch>,
    precision: Precision,
    made: Vec<Share>,
}

struct Share {
    filter: Option<Arc<Filter>>,
    precision: Precision,
    batch: Option<Arc<Batch>>,
}

impl<'a> Shares<'a> {
    pub(super) fn new(batch: &'a Arc<Batch>, precision: Precision) -> Self {
        Self { batch, precision, made: Vec::new() }
    }

    /// What `output` gets; `None` if that is nothing. Counts the lines that it does not get.
    pub(super) fn get(&mut self, output: &Output) -> Option<Arc<Batch>> {
        let precision = precision_at(&output.dialect, self.precision);
        if output.filter.is_none() && precision == self.precision {
            return Some(Arc::clone(self.batch));
        }
        let share = self.make(output.filter.as_ref(), precision);
        let lines = share.as_ref().map_or(0, |share| share.lines());
        if lines < self.batch.lines() {
            output.metrics.filtered.add(self.batch.lines() - lines);
        }
        share
    }

    fn make(&mut self, filter: Option<&Arc<Filter>>, precision: Precision) -> Option<Arc<Batch>> {
        let same = |share: &&Share| {
            share.precision == precision
                && share.filter.as_ref().map(Arc::as_ptr) == filter.map(Arc::as_ptr)
        };
        if let Some(share) = self.made.iter().find(same) {
            return share.batch.clone();
        }
        let mut batch = match filter {
            Some(filter) => filter.select(self.batch),
            None => Some(Arc::clone(self.batch)),
        };
        if precision != self.precision {
            let factor = self.precision.nanoseconds() / precision.nanoseconds();
            batch = batch.map(|batch| multiply_stamps(&batch, factor));
        }
        self.made.push(Share { filter: filter.cloned(), precision, batch: batch.clone() });
        batch
    }
}

/// The lines of `batch` with each timestamp `factor` times as large.
fn multiply_stamps(batch: &Batch, factor: i64) -> Arc<Batch> {
    /// What the largest factor, 3600, adds to a number.
    const MORE_DIGITS: usize = 4;
    let lines = batch.ends().len();
    let mut body = Vec::with_capacity(batch.bytes().len() + lines * MORE_DIGITS);
    let mut ends = Vec::with_capacity(lines);
    for line in batch.each_line() {
        let digits = line.iter().rev().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
        let (rest, stamp) = line.split_at(line.len() - digits);
        let stamp: i64 = std::str::from_utf8(stamp)
            .ok()
            .and_then(|stamp| stamp.parse().ok())
            .expect("every line of a batch ends with a timestamp within 64 bits");
        body.extend_from_slice(rest);
        let stamp = stamp.saturating_mul(factor);
        body.extend_from_slice(itoa::Buffer::new().format(stamp).as_bytes());
        body.push(b'\n');
        ends.push(u32::try_from(body.len()).expect("a batch is far smaller than 4 GiB"));
    }
    Batch::from_body(Bytes::from(body.into_boxed_slice()), ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Pool};

    #[test]
    fn timestamps_are_multiplied_and_nothing_else_is() {
        let mut builder = BatchBuilder::new(Pool::new(1, 1 << 12), None);
        for line in ["a,b=1 f=1 0", "a f=\"x 1\",g=-1 -7", "a f=1i \t5"] {
            assert!(builder.push(line.as_bytes(), None));
        }
        let batch = builder.seal().expect("three lines");
        let seconds = multiply_stamps(&batch, 60);
        let expected = "a,b=1 f=1 0\na f=\"x 1\",g=-1 -420\na f=1i \t300\n";
        assert_eq!(String::from_utf8_lossy(seconds.bytes()), expected);
        assert_eq!(seconds.ends(), [12, 32, 44]);
    }
}
