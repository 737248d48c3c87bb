//! The lines that the sources write: numbered within their source, and readable at the backends.

use std::fmt::Write;

/// Stamps of numbered lines count up from here.
const STAMP_FIRST: i64 = 1_700_000_000_000_000_000;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The index of its source.
    pub(crate) source: usize,
    /// Which of the source's series it is of.
    pub(crate) series: usize,
    /// Counted from 0 within the source, in the order of writing. It is the line's value too.
    pub(crate) number: usize,
    /// The backend that looks for it refuses it.
    pub(crate) bad: bool,
}

/// The timestamps of a source's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// A point of its own for each line.
    Rising,
    /// The lines of a series are one point, which is overwritten.
    Same,
    /// None: the relay gives one.
    Relays,
}

impl Line {
    /// As line protocol, with a field of `padding` bytes if that is not 0, without a newline.
    pub(crate) fn write(&self, text: &mut String, stamps: Stamps, padding: usize) {
        let Self { source, series, number, bad } = *self;
        let tag = if bad { ",bad=1" } else { "" };
        let mut write = |arguments: std::fmt::Arguments<'_>| {
            text.write_fmt(arguments).expect("a string takes all")
        };
        write(format_args!("fault,source={source},series={series}{tag} n={number}i"));
        if padding > 0 {
            write(format_args!(",pad=\"{:x<padding$}\"", ""));
        }
        let after = i64::try_from(number).expect("few lines");
        match stamps {
            Stamps::Rising => write(format_args!(" {}", STAMP_FIRST + after)),
            Stamps::Same => write(format_args!(" {STAMP_FIRST}")),
            Stamps::Relays => {}
        }
    }

    /// A line as a backend gets it, and its stamp; `None` if it is none of ours.
    pub(crate) fn parse(text: &str) -> Option<(Self, i64)> {
        let rest = text.strip_prefix("fault,source=")?;
        let (tags, rest) = rest.split_once(" n=")?;
        let (number, rest) = rest.split_once('i')?;
        let stamp = rest.rsplit_once(' ')?.1.parse().ok()?;
        let bad = tags.strip_suffix(",bad=1");
        let (source, series) = bad.unwrap_or(tags).split_once(",series=")?;
        let (source, series) = (source.parse().ok()?, series.parse().ok()?);
        let line = Self { source, series, number: number.parse().ok()?, bad: bad.is_some() };
        Some((line, stamp))
    }
}

#[test]
fn what_is_written_is_read() {
    for (bad, padding, stamps) in [(false, 0, Stamps::Rising), (true, 9, Stamps::Same)] {
        let (mut text, line) = (String::new(), Line { source: 3, series: 7, number: 41, bad });
        line.write(&mut text, stamps, padding);
        let stamp = STAMP_FIRST + if stamps == Stamps::Same { 0 } else { 41 };
        assert_eq!(Line::parse(&text), Some((line, stamp)), "{text}");
    }
    assert_eq!(Line::parse("cpu f=1 1"), None);
}
