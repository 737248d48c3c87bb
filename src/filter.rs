//! Which points an output gets: regular expressions over measurements and tag keys.
//!
//! `config` makes a [`Filter`] for each output that a `[[filter]]` names; `fanout` selects with it
//! what of a batch the output gets. Names are matched as InfluxDB stores them, without their
//! escapes. Pure. Knows nothing of outputs.

mod expression;

pub use expression::{BadExpression, Expression};

use crate::batch::Batch;
use crate::line::series::{Series, unescaped_measurement, unescaped_tag_key};
use bytes::Bytes;
use std::sync::Arc;

/// A point passes when its measurement matches every measurement expression, and each of its tag
/// keys matches every tag expression.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// About the measurement.
    pub measurement: Vec<Expression>,
    /// About each tag key.
    pub tag: Vec<Expression>,
}

/// Verdicts about the names of the lines before: neighbours mostly have the same measurement, and
/// the same tag keys in the same places. Holds names as they stand in the lines.
#[derive(Default)]
struct Known<'a> {
    measurement: &'a [u8],
    measurement_passes: bool,
    /// Tag keys that match, by their place in the line.
    keys: [&'a [u8]; 16],
}

impl Filter {
    /// The lines of `batch` that pass: all of it, a batch of its own, or `None` for no line.
    #[must_use]
    pub fn select(&self, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        let mut known = Known::default();
        let verdicts: Vec<bool> =
            batch.each_line().map(|line| self.passes(line, &mut known)).collect();
        let kept = || batch.each_line().zip(&verdicts).filter(|&(_, &passes)| passes);
        let (lines, bytes) =
            kept().fold((0, 0), |(n, bytes), (line, _)| (n + 1, bytes + line.len()));
        if lines == verdicts.len() {
            return Some(Arc::clone(batch));
        }
        if lines == 0 {
            return None;
        }
        let mut body = Vec::with_capacity(bytes + lines);
        let mut ends = Vec::with_capacity(lines);
        for (line, _) in kept() {
            body.extend_from_slice(line);
            body.push(b'\n');
            ends.push(u32::try_from(body.len()).expect("a part is no longer than the whole"));
        }
        Some(Batch::from_body(Bytes::from(body), ends))
    }

    fn passes<'a>(&self, line: &'a [u8], known: &mut Known<'a>) -> bool {
        let series = Series::of(line);
        if known.measurement != series.measurement {
            let name = unescaped_measurement(series.measurement);
            known.measurement = series.measurement;
            known.measurement_passes = self.measurement.iter().all(|e| e.matches(&name));
        }
        known.measurement_passes
            && (self.tag.is_empty()
                || series.tag_keys().enumerate().all(|(i, key)| self.key_passes(i, key, known)))
    }

    fn key_passes<'a>(&self, place: usize, key: &'a [u8], known: &mut Known<'a>) -> bool {
        if known.keys.get(place) == Some(&key) {
            return true;
        }
        let name = unescaped_tag_key(key);
        let passes = self.tag.iter().all(|e| e.matches(&name));
        if passes && let Some(place) = known.keys.get_mut(place) {
            *place = key;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Pool, Segments};
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    fn batch(lines: &[&str]) -> Arc<Batch> {
        build(BatchBuilder::new(Pool::new(1, 1 << 16), None), lines)
    }

    fn build(mut builder: BatchBuilder, lines: &[&str]) -> Arc<Batch> {
        let pushed = lines.iter().all(|line| builder.push(line.as_bytes(), None));
        assert!(pushed, "one batch holds them");
        builder.seal().expect("there are lines")
    }

    fn filter(measurement: &[&str], tag: &[&str]) -> Filter {
        let all = |texts: &[&str]| {
            texts.iter().map(|text| Expression::parse(text).expect("it is valid")).collect()
        };
        Filter { measurement: all(measurement), tag: all(tag) }
    }

    fn selected(filter: &Filter, lines: &[&str]) -> String {
        let selected = filter.select(&batch(lines));
        selected.map_or_else(String::new, |batch| {
            assert_eq!(batch.ends().len() as u64, batch.lines());
            String::from_utf8(batch.bytes().to_vec()).expect("it was text")
        })
    }

    const LINES: [&str; 6] = [
        "cpu,host=a,core=1 f=1 1",
        "mem,host=a f=1 1",
        "cpu f=1 1",
        "cpu,hostname=a f=1 1",
        "cpu\\ load,host=a f=\"cpu,x=1 \" 1",
        "mem,host=a f=2 2",
    ];

    #[test]
    fn a_measurement_must_match_every_expression() {
        assert_eq!(
            selected(&filter(&["^mem$"], &[]), &LINES),
            "mem,host=a f=1 1\nmem,host=a f=2 2\n"
        );
        let both = filter(&["^cpu", " load$"], &[]);
        assert_eq!(selected(&both, &LINES), "cpu\\ load,host=a f=\"cpu,x=1 \" 1\n", "unescaped");
        assert_eq!(selected(&filter(&["disk"], &[]), &LINES), "");
    }

    #[test]
    fn each_tag_key_must_match_every_expression() {
        let short = filter(&["^cpu$"], &["^.{1,4}$", "^[a-z]+$"]);
        assert_eq!(selected(&short, &LINES), "cpu,host=a,core=1 f=1 1\ncpu f=1 1\n");
    }

    #[test]
    fn a_batch_that_passes_whole_is_shared() {
        let whole = batch(&LINES);
        let shared = filter(&["cpu|mem"], &["."]).select(&whole).expect("all pass");
        assert!(Arc::ptr_eq(&shared, &whole));
    }

    #[test]
    fn padding_is_no_part_of_a_line() {
        let bytes = NonZeroUsize::new(64).expect("not zero");
        let layout = Some(Segments { bytes, count_max: 10 });
        let padded = build(BatchBuilder::new(Pool::new(1, 640), layout), &LINES);
        assert!(padded.bytes().windows(2).any(|pair| pair == b"\n\n"), "there is some");
        let selected = filter(&["^mem$"], &[]).select(&padded).expect("two lines");
        assert_eq!(selected.bytes(), b"mem,host=a f=1 1\nmem,host=a f=2 2\n");
    }

    #[test]
    fn more_tags_than_are_remembered_are_looked_at() {
        let tags = |last: &str| {
            let many: String = (0..20).map(|n| format!(",k{n}=v")).collect();
            format!("m{many},{last}=v f=1 1")
        };
        let (good, bad) = (tags("k"), tags("no"));
        assert_eq!(
            selected(&filter(&[], &["^k"]), &[&good, &bad, &good]),
            format!("{good}\n{good}\n")
        );
    }

    proptest! {
        /// What is remembered of the lines before never changes a verdict.
        #[test]
        fn selects_what_each_line_alone_would_be(
            lines in prop::collection::vec("[ab]{1,2}(,[abc]=v(,d=v)?)? f=1 1", 1..20),
        ) {
            let filter = filter(&["^a|b$"], &["[abd]"]);
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let alone: String = lines.iter().map(|&line| selected(&filter, &[line])).collect();
            prop_assert_eq!(selected(&filter, &lines), alone);
        }
    }
}
