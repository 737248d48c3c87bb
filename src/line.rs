//! Finds whole lines of line protocol in a run of bytes and validates them in place.

use crate::timestamp::Precision;

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// No measurement before the first comma or space.
    MissingMeasurement,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 1;
    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::MissingMeasurement];

    /// The reason in InfluxDB's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        "missing measurement"
    }

    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        "missing_measurement"
    }
}

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
    /// Whether the line ends with a timestamp.
    pub stamped: bool,
}

/// A refused line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Why.
    pub reason: Reason,
    /// The line without its line end.
    pub bytes: &'a [u8],
    /// Its number in the input, from 1, as an editor counts them (by newlines).
    pub number: u32,
}

/// The lines of one datagram or body.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    precision: Precision,
}

impl<'a> Lines<'a> {
    /// The lines of `input`, timestamps in `precision`.
    #[must_use]
    pub fn new(input: &'a [u8], precision: Precision) -> Self {
        Self { rest: input, precision }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let _ = self.precision;
        let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        (!line.is_empty()).then_some(Item::Line(Line { bytes: line, stamped: true }))
    }
}
