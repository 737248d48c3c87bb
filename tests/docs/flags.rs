//! The command line: what `-help` shows and `docs/command-line.md` explains are the same, and no
//! page shows a flag that there is not.

use super::assert_none;
use super::page::{Kind, Page, spans};
use super::program::binary;
use std::collections::BTreeSet;
use std::process::Command;

const PAGE: &str = "docs/command-line.md";

fn help(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// `-flag` of a word such as `[-flag`, `-flag,` or `--flag=VALUE`.
fn flag(word: &str) -> Option<&str> {
    let name = word.trim_start_matches('[').strip_prefix('-')?;
    let name = name.strip_prefix('-').unwrap_or(name);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(name.len());
    Some(&name[..end]).filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// The words behind `ringrelay` in `Usage:`, which are commands: `top` of `ringrelay top`.
fn commands() -> BTreeSet<String> {
    let help = help(&["-help"]);
    let usages = help.lines().filter_map(|line| line.split_once("ringrelay "));
    let words = usages.filter_map(|(_, rest)| rest.split(' ').next());
    let is_command = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase()) && !word.is_empty();
    words.filter(is_command).map(str::to_owned).collect()
}

/// All flags, of the relay itself and of its commands.
fn flags() -> BTreeSet<String> {
    let mut texts = vec![help(&["-help"])];
    texts.extend(commands().iter().map(|command| help(&[command, "-help"])));
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    let flags: BTreeSet<_> = words.filter_map(flag).map(str::to_owned).collect();
    assert!(flags.len() >= 6, "the flags were found: {flags:?}");
    flags
}

#[test]
fn every_flag_is_documented_and_every_documented_flag_is_there() {
    let page = Page::read(PAGE);
    let first_cells = page.rows().into_iter().map(|row| row[0].clone());
    let documented: BTreeSet<String> = first_cells
        .flat_map(|cell| spans(&cell).filter_map(flag).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let flags = flags();
    let mut broken: Vec<_> = flags
        .difference(&documented)
        .map(|flag| format!("give `-{flag}` a row in the table of flags"))
        .collect();
    let gone = documented.difference(&flags);
    broken.extend(gone.map(|flag| format!("`-{flag}` is not in -help: take out its row")));
    for command in commands() {
        if !page.text.contains(&format!("ringrelay {command}")) {
            broken.push(format!("say what `ringrelay {command}` does"));
        }
    }
    assert_none(PAGE, &broken);
}

#[test]
fn pages_show_flags_that_there_are() {
    let flags = flags();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for page in Page::all().iter().filter(|page| !page.path.ends_with("CHANGELOG.md")) {
        for line in page.lines() {
            let code: Vec<_> = match line.kind {
                Kind::Text => spans(line.text).collect(),
                Kind::Fenced(_) | Kind::Indented => vec![line.text],
            };
            for command in code {
                let mut words = command.split_whitespace();
                if !words.any(|word| word == "ringrelay" || word.ends_with("/ringrelay")) {
                    continue;
                }
                let ours = words.take_while(|word| !["|", "&&", ";", "#", "&", ">"].contains(word));
                for name in ours.filter_map(flag) {
                    seen += 1;
                    if !flags.contains(name) {
                        let place = format!("{}:{}", page.path.display(), line.number);
                        broken.push(format!("{place}: -{name} in {}", command.trim()));
                    }
                }
            }
        }
    }
    assert!(seen > 5, "the flags were found: {seen}");
    assert_none("ringrelay has no such flag", &broken);
}

#[test]
fn flags_are_found() {
    assert_eq!(flag("[-config"), Some("config"));
    assert_eq!(flag("--log-format=json"), Some("log-format"));
    assert_eq!(flag("-h,"), Some("h"));
    assert_eq!((flag("-"), flag("->"), flag("-1"), flag("x-y")), (None, None, None, None));
}
