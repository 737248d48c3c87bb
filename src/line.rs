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
//! `plain` vouches for short lines without strings and escapes, at one go; `fast` for most others,
//! 64 bytes at a time (masks made by `simd`, repeated tags found by `tags`); all that is left goes
//! through `scalar` and `value`, byte by byte. Tests hold the first two against the third. `plain`
//! needs AVX2 to be worth its while; other processors begin with `fast`.

mod fast;
mod plain;
mod reason;
mod scalar;
pub mod series;
mod simd;
mod tags;
mod value;

#[cfg(test)]
mod tests;

pub use reason::Reason;

use crate::timestamp::Precision;
use fast::Clean;
#[cfg(target_arch = "x86_64")]
use simd::{Avx2, Sse2};
use simd::{Portable, Simd};
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

/// The lines of one datagram or body.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    input: &'a [u8],
    /// Where the next line begins; behind the input's end when there is none.
    at: usize,
    /// Below this offset every newline ends a line: a line that ran on to here was refused.
    cut_until: usize,
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
        Self::with(input, precision, Instructions::best())
    }

    fn with(input: &'a [u8], precision: Precision, instructions: Instructions) -> Self {
        let limit = TimeLimit::new(precision);
        Self { input, at: 0, cut_until: 0, limit, instructions, counted_until: 0, newlines: 0 }
    }

    /// The line at `self.at`, if it is one of the common ones.
    #[inline]
    fn next_clean(&mut self) -> Option<Line<'a>> {
        if self.at < self.cut_until {
            return None;
        }
        let Clean { end, stamped } = self.instructions.clean(self.input, self.at, self.limit)?;
        let start = std::mem::replace(&mut self.at, end + 1);
        Some(Line { bytes: &self.input[start..end], start, stamped })
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
            let extent = scalar::extent(self.input, begin);
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
            self.at = end + 1;
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
        let Clean { stamped, .. } = self.instructions.clean(text, self.at, self.limit)?;
        let start = std::mem::replace(&mut self.at, end + 1);
        Some(Line { bytes: &text[start..], start, stamped })
    }

    /// The first newline from `begin`, or the end of the input.
    fn cut(&self, begin: usize) -> usize {
        let rest = &self.input[begin..];
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
        let special = [Avx2::detect().map(Self::Avx2), Sse2::detect().map(Self::Sse2)];
        #[cfg(not(target_arch = "x86_64"))]
        let special: [Option<Self>; 0] = [];
        special.into_iter().flatten().chain([Self::Portable]).collect()
    }

    #[inline]
    fn clean(self, input: &[u8], start: usize, limit: TimeLimit) -> Option<Clean> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd
                .run(|| plain::clean(simd, input, start, limit))
                .or_else(|| simd.run(|| fast::clean(simd, input, start, limit))),
            #[cfg(target_arch = "x86_64")]
            Self::Sse2(simd) => simd.run(|| fast::clean(simd, input, start, limit)),
            Self::Portable => Portable.run(|| fast::clean(Portable, input, start, limit)),
            #[cfg(test)]
            Self::Scalar => None,
        }
    }
}
