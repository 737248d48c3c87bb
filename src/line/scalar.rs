//! Line ends and validation byte by byte: the truth that `fast` is held against, and the path
//! of every line that `fast` will not vouch for (escapes, exponents, faults, odd white space).
//!
//! It reads as InfluxDB 1.x does, oddities included: where a line ends and what a line says are
//! two scans that do not always agree on what is escaped, and both must hold.

use super::Reason;
use super::value::{TimeLimit, boolean, is_value, number};

/// InfluxDB's limit for measurement and tags, and for those with a field key.
pub(super) const KEY_BYTES_MAX: usize = 65_535;
/// What its storage puts between the key and a field key.
const FIELD_SEPARATOR_BYTES: usize = 4;
/// Shorter lines have no key beyond the limit.
const FIELDS_BYTES_SAFE: usize = KEY_BYTES_MAX - FIELD_SEPARATOR_BYTES;

/// Keeps track of quotes as InfluxDB does while it looks for the end of a line: they count behind
/// the first space that no backslash escapes, and there only in a field's value.
#[derive(Default)]
struct Quotes {
    in_fields: bool,
    open: bool,
    equals: usize,
    commas: usize,
}

impl Quotes {
    /// Takes the next byte that is neither a backslash nor behind one.
    #[inline]
    fn step(&mut self, byte: u8) {
        match byte {
            b' ' => self.in_fields = true,
            b'=' if self.in_fields && !self.open => self.equals += 1,
            b',' if self.in_fields && !self.open => self.commas += 1,
            b'"' if self.in_fields && self.equals > self.commas => self.open = !self.open,
            _ => {}
        }
    }
}

/// Where InfluxDB sees one line end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The offset of its newline, or the input's length.
    pub end: usize,
    /// The line holds newlines, and not because of strings that were closed: a quote is open at
    /// the end of the input, or a newline outside of strings is escaped.
    pub suspect: bool,
}

/// Finds the end of the line that begins at `start`.
pub(super) fn extent(input: &[u8], start: usize) -> Extent {
    let mut quotes = Quotes::default();
    let mut escaped_newline = false;
    let mut i = start;
    while i < input.len() {
        // Only InfluxDB's own count of what is left decides whether a backslash escapes.
        if input[i] == b'\\' && i + 2 < input.len() {
            escaped_newline |= input[i + 1] == b'\n' && !quotes.open;
            i += 2;
            continue;
        }
        if input[i] == b'\n' && !quotes.open {
            break;
        }
        quotes.step(input[i]);
        i += 1;
    }
    Extent { end: i, suspect: escaped_newline || quotes.open }
}

/// Whether `line` ends where its bytes end when a newline and more lines follow; if not, why.
fn ends_here(line: &[u8]) -> Result<(), Reason> {
    let mut quotes = Quotes::default();
    let mut i = 0;
    while i < line.len() {
        match line[i] {
            b'\\' => i += 2,
            b'\n' if !quotes.open => return Err(Reason::PointIsInvalid),
            byte => {
                quotes.step(byte);
                i += 1;
            }
        }
    }
    match line.last() {
        _ if i > line.len() => Err(Reason::TrailingBackslash),
        _ if quotes.open => Err(Reason::UnbalancedQuotes),
        // An escaped newline at the very end, which InfluxDB strips.
        Some(b'\n') => Err(Reason::TrailingBackslash),
        // Would be taken for a part of the line end.
        Some(b'\r') => Err(Reason::PointIsInvalid),
        _ => Ok(()),
    }
}

/// A valid line, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// How many bytes it has without trailing white space.
    pub len: usize,
    /// Whether it ends with a timestamp.
    pub stamped: bool,
}

/// Validates `text`: one line without its line end and without white space before it.
pub(super) fn parse(text: &[u8], limit: TimeLimit) -> Result<Parsed, Reason> {
    let key_end = key(text)?;
    let fields_start = skip_blank(text, key_end);
    let fields_end = fields(text, fields_start)?;
    let set = &text[fields_start..fields_end];
    if key_end + set.len() > FIELDS_BYTES_SAFE || set.contains(&b'\\') {
        stored_fields(set, key_end)?;
    }
    let time_start = skip_blank(text, fields_end);
    let time_end = time(text, time_start)?;
    let stamped = time_end > time_start;
    if stamped {
        limit.check(&text[time_start..time_end])?;
        if text[time_end..].iter().any(|&byte| byte != b' ') {
            return Err(Reason::PointIsInvalid);
        }
    }
    let len = if stamped { time_end } else { fields_end };
    ends_here(&text[..len])?;
    Ok(Parsed { len, stamped })
}

/// The first offset from `i` that holds none of what InfluxDB takes for white space.
pub(super) fn skip_blank(text: &[u8], i: usize) -> usize {
    let rest = &text[i..];
    i + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | 0)).unwrap_or(rest.len())
}

/// The end of measurement and tags: the offset of the space behind them.
fn key(text: &[u8]) -> Result<usize, Reason> {
    if matches!(text.first(), None | Some(b',')) {
        return Err(Reason::MissingMeasurement);
    }
    let mut i =
        1 + unescaped(text, 1, |b| matches!(b, b',' | b' ')).ok_or(Reason::MissingFields)?;
    let mut tags = Tags::default();
    while text[i - 1] == b',' {
        let key_start = i;
        i = tag_key(text, i)?;
        tags.push(&text[key_start..i - 1]);
        i = tag_value(text, i)?;
    }
    if tags.repeat() {
        return Err(Reason::DuplicateTags);
    }
    if i - 1 > KEY_BYTES_MAX {
        return Err(Reason::MaxKeyLengthExceeded);
    }
    Ok(i - 1)
}

/// The first offset from `i` (1 or more) whose byte `stops` and has no backslash before it.
pub(super) fn unescaped(text: &[u8], i: usize, stops: impl Fn(u8) -> bool) -> Option<usize> {
    (i..text.len()).find(|&at| stops(text[at]) && text[at - 1] != b'\\')
}

/// Reads the tag key at `i`; the offset behind its `=`.
fn tag_key(text: &[u8], i: usize) -> Result<usize, Reason> {
    if matches!(text.get(i), None | Some(b' ' | b',' | b'=')) {
        return Err(Reason::MissingTagKey);
    }
    match unescaped(text, i + 1, |b| matches!(b, b' ' | b',' | b'=')) {
        Some(at) if text[at] == b'=' => Ok(at + 1),
        _ => Err(Reason::MissingTagValue),
    }
}

/// Reads the tag value at `i`; the offset behind the comma or space that ends it.
fn tag_value(text: &[u8], i: usize) -> Result<usize, Reason> {
    if matches!(text.get(i), None | Some(b' ' | b',')) {
        return Err(Reason::MissingTagValue);
    }
    match unescaped(text, i + 1, |b| matches!(b, b' ' | b',' | b'=')) {
        None => Err(Reason::MissingFields),
        Some(at) if text[at] == b'=' => Err(Reason::InvalidTagFormat),
        Some(at) => Ok(at + 1),
    }
}

/// The tag keys of one line, to find a repeated one. Lines with more tags than fit in place
/// pay for a vector and a sort.
#[derive(Default)]
struct Tags<'a> {
    few: [&'a [u8]; Tags::IN_PLACE],
    len: usize,
    many: Vec<&'a [u8]>,
}

impl<'a> Tags<'a> {
    const IN_PLACE: usize = 32;

    fn push(&mut self, key: &'a [u8]) {
        match self.few.get_mut(self.len) {
            Some(place) => *place = key,
            None => self.many.push(key),
        }
        self.len += 1;
    }

    fn repeat(mut self) -> bool {
        let few = &self.few[..self.len.min(Self::IN_PLACE)];
        if self.many.is_empty() {
            return (1..few.len()).any(|i| few[..i].contains(&few[i]));
        }
        self.many.extend_from_slice(few);
        self.many.sort_unstable();
        self.many.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// The end of the field set that begins at `start`, which has a space before it.
fn fields(text: &[u8], start: usize) -> Result<usize, Reason> {
    let (mut equals, mut commas, mut quoted) = (0_usize, 0_usize, false);
    let mut i = start;
    while i < text.len() {
        match text[i] {
            b'\\' if i + 1 < text.len() => {
                i += 2;
                continue;
            }
            b'"' if equals > commas => quoted = !quoted,
            b'=' if !quoted => {
                equals += 1;
                if matches!(text[i - 1], b' ' | b',') && text[i - 2] != b'\\' {
                    return Err(Reason::MissingFieldKey);
                }
                match text.get(i + 1) {
                    None | Some(b',' | b' ') => return Err(Reason::MissingFieldValue),
                    Some(b'0'..=b'9' | b'.' | b'-' | b'N' | b'n') => {
                        i = number(text, i + 1)?;
                        continue;
                    }
                    Some(b'"') => {}
                    Some(_) => {
                        i = boolean(text, i + 1)?;
                        continue;
                    }
                }
            }
            b',' if !quoted => commas += 1,
            b' ' if !quoted => break,
            _ => {}
        }
        i += 1;
    }
    if quoted {
        return Err(Reason::UnbalancedQuotes);
    }
    if equals == 0 || commas != equals - 1 {
        return Err(Reason::InvalidFieldFormat);
    }
    Ok(i)
}

/// Walks the fields the way InfluxDB stores them, which is not the way it scanned them: here a
/// backslash before `=` hides it whatever stands before the backslash, and in a value it hides
/// nothing but quotes and backslashes. A value that only the scan takes for one makes InfluxDB
/// answer 500 to the whole write, the lines of others in it too.
fn stored_fields(mut rest: &[u8], key_bytes: usize) -> Result<(), Reason> {
    while !rest.is_empty() {
        let equals = (0..rest.len())
            .find(|&at| rest[at] == b'=' && (at == 0 || rest[at - 1] != b'\\'))
            .ok_or(Reason::InvalidValue)?;
        if key_bytes + FIELD_SEPARATOR_BYTES + equals > KEY_BYTES_MAX {
            return Err(Reason::MaxKeyLengthExceeded);
        }
        rest = &rest[equals + 1..];
        let (value, behind) = rest.split_at(stored_value(rest));
        if !is_value(value) {
            return Err(Reason::InvalidValue);
        }
        rest = behind.get(1..).unwrap_or_default();
    }
    Ok(())
}

/// How long the field value at the beginning of `rest` is: up to a comma outside of quotes.
fn stored_value(rest: &[u8]) -> usize {
    let mut quoted = false;
    let mut i = 0;
    while i < rest.len() {
        match rest[i] {
            b'\\' if matches!(rest.get(i + 1), Some(b'"' | b'\\')) => i += 1,
            b'"' => quoted = !quoted,
            b',' if !quoted => break,
            _ => {}
        }
        i += 1;
    }
    i.min(rest.len())
}

/// The end of the timestamp at `start`; `start` itself if there is none.
fn time(text: &[u8], start: usize) -> Result<usize, Reason> {
    let mut i = start;
    while i < text.len() && !matches!(text[i], b' ' | b'\n') {
        if !(text[i].is_ascii_digit() || (i == start && text[i] == b'-')) {
            return Err(Reason::BadTimestamp);
        }
        i += 1;
    }
    Ok(i)
}
