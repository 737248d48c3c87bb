//! The command line of `ringrelay top`, in the same notation. Called by [`parse`](super::parse).

use super::{UsageError, nearest, switch};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// What `ringrelay top -h` prints.
pub const USAGE: &str = "\
Usage: ringrelay top [URL] [-config FILE] [-interval TIME] [-once]

Shows what a running relay does, from its /metrics: per listener and backend
rates, drops and backlog. URL is http://127.0.0.1:9096 unless given.

  -config FILE            the relay's configuration: the URL is its [admin],
                          or its first [[http]]
  -interval TIME          between two looks, 200ms to 1h; default 1s
  -once                   print one frame as text and exit
  -ascii                  use ASCII alone, as where the locale is not UTF-8
  -ca-file FILE           trust these authorities instead of the system's
  -client-pem FILE        the certificate and key to show to the relay
  -skip-tls-verification  trust any certificate
  -h, -help               print this and exit

Two dashes work as well as one, and -config=FILE as well as -config FILE.
For HTTP basic authentication write https://USER:PASSWORD@HOST:PORT.
";

/// The flags.
const FLAGS: [&str; 9] = [
    "config",
    "interval",
    "once",
    "ascii",
    "ca-file",
    "client-pem",
    "skip-tls-verification",
    "h",
    "help",
];

const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// What `ringrelay top` is to show, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopOptions {
    /// The URL as typed.
    pub url: Option<String>,
    /// `-config`.
    pub config: Option<PathBuf>,
    /// `-interval`.
    pub interval: Duration,
    /// `-once`.
    pub once: bool,
    /// `-ascii`.
    pub ascii: bool,
    /// `-ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `-client-pem`.
    pub client_pem: Option<PathBuf>,
    /// `-skip-tls-verification`.
    pub skip_tls_verification: bool,
}

impl Default for TopOptions {
    fn default() -> Self {
        Self {
            url: None,
            config: None,
            interval: INTERVAL,
            once: false,
            ascii: false,
            ca_file: None,
            client_pem: None,
            skip_tls_verification: false,
        }
    }
}

/// Reads what follows `top`; `None` if help is asked for.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<TopOptions>, UsageError> {
    let mut options = TopOptions::default();
    let mut arguments = arguments.into_iter();
    let mut flags_end = false;
    while let Some(argument) = arguments.next() {
        let name = argument.as_bytes().strip_prefix(b"-").filter(|name| !name.is_empty());
        let Some(name) = name.filter(|_| !flags_end) else {
            options.take_url(&argument)?;
            continue;
        };
        let name = name.strip_prefix(b"-").unwrap_or(name);
        flags_end = name.is_empty();
        if flags_end {
            continue;
        }
        let (name, value) = match memchr::memchr(b'=', name) {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let typed = format!("-{}", String::from_utf8_lossy(name));
        let mut file = |what| {
            let value = value.map(|value| OsStr::from_bytes(value).to_owned());
            let value = value.or_else(|| arguments.next());
            value.filter(|value| !value.is_empty()).ok_or(UsageError::NoValue(typed.clone(), what))
        };
        match name {
            b"config" => options.config = Some(file("FILE")?.into()),
            b"ca-file" => options.ca_file = Some(file("FILE")?.into()),
            b"client-pem" => options.client_pem = Some(file("FILE")?.into()),
            b"interval" => options.interval = interval(&file("TIME")?)?,
            b"once" => options.once = switch(typed, value)?,
            b"ascii" => options.ascii = switch(typed, value)?,
            b"skip-tls-verification" => options.skip_tls_verification = switch(typed, value)?,
            b"h" | b"help" => return Ok(None),
            _ => return Err(UsageError::UnknownTop(nearest(&typed, &FLAGS), typed)),
        }
    }
    if options.url.is_some() && options.config.is_some() {
        return Err(UsageError::UrlAndConfig);
    }
    Ok(Some(options))
}

impl TopOptions {
    fn take_url(&mut self, argument: &OsStr) -> Result<(), UsageError> {
        let url = argument.to_string_lossy().into_owned();
        if let Some(first) = self.url.replace(url.clone()) {
            return Err(UsageError::TwoUrls(first, url));
        }
        Ok(())
    }
}

/// In Go's notation; a bare number is seconds.
fn interval(value: &OsStr) -> Result<Duration, UsageError> {
    let text = value.to_string_lossy();
    let seconds = || crate::config::duration(&format!("{text}s"));
    let interval = crate::config::duration(&text).or_else(seconds);
    let allowed = INTERVAL_MIN..=INTERVAL_MAX;
    let interval = interval.filter(|interval| allowed.contains(interval));
    interval.ok_or_else(|| UsageError::NoInterval(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::*;

    fn read(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn top(change: impl FnOnce(&mut TopOptions)) -> Result<Command, UsageError> {
        let mut options = TopOptions::default();
        change(&mut options);
        Ok(Command::Top(Box::new(options)))
    }

    #[test]
    fn reads_all_flags_before_and_behind_the_url() {
        assert_eq!(read("top"), top(|_| ()));
        let url = |options: &mut TopOptions| options.url = Some("http://relay:1".to_owned());
        assert_eq!(read("top http://relay:1"), top(url));
        assert_eq!(read("top -- http://relay:1"), top(url));
        for line in ["top -once http://relay:1 --ascii", "top -ascii=true http://relay:1 --once"] {
            let both = |options: &mut TopOptions| (options.once, options.ascii) = (true, true);
            assert_eq!(read(line), top(|options| (url(options), both(options)).0), "{line}");
        }
        for (text, ms) in [("2", 2_000), ("0.5", 500), ("200ms", 200), ("1m30s", 90_000)] {
            let line = format!("top -interval {text}");
            assert_eq!(read(&line), top(|o| o.interval = Duration::from_millis(ms)), "{line}");
        }
        let line = "top -config f -ca-file=a -client-pem b -skip-tls-verification";
        let all = |options: &mut TopOptions| {
            options.config = Some("f".into());
            options.ca_file = Some("a".into());
            options.client_pem = Some("b".into());
            options.skip_tls_verification = true;
        };
        assert_eq!(read(line), top(all));
        assert_eq!(read("top -once -h"), Ok(Command::TopHelp));
        assert_eq!(read("-config top"), read("-config=top"), "only the first word is a command");
    }

    #[test]
    fn each_mistake_has_its_words() {
        for (line, words) in [
            ("top -onse", "-onse is no option of top: did you mean -once?"),
            ("top -log-format json", "-log-format is no option of top (ringrelay top -h"),
            ("top -interval", "-interval needs a value: -interval TIME"),
            ("top -interval 0", "-interval 0 is no time from 200ms to 1h"),
            ("top -interval 2h", "-interval 2h is no time"),
            ("top -interval soon", "-interval soon is no time"),
            ("top -config=", "-config needs a value: -config FILE"),
            ("top a b", "one URL is enough: a, or b"),
            ("top a -config f", "give a URL or -config FILE, not both"),
            ("top -once=maybe", "-once=maybe is neither true nor false"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.to_string().starts_with(words), "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn the_usage_names_every_flag() {
        for flag in FLAGS {
            let named = |line: &str| line.trim_start().starts_with(&format!("-{flag}"));
            assert!(flag == "help" || USAGE.lines().any(named), "{flag}");
        }
        assert!(USAGE.contains("-h, -help"));
        assert!(USAGE.lines().all(|line| line.len() <= 80), "it fits a terminal");
    }
}
