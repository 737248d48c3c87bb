//! What a backend's answer means for the writes of a request.
//!
//! Called by the sender loop. Pure.

use crate::write::Refusal;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its status and, for a 4xx, what goes to the client.
    pub(super) refusal: Refusal,
    /// How long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No address, or none that takes a connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// There is a connection, and no TLS on it.
    #[error("no TLS: {0}")]
    Tls(String),
    /// A connect failed a moment ago, and nothing was tried.
    #[error("cannot connect: waiting before the next try")]
    Waiting,
    /// The connection broke before the answer was complete, or the answer is not HTTP.
    #[error("the connection failed: {0}")]
    Transport(String),
    /// The path, the query or a header cannot be put into a request.
    #[error("no request can be made: {0}")]
    Request(String),
    /// No complete answer within the output's `timeout`.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What becomes of a request's writes.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The backend has all of them.
    Delivered,
    /// The backend refuses at least one of them, or their sum.
    Refused(Refusal),
    /// The backend refuses the size of the request: half of it may be taken.
    TooLarge(Refusal),
    /// The backend refuses the destination, whatever the lines are: every write would be
    /// answered the same alone.
    RefusedDestination(Refusal),
    /// They cannot be put into a request: nothing was sent, and nothing is known of the backend.
    Unsendable(Refusal),
    /// Nothing is known to be stored, and another try may succeed.
    Unavailable(Trouble),
}

/// What is known of a failure.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) why: Why,
    pub(super) about: About,
    /// How long the backend wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// The body of its answer.
    pub(super) words: Bytes,
}

/// What a failure may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The backend: it cannot even be talked to.
    Backend,
    /// The backend, or one destination at it.
    Either,
    /// The backend, or one client of it that sends more than it may.
    Rate,
    /// The backend, or what was sent.
    Content,
    /// The database or retention policy, which does not exist.
    Destination,
}

/// Why a backend is of no use at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It did not answer.
    Failed(Failure),
    /// It answered with this status.
    Status(u16),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Status(status) => write!(f, "it answers {status}"),
        }
    }
}

/// Judges the end of a request. Redirects are not followed: a backend that sends one did not
/// take the write.
pub(super) fn classify(ended: Result<Reply, Failure>) -> Verdict {
    let Reply { refusal, retry_after } = match ended {
        Ok(reply) => reply,
        Err(failure @ Failure::Request(_)) => {
            return Verdict::Unsendable(unsendable(&failure.to_string()));
        }
        Err(failure) => {
            let about = match failure {
                Failure::Transport(_) | Failure::Timeout(_) => About::Either,
                _ => About::Backend,
            };
            let why = Why::Failed(failure);
            return Verdict::Unavailable(Trouble {
                why,
                about,
                retry_after: None,
                words: Bytes::new(),
            });
        }
    };
    let about = match refusal.status {
        200..=299 => return Verdict::Delivered,
        // Timeout, too early, too many requests: the same write may be taken later.
        408 | 425 => About::Either,
        429 => About::Rate,
        // Credentials or database: they are one for all writes of a request.
        401 | 403 | 404 => return Verdict::RefusedDestination(refusal),
        413 => return Verdict::TooLarge(refusal),
        400..=499 => return Verdict::Refused(refusal),
        // InfluxDB 1.x answers this one with 500, as it does when it is broken.
        500 if names_no_policy(&refusal.body) => About::Destination,
        // A gateway that finds nobody, or a backend that says that it is not ready.
        502..=504 => About::Either,
        500..=599 => About::Content,
        _ => About::Either,
    };
    let why = Why::Status(refusal.status);
    Verdict::Unavailable(Trouble { why, about, retry_after, words: refusal.body })
}

/// What the client is told: it was its query or its credentials.
fn unsendable(why: &str) -> Refusal {
    Refusal {
        status: 400,
        content_type: Some(Bytes::from_static(b"application/json")),
        error: Some(Bytes::copy_from_slice(why.as_bytes())),
        body: Bytes::from(serde_json::json!({ "error": why }).to_string()),
    }
}

fn names_no_policy(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"retention policy not found").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, body: &'static str) -> Verdict {
        let body = Bytes::from_static(body.as_bytes());
        let refusal = Refusal { status, content_type: None, error: None, body };
        classify(Ok(Reply { refusal, retry_after: None }))
    }

    fn about(verdict: &Verdict) -> Option<About> {
        match verdict {
            Verdict::Unavailable(trouble) => Some(trouble.about),
            _ => None,
        }
    }

    #[test]
    fn every_status_has_one_meaning() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => "Delivered",
                408 | 425 | 429 => "Unavailable",
                401 | 403 | 404 => "RefusedDestination(",
                413 => "TooLarge(",
                400..=499 => "Refused(",
                _ => "Unavailable",
            };
            let verdict = format!("{:?}", verdict(status, ""));
            assert!(verdict.starts_with(expected), "{status}: {verdict}");
        }
    }

    #[test]
    fn only_an_error_of_unknown_cause_may_be_about_the_content() {
        for status in [500, 501, 505, 599] {
            assert_eq!(about(&verdict(status, "")), Some(About::Content), "{status}");
        }
        for status in [302, 408, 425, 502, 503, 504, 600] {
            assert_eq!(about(&verdict(status, "")), Some(About::Either), "{status}");
        }
        assert_eq!(about(&verdict(429, "")), Some(About::Rate));
        let policy = verdict(500, "{\"error\":\"retention policy not found: x\"}");
        assert_eq!(about(&policy), Some(About::Destination));
    }

    #[test]
    fn no_answer_is_unavailable() {
        let verdict = classify(Err(Failure::Timeout(Duration::from_secs(1))));
        assert_eq!(about(&verdict), Some(About::Either));
        let verdict = classify(Err(Failure::Connect("refused".into())));
        assert_eq!(about(&verdict), Some(About::Backend));
    }
}
