//! What a backend's answer means for the writes of a request.
//!
//! Called by the sender loop. Pure.

use crate::write::Refusal;
use std::fmt;
use std::time::Duration;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its status and, for a 4xx, what goes to the client.
    pub(super) refusal: Refusal,
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
    /// The backend refuses the destination, whatever the lines are: every write would be
    /// answered the same alone.
    RefusedDestination(Refusal),
    /// Nothing is known to be stored, and another try may succeed.
    Unavailable(Why),
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
    let refusal = match ended {
        Ok(Reply { refusal }) => refusal,
        Err(failure) => return Verdict::Unavailable(Why::Failed(failure)),
    };
    match refusal.status {
        200..=299 => Verdict::Delivered,
        // Timeout, too early, too many requests: the same write may be taken later.
        status @ (408 | 425 | 429) => Verdict::Unavailable(Why::Status(status)),
        // Credentials or database: they are one for all writes of a request.
        401 | 403 | 404 => Verdict::RefusedDestination(refusal),
        400..=499 => Verdict::Refused(refusal),
        status => Verdict::Unavailable(Why::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn verdict(status: u16) -> Verdict {
        let refusal = Refusal { status, content_type: None, error: None, body: Bytes::new() };
        classify(Ok(Reply { refusal }))
    }

    #[test]
    fn every_status_has_one_meaning() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => "Delivered",
                408 | 425 | 429 => "Unavailable",
                401 | 403 | 404 => "RefusedDestination(",
                400..=499 => "Refused(",
                _ => "Unavailable",
            };
            let verdict = format!("{:?}", verdict(status));
            assert!(verdict.starts_with(expected), "{status}: {verdict}");
        }
    }

    #[test]
    fn no_answer_is_unavailable() {
        let verdict = classify(Err(Failure::Timeout(Duration::from_secs(1))));
        assert!(matches!(verdict, Verdict::Unavailable(Why::Failed(Failure::Timeout(_)))));
    }
}
