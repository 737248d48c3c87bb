//! The pages of the repository: Markdown, as far as the tests must know it.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) struct Page {
    /// From the repository's root.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// A line of a page, numbered from 1.
pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) text: &'a str,
    pub(super) kind: Kind<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Text,
    /// Within a fence, with the word behind its backticks.
    Fenced(&'a str),
    /// Indented by four spaces or more, behind a blank line or another such line.
    Indented,
}

impl Page {
    pub(super) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}: every page has its place"));
        Self { path: path.into(), text }
    }

    /// Every page but those of what is built and of git.
    pub(super) fn all() -> Vec<Self> {
        let (mut pages, mut directories) = (Vec::new(), vec![root().to_path_buf()]);
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory).expect("a directory of the repository");
            for path in entries.map(|entry| entry.expect("an entry of it").path()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
                if path.is_dir() && !skipped {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    let text = fs::read_to_string(&path).expect("a page is text");
                    let path = path.strip_prefix(root()).expect("it is below the root").into();
                    pages.push(Self { path, text });
                }
            }
        }
        assert!(pages.len() > 12, "the pages were found: {}", pages.len());
        pages
    }

    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let (mut fence, mut before) = (None, "");
        let mut code_before = false;
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(self.text.lines()) {
            let kind = match (fence, text.trim_start().strip_prefix("```")) {
                (None, Some(word)) => {
                    fence = Some(word);
                    continue;
                }
                (Some(_), Some(_)) => {
                    fence = None;
                    continue;
                }
                (Some(word), None) => Kind::Fenced(word),
                (None, None) => {
                    let starts = before.trim().is_empty() || code_before;
                    if text.starts_with("    ") && starts { Kind::Indented } else { Kind::Text }
                }
            };
            code_before = kind == Kind::Indented;
            before = text;
            lines.push(Line { number, text, kind });
        }
        assert!(fence.is_none(), "{}: a fence is not closed", self.path.display());
        lines
    }

    /// The fences of this word: the number of the first line of each, and its text.
    pub(super) fn fences(&self, word: &str) -> Vec<(usize, String)> {
        let mut fences: Vec<(usize, String)> = Vec::new();
        let mut last = 0;
        for line in self.lines().iter().filter(|line| line.kind == Kind::Fenced(word)) {
            if fences.is_empty() || line.number != last + 1 {
                fences.push((line.number, String::new()));
            }
            let (_, text) = fences.last_mut().expect("one was just made");
            text.push_str(line.text);
            text.push('\n');
            last = line.number;
        }
        fences
    }

    /// The anchors of the headings, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for line in self.lines().iter().filter(|line| line.kind == Kind::Text) {
            let heading = line.text.trim_start_matches('#');
            let depth = line.text.len() - heading.len();
            if !(1..=6).contains(&depth) || !heading.starts_with(' ') {
                continue;
            }
            let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor: String =
                kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
            let same = |other: &&String| {
                let rest = other.strip_prefix(&anchor);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            let earlier = anchors.iter().filter(same).count();
            anchors.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
        }
        anchors
    }

    /// The rows of its tables, in cells. Heads are among them.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let lines = self.lines();
        let texts = lines.iter().filter(|line| line.kind == Kind::Text).map(|line| line.text);
        let rows = texts.filter_map(|text| text.strip_prefix('|')?.strip_suffix('|'));
        rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    }
}

/// What stands between backticks.
pub(super) fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn anchors_are_githubs() {
    let text = "# One `two`: three/four\n\n## A-b_c\n\n```sh\n# no heading\n```\n## A-b_c\n";
    let page = Page { path: "x.md".into(), text: text.to_owned() };
    assert_eq!(page.anchors(), ["one-two-threefour", "a-b_c", "a-b_c-1"]);
    assert_eq!(page.fences("sh"), [(6, "# no heading\n".to_owned())]);
}
