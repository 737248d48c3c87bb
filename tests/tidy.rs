//! The house rules that a machine can check: budgets, import arrows, where `unsafe` may be. A rule
//! that is broken names the file, the line and the rule. What is documented is held by `docs`.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file of `src`, `loadgen` and the tests.
const FILE_LINES_MAX: usize = 400;
/// Columns of a line of Rust, in characters.
const COLUMNS_MAX: usize = 100;

/// Files that may be longer, each with its reason.
const LONGER_FILES: [(&str, &str); 0] = [];

/// The only files and directories that may hold `unsafe`.
const UNSAFE_ROOMS: [&str; 5] =
    ["src/ring.rs", "src/ring/", "src/sys.rs", "src/sys/", "src/line/simd/"];

/// Arrows that must not be: no file of a room on the left may name a room on the right.
const NO_ARROWS: [(&[&str], &[&str]); 7] = [
    // Bytes and time come in as arguments; the pure rooms know nothing else.
    (
        &["line", "batch", "segment", "timestamp", "filter", "bad_senders"],
        &["udp", "http", "backend", "fanout", "queue"],
    ),
    (
        &["line", "batch", "segment", "timestamp", "filter", "bad_senders"],
        &["config", "metrics", "ring", "sys", "write"],
    ),
    // The spool is a store of writes: files and time come in as arguments.
    (
        &["spool"],
        &["udp", "http", "backend", "fanout", "queue", "config", "metrics", "ring", "sys"],
    ),
    // The kernel rooms and what all others share know no plane.
    (
        &["answers", "ring", "sys", "stream", "config", "metrics", "queue", "stop", "write"],
        &["udp", "http", "backend", "fanout"],
    ),
    // Fronts and backends meet in the queue only.
    (&["udp"], &["http", "backend"]),
    (&["http"], &["udp", "backend"]),
    (&["backend"], &["udp", "http"]),
];

struct File {
    /// From the repository's root.
    path: String,
    text: String,
}

impl File {
    fn in_any(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            self.path == *place || (place.ends_with('/') && self.path.starts_with(place))
        })
    }

    /// The room of `src` that a file belongs to.
    fn room(&self) -> Option<&str> {
        let within = self.path.strip_prefix("src/")?;
        within.split(['/', '.']).next()
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Numbered from 1, without what follows `//`.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.text.lines().map(|line| line.split("//").next().unwrap_or_default());
        (1..).zip(code)
    }
}

/// Every text file of the repository, but what is built and what git keeps.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).expect("a directory of the repository");
        for path in entries.map(|entry| entry.expect("an entry of it").path()) {
            let name = path.file_name().unwrap_or_default();
            if ["target", ".git", "corpus", "artifacts"].iter().any(|skip| name == *skip) {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push(File { path: relative(root, path), text });
            }
        }
    }
    assert!(files.len() > 50, "the repository was found: {} files", files.len());
    files
}

fn relative(root: &Path, path: PathBuf) -> String {
    let within = path.strip_prefix(root).map(Path::to_path_buf).unwrap_or(path);
    within.display().to_string()
}

fn rust() -> Vec<File> {
    let mut files = files();
    files.retain(|file| file.path.ends_with(".rs"));
    files
}

#[track_caller]
fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn files_and_lines_are_short() {
    let mut broken = Vec::new();
    for file in rust() {
        let lines = file.text.lines().count();
        let excepted = LONGER_FILES.iter().any(|(path, _)| *path == file.path);
        if lines > FILE_LINES_MAX && !excepted {
            broken.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
        }
        for (number, line) in (1..).zip(file.text.lines()) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                broken.push(format!("{}:{number}: {columns} columns", file.path));
            }
        }
    }
    assert_none("cut it, or find what wants to be a file of its own", &broken);
}

#[test]
fn exceptions_are_still_needed() {
    let files = rust();
    for (path, reason) in LONGER_FILES {
        let file = files.iter().find(|file| file.path == path);
        let lines = file.map_or(0, |file| file.text.lines().count());
        assert!(lines > FILE_LINES_MAX, "{path} is no exception any more ({reason})");
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    let opens = |file: &File| file.text.starts_with("//! ") || file.text.starts_with("#![no_main]");
    let broken: Vec<_> =
        rust().iter().filter(|file| !opens(file)).map(|f| f.path.clone()).collect();
    assert_none("open with `//!`: what it is, who calls it, what it does not do", &broken);
}

#[test]
fn modules_are_files_with_their_own_names() {
    let files = rust();
    let is_mod = |file: &&File| file.path.ends_with("/mod.rs");
    let mut broken: Vec<_> = files.iter().filter(is_mod).map(|file| file.path.clone()).collect();
    for vague in ["utils", "util", "common", "helpers", "misc"] {
        let is_vague = |file: &&File| file.path.ends_with(&format!("/{vague}.rs"));
        broken.extend(files.iter().filter(is_vague).map(|file| file.path.clone()));
    }
    assert_none("`name.rs` and `name/`, with a name that says what it is", &broken);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let (word, mut seen) = ("unsafe", 0);
    let mut broken = Vec::new();
    for file in rust().iter().filter(|file| file.path != "tests/tidy.rs") {
        for (number, code) in file.code() {
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if !words.any(|found| found == word) {
                continue;
            }
            seen += 1;
            if !file.in_any(&UNSAFE_ROOMS) {
                broken.push(format!("{}:{number}: {}", file.path, code.trim()));
            }
        }
    }
    assert!(seen > 0, "the rooms were found");
    assert_none(&format!("only {UNSAFE_ROOMS:?} may"), &broken);
}

/// The rooms that a file names behind `crate::`, with the line of each.
fn arrows(file: &File) -> Vec<(usize, String)> {
    let mut arrows = Vec::new();
    let code = file.code().map(|(_, code)| code).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("crate::") {
        let number = code[..at].lines().count().max(1);
        let rest = &code[at + "crate::".len()..];
        for room in first_names(rest) {
            arrows.push((number, room));
        }
    }
    arrows
}

/// `a` of `a::b`, and `a` and `c` of `{a::{x, y}, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(list) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                names.push(name(&list[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn lists_of_imports_are_read() {
    assert_eq!(first_names("write::Write;"), ["write"]);
    assert_eq!(first_names("{backend, http::{self, X}, udp};"), ["backend", "http", "udp"]);
    assert_eq!(first_names("{\n    a::{b, c},\n    d,\n}; use e"), ["a", "d"]);
}

#[test]
fn arrows_point_down() {
    let (mut broken, mut seen) = (Vec::new(), 0);
    for file in rust() {
        let Some(room) = file.room() else { continue };
        if file.is_test() {
            continue;
        }
        for (number, to) in arrows(&file) {
            seen += 1;
            let forbidden = NO_ARROWS
                .iter()
                .any(|(from, names)| from.contains(&room) && names.contains(&to.as_str()));
            // A room may name its own parts; only `main` sees the wiring.
            if (forbidden && room != to) || (to == "relay" && room != "relay" && room != "main") {
                broken.push(format!("{}:{number}: {room} -> {to}", file.path));
            }
        }
    }
    assert!(seen > 50, "imports were found: {seen}");
    assert_none("main -> relay -> planes -> kernel, pure, config, metrics", &broken);
}

#[test]
fn nothing_points_outside_the_repository() {
    // Put together here, or this file would break its own rule.
    let mut outside: Vec<_> =
        ["work", "root", "home", "Users"].iter().map(|dir| format!("/{dir}/")).collect();
    outside.push(["..", "shared"].join("/"));
    let mut broken = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(found) = outside.iter().find(|path| line.contains(path.as_str())) {
                broken.push(format!("{}:{number}: {found}", file.path));
            }
        }
    }
    assert_none("a path that only one machine has", &broken);
}
