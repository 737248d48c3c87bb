//! Which numbers of one source have come: what is missing, duplicate or reordered. Exact as long
//! as no more than [`GAPS_MAX`] separate gaps are open; memory is bounded by that, not by the run.

use serde::Serialize;
use std::collections::BTreeMap;

/// How many gaps are remembered. Beyond, the oldest is given up: its lines stay missing, and what
/// still comes from it counts as [`Counts::unplaced`].
pub const GAPS_MAX: usize = 65_536;

/// The check of one source.
#[derive(Debug, Default)]
pub struct Sequence {
    next: u64,
    /// Runs of numbers that have not come: first -> behind the last. All end before `next`.
    gaps: BTreeMap<u64, u64>,
    /// Below this, gaps have been given up.
    given_up_below: u64,
    counts: Counts,
}

/// What came of one source, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lines that came, repeated ones too.
    pub received: u64,
    /// Numbers that never came.
    pub missing: u64,
    /// Lines that came again.
    pub duplicate: u64,
    /// Lines that came after one with a higher number.
    pub reordered: u64,
    /// Lines that were duplicate or reordered, but too late to tell which.
    pub unplaced: u64,
}

impl Counts {
    /// Adds those of another source.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.missing += other.missing;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.unplaced += other.unplaced;
    }
}

impl Sequence {
    /// Takes note of one number.
    pub fn take(&mut self, number: u64) {
        self.counts.received += 1;
        if number == self.next {
            self.next += 1;
        } else if number > self.next {
            self.open_gap(self.next, number);
            self.next = number + 1;
        } else {
            self.take_late(number);
        }
    }

    fn take_late(&mut self, number: u64) {
        let gap = self.gaps.range(..=number).next_back().map(|(&first, &end)| (first, end));
        match gap {
            Some((first, end)) if number < end => {
                self.counts.reordered += 1;
                self.counts.missing -= 1;
                self.gaps.remove(&first);
                if first < number {
                    self.gaps.insert(first, number);
                }
                if number + 1 < end {
                    self.gaps.insert(number + 1, end);
                }
                self.bound_gaps();
            }
            _ if number < self.given_up_below => self.counts.unplaced += 1,
            _ => self.counts.duplicate += 1,
        }
    }

    fn open_gap(&mut self, first: u64, end: u64) {
        self.counts.missing += end - first;
        self.gaps.insert(first, end);
        self.bound_gaps();
    }

    fn bound_gaps(&mut self) {
        if self.gaps.len() > GAPS_MAX
            && let Some((_, end)) = self.gaps.pop_first()
        {
            self.given_up_below = end;
        }
    }

    /// The counts, if `sent` numbers (0 to `sent - 1`) were given out; without it, up to the
    /// highest that came.
    #[must_use]
    pub fn counts(&self, sent: Option<u64>) -> Counts {
        let tail = sent.map_or(0, |sent| sent.saturating_sub(self.next));
        Counts { missing: self.counts.missing + tail, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(numbers: impl IntoIterator<Item = u64>, sent: u64) -> Counts {
        let mut sequence = Sequence::default();
        numbers.into_iter().for_each(|number| sequence.take(number));
        sequence.counts(Some(sent))
    }

    #[test]
    fn an_unbroken_run_has_no_defect() {
        assert_eq!(counts(0..1_000, 1_000), Counts { received: 1_000, ..Counts::default() });
    }

    #[test]
    fn a_dropped_line_is_missing_wherever_it_was() {
        for dropped in [0, 4, 9] {
            let expected = Counts { received: 9, missing: 1, ..Counts::default() };
            assert_eq!(counts((0..10).filter(|&n| n != dropped), 10), expected, "{dropped}");
        }
    }

    #[test]
    fn a_repeated_line_is_a_duplicate() {
        let expected = Counts { received: 5, duplicate: 1, ..Counts::default() };
        assert_eq!(counts([0, 1, 2, 3, 1], 4), expected);
        assert_eq!(counts([0, 0, 1, 2, 3], 4), expected);
    }

    #[test]
    fn swapped_lines_are_reordered_and_not_missing() {
        let expected = Counts { received: 5, reordered: 1, ..Counts::default() };
        assert_eq!(counts([0, 2, 1, 3, 4], 5), expected);
    }

    #[test]
    fn late_lines_close_a_gap_from_within() {
        let expected = Counts { received: 8, missing: 2, reordered: 3, ..Counts::default() };
        assert_eq!(counts([0, 6, 3, 2, 7, 5, 8, 9], 10), expected);
        let expected = Counts { duplicate: 1, received: 9, ..expected };
        assert_eq!(counts([0, 6, 3, 2, 7, 5, 8, 9, 3], 10), expected);
    }

    #[test]
    fn gaps_are_bounded_and_what_is_beyond_is_said() {
        let gaps = GAPS_MAX as u64 + 10;
        let mut sequence = Sequence::default();
        (0..=gaps).for_each(|n| sequence.take(2 * n));
        assert_eq!(sequence.gaps.len(), GAPS_MAX);
        assert_eq!(sequence.counts(None).missing, gaps);
        sequence.take(1);
        assert_eq!(sequence.counts(None).unplaced, 1);
        sequence.take(2 * gaps - 1);
        assert_eq!(sequence.counts(None).reordered, 1);
    }
}
