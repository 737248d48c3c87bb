//! From what a client asked for to what each backend is asked, between InfluxDB's two write APIs.
//!
//! `http` makes [`Parameters`] of a request, `relay` a destination for lines that came by UDP;
//! `fanout` gets the destination of each output here. The conventions are InfluxDB's own: a bucket
//! is called `database/retention-policy`, or `database` where no policy is named, and
//! `Authorization: Token user:password` stands for a user of 1.x. Pure.

use crate::config::{Database, Dialect};
use crate::timestamp::Precision;
use crate::write::Destination;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use form_urlencoded::{Serializer, parse};
use std::fmt;
use std::sync::Arc;

/// What a client said of its write, in the API that it used. `Debug` shows no credentials.
#[derive(Clone)]
pub enum Parameters {
    /// `/write`: goes on to backends of 1.x as it came.
    V1 {
        /// As a backend of 1.x gets it.
        destination: Arc<Destination>,
        /// Of the timestamps.
        precision: Precision,
    },
    /// `/api/v2/write`
    V2 {
        /// The `bucket` parameter.
        bucket: String,
        /// The retention policy where the bucket names none.
        default_policy: Option<String>,
        /// Of the timestamps.
        precision: Precision,
        /// The `Authorization` header.
        authorization: Option<Bytes>,
    },
}

impl Parameters {
    /// Of the timestamps, as the client wrote them.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self {
            Self::V1 { precision, .. } | Self::V2 { precision, .. } => *precision,
        }
    }

    /// What a backend that speaks `dialect` is asked.
    #[must_use]
    pub fn destination(&self, dialect: &Dialect) -> Arc<Destination> {
        match (self, dialect) {
            (Self::V1 { destination, .. }, Dialect::V1) => Arc::clone(destination),
            (Self::V1 { destination, precision }, Dialect::V2 { org, bucket }) => {
                let first = |name: &str| first(&destination.query, name);
                let database = Database {
                    name: first("db").unwrap_or_default(),
                    retention_policy: first("rp"),
                };
                let bucket = bucket.clone().unwrap_or_else(|| database.bucket());
                let authorization = v2_authorization(destination);
                Arc::new(Destination { authorization, ..v2(org, &bucket, *precision) })
            }
            (Self::V2 { bucket, default_policy, precision, authorization }, Dialect::V1) => {
                let mut database = Database::of_bucket(bucket);
                if database.retention_policy.is_none() {
                    database.retention_policy.clone_from(default_policy);
                }
                let authorization = authorization.as_ref().map(v1_authorization);
                Arc::new(Destination { authorization, ..v1(&database, *precision) })
            }
            (
                Self::V2 { bucket: asked, precision, authorization, .. },
                Dialect::V2 { org, bucket },
            ) => {
                let bucket = bucket.as_deref().unwrap_or(asked);
                let authorization = authorization.clone();
                Arc::new(Destination { authorization, ..v2(org, bucket, *precision) })
            }
        }
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V1 { destination, .. } => destination.fmt(f),
            Self::V2 { bucket, .. } => f.debug_struct("V2").field("bucket", bucket).finish(),
        }
    }
}

/// The destinations of one request: outputs that are asked the same share one.
#[derive(Debug)]
pub struct Destinations<'a> {
    parameters: &'a Parameters,
    made: Vec<(&'a Dialect, Arc<Destination>)>,
}

impl<'a> Destinations<'a> {
    /// None made yet.
    #[must_use]
    pub fn new(parameters: &'a Parameters) -> Self {
        Self { parameters, made: Vec::new() }
    }

    /// The destination at a backend that speaks `dialect`.
    pub fn get(&mut self, dialect: &'a Dialect) -> Arc<Destination> {
        if let (Parameters::V1 { destination, .. }, Dialect::V1) = (self.parameters, dialect) {
            return Arc::clone(destination);
        }
        if let Some((_, made)) = self.made.iter().find(|(known, _)| *known == dialect) {
            return Arc::clone(made);
        }
        let destination = self.parameters.destination(dialect);
        self.made.push((dialect, Arc::clone(&destination)));
        destination
    }
}

/// The unit of the timestamps that a backend gets: 2.x knows no minutes and hours.
#[must_use]
pub fn precision_at(dialect: &Dialect, precision: Precision) -> Precision {
    match (dialect, precision) {
        (Dialect::V2 { .. }, Precision::Minute | Precision::Hour) => Precision::Second,
        _ => precision,
    }
}

/// The destination of lines that came by UDP and go to a database of 1.x.
#[must_use]
pub fn v1(database: &Database, precision: Precision) -> Destination {
    let mut query = Serializer::new(String::new());
    query.append_pair("db", &database.name);
    if let Some(policy) = &database.retention_policy {
        query.append_pair("rp", policy);
    }
    query.append_pair("precision", precision.as_str());
    Destination { query: query.finish(), ..Destination::default() }
}

/// The destination of lines that came by UDP and go to a bucket of 2.x.
#[must_use]
pub fn v2(org: &str, bucket: &str, precision: Precision) -> Destination {
    let precision = match precision {
        Precision::Nanosecond => "ns",
        Precision::Microsecond => "us",
        Precision::Millisecond => "ms",
        Precision::Second | Precision::Minute | Precision::Hour => "s",
    };
    let mut query = Serializer::new(String::new());
    query.append_pair("org", org).append_pair("bucket", bucket);
    query.append_pair("precision", precision);
    Destination { query: query.finish(), ..Destination::default() }
}

impl Database {
    /// The bucket of 2.x that stands for it.
    #[must_use]
    pub fn bucket(&self) -> String {
        match &self.retention_policy {
            Some(policy) => format!("{}/{policy}", self.name),
            None => self.name.clone(),
        }
    }

    /// The database and retention policy of 1.x that `bucket` stands for.
    #[must_use]
    pub fn of_bucket(bucket: &str) -> Self {
        let (name, policy) = bucket.split_once('/').unwrap_or((bucket, ""));
        let retention_policy = Some(policy.to_owned()).filter(|policy| !policy.is_empty());
        Self { name: name.to_owned(), retention_policy }
    }
}

/// As in Go, the first of several values counts; an empty one is none.
fn first(query: &str, name: &str) -> Option<String> {
    let value = parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
    value.filter(|value| !value.is_empty()).map(std::borrow::Cow::into_owned)
}

/// The credentials of a write of 1.x for 2.x. As in InfluxDB, those of the query count first.
fn v2_authorization(destination: &Destination) -> Option<Bytes> {
    let query = |name| first(&destination.query, name);
    if let (Some(user), Some(password)) = (query("u"), query("p")) {
        let token = format!("Token {user}:{password}");
        // No header can hold it. The backend is to refuse the write, as it would a wrong password.
        return Some(token).filter(|token| !token.contains(char::is_control)).map(Bytes::from);
    }
    let header = destination.authorization.as_ref()?;
    let plain = scheme(header, b"basic").and_then(|basic| BASE64_STANDARD.decode(basic).ok());
    // Anything else than printable ASCII would not be a header: the backend is to refuse it.
    let plain = plain.filter(|plain| plain.iter().all(|byte| (b' '..=b'~').contains(byte)));
    Some(plain.map_or_else(|| header.clone(), |plain| [b"Token ", &plain[..]].concat().into()))
}

/// The credentials of a write of 2.x for 1.x: a token that names a user and a password is these.
fn v1_authorization(header: &Bytes) -> Bytes {
    match scheme(header, b"token").filter(|token| token.contains(&b':')) {
        Some(token) => format!("Basic {}", BASE64_STANDARD.encode(token)).into(),
        None => header.clone(),
    }
}

/// What follows the scheme of an `Authorization` header, if it is this one.
fn scheme<'a>(header: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = header.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ").filter(|_| name.eq_ignore_ascii_case(scheme))?;
    Some(rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_v1(query: &str, authorization: Option<&'static str>) -> Parameters {
        let authorization = authorization.map(|text| Bytes::from_static(text.as_bytes()));
        let destination = Arc::new(Destination {
            query: query.to_owned(),
            authorization,
            ..Destination::default()
        });
        let precision = first(query, "precision").unwrap_or_default();
        Parameters::V1 { destination, precision: Precision::parse(&precision).expect("valid") }
    }

    fn from_v2(bucket: &str, policy: Option<&str>, token: Option<&'static str>) -> Parameters {
        Parameters::V2 {
            bucket: bucket.to_owned(),
            default_policy: policy.map(str::to_owned),
            precision: Precision::Microsecond,
            authorization: token.map(|text| Bytes::from_static(text.as_bytes())),
        }
    }

    fn to_v2(bucket: Option<&str>) -> Dialect {
        Dialect::V2 { org: "my org".to_owned(), bucket: bucket.map(str::to_owned) }
    }

    fn shown(destination: &Destination) -> (String, String) {
        let header = destination.authorization.as_deref().unwrap_or_default();
        (destination.query.clone(), String::from_utf8_lossy(header).into_owned())
    }

    #[test]
    fn a_v1_write_goes_to_v1_as_it_is() {
        let parameters = from_v1("x=1&db=d", Some("Basic abc"));
        let Parameters::V1 { destination, .. } = &parameters else { unreachable!("made so") };
        assert!(Arc::ptr_eq(&parameters.destination(&Dialect::V1), destination));
    }

    #[test]
    fn a_v1_write_goes_to_the_bucket_of_its_database_and_policy() {
        for (query, bucket, expected) in [
            ("db=my+db", None, "org=my+org&bucket=my+db&precision=ns"),
            ("db=a&db=b&rp=w%2Fk&precision=u", None, "org=my+org&bucket=a%2Fw%2Fk&precision=us"),
            ("db=a&rp=&precision=ms", None, "org=my+org&bucket=a&precision=ms"),
            ("db=a&rp=b&precision=m", Some("all"), "org=my+org&bucket=all&precision=s"),
            ("db=a&precision=h", None, "org=my+org&bucket=a&precision=s"),
        ] {
            let destination = from_v1(query, None).destination(&to_v2(bucket));
            assert_eq!(shown(&destination), (expected.to_owned(), String::new()), "{query}");
        }
    }

    #[test]
    fn v1_credentials_become_a_token() {
        for (query, header, expected) in [
            ("db=d&u=me&p=a%3Ab", Some("Basic eDp5"), "Token me:a:b"),
            ("db=d&u=me", Some("Basic eDp5"), "Token x:y"),
            ("db=d&u=a%0Ab&p=c", None, ""),
            ("db=d&u=a&p=b%7F", Some("Basic eDp5"), ""),
            ("db=d&u=a&p=%C3%A4", None, "Token a:\u{e4}"),
            ("db=d", Some("bAsIc eDp5"), "Token x:y"),
            ("db=d", Some("Token abc"), "Token abc"),
            ("db=d", Some("Bearer abc"), "Bearer abc"),
            ("db=d", Some("Basic ***"), "Basic ***"),
            ("db=d", Some("Basic YQ0KYg=="), "Basic YQ0KYg=="),
        ] {
            let destination = from_v1(query, header).destination(&to_v2(None));
            assert_eq!(shown(&destination).1, expected, "{query} {header:?}");
        }
    }

    #[test]
    fn a_v2_write_goes_to_the_database_and_policy_of_its_bucket() {
        for (bucket, policy, expected) in [
            ("d", None, "db=d&precision=u"),
            ("d", Some("week"), "db=d&rp=week&precision=u"),
            ("d/", None, "db=d&precision=u"),
            ("d/r/s", Some("week"), "db=d&rp=r%2Fs&precision=u"),
        ] {
            let destination = from_v2(bucket, policy, None).destination(&Dialect::V1);
            assert_eq!(shown(&destination).0, expected, "{bucket}");
        }
        for (token, expected) in [
            ("Token me:secret", "Basic bWU6c2VjcmV0"),
            ("token me:", "Basic bWU6"),
            ("Token abc", "Token abc"),
            ("Bearer a:b", "Bearer a:b"),
        ] {
            let destination = from_v2("d", None, Some(token)).destination(&Dialect::V1);
            assert_eq!(shown(&destination).1, expected);
        }
    }

    #[test]
    fn a_v2_write_goes_to_v2_in_the_outputs_organization() {
        let parameters = from_v2("d/r", Some("week"), Some("Token me:x"));
        let destination = parameters.destination(&to_v2(None));
        let query = "org=my+org&bucket=d%2Fr&precision=us".to_owned();
        assert_eq!(shown(&destination), (query, "Token me:x".to_owned()));
        let destination = parameters.destination(&to_v2(Some("all")));
        assert_eq!(shown(&destination).0, "org=my+org&bucket=all&precision=us");
    }

    #[test]
    fn outputs_that_are_asked_the_same_share_one_destination() {
        let parameters = from_v2("d", None, None);
        let (a, b, c) = (to_v2(None), to_v2(None), to_v2(Some("x")));
        let mut destinations = Destinations::new(&parameters);
        let first = destinations.get(&a);
        assert!(Arc::ptr_eq(&first, &destinations.get(&b)));
        assert!(!Arc::ptr_eq(&first, &destinations.get(&c)));
    }
}
