//! What pages quote of the program's words, it says: lines in a fence of `log`, in which `...`
//! stands for what differs from case to case.

use super::assert_none;
use super::page::{Page, root};
use std::fs;

/// The source in one line, with its texts as they are printed: continued lines are joined.
fn source() -> String {
    let (mut source, mut directories) = (String::new(), vec![root().join("src")]);
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).expect("a directory of the source");
        for path in entries.map(|entry| entry.expect("an entry of it").path()) {
            if path.is_dir() {
                directories.push(path);
            } else {
                source.push_str(&fs::read_to_string(&path).expect("a source file"));
                source.push('\n');
            }
        }
    }
    // A text that goes on in the next line ends in a backslash.
    let joined = source.replace("\\\n", " ").replace("\\\"", "\"");
    joined.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a quoted line that must stand in the source.
fn parts(line: &str) -> Vec<&str> {
    let message = line.trim();
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "ringrelay:"];
    let message = levels.iter().find_map(|level| message.strip_prefix(level)).unwrap_or(message);
    message.split("...").map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[test]
fn quoted_words_are_the_programs() {
    let source = source();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for page in Page::all() {
        for (number, text) in page.fences("log") {
            for (line, offset) in text.lines().zip(0..) {
                seen += 1;
                let parts = parts(line);
                let at = format!("{}:{}", page.path.display(), number + offset);
                if !parts.iter().any(|part| part.len() >= 8) {
                    broken.push(format!("{at}: quote more of {line}"));
                }
                let unsaid = parts.iter().filter(|part| !source.contains(**part));
                broken.extend(unsaid.map(|part| format!("{at}: {part}")));
            }
        }
    }
    assert!(seen > 5, "the quotes were found: {seen}");
    assert_none("nothing in src says so (write ... for what differs)", &broken);
}
