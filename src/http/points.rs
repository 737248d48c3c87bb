//! The lines of a request body, as one sealed batch, or why there is none.
//!
//! Called by the write endpoints. Pure. A body whose lines are all as they shall go out is sealed
//! as the bytes that came in; from the first line on that is not, it is copied.

use super::body::Unreadable;
use super::budget::{Budget, Charge};
use super::held::{Held, is_short};
use crate::bad_senders::SHOWN_BYTES;
use crate::batch::Batch;
use crate::line::{Item, Line, Lines, Reason, Refused};
use crate::timestamp::Precision;
use std::sync::Arc;

/// What a body holds.
#[derive(Debug)]
pub(super) struct Points {
    /// `None` if there are no valid lines, or some that are not. What is charged for it is to be
    /// dropped once another bound holds it.
    pub(super) batch: Option<(Arc<Batch>, Charge)>,
    /// Valid lines.
    pub(super) lines: u64,
    /// Lines refused, by [`Reason`].
    pub(super) refused: [u64; Reason::COUNT],
    /// About the first line that was refused.
    pub(super) first_refused: Option<FirstRefused>,
}

/// The first line that was refused.
#[derive(Debug)]
pub(super) struct FirstRefused {
    /// The line, cut if long, the reason and the number.
    pub(super) words: String,
    /// Its number in the body, from 1.
    pub(super) line: u32,
    /// Why it was.
    pub(super) reason: Reason,
    /// The line, cut behind what a log shows of it.
    pub(super) bytes: Box<[u8]>,
}

/// The shortest line and its newline: `m f=1`.
const LINE_BYTES_MIN: usize = 6;

/// Reads the lines of `body`. Lines without a timestamp get `stamp`, which is in `precision`.
pub(super) fn read(
    mut body: Held,
    budget: &Arc<Budget>,
    precision: Precision,
    stamp: i64,
) -> Result<Points, Unreadable> {
    if body.bytes().last().is_some_and(|&last| last != b'\n') {
        body.push(b"\n")?;
    }
    let stamp = itoa::Buffer::new().format(stamp).to_owned();
    let mut points =
        Points { batch: None, lines: 0, refused: [0; Reason::COUNT], first_refused: None };
    let mut out = Out::new(body.bytes(), stamp, budget)?;
    for item in Lines::new(body.bytes(), precision) {
        match item {
            Item::Line(line) => {
                points.lines += 1;
                // After a bad line the rest is only looked at to count it.
                if points.first_refused.is_none() {
                    out.push(&line)?;
                }
            }
            Item::Refused(refused) => {
                points.refused[refused.reason as usize] += 1;
                points.first_refused.get_or_insert_with(|| FirstRefused {
                    words: describe(&refused),
                    line: refused.number,
                    reason: refused.reason,
                    bytes: refused.bytes[..refused.bytes.len().min(SHOWN_BYTES + 1)].into(),
                });
            }
        }
    }
    if points.lines > 0 && points.first_refused.is_none() {
        let whole = out.clean == body.bytes().len();
        let Out { mut copy, mut ends, mut charge, .. } = out;
        if copy.is_none() && !whole {
            // Clean lines, then comments or blank lines: only the tail must go.
            let end = ends.last().map_or(0, |&end| end as usize);
            let mut lines = Held::copy_of(body.bytes(), budget, end);
            lines.push(&body.bytes()[..end])?;
            copy = Some(lines);
        }
        if ends.capacity() > ends.len() + ends.len() / 4 {
            ends.shrink_to_fit();
        }
        let (bytes, bytes_charge) = copy.unwrap_or(body).release();
        charge.join(bytes_charge);
        points.batch = Some((Batch::from_body(bytes, ends), charge));
    }
    Ok(points)
}

struct Out<'a> {
    body: &'a [u8],
    /// How far the lines tile the body: from its start, each ended by one newline, none missing.
    clean: usize,
    /// The lines as they go out, once one of them is not as it came.
    copy: Option<Held>,
    /// Never grown: there is room for the end of each line that the body can hold.
    ends: Vec<u32>,
    ends_bytes: usize,
    /// For `ends`.
    charge: Charge,
    stamp: String,
    budget: &'a Arc<Budget>,
}

impl<'a> Out<'a> {
    fn new(body: &'a [u8], stamp: String, budget: &'a Arc<Budget>) -> Result<Self, Unreadable> {
        let newlines = memchr::memchr_iter(b'\n', body).count();
        let lines_max = newlines.min(body.len() / LINE_BYTES_MIN);
        let ends_bytes = lines_max * size_of::<u32>();
        let (ends, charge) = (Vec::new(), Charge::new(budget));
        let mut out = Self { body, clean: 0, copy: None, ends, ends_bytes, charge, stamp, budget };
        if is_short(body) {
            out.charge.set(ends_bytes);
        } else if !out.charge.take(ends_bytes) {
            budget.make_room();
            return Err(out.busy());
        }
        out.ends.reserve_exact(lines_max);
        Ok(out)
    }

    fn push(&mut self, line: &Line<'_>) -> Result<(), Unreadable> {
        self.push_line(line).map_err(|why| match why {
            Unreadable::Busy => self.busy(),
            why => why,
        })
    }

    /// The budget is used up: by others, or would be by this body alone, however often it came.
    fn busy(&self) -> Unreadable {
        let (body, budget) = (self.body.len(), self.budget.bytes_max());
        let beside = self.ends_bytes + self.copy.as_ref().map_or(0, Held::expected);
        let all = body + beside;
        if all > budget { Unreadable::TooLarge(budget * body / all) } else { Unreadable::Busy }
    }

    fn push_line(&mut self, line: &Line<'_>) -> Result<(), Unreadable> {
        if self.copy.is_none() {
            let rest = &self.body[self.clean..];
            let ended = rest.get(line.bytes.len()) == Some(&b'\n');
            if line.stamped && line.start == self.clean && ended {
                self.clean += line.bytes.len() + 1;
                return self.end(self.clean);
            }
            // At most a space and a stamp more in each line that is left.
            let lines = memchr::memchr_iter(b'\n', rest).count();
            let bytes_max = self.body.len() + lines * (1 + self.stamp.len());
            let copy = self.copy.insert(Held::copy_of(self.body, self.budget, bytes_max));
            copy.push(&self.body[..self.clean])?;
        }
        let copy = self.copy.as_mut().expect("it was made just now");
        copy.push(line.bytes)?;
        if !line.stamped {
            copy.push(b" ")?;
            copy.push(self.stamp.as_bytes())?;
        }
        copy.push(b"\n")?;
        let end = copy.bytes().len();
        self.end(end)
    }

    fn end(&mut self, at: usize) -> Result<(), Unreadable> {
        let end = u32::try_from(at).map_err(|_| Unreadable::TooLarge(u32::MAX as usize))?;
        self.ends.push(end);
        Ok(())
    }
}

fn describe(refused: &Refused<'_>) -> String {
    let cut = refused.bytes.len() > SHOWN_BYTES;
    let shown = String::from_utf8_lossy(&refused.bytes[..refused.bytes.len().min(SHOWN_BYTES)]);
    let (dots, reason, number) =
        (if cut { "..." } else { "" }, refused.reason.as_str(), refused.number);
    format!("unable to parse '{shown}{dots}': {reason} (line {number})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(budget: &Arc<Budget>, bytes: &[u8]) -> Held {
        let mut held = Held::new(budget, Some(bytes.len() + 1));
        held.push(bytes).expect("within the budget");
        held
    }

    fn sealed(body: &[u8]) -> (bool, Vec<u8>, Vec<u32>) {
        let budget = Arc::new(Budget::new(1 << 20));
        let held = held(&budget, body);
        let address = held.bytes().as_ptr();
        let points = read(held, &budget, Precision::Nanosecond, 9).expect("within the budget");
        let (batch, charge) = points.batch.expect("there are valid lines");
        assert!(budget.held() >= batch.bytes().len() + 4 * batch.ends().len());
        drop(charge);
        assert_eq!(budget.held(), 0, "sealed bytes are the queues' to bound");
        let same = std::ptr::eq(batch.bytes().as_ptr(), address);
        (same, batch.bytes().to_vec(), batch.ends().to_vec())
    }

    #[test]
    fn clean_bodies_go_out_as_the_bytes_that_came_in() {
        let clean = b"a f=1 1\nb f=2 2\n";
        assert_eq!(sealed(clean), (true, clean.to_vec(), vec![8, 16]));
        assert_eq!(sealed(&clean[..15]), (true, clean.to_vec(), vec![8, 16]), "no last newline");
    }

    #[test]
    fn a_line_that_differs_is_copied_with_all_after_it() {
        let budget = Arc::new(Budget::new(1 << 20));
        let body = b"a f=1 1\n b f=2\r\nc f=3 3\n";
        let mut out = Out::new(body, "9".into(), &budget).expect("within the budget");
        for (start, end, stamped) in [(0, 7, true), (9, 14, false), (16, 23, true)] {
            let line = Line { bytes: &body[start..end], start, stamped };
            out.push(&line).expect("within the budget");
        }
        let copy = out.copy.expect("the second line differs");
        assert_eq!(copy.bytes(), b"a f=1 1\nb f=2 9\nc f=3 3\n");
        assert_eq!(out.ends, [8, 16, 24]);
    }

    #[test]
    fn what_is_no_line_does_not_go_out() {
        let lines = b"a f=1 1\nb f=2 2\n".to_vec();
        for body in [
            &b"a f=1 1\nb f=2 2\n# end\n\n"[..],
            b"a f=1 1\nb f=2 2\n\n  ",
            b"# begin\na f=1 1\r\n\n  b f=2 2",
        ] {
            assert_eq!(sealed(body), (false, lines.clone(), vec![8, 16]), "{body:?}");
        }
    }

    #[test]
    fn one_bad_line_refuses_all_and_is_named() {
        let budget = Arc::new(Budget::new(1 << 20));
        let body = held(&budget, b"a f=1 1\n\nb f=\nc f=2 2\nd\n");
        let points = read(body, &budget, Precision::Nanosecond, 9).expect("within the budget");
        assert!(points.batch.is_none());
        assert_eq!((points.lines, points.refused.iter().sum::<u64>()), (2, 2));
        let first = points.first_refused.expect("two lines are bad");
        let (words, line) = (first.words, first.line);
        assert!(words.starts_with("unable to parse 'b f=': ") && words.ends_with(" (line 3)"));
        assert_eq!(line, 3);
    }

    #[test]
    fn a_copy_is_charged_what_it_needs_and_a_body_that_never_fits_is_too_large() {
        let body = b"a f=1\n".repeat(30_000);
        let read = |budget: &Arc<Budget>| {
            let (mut body_held, stamp) = (Held::new(budget, Some(body.len() + 1)), 9);
            body_held.push(&body).expect("the body fits");
            read(body_held, budget, Precision::Nanosecond, stamp).map(|points| points.lines)
        };
        // 180 000 bytes, 4 for the end of each line, and 8 for each of the lines with its stamp, in
        // pages.
        let budget = Arc::new(Budget::new(550_000));
        assert_eq!(read(&budget), Ok(30_000));
        let mut other = Held::new(&budget, Some(20_000));
        other.push(&[0; 20_000]).expect("it fits");
        assert_eq!(read(&budget), Err(Unreadable::Busy), "another body is in the way");
        for (bytes, limit) in [(520_000, 173_333), (290_000, 174_000)] {
            let small = Arc::new(Budget::new(bytes));
            assert_eq!(read(&small), Err(Unreadable::TooLarge(limit)), "no other body is");
            assert_eq!(small.held(), 0);
        }
    }

    #[test]
    fn what_is_made_of_a_short_body_needs_no_room() {
        let budget = Arc::new(Budget::new(1000));
        let body = held(&budget, &b"a f=1\n".repeat(160));
        let points = read(body, &budget, Precision::Nanosecond, 9).expect("it is read");
        let (batch, charge) = points.batch.expect("there are valid lines");
        assert_eq!(batch.bytes(), b"a f=1 9\n".repeat(160));
        assert_eq!(budget.held(), 160 * (8 + 4), "but it is charged");
        drop(charge);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn an_empty_body_holds_nothing() {
        let budget = Arc::new(Budget::new(100));
        for body in [&b""[..], b"\n", b" ", b"# only this"] {
            let points = read(held(&budget, body), &budget, Precision::Second, 1);
            let points = points.expect("within the budget");
            assert!(points.batch.is_none() && points.lines == 0, "{body:?}");
        }
    }

    #[test]
    fn names_the_bad_line_and_cuts_it() {
        let reason = Reason::ALL[0];
        let refused = Refused { reason, bytes: &[b'x'; 101], number: 7 };
        let (xs, why) = ("x".repeat(100), reason.as_str());
        assert_eq!(describe(&refused), format!("unable to parse '{xs}...': {why} (line 7)"));
    }
}
