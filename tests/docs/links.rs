//! Links between pages lead somewhere, and every page can be found.

use super::assert_none;
use super::page::{Kind, Page, root};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The targets of `[text](target)` in a line, without its code.
fn targets(line: &str) -> Vec<&str> {
    // What stands between backticks is no link, but may be the text of one.
    let outside: Vec<&str> = line.split("](").collect();
    let mut targets = Vec::new();
    let mut backticks = 0;
    for (i, part) in outside.iter().enumerate() {
        if i > 0 && backticks % 2 == 0 {
            targets.extend(part.split_once(')').map(|(target, _)| target));
        }
        backticks += part.matches('`').count();
    }
    targets
}

fn is_elsewhere(target: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

/// `a/b/../c` without its dots.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Every link within the repository: its page, line, file and anchor.
fn links(pages: &[Page]) -> Vec<(String, PathBuf, String)> {
    let mut links = Vec::new();
    for page in pages {
        for line in page.lines().iter().filter(|line| line.kind == Kind::Text) {
            for target in targets(line.text).into_iter().filter(|target| !is_elsewhere(target)) {
                let place = format!("{}:{}: {target}", page.path.display(), line.number);
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let beside = page.path.parent().unwrap_or(Path::new(""));
                let file =
                    if file.is_empty() { page.path.clone() } else { plain(&beside.join(file)) };
                links.push((place, file, anchor.to_owned()));
            }
        }
    }
    assert!(links.len() > 30, "the links were found: {}", links.len());
    links
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let pages = Page::all();
    let mut broken = Vec::new();
    for (place, file, anchor) in links(&pages) {
        if !root().join(&file).exists() {
            broken.push(format!("{place}: {} is not there", file.display()));
        } else if !anchor.is_empty() {
            let page = pages.iter().find(|page| page.path == file);
            let anchors = page.map(Page::anchors).unwrap_or_default();
            if !anchors.contains(&anchor) {
                broken.push(format!("{place}: has no heading of this anchor; it has {anchors:?}"));
            }
        }
    }
    assert_none("mend these links", &broken);
}

#[test]
fn the_index_names_every_page_of_docs() {
    let pages = Page::all();
    let index = Path::new("docs/README.md");
    let place = format!("{}:", index.display());
    let from_index = |(at, _, _): &(String, PathBuf, String)| at.starts_with(&place);
    let linked: BTreeSet<_> =
        links(&pages).into_iter().filter(from_index).map(|(_, file, _)| file).collect();
    let is_missing = |page: &&Page| {
        page.path.starts_with("docs") && page.path != index && !linked.contains(&page.path)
    };
    let missing = pages.iter().filter(is_missing).map(|page| page.path.display().to_string());
    assert_none("link these pages in docs/README.md", &missing.collect::<Vec<_>>());
}

/// Alerts say which section helps: `"Title" in docs/troubleshooting.md`.
#[test]
fn alerts_name_sections_that_there_are() {
    let rules = std::fs::read_to_string(root().join("packaging/prometheus/alerts.yml"));
    let rules = rules.expect("the alerts").split_whitespace().collect::<Vec<_>>().join(" ");
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page");
    let titles: BTreeSet<_> = page
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    let mut parts: Vec<_> = rules.split("\" in docs/troubleshooting.md").collect();
    parts.pop();
    let named: Vec<_> = parts.iter().filter_map(|before| before.rsplit('"').next()).collect();
    assert!(named.len() >= 10, "the names were found: {named:?}");
    let missing =
        named.iter().filter(|name| !titles.contains(*name)).map(|name| (*name).to_owned());
    assert_none("give docs/troubleshooting.md these sections", &missing.collect::<Vec<_>>());
}

#[test]
fn targets_are_found() {
    assert_eq!(targets("[a](b.md#c) and [`d`](e), `[f](g)`, [h](i)"), ["b.md#c", "e", "i"]);
    assert_eq!(plain(Path::new("docs/../perf/./x")), Path::new("perf/x"));
}
