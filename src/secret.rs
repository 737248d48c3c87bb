//! A password or a token: never in a log line, an error, or on a page.
//!
//! `config` makes them, `backend::http` puts them into requests. The type keeps them out of
//! `Debug` output; it has no `Display`.

use std::fmt;
use std::sync::Arc;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, to be sent to whom it is for and to nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
