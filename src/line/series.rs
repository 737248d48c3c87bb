//! Splits the series of a valid line: its measurement, and the keys of its tags.
//!
//! Called by `filter` for lines that [`Lines`](super::Lines) has accepted; of any other line it
//! says something, but nothing to rely on. Copies only names that hold an escape.

use super::scalar::unescaped;
use std::borrow::Cow;

/// The series of one line, as it stands there: with its escapes.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Up to the first tag or field.
    pub measurement: &'a [u8],
    /// From the first tag key on; empty if there are no tags.
    rest: &'a [u8],
}

impl<'a> Series<'a> {
    /// The series of `line`, which is valid.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Self {
        let end = unescaped(line, 1, |b| matches!(b, b',' | b' ')).unwrap_or(line.len());
        let has_tags = line.get(end) == Some(&b',');
        let rest = if has_tags { &line[end + 1..] } else { &[] };
        Self { measurement: &line[..end], rest }
    }

    /// The tag keys, in the line's order.
    pub fn tag_keys(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.rest;
        std::iter::from_fn(move || {
            let equals = unescaped(rest, 1, |b| b == b'=')?;
            let (key, value) = (&rest[..equals], &rest[equals + 1..]);
            let end = unescaped(value, 1, |b| matches!(b, b',' | b' ')).unwrap_or(value.len());
            let more = value.get(end) == Some(&b',');
            rest = if more { &value[end + 1..] } else { &[] };
            Some(key)
        })
    }
}

/// A measurement as InfluxDB stores it.
#[must_use]
pub fn unescaped_measurement(name: &[u8]) -> Cow<'_, [u8]> {
    without_escapes(name, b",\" =")
}

/// A tag key as InfluxDB stores it.
#[must_use]
pub fn unescaped_tag_key(key: &[u8]) -> Cow<'_, [u8]> {
    without_escapes(key, b", =")
}

/// Takes out each backslash that stands before one of `special`.
fn without_escapes<'a>(name: &'a [u8], special: &[u8]) -> Cow<'a, [u8]> {
    if memchr::memchr(b'\\', name).is_none() {
        return Cow::Borrowed(name);
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = bytes.next_if(|next| byte == b'\\' && special.contains(next));
        plain.push(escaped.unwrap_or(byte));
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> (String, Vec<String>) {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
        let series = Series::of(line.as_bytes());
        let keys = series.tag_keys().map(|key| text(unescaped_tag_key(key)));
        (text(unescaped_measurement(series.measurement)), keys.collect())
    }

    #[test]
    fn splits_measurement_and_tag_keys_and_takes_escapes_out() {
        for (line, measurement, keys) in [
            ("cpu f=1", "cpu", &[][..]),
            ("cpu,host=a f=1,g=2 7", "cpu", &["host"]),
            ("cpu,host=a,region=eu f=\"x,y=z\" 7", "cpu", &["host", "region"]),
            (r"c\ p\,u\=\x,ho\ st=a\ b,r\,e\=g=e\,u\= f=1", r"c p,u=\x", &["ho st", "r,e=g"]),
            (r#"\"q\",\"k\"=v f=1"#, r#""q""#, &[r#"\"k\""#]),
            ("m=a,t=v f=1", "m=a", &["t"]),
            ("m  f=1", "m", &[]),
        ] {
            let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
            assert_eq!(split(line), (measurement.to_owned(), keys), "{line}");
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        for line in ["", ",", "a,", "a,=", "a,b", "a,b=", "a,b=,c", "\\", "a,b\\=c"] {
            drop(split(line));
        }
    }
}
