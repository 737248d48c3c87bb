//! What a front may ask of one HTTP backend's sender thread besides writes: to drop what waits,
//! to ask the backend's ping endpoint, to put a query to it.
//!
//! The endpoints of `http` ask through a [`Control`]; `backend::http` answers. Only the sender
//! thread knows the way to its backend and what waits for it. Never on the path of a write.

use bytes::Bytes;
use hyper::http::HeaderValue;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for one sender thread; more are refused.
const COMMANDS_MAX: usize = 64;

/// One command, and where its answer goes.
#[derive(Debug)]
pub enum Command {
    /// Drop what waits for the backend. What is in flight goes on.
    Flush(oneshot::Sender<Flushed>),
    /// Ask the ping endpoint, for at most this long.
    Ping(Duration, oneshot::Sender<Asked>),
    /// Put a query to the query endpoint, for at most the output's `timeout`.
    Query(Arc<Query>, oneshot::Sender<Asked>),
}

/// What a flush dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Writes of clients and batches that came by UDP.
    pub writes: u64,
    /// Their lines.
    pub lines: u64,
    /// Their bytes, as they would have been sent.
    pub bytes: u64,
}

/// A query as a client sent it. `Debug` shows nothing of it: it may hold credentials, or make them
/// (`CREATE USER ... WITH PASSWORD`).
pub struct Query {
    /// The query string, without `?`.
    pub parameters: String,
    /// The `Authorization` header.
    pub authorization: Option<HeaderValue>,
    /// The `Content-Type` header.
    pub content_type: Option<HeaderValue>,
    /// The body: usually a form.
    pub body: Bytes,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Query(secret)")
    }
}

/// What a backend answered, or why it did not.
pub type Asked = Result<Told, String>;

/// A backend's answer.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its status.
    pub status: u16,
    /// Its body, cut to 1 MiB.
    pub body: Bytes,
    /// Whether that is the whole body.
    pub whole: bool,
    /// From the first byte of the request to the last of the answer, connecting included.
    pub took: Duration,
}

/// The fronts' end.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<Command>);

/// Makes the two ends.
#[must_use]
pub fn channel() -> (Control, mpsc::Receiver<Command>) {
    let (send, receive) = mpsc::channel(COMMANDS_MAX);
    (Control(send), receive)
}

impl Control {
    /// Gives a command. The receiver's error means that the sender thread has ended or has too
    /// many commands already.
    pub fn give<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        // A command that is not taken drops its end of the answer: that is the receiver's error.
        drop(self.0.try_send(command(answer)));
        answered
    }
}
