//! The command line, read as Go's `flag` package reads it: `-config FILE`, `--config FILE`,
//! `-config=FILE`. Called by `main`. Pure: prints nothing and opens nothing.

mod top;

pub use top::{TopOptions, USAGE as TOP_USAGE};

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What `-h` prints.
pub const USAGE: &str = "\
Usage: ringrelay -config FILE [-v] [-log-format FORMAT]
       ringrelay top [URL]            watch a running relay (ringrelay top -h)

  -config FILE        the configuration to run
  -check              check the configuration, print what it would run, and exit
  -v                  log requests
  -log-format FORMAT  text (the default) or json
  -version            print the version and exit
  -h, -help           print this and exit

Two dashes work as well as one, and -config=FILE as well as -config FILE.
";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the relay.
    Run {
        /// `-config`.
        config: PathBuf,
        /// `-v`.
        verbose: bool,
        /// `-log-format`.
        log: LogFormat,
    },
    /// `-check`: print what would be run.
    Check {
        /// `-config`.
        config: PathBuf,
    },
    /// `-version`.
    Version,
    /// `-h` or `-help`: print [`USAGE`].
    Help,
    /// `top`: show what a running relay does.
    Top(Box<TopOptions>),
    /// `top -h`: print [`TOP_USAGE`].
    TopHelp,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// What is wrong with the command line, with the remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No `-config`.
    #[error("no configuration file: name one with -config FILE (-h shows all options)")]
    NoConfig,
    /// A flag that does not exist, behind the nearest that does.
    #[error("{1} is no option{0} (-h shows all options)")]
    Unknown(String, String),
    /// A flag that `top` does not have, behind the nearest that it has.
    #[error("{1} is no option of top{0} (ringrelay top -h shows all options)")]
    UnknownTop(String, String),
    /// Two URLs for `top`.
    #[error("one URL is enough: {0}, or {1}")]
    TwoUrls(String, String),
    /// `top` can be told only once where to look.
    #[error("give a URL or -config FILE, not both")]
    UrlAndConfig,
    /// An `-interval` that is none.
    #[error("-interval {0} is no time from 200ms to 1h: write 1s or 500ms")]
    NoInterval(String),
    /// A flag at the end whose value is missing.
    #[error("{0} needs a value: {0} {1}")]
    NoValue(String, &'static str),
    /// A `-log-format` that does not exist.
    #[error("-log-format={0} is no format: give text or json")]
    NoFormat(String),
    /// A switch with a value that is neither true nor false.
    #[error("{flag}={value} is neither true nor false: write {flag}")]
    NotBoolean {
        /// The flag as typed.
        flag: String,
        /// Its value.
        value: String,
    },
    /// An argument that belongs to no flag.
    #[error("{0:?} belongs to no option: write -config FILE (-h shows all options)")]
    Stray(String),
}

impl UsageError {
    /// The Go relay's exit codes: 1 without a configuration, 2 for a bad flag.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoConfig => 1,
            _ => 2,
        }
    }
}

/// The flags.
const FLAGS: [&str; 7] = ["config", "check", "v", "log-format", "version", "h", "help"];

#[derive(Default)]
struct Flags {
    config: OsString,
    verbose: bool,
    log: LogFormat,
    check: bool,
    version: bool,
}

/// Reads the arguments (without the program's name). Of a flag given twice the last counts.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut flags = Flags::default();
    let mut arguments = arguments.into_iter().peekable();
    if arguments.next_if(|first| first == "top").is_some() {
        let options = top::parse(arguments)?;
        return Ok(options.map_or(Command::TopHelp, |options| Command::Top(Box::new(options))));
    }
    while let Some(argument) = arguments.next() {
        let stray = || UsageError::Stray(argument.to_string_lossy().into_owned());
        let name = argument.as_bytes().strip_prefix(b"-").filter(|name| !name.is_empty());
        let name = name.map(|name| name.strip_prefix(b"-").unwrap_or(name)).ok_or_else(stray)?;
        if name.is_empty() {
            // Behind `--` nothing is a flag.
            let next = arguments.next();
            next.map_or(Ok(()), |next| {
                Err(UsageError::Stray(next.to_string_lossy().into_owned()))
            })?;
            break;
        }
        let (name, value) = match memchr::memchr(b'=', name) {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let typed = format!("-{}", String::from_utf8_lossy(name));
        match name {
            b"config" => {
                let value = value.map(|value| OsStr::from_bytes(value).to_owned());
                flags.config =
                    value.or_else(|| arguments.next()).ok_or(UsageError::NoValue(typed, "FILE"))?;
            }
            b"log-format" => {
                let value = value.map(|value| OsStr::from_bytes(value).to_owned());
                let value = value.or_else(|| arguments.next());
                flags.log = format(&value.ok_or(UsageError::NoValue(typed, "FORMAT"))?)?;
            }
            b"v" => flags.verbose = switch(typed, value)?,
            b"check" => flags.check = switch(typed, value)?,
            b"version" => flags.version = switch(typed, value)?,
            b"h" | b"help" => return Ok(Command::Help),
            _ => return Err(UsageError::Unknown(nearest(&typed, &FLAGS), typed)),
        }
    }
    flags.command()
}

impl Flags {
    fn command(self) -> Result<Command, UsageError> {
        let config = PathBuf::from(self.config);
        if self.version {
            Ok(Command::Version)
        } else if config.as_os_str().is_empty() {
            Err(UsageError::NoConfig)
        } else if self.check {
            Ok(Command::Check { config })
        } else {
            Ok(Command::Run { config, verbose: self.verbose, log: self.log })
        }
    }
}

/// `: did you mean -FLAG?`, if there is one that is near what was typed.
fn nearest(typed: &str, flags: &[&str]) -> String {
    let name = typed.trim_start_matches('-');
    let near = |flag: &&&str| strsim::damerau_levenshtein(name, flag) <= flag.len() / 3;
    let found = flags.iter().filter(near);
    let found = found.min_by_key(|flag| strsim::damerau_levenshtein(name, flag));
    found.map_or_else(String::new, |flag| format!(": did you mean -{flag}?"))
}

fn format(value: &OsStr) -> Result<LogFormat, UsageError> {
    match value.as_bytes() {
        b"text" => Ok(LogFormat::Text),
        b"json" => Ok(LogFormat::Json),
        _ => Err(UsageError::NoFormat(value.to_string_lossy().into_owned())),
    }
}

/// The spellings of Go's `strconv.ParseBool`.
fn switch(flag: String, value: Option<&[u8]>) -> Result<bool, UsageError> {
    match value {
        None | Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Ok(true),
        Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Ok(false),
        Some(value) => {
            let value = OsString::from_vec(value.to_vec()).to_string_lossy().into_owned();
            Err(UsageError::NotBoolean { flag, value })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(config: &str, verbose: bool) -> Command {
        Command::Run { config: config.into(), verbose, log: LogFormat::Text }
    }

    #[test]
    fn reads_the_forms_of_go() {
        for line in ["-config f", "--config f", "-config=f", "--config=f", "-config g -config f"] {
            assert_eq!(read(line), Ok(run("f", false)), "{line}");
        }
        for line in ["-v -config f", "-config=f --v", "-config f -v=true", "-config f -v=1 --"] {
            assert_eq!(read(line), Ok(run("f", true)), "{line}");
        }
        assert_eq!(read("-v=false -config a=b"), Ok(run("a=b", false)));
        assert_eq!(read("-config -v"), Ok(run("-v", false)), "as in Go, it is the file's name");
        assert_eq!(read("-config f -check"), Ok(Command::Check { config: "f".into() }));
        assert_eq!(read("-check=F -config f"), Ok(run("f", false)));
        for line in ["-config f -log-format json", "--log-format=json -config f"] {
            let json = Command::Run { config: "f".into(), verbose: false, log: LogFormat::Json };
            assert_eq!(read(line), Ok(json), "{line}");
        }
        assert_eq!(read("-config f -log-format=text"), Ok(run("f", false)));
        assert_eq!(read("-version"), Ok(Command::Version));
        for line in ["-h", "--help", "-config f -help"] {
            assert_eq!(read(line), Ok(Command::Help), "{line}");
        }
    }

    #[test]
    fn a_path_need_not_be_text() {
        let path = OsString::from_vec(b"/etc/\xff".to_vec());
        let mut joined = OsString::from("-config=");
        joined.push(&path);
        let expected =
            Command::Run { config: path.clone().into(), verbose: false, log: LogFormat::Text };
        assert_eq!(parse([joined]), Ok(expected.clone()));
        assert_eq!(parse(["-config".into(), path]), Ok(expected));
    }

    #[test]
    fn each_mistake_has_its_words_and_its_code() {
        for (line, code, words) in [
            ("", 1, "no configuration file: name one with -config FILE"),
            ("-v", 1, "no configuration file"),
            ("-check", 1, "no configuration file"),
            ("-config=", 1, "no configuration file"),
            ("-config", 2, "-config needs a value: -config FILE"),
            ("-config f -log-format", 2, "-log-format needs a value: -log-format FORMAT"),
            ("-config f -log-format=xml", 2, "-log-format=xml is no format: give text or json"),
            ("-confg f", 2, "-confg is no option: did you mean -config? (-h shows all"),
            ("-frob f", 2, "-frob is no option (-h shows all options)"),
            ("---config f", 2, "--config is no option"),
            ("-v=maybe -config f", 2, "-v=maybe is neither true nor false"),
            ("relay.conf", 2, "\"relay.conf\" belongs to no option: write -config FILE"),
            ("-config f -- g", 2, "\"g\" belongs to no option"),
            ("- -config f", 2, "\"-\" belongs to no option"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.to_string().starts_with(words), "{line}: {error}");
            assert_eq!(error.exit_code(), code, "{line}");
        }
    }

    #[test]
    fn the_usage_names_every_option() {
        for option in
            ["-config FILE", "-check", "-v ", "-log-format FORMAT", "-version", "-h, -help"]
        {
            assert!(USAGE.contains(&format!("\n  {option}")), "{option}");
        }
    }

    proptest! {
        #[test]
        fn any_arguments_have_an_answer(
            arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..6),
        ) {
            let _ = parse(arguments.into_iter().map(OsString::from_vec));
        }
    }
}
