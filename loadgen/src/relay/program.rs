//! Which program is run as the relay, as it is typed: `[NAME=]PATH`, `[NAME=]go:PATH`, or
//! `[NAME=]floor`. `arguments` reads it; [`super::Relay`] starts it.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::PathBuf;
use std::str::FromStr;

/// What kind of relay a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ringrelay: `-config FILE`, with an admin listener that serves `/metrics`.
    Ringrelay,
    /// The Go influxdb-relay: the same file without our own keys; it counts nothing.
    Go,
    /// `loadgen floor`: UDP to UDP only; it counts nothing.
    Floor,
}

impl Kind {
    /// Whether it serves counters by which its losses can be proven.
    #[must_use]
    pub fn counts(self) -> bool {
        self == Self::Ringrelay
    }
}

/// A program to run as the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// What reports call it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
}

impl Program {
    /// The `ringrelay` beside this program.
    ///
    /// # Errors
    /// If the kernel does not say where this program is.
    pub fn beside() -> Result<Self> {
        let path = own_path()?.with_file_name("ringrelay");
        Ok(Self { name: "ringrelay".into(), kind: Kind::Ringrelay, path })
    }

    /// This program as the floor.
    ///
    /// # Errors
    /// If the kernel does not say where this program is.
    pub fn floor() -> Result<Self> {
        Ok(Self { name: "floor".into(), kind: Kind::Floor, path: own_path()? })
    }
}

fn own_path() -> Result<PathBuf> {
    std::env::current_exe().context("where is this program?")
}

impl FromStr for Program {
    type Err = anyhow::Error;

    fn from_str(typed: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let (name, what) = match typed.split_once('=') {
            Some((name, what)) if !name.is_empty() && name.chars().all(plain) => (Some(name), what),
            _ => (None, typed),
        };
        let mut program = match what.strip_prefix("go:") {
            _ if what == "floor" => Self::floor()?,
            Some(path) => at(Kind::Go, path)?,
            None => at(Kind::Ringrelay, what)?,
        };
        if let Some(name) = name {
            name.clone_into(&mut program.name);
        }
        Ok(program)
    }
}

/// A program named after its file.
fn at(kind: Kind, path: &str) -> Result<Program> {
    ensure!(!path.is_empty(), "a relay is [NAME=]PATH, [NAME=]go:PATH, or [NAME=]floor");
    let path = PathBuf::from(path);
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Program { name, kind, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(typed: &str, name: &str, kind: Kind, path: Option<&str>) {
        let program: Program = typed.parse().expect("a relay");
        assert_eq!((program.name.as_str(), program.kind), (name, kind), "{typed}");
        if let Some(path) = path {
            assert_eq!(program.path, PathBuf::from(path), "{typed}");
        }
    }

    #[test]
    fn a_relay_may_have_a_name_and_a_kind() {
        reads("target/ringrelay", "ringrelay", Kind::Ringrelay, Some("target/ringrelay"));
        reads("old=/opt/ringrelay", "old", Kind::Ringrelay, Some("/opt/ringrelay"));
        reads("go:/opt/influxdb-relay", "influxdb-relay", Kind::Go, Some("/opt/influxdb-relay"));
        reads("v=go:bin", "v", Kind::Go, Some("bin"));
        reads("./a=b/relay", "relay", Kind::Ringrelay, Some("./a=b/relay"));
        reads("floor", "floor", Kind::Floor, None);
        reads("least=floor", "least", Kind::Floor, None);
        reads("./floor", "floor", Kind::Ringrelay, Some("./floor"));
    }

    #[test]
    fn a_relay_without_a_path_is_refused() {
        for typed in ["", "a=", "go:", "a=go:"] {
            assert!(typed.parse::<Program>().is_err(), "{typed}");
        }
    }
}
