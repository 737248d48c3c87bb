//! Finds whole lines of line protocol in a run of bytes and validates them in place.
//!
//! Fronts give it one datagram or body at a time. It copies nothing, allocates nothing for lines
//! of up to 32 tags, and knows nothing of sockets, batches or filters. What it accepts and refuses
//! is what InfluxDB 1.x does; on top it takes `\r\n` line ends and unsigned integers (`1u`).
//!
//! # Where a line ends
//! At a newline, but not at one inside a quoted field value, nor at one behind a backslash: where
//! InfluxDB says, whose rules for quotes and escapes are followed to the byte. So every line that
//! is accepted here ends there too, whatever line is joined behind it; the few lines that it takes
//! only as the last ones of a write (because a quote or a backslash would reach out for the next
//! line) are refused. One `\r` before the newline, or before the end of the input, is dropped.
//!
//! # A bad line harms itself alone
//! InfluxDB lets an open quote, or a backslash at the end of a line, swallow the lines that
//! follow. Here, a line that is refused or is a comment, and that runs on over newlines without
//! having closed its strings properly, is cut at each of them, and its parts are judged as lines
//! of their own; lines that follow are read as usual. A string that is closed is never cut, even
//! if its line is refused: what somebody wrote into a string must not become a point. Whoever
//! knows that the input was cut short (a truncated datagram) cannot tell a string's remains from
//! lines, and should stop at the first [`Reason::UnbalancedQuotes`].
//!
//! # Three paths
//! `plain` vouches for most lines, many at one go (their `shape` is judged from masks of 64 bytes
//! that `simd` makes, repeated tags are found by `tags`); `fast` for most of what it leaves, one by
//! one; all that is left goes through `scalar` and `value`, byte by byte. Tests hold the first two
//! against the third.

mod fast;
mod long;
mod plain;
mod reason;
mod scalar;

pub mod series;
mod shape;
mod simd;
mod tags;
mod value;

#[cfg(test)]
mod tests;

pub use reason::Reason;

use crate::timestamp::Precision;
use fast::Clean;
use plain::Found;
#[cfg(target_arch = "x86_64")]
use simd::{Avx2, Avx512, Gfni, Sse2};
use simd::{Portable, Simd, Work};
use std::sync::OnceLock;
use value::TimeLimit;

/// What [`Lines`] yields: blank lines and comments are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A valid line.
    Line(Line<'a>),
    /// A line that InfluxDB would refuse.
    Refused(Refused<'a>),
}

/// A valid line: one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line without its line end and without white space around it.
    pub bytes: &'a [u8],
    /// The offset of `bytes` in the input. Where a line starts one byte behind the end of the
    /// line before, that byte is a newline: such lines can be copied as one run.
    pub start: usize,
    /// Whether the line ends with a timestamp.
    pub stamped: bool,
}

/// A refused line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Why.
    pub reason: Reason,
    /// The line without its line end and without white space before it.
    pub bytes: &'a [u8],
    /// The number of its first line in the input, from 1, as an editor counts them (by newlines).
    pub number: u32,
}

/// Valid lines with timestamps, one behind the other: they can be copied as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// What the offsets are about. It ends where the last line does: there is no newline.
    pub bytes: &'a [u8],
    /// The offset of the first line.
    pub start: usize,
    /// The offset behind each line, ascending. The next one begins a byte later, behind a newline.
    pub ends: &'a [u32],
}

/// The lines of one datagram or body, or of datagrams that were joined.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    input: &'a [u8],
    /// How long a datagram is.
    part: usize,
    /// Where the datagram ends that `at` is in; and where the last one does of those that have
    /// nothing but a newline between them.
    part_end: usize,
    joint_end: usize,
    /// Where the next line begins; the input's end when there is none.
    at: usize,
    /// Below this offset every newline ends a line: a line that ran on to here was refused.
    cut_until: usize,
    found: Found,
    limit: TimeLimit,
    instructions: Instructions,
    /// Newlines are counted only when a line is refused: so many before this offset.
    counted_until: usize,
    newlines: u32,
}

impl<'a> Lines<'a> {
    /// The lines of `input`, timestamps in `precision`.
    #[must_use]
    pub fn new(input: &'a [u8], precision: Precision) -> Self {
        Self::of_parts(input, input.len(), precision)
    }

    /// The lines of datagrams of `part` bytes each (the last may be shorter) that lie one behind
    /// the other in `input`: no line goes on from one into the next, even if it has no newline.
    #[must_use]
    pub fn of_parts(input: &'a [u8], part: usize, precision: Precision) -> Self {
        Self::with(input, part, precision, Instructions::best())
    }

    fn with(
        input: &'a [u8],
        part: usize,
        precision: Precision,
        instructions: Instructions,
    ) -> Self {
        let limit = TimeLimit::new(precision);
        Self {
            input,
            part: part.max(1),
            part_end: 0,
            joint_end: 0,
            at: 0,
            cut_until: 0,
            found: Found::new(),
            limit,
            instructions,
            counted_until: 0,
            newlines: 0,
        }
    }

    /// The next lines, as many as are valid, have a timestamp, and are found at one go. `None` says
    /// nothing about what follows: that the iterator will tell.
    pub fn next_run(&mut self) -> Option<Run<'_>> {
        if self.found.is_empty() && self.at < self.input.len() {
            self.find();
        }
        let (base, ends) = self.found.take_stamped();
        let last = base + *ends.last()? as usize;
        let start = self.at - base;
        self.at = last + usize::from(last < self.joint_end);
        Some(Run { bytes: &self.input[base..last], start, ends })
    }

    /// The line at `self.at`, if it is one of the common ones.
    #[inline]
    fn next_clean(&mut self) -> Option<Line<'a>> {
        if self.found.is_empty() {
            self.find();
        }
        if let Some((end, stamped)) = self.found.take() {
            let start = std::mem::replace(&mut self.at, end + usize::from(end < self.joint_end));
            return Some(Line { bytes: &self.input[start..end], start, stamped });
        }
        self.next_less_common()
    }

    /// Looks for more of the commonest lines.
    #[inline(never)]
    fn find(&mut self) {
        if self.at >= self.joint_end {
            self.joint_end = self.end_of_part();
            // Lines end with the datagram, and so at the newline before.
            while self.joint_end < self.input.len() && self.input[self.joint_end - 1] == b'\n' {
                self.joint_end = self.input.len().min(self.joint_end + self.part);
            }
        }
        if self.at < self.cut_until || self.found.pauses() {
            return;
        }
        let (start, limit) = (self.at, self.limit);
        let input = &self.input[..self.joint_end];
        self.instructions.run(plain::Find { input, start, limit, found: &mut self.found });
    }

    #[inline(never)]
    fn next_less_common(&mut self) -> Option<Line<'a>> {
        self.part_end = self.end_of_part();
        if self.at < self.cut_until {
            return None;
        }
        let Clean { end, stamped } = self.clean(&self.input[..self.part_end])?;
        let start = self.at;
        self.pass(end);
        Some(Line { bytes: &self.input[start..end], start, stamped })
    }

    /// Where the datagram ends that `self.at` is in.
    fn end_of_part(&self) -> usize {
        self.input.len().min((self.at / self.part + 1).saturating_mul(self.part))
    }

    /// Goes on behind a line that ends at `end`, and behind the newline there, if there is one.
    fn pass(&mut self, end: usize) {
        self.at = end + usize::from(end < self.part_end);
    }

    /// The line at `self.at` by the path of most others; `input` ends where it may.
    fn clean(&self, input: &[u8]) -> Option<Clean> {
        self.instructions.run(fast::Validate { input, start: self.at, limit: self.limit })?
    }

    /// Any line at `self.at`; `None` for what is passed over.
    #[cold]
    fn next_any(&mut self) -> Option<Item<'a>> {
        let begin = self.at;
        let mut end = self.cut(begin);
        let mut suspect = false;
        if let Some(line) = self.next_before_return(end) {
            return Some(Item::Line(line));
        }
        if begin >= self.cut_until {
            let extent = scalar::extent(&self.input[..self.part_end], begin);
            (end, suspect) = (extent.end, extent.suspect);
        }
        loop {
            let start = scalar::skip_blank(&self.input[..end], begin);
            let text = without_line_end(&self.input[start..end]);
            let verdict = match text.first() {
                None => None,
                Some(b'#') if !suspect => None,
                Some(b'#') => Some(Err(Reason::UnbalancedQuotes)),
                Some(_) => Some(scalar::parse(text, self.limit)),
            };
            if suspect && matches!(verdict, Some(Err(_))) {
                self.cut_until = end;
                end = self.cut(begin);
                suspect = false;
                continue;
            }
            self.pass(end);
            return Some(match verdict? {
                Ok(line) => {
                    let (bytes, stamped) = (&text[..line.len], line.stamped);
                    Item::Line(Line { bytes, start, stamped })
                }
                Err(reason) => {
                    Item::Refused(Refused { reason, bytes: text, number: self.number(begin) })
                }
            });
        }
    }

    /// The line at `self.at`, if it is a common one that ends with `\r` and the newline at `end`.
    fn next_before_return(&mut self, end: usize) -> Option<Line<'a>> {
        let text = self.input[..end].strip_suffix(b"\r")?;
        if self.at >= text.len() {
            return None;
        }
        let Clean { stamped, .. } = self.clean(text)?;
        let start = self.at;
        self.pass(end);
        Some(Line { bytes: &text[start..], start, stamped })
    }

    /// The first newline from `begin`, or the end of the datagram.
    fn cut(&self, begin: usize) -> usize {
        let rest = &self.input[begin..self.part_end];
        begin + memchr::memchr(b'\n', rest).unwrap_or(rest.len())
    }

    /// The number of the line that begins at `begin`.
    fn number(&mut self, begin: usize) -> u32 {
        let newlines = memchr::memchr_iter(b'\n', &self.input[self.counted_until..begin]).count();
        self.counted_until = begin;
        self.newlines = self.newlines.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
        self.newlines.saturating_add(1)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        while self.at < self.input.len() {
            if let Some(line) = self.next_clean() {
                return Some(Item::Line(line));
            }
            if let Some(item) = self.next_any() {
                return Some(item);
            }
        }
        None
    }
}

/// `text` without the newline that InfluxDB strips from a line that ends with an escaped one, and
/// without the `\r` of a `\r\n`.
fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// What `fast` works with on this processor.
#[derive(Clone, Copy, Debug)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Gfni(Gfni),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Sse2(Sse2),
    Portable,
    /// Every line byte by byte: what tests hold the others against.
    #[cfg(test)]
    Scalar,
}

impl Instructions {
    #[inline]
    fn best() -> Self {
        static BEST: OnceLock<Instructions> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().into_iter().next().unwrap_or(Self::Portable))
    }

    /// All that this processor has, the fastest first.
    fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let special = [
            Gfni::detect().map(Self::Gfni),
            Avx512::detect().map(Self::Avx512),
            Avx2::detect().map(Self::Avx2),
            Sse2::detect().map(Self::Sse2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let special: [Option<Self>; 0] = [];
        special.into_iter().flatten().chain([Self::Portable]).collect()
    }

    #[inline]
    fn run<W: Work>(self, work: W) -> Option<W::Output> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Gfni(simd) => Some(simd.run(work)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Some(simd.run(work)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Some(simd.run(work)),
            #[cfg(target_arch = "x86_64")]
            Self::Sse2(simd) => Some(simd.run(work)),
            Self::Portable => Some(Portable.run(work)),
            #[cfg(test)]
            Self::Scalar => None,
        }
    }
}
