//! A relay's counters, read from its `/metrics` (Prometheus text).

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A relay that answers slower than this is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// An answer is read up to here.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: u64,
}

impl Metrics {
    /// Asks the relay's admin listener.
    ///
    /// # Errors
    /// If it does not answer 200 in time.
    pub fn get(admin: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&admin, ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        // HTTP/1.0 ends the body by closing the connection: no lengths and no chunks to read.
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).context("reading /metrics")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("/metrics gave no HTTP answer")?;
        let status = head.split_ascii_whitespace().nth(1);
        ensure!(status == Some("200"), "/metrics answered: {}", head.lines().next().unwrap_or(""));
        Ok(Self::parse(body))
    }

    /// Reads Prometheus text. Values that are no whole numbers (sums of seconds) are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(Sample::parse).collect() }
    }

    /// The sum of all samples of `name` that carry these labels; `None` if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let matching = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|&(key, value)| sample.label(key) == Some(value))
        };
        let mut found = self.samples.iter().filter(matching).peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }

    /// (value of `label`, sum) of all samples of `name` that carry these labels, without zeros.
    #[must_use]
    pub fn by_label(&self, name: &str, labels: &[(&str, &str)], label: &str) -> Vec<(String, u64)> {
        let mut values: Vec<&str> = self
            .samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter_map(|sample| sample.label(label))
            .collect();
        values.sort_unstable();
        values.dedup();
        let sum_of = |value: &str| {
            let labels = [labels, &[(label, value)]].concat();
            (value.to_owned(), self.sum(name, &labels).unwrap_or(0))
        };
        values.into_iter().map(sum_of).filter(|&(_, sum)| sum > 0).collect()
    }
}

impl Sample {
    fn parse(row: &str) -> Option<Self> {
        let row = row.trim();
        if row.starts_with('#') {
            return None;
        }
        let (head, value) = row.rsplit_once(' ')?;
        let value = value.parse().ok()?;
        let Some((name, labels)) = head.split_once('{') else {
            return Some(Self { name: head.to_owned(), labels: Vec::new(), value });
        };
        let mut rest = labels.strip_suffix('}')?;
        let mut labels = Vec::new();
        while let Some((key, behind)) = rest.split_once("=\"") {
            let (value, end) = unquote(behind)?;
            labels.push((key.trim_start_matches(',').to_owned(), value));
            rest = &behind[end..];
        }
        Some(Self { name: name.to_owned(), labels, value })
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// The label value up to its closing quote, and where the text behind that begins.
fn unquote(text: &str) -> Option<(String, usize)> {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in text.char_indices() {
        match (escaped, character) {
            (false, '"') => return Some((value, at + 1)),
            (false, '\\') => escaped = true,
            (true, 'n') => (value.push('\n'), escaped = false).1,
            (_, other) => (value.push(other), escaped = false).1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_samples_that_carry_the_labels() {
        let metrics = Metrics::parse(
            "# TYPE dropped counter\n\
             dropped{relay=\"udp\",backend=\"a\",reason=\"queue_full\"} 3\n\
             dropped{relay=\"udp\",backend=\"a\",reason=\"overlong\"} 4\n\
             dropped{relay=\"udp\",backend=\"b \\\"x\\\"}, y\",reason=\"overlong\"} 5\n\
             dropped{relay=\"http\",backend=\"a\",reason=\"refused\"} 0\n\
             seconds_sum 0.25\n\
             up 1\n",
        );
        assert_eq!(metrics.sum("dropped", &[("relay", "udp")]), Some(12));
        assert_eq!(metrics.sum("dropped", &[("backend", "a"), ("reason", "overlong")]), Some(4));
        assert_eq!(metrics.sum("dropped", &[("backend", "b \"x\"}, y")]), Some(5));
        assert_eq!(metrics.sum("dropped", &[("backend", "c")]), None);
        assert_eq!(metrics.sum("up", &[]), Some(1));
        let reasons = metrics.by_label("dropped", &[("backend", "a")], "reason");
        assert_eq!(reasons, [("overlong".to_owned(), 4), ("queue_full".to_owned(), 3)]);
    }
}
