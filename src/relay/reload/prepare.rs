//! The part of a reload that may take long or fail, on a thread of its own: names are resolved, the
//! files of certificates read, those of new outputs opened. Changes nothing of what runs.

use super::super::output::{Made, bad_files};
use super::super::share_files;
use super::{Name, ReloadError, fixed, of, pairs};
use crate::backend::http::Files;
use crate::config::{Backlog, Config, DeadLetters, Output, Target};
use crossbeam_channel::{Receiver, bounded};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;

/// A new configuration, with all that can fail done.
pub struct Prepared {
    pub(super) config: Config,
    /// Outputs that are new in it.
    pub(super) made: Vec<(Name, Made)>,
    /// Of outputs that go on, in another directory.
    pub(super) dead_letters: BTreeMap<Name, Files>,
}

/// Reads `file` on a thread, for a relay that runs `old` while the outputs `leaving` drain.
pub(super) fn start(
    file: PathBuf,
    old: Arc<Config>,
    leaving: Vec<Name>,
) -> io::Result<Receiver<Result<Prepared, ReloadError>>> {
    let (tell, prepared) = bounded(1);
    Builder::new().name("reload".to_owned()).spawn(move || {
        // Who asked may be stopping.
        drop(tell.send(Prepared::make(&file, &old, &leaving)));
    })?;
    Ok(prepared)
}

impl Prepared {
    fn make(file: &Path, old: &Config, leaving: &[Name]) -> Result<Self, ReloadError> {
        let mut config = Config::load(file)?;
        let fixed = fixed::differences(old, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::Fixed(fixed));
        }
        share_files(&mut config)?;
        let mut made = Vec::new();
        let http = config
            .http
            .iter()
            .map(|l| (&l.name, &l.outputs, None, &of(&old.http, &l.name).outputs));
        let udp = config
            .udp
            .iter()
            .map(|l| (&l.name, &l.outputs, Some(l.precision), &of(&old.udp, &l.name).outputs));
        for (relay, outputs, precision, before) in udp.chain(http) {
            for output in outputs {
                if before.iter().any(|before| before.name == output.name) {
                    continue;
                }
                let name = (Arc::clone(relay), Arc::clone(&output.name));
                if leaving.contains(&name) {
                    let (relay, backend) = (relay.to_string(), output.name.to_string());
                    return Err(ReloadError::Drains { relay, backend });
                }
                made.push((name, Made::new(relay, output, precision)?));
            }
        }
        let dead_letters = dead_letters(old, &config)?;
        Ok(Self { config, made, dead_letters })
    }
}

/// Opens the dead letters of outputs whose directory is another one.
fn dead_letters(old: &Config, new: &Config) -> Result<BTreeMap<Name, Files>, ReloadError> {
    let mut opened = BTreeMap::new();
    for (relay, old, new) in pairs(old, new) {
        let Some(backlog) = backlog(new) else { continue };
        let dir = |backlog: &Backlog| {
            backlog.dead_letters.as_ref().map(|DeadLetters { dir, .. }| dir.clone())
        };
        if self::backlog(old).and_then(dir) != dir(backlog) {
            let name = (Arc::clone(relay), Arc::clone(&new.name));
            let files = Files::dead_letters(backlog, relay, &new.name);
            opened.insert(name, files.map_err(bad_files(&new.name))?);
        }
    }
    Ok(opened)
}

fn backlog(output: &Output) -> Option<&Backlog> {
    match &output.target {
        Target::Http(target) => target.backlog.as_ref(),
        Target::Udp(_) => None,
    }
}
