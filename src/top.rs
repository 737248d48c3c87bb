//! `ringrelay top`: what a running relay does, in a terminal, from its `/metrics`.
//!
//! Called by `main`, in a process of its own: nothing of this runs in a relay. `target` (whom to
//! ask) -> `fetch` (asks) -> `scrape` (reads the answer) -> `model` (rates and history) -> `view`
//! (draws a frame into a buffer) -> `screen` (a terminal and its keys), or one frame as text.

mod fetch;
mod model;
mod number;
mod scrape;
mod screen;
mod spark;
mod table;
mod target;
mod view;

use crate::cli::TopOptions;
use fetch::Fetcher;
use model::Model;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Instant;
use target::Target;
use view::View;

/// Columns of a frame that is printed.
const TEXT_COLUMNS: u16 = 120;

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// What is typed cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The relay does not answer.
    #[error("no answer from {url}: {why}")]
    NoAnswer {
        /// Whom was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
}

impl TopError {
    /// 2 for what was typed, as for the relay itself.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NoAnswer { .. } | Self::Terminal(_) => 1,
        }
    }
}

/// Shows the relay until the user has seen enough, or one frame.
///
/// # Errors
/// There is nothing to see, or nowhere to show it.
pub fn run(options: &TopOptions) -> Result<(), TopError> {
    let target = Target::of(options).map_err(TopError::Usage)?;
    let fetcher = Fetcher::new(&target)?;
    let view = View {
        url: target.shown(),
        interval: options.interval,
        ascii: options.ascii || !is_utf8(|name| std::env::var(name).ok()),
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    if options.once {
        return once(fetcher, &view);
    }
    if !io::stdout().is_terminal() {
        let told = "standard output is no terminal: one frame as text, as with -once";
        drop(writeln!(io::stderr(), "ringrelay top: {told}"));
        return once(fetcher, &view);
    }
    screen::run(fetcher, &view)
}

/// Two looks, for there are rates, and one frame.
fn once(mut fetcher: Fetcher, view: &View) -> Result<(), TopError> {
    let mut model = Model::default();
    for look in 0..2 {
        if look > 0 {
            thread::sleep(view.interval);
        }
        let url = || view.url.clone();
        let snapshot = fetcher.fetch().map_err(|why| TopError::NoAnswer { url: url(), why })?;
        model.answered(snapshot, Instant::now());
    }
    let text = view::text(view, &model, TEXT_COLUMNS);
    io::stdout().write_all(text.as_bytes()).map_err(TopError::Terminal)
}

/// Whether the locale's characters are those of Unicode, by the variables that name it.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = names.filter_map(variable).find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::is_utf8;

    #[test]
    fn the_first_variable_that_says_something_names_the_locale() {
        let says = |all: &str, ctype: &str, lang: &str| {
            is_utf8(|name| {
                let value = match name {
                    "LC_ALL" => all,
                    "LC_CTYPE" => ctype,
                    _ => lang,
                };
                Some(value.to_owned())
            })
        };
        assert!(says("", "", "de_DE.UTF-8") && says("C.utf8", "C", "C"));
        assert!(!says("C", "C.UTF-8", "C.UTF-8") && !says("", "", "POSIX"));
        assert!(!is_utf8(|_| None));
    }
}
