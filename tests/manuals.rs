//! The manual pages and completions of `packaging` say what the relay says: ringrelay.toml(5) is
//! docs/configuration.md in another form, and all of them have the options of `ringrelay -h`.
//!
//!     RINGRELAY_WRITE_MANUALS=1 cargo test --test manuals    # after a change of that page

#[path = "support/roff.rs"]
mod roff;

use ringrelay::cli::{TOP_USAGE, USAGE};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The options of `ringrelay -h`, or of `ringrelay top -h`, without their dashes, in its order.
fn options(usage: &'static str) -> Vec<&'static str> {
    let rows = usage.lines().filter(|line| line.starts_with("  -"));
    let words = rows.flat_map(|row| {
        let options = row.trim_start().split("  ").next().expect("a split has a first part");
        options.split([',', ' ']).filter_map(|word| word.strip_prefix('-'))
    });
    words.collect()
}

/// The words of `ringrelay -h` that stand in the place of options: `ringrelay WORD ...`.
fn subcommands() -> Vec<&'static str> {
    let usage = USAGE.split("\n\n").next().expect("a split has a first part");
    let words = usage.lines().filter_map(|line| {
        let (_, rest) = line.split_once("ringrelay ")?;
        rest.split_whitespace().next().filter(|word| !word.starts_with('-'))
    });
    words.collect()
}

fn sorted<T: Ord>(words: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[test]
fn the_page_of_the_configuration_is_its_document() {
    let page = roff::page(&text("docs/configuration.md"));
    let file = path("packaging/man/ringrelay.toml.5");
    if std::env::var_os("RINGRELAY_WRITE_MANUALS").is_some() {
        fs::write(&file, &page).expect("the page can be written");
    }
    let kept = fs::read_to_string(&file).expect("the page is there");
    assert!(
        kept == page,
        "docs/configuration.md has changed: RINGRELAY_WRITE_MANUALS=1 cargo test --test manuals"
    );
}

#[test]
fn the_page_of_the_command_has_its_options() {
    let page = text("packaging/man/ringrelay.1");
    let (_, rest) = page.split_once(".SH OPTIONS\n").expect("a section");
    let section = rest.split(".SH ").next().expect("a split has a first part").replace('\\', "");
    let tags = section.split(".TP\n").skip(1).filter_map(|item| item.lines().next());
    let words = tags.flat_map(|tag| tag.split([' ', '"', ',']));
    let described = words.filter_map(|word| word.strip_prefix('-'));
    assert_eq!(sorted(described), sorted(options(USAGE)));
}

#[test]
fn each_completion_has_the_options() {
    let option = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
    };
    let after = |text: &str, mark: &str| -> Vec<String> {
        text.split(mark).skip(1).map(option).filter(|word| !word.is_empty()).collect()
    };
    let code = |name: &str| -> String {
        let text = text(name);
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        code.collect::<Vec<_>>().join("\n")
    };
    let fish = code("packaging/completions/ringrelay.fish");
    let fish = |other: &str| {
        let lines: Vec<_> = fish.lines().filter(|line| !line.contains(other)).collect();
        after(&lines.join("\n"), " -o ")
    };
    let zsh = code("packaging/completions/_ringrelay");
    let (zsh_top, zsh_rest) = zsh.split_once("\n    *)\n").expect("a case for the rest");
    let zsh = |text: &str| ["'-", "{-", ",-", ")-"].map(|mark| after(text, mark)).concat();
    for (usage, line, fish, zsh_words) in [
        (USAGE, "ringrelay -", fish("-n $top"), zsh(zsh_rest)),
        (TOP_USAGE, "ringrelay top -", fish("-n $run"), zsh(zsh_top)),
    ] {
        let options = sorted(options(usage).into_iter().map(str::to_owned));
        assert_eq!(sorted(fish), options, "fish: {line}");
        assert_eq!(sorted(zsh_words), options, "zsh: {line}");
        assert_eq!(sorted(bash(line)), sorted(options.iter().map(|o| format!("-{o}"))));
    }
}

#[test]
fn each_subcommand_stands_in_the_page_and_the_completions() {
    let page = text("packaging/man/ringrelay.1");
    let shells = ["packaging/completions/_ringrelay", "packaging/completions/ringrelay.fish"];
    for word in subcommands() {
        assert!(page.contains(&format!(".B ringrelay {word}\n")), "the synopsis has {word}");
        for shell in shells {
            let there = text(shell);
            let mut words = there.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            assert!(words.any(|found| found == word), "{shell} has {word}");
        }
        assert_eq!(bash(&format!("ringrelay {word}")), [word]);
    }
}

/// What bash offers for the last word of a line, split as it splits it.
fn bash(line: &str) -> Vec<String> {
    let script = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _ringrelay
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(path("packaging/completions/ringrelay.bash"));
    command.args(line.split(' ').map(|word| if word == "''" { "" } else { word }));
    let output = command.current_dir(path("tests/samples")).output().expect("bash is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{line}: {said}");
    let offered = String::from_utf8(output.stdout).expect("text");
    offered.lines().filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_values_too() {
    for line in ["ringrelay -config fork.", "ringrelay --config fork.", "ringrelay -config = fork."]
    {
        assert_eq!(bash(line), ["fork.conf"], "{line}");
    }
    assert_eq!(bash("ringrelay top -ca-file fork."), ["fork.conf"]);
    for line in
        ["ringrelay -log-format ''", "ringrelay -v --log-format =", "ringrelay -log-format = ''"]
    {
        assert_eq!(bash(line), ["text", "json"], "{line}");
    }
    assert_eq!(bash("ringrelay -log-format = j"), ["json"]);
    assert_eq!(bash("ringrelay -config f -ch"), ["-check"]);
}
