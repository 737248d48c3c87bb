//! The query string of a write: what the relay must know of it, and what the backends get.
//!
//! Called by the write endpoint. Pure. What the client sent goes on to backends of its API as it
//! was sent, but for a retention policy that it left out and a spelling of the precision that
//! InfluxDB 1.x misreads.

use crate::timestamp::Precision;
use form_urlencoded::{byte_serialize, parse};

/// Bytes of a query. With what the relay adds, and written for the other API, a request for a
/// backend must stay below the 65 534 bytes that hyper allows a URI: else the backend would seem
/// to fail for it, and keep it in its backlog for ever.
const QUERY_BYTES_MAX: usize = 40 * 1024;
/// Bytes of a database, retention policy or bucket, of which three may come of each.
const NAME_BYTES_MAX: usize = 4 * 1024;

/// The parameters of a `/write`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) precision: Precision,
    /// For the backends, without `?`.
    pub(super) forward: String,
}

/// The parameters of an `/api/v2/write`. Each output has an organization of its own: the client's
/// is not looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueryV2 {
    pub(super) precision: Precision,
    pub(super) bucket: String,
}

/// Why the parameters are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuery {
    #[error("database is required: add db=NAME to the query")]
    NoDatabase,
    #[error("bucket is required: add bucket=NAME to the query")]
    NoBucket,
    #[error("the query is longer than {QUERY_BYTES_MAX} bytes: leave out what is not needed")]
    TooLong,
    #[error("{0} is longer than {NAME_BYTES_MAX} bytes: use a shorter name")]
    LongName(&'static str),
    #[error("invalid precision '{0}': use n, u, ms, s, m or h")]
    Precision(String),
    #[error("invalid precision '{0}': use ns, us, ms or s")]
    PrecisionV2(String),
}

/// Reads the query string of a write.
pub(super) fn read(query: &str, default_rp: Option<&str>) -> Result<Query, BadQuery> {
    check_length(query, ["db", "rp"])?;
    let first = |name| first(query, name);
    if first("db").unwrap_or_default().is_empty() {
        return Err(BadQuery::NoDatabase);
    }
    let text = first("precision").unwrap_or_default();
    let precision = Precision::parse(&text).ok_or_else(|| BadQuery::Precision(shown(&text)))?;
    let mut forward = query.to_owned();
    if matches!(text.as_str(), "us" | "\u{b5}") {
        // InfluxDB 1.x takes a spelling that it does not know for nanoseconds.
        forward = replace(&forward, "precision", precision.as_str());
    }
    if let Some(rp) = default_rp.filter(|_| first("rp").unwrap_or_default().is_empty()) {
        forward = replace(&forward, "rp", rp);
    }
    Ok(Query { precision, forward })
}

/// Reads the query string of a write of InfluxDB 2.
pub(super) fn read_v2(query: &str) -> Result<QueryV2, BadQuery> {
    check_length(query, ["bucket", "bucket"])?;
    let bucket =
        first(query, "bucket").filter(|bucket| !bucket.is_empty()).ok_or(BadQuery::NoBucket)?;
    let precision = match &*first(query, "precision").unwrap_or_default() {
        "" | "ns" => Precision::Nanosecond,
        "us" => Precision::Microsecond,
        "ms" => Precision::Millisecond,
        "s" => Precision::Second,
        other => return Err(BadQuery::PrecisionV2(shown(other))),
    };
    Ok(QueryV2 { precision, bucket })
}

fn check_length(query: &str, names: [&'static str; 2]) -> Result<(), BadQuery> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(BadQuery::TooLong);
    }
    if query.len() <= NAME_BYTES_MAX {
        // Nothing decodes to more than its own length.
        return Ok(());
    }
    let long = |name: &&str| first(query, name).is_some_and(|value| value.len() > NAME_BYTES_MAX);
    names.into_iter().find(long).map_or(Ok(()), |name| Err(BadQuery::LongName(name)))
}

/// As in Go, the first of several values counts.
fn first(query: &str, name: &str) -> Option<String> {
    parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The query with every `name` taken out and one added at its end.
fn replace(query: &str, name: &str, value: &str) -> String {
    let mut replaced = String::with_capacity(query.len() + name.len() + value.len() + 2);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if parse(pair.as_bytes()).all(|(key, _)| key != name) {
            replaced.push_str(pair);
            replaced.push('&');
        }
    }
    replaced.push_str(name);
    replaced.push('=');
    replaced.extend(byte_serialize(value.as_bytes()));
    replaced
}

fn shown(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(query: &str, rp: Option<&str>) -> String {
        read(query, rp).expect("a valid query").forward
    }

    #[test]
    fn goes_on_as_the_client_sent_it() {
        let query = "u=me&p=a%26b+c&db=my%20db&consistency=one&precision=ms&x=1&x=2";
        let read = read(query, None).expect("a valid query");
        assert_eq!(read, Query { precision: Precision::Millisecond, forward: query.into() });
    }

    #[test]
    fn adds_the_default_retention_policy_where_none_is_named() {
        assert_eq!(forward("db=a", Some("one week")), "db=a&rp=one+week");
        assert_eq!(forward("db=a&rp=&u=b", Some("w")), "db=a&u=b&rp=w");
        assert_eq!(forward("db=a&rp=mine", Some("w")), "db=a&rp=mine");
    }

    #[test]
    fn spells_microseconds_as_influxdb_does() {
        assert_eq!(forward("precision=us&db=a", None), "db=a&precision=u");
        assert_eq!(forward("precision=%C2%B5&db=a", None), "db=a&precision=u");
    }

    #[test]
    fn refuses_a_missing_database_and_an_unknown_precision() {
        for query in ["", "db=", "database=a", "rp=a&db"] {
            assert_eq!(read(query, None), Err(BadQuery::NoDatabase), "{query}");
        }
        let bad = read("db=a&precision=days", None);
        assert_eq!(bad, Err(BadQuery::Precision("days".into())));
    }

    #[test]
    fn refuses_what_makes_no_request_for_a_backend() {
        let name = "%80".repeat(1_400);
        for key in ["db", "rp"] {
            let query = format!("db=a&{key}={name}").replace("db=a&db", "db");
            assert_eq!(read(&query, None), Err(BadQuery::LongName(key)));
        }
        assert_eq!(read_v2(&format!("bucket={name}")), Err(BadQuery::LongName("bucket")));
        let query = format!("db=a&x={}", "y".repeat(QUERY_BYTES_MAX));
        assert_eq!(read(&query, None), Err(BadQuery::TooLong));
        assert_eq!(read_v2(&query), Err(BadQuery::TooLong));
        assert!(read(&query[..QUERY_BYTES_MAX], None).is_ok());
    }

    #[test]
    fn reads_bucket_and_precision_of_v2() {
        let query = read_v2("org=o&bucket=d%2Fr&precision=us&bucket=x").expect("a valid query");
        assert_eq!(query, QueryV2 { precision: Precision::Microsecond, bucket: "d/r".into() });
        for (text, precision) in [("", Precision::Nanosecond), ("s", Precision::Second)] {
            let query = read_v2(&format!("bucket=b&precision={text}")).expect("a valid query");
            assert_eq!(query.precision, precision);
        }
        for query in ["", "org=o&bucket=", "db=d"] {
            assert_eq!(read_v2(query), Err(BadQuery::NoBucket), "{query}");
        }
        for text in ["n", "u", "m", "h", "S"] {
            let bad = read_v2(&format!("bucket=b&precision={text}"));
            assert_eq!(bad, Err(BadQuery::PrecisionV2(text.into())));
        }
    }
}
