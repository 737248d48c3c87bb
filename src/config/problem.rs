//! What is wrong with a configuration file, in words for the operator: where, which key, which
//! value, what to do. Made by the reader and the checks; `main` prints it and exits with code 2.

use super::schema::SECRETS;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::Range;

/// Why a configuration cannot be run. The text has one line per problem, in the file's order:
/// `FILE:LINE: KEY = VALUE: what is wrong; remedy`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{file}: cannot be read: {source}; name a readable file with -config")]
    Unreadable {
        /// The path as it was given.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and cannot be run.
    #[error("{}", lines(file, problems))]
    Invalid {
        /// The path as it was given.
        file: String,
        /// At least one, in the file's order.
        problems: Vec<Problem>,
    },
}

fn lines(file: &str, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("{file}:{problem}")).collect();
    lines.join("\n")
}

/// One thing that is wrong. Its text is `LINE: KEY = VALUE: what is wrong; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// `KEY = VALUE`, or the table's title where it is about the whole table.
    pub subject: String,
    /// What is wrong, and the remedy.
    pub wrong: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, self.subject, self.wrong)
    }
}

/// Gathers the problems of one file.
#[derive(Debug)]
pub(super) struct Report<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

/// A value is quoted up to here.
const EXCERPT_CHARS_MAX: usize = 60;

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: RefCell::default() }
    }

    /// The number of the line that byte `at` is in, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        memchr::memchr_iter(b'\n', before).count() + 1
    }

    /// What the file says there: its first line, without control characters and without a URL's
    /// password, cut if long.
    pub(super) fn excerpt(&self, span: Range<usize>) -> String {
        let typed = self.text.get(span).unwrap_or_default().trim();
        let first = typed.lines().next().unwrap_or_default();
        let public = without_credentials(first);
        let mut excerpt: String = public
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .take(EXCERPT_CHARS_MAX)
            .collect();
        if excerpt.len() < public.len() || first.len() < typed.len() {
            excerpt.push_str("...");
        }
        excerpt
    }

    /// Notes a problem. About one subject on one line, only the first is kept.
    pub(super) fn add(&self, line: usize, subject: String, wrong: String) {
        let mut problems = self.problems.borrow_mut();
        if !problems.iter().any(|known| known.line == line && known.subject == subject) {
            problems.push(Problem { line, subject, wrong });
        }
    }

    /// Notes that the file is not TOML.
    pub(super) fn syntax(&self, error: &toml::de::Error) {
        let at = error.span().map_or(0, |span| span.start).min(self.text.len());
        let bytes = self.text.as_bytes();
        let start = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |newline| newline + 1);
        let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |len| start + len);
        // Some key of this line may hold a secret: cut it there.
        let line = &self.text[start..end];
        let ends = SECRETS.iter().filter_map(|key| line.find(key).map(|at| at + key.len()));
        let shown = start + ends.min().unwrap_or(line.len());
        let message = error.message().replace('\n', ", ");
        self.add(self.line(at), self.excerpt(start..shown), format!("is not TOML: {message}"));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn into_error(self, file: &str) -> ConfigError {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        ConfigError::Invalid { file: file.to_owned(), problems }
    }
}

/// Error texts end up in logs.
fn without_credentials(typed: &str) -> Cow<'_, str> {
    let parts = typed.split_once("://").and_then(|(scheme, rest)| {
        let (_, behind) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://...@{behind}"))
    });
    parts.map_or(Cow::Borrowed(typed), Cow::Owned)
}
