//! One write on its way to one backend: a shared batch, where it goes, and who waits for it.
//!
//! Fronts make writes, `fanout` offers them to the queues, `backend` settles each exactly once.

use crate::answers::{self, Wakes};
use crate::batch::Batch;
use crate::queue::Weigh;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub use crate::answers::{Answer, Refusal};

/// What a sender thread takes from its queue.
#[derive(Clone, Debug)]
pub struct Write {
    /// The lines.
    pub batch: Arc<Batch>,
    /// Where they go at the backend, and how: writes of equal destinations may be merged.
    pub destination: Arc<Destination>,
    /// The client that waits, if one does.
    pub client: Option<Client>,
}

impl Weigh for Write {
    fn bytes(&self) -> u64 {
        // A destination may be shared by many writes, or be this one's alone and far larger than
        // its lines: the queue's limit must hold then too.
        (self.batch.footprint() + self.destination.footprint()) as u64
    }

    fn lines(&self) -> u64 {
        self.batch.lines()
    }

    fn kind(&self) -> u64 {
        self.destination.kind()
    }
}

/// The destination key of an HTTP write. UDP backends pay no heed to it. `Debug` shows no
/// credentials.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The query string as the backend gets it, without `?`: `db=...&rp=...`.
    pub query: String,
    /// The `Authorization` header as the client sent it.
    pub authorization: Option<Bytes>,
    /// Which of the backend's write endpoints takes it.
    pub api: Api,
    /// Headers of the client that an opaque body needs to be understood; none for lines.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A write endpoint of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Api {
    /// Takes line protocol: `endpoints.write`.
    #[default]
    Lines,
    /// Takes opaque Prometheus remote writes: `endpoints.write_prom`.
    Prometheus,
}

/// Parameters that tell one place from another: of 1.x, of 2.x, and the user's.
const PLACE: [&str; 6] = ["db", "rp", "org", "bucket", "u", "p"];

/// Parameters that name no secret.
const SHOWN: [&str; 6] = ["db", "rp", "org", "bucket", "precision", "consistency"];

impl Destination {
    /// A number that is the same for equal ones, and hardly ever for others; never 0. Who makes
    /// two that have the same gains nothing: one of them waits for a request of the other. Writes
    /// to one place may have several kinds, by their precision: those do not wait without being
    /// looked at.
    #[must_use]
    pub fn kind(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish().max(1)
    }

    fn footprint(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let authorization = self.authorization.as_ref().map_or(0, Bytes::len);
        self.query.capacity() + authorization + headers.sum::<usize>()
    }

    /// Where its points land, and on whose behalf: without what only says how they are written,
    /// as the precision does. What goes to one place keeps its order.
    #[must_use]
    pub fn place(&self) -> Self {
        let mut place = form_urlencoded::Serializer::new(String::new());
        for name in PLACE {
            let mut pairs = form_urlencoded::parse(self.query.as_bytes());
            // As in InfluxDB, the first of several counts, and an empty one is none.
            if let Some((_, value)) =
                pairs.find(|(other, value)| other == name && !value.is_empty())
            {
                place.append_pair(name, &value);
            }
        }
        let (query, authorization) = (place.finish(), self.authorization.clone());
        Self { query, authorization, api: self.api, headers: Vec::new() }
    }

    /// What of the query may be shown: no credentials, whatever they are called.
    #[must_use]
    pub fn shown(&self) -> String {
        let pairs = form_urlencoded::parse(self.query.as_bytes());
        let shown = pairs.filter(|(name, _)| SHOWN.contains(&&**name));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(shown).finish()
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("query", &self.shown())
            .field("authorization", &self.authorization.as_ref().map(|_| "(secret)"))
            .field("api", &self.api)
            .field("headers", &self.headers)
            .finish()
    }
}

/// The waiting client's end of an answer: it gets one [`Answer`] per backend.
#[derive(Clone, Debug)]
pub struct Client {
    /// Which output of the listener this is, from 0.
    pub output: usize,
    /// Where its answer goes.
    pub answers: answers::Sender,
}

impl Client {
    /// Tells the client, as soon as it is woken. A client that no longer waits is no error.
    pub fn answer(&self, answer: Answer, wakes: &mut Wakes) {
        self.answers.send(self.output, answer, wakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        let query = "db=a+b&authKey=x&u=me&p=x&token=x&%70=x&precision=s&rp=r".to_owned();
        let destination = Destination { query, ..Destination::default() };
        assert_eq!(destination.shown(), "db=a+b&precision=s&rp=r");
    }

    #[test]
    fn a_place_is_where_points_land_and_on_whose_behalf() {
        let place = |query: &str| {
            let query = query.to_owned();
            Destination { query, ..Destination::default() }.place()
        };
        let one = place("db=d&rp=r&u=me&p=x");
        for same in [
            "precision=s&db=d&rp=r&u=me&p=x",
            "p=x&u=%6de&rp=r&db=d&consistency=any",
            "rp=&rp=r&db=d&db=e&u=me&p=x&x=1",
        ] {
            assert_eq!(place(same), one, "{same}");
        }
        for other in ["db=d&u=me&p=x", "db=e&rp=r&u=me&p=x", "db=d&rp=r&u=me&p=y", "db=d&rp=r"] {
            assert_ne!(place(other), one, "{other}");
        }
        assert_ne!(place("org=o&bucket=a"), place("org=o&bucket=b"));
        let authorization = Some(Bytes::from_static(b"Token a"));
        let query = "db=d&rp=r&u=me&p=x".to_owned();
        assert_ne!(Destination { query, authorization, ..Destination::default() }.place(), one);
    }

    #[test]
    fn debug_output_shows_no_credentials() {
        let destination = Destination {
            query: "db=d&u=me&p=hunter2".into(),
            authorization: Some(Bytes::from_static(b"Token hunter3")),
            ..Destination::default()
        };
        let shown = format!("{destination:?}");
        assert!(shown.contains("db=d") && !shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn a_write_weighs_what_its_destination_holds_too() {
        let batch = Batch::from_body(Bytes::from_static(b"m f=1 1\n"), vec![8]);
        let weight = |destination| {
            let destination = Arc::new(destination);
            Write { batch: Arc::clone(&batch), destination, client: None }.bytes()
        };
        let plain = weight(Destination::default());
        let long = Destination { query: "q".repeat(16_000), ..Destination::default() };
        assert!(weight(long) >= plain + 16_000);
        let authorization = Some(Bytes::from(vec![b'a'; 8_000]));
        assert!(weight(Destination { authorization, ..Destination::default() }) >= plain + 8_000);
    }
}
