//! What `/metrics` shows and `docs/metrics.md` explains are the same, and so is what other pages
//! and files name.

use super::assert_none;
use super::page::{Page, spans};
use super::program::Program;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = "docs/metrics.md";

/// A metric's type, its labels, and the values of those labels that name things of the relay.
#[derive(Default)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    values: BTreeSet<String>,
}

/// Labels whose values the relay chooses.
const CHOSEN: [&str; 5] = ["reason", "state", "endpoint", "code", "result"];

fn shown() -> BTreeMap<String, Metric> {
    let lines = Program::start().scrape();
    let mut metrics = BTreeMap::<String, Metric>::new();
    for line in &lines {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (name, labels) = line.split_once(['{', ' ']).expect("a name");
            let of = |end: &str| name.strip_suffix(end).filter(|name| metrics.contains_key(*name));
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| of(end));
            let family = family.unwrap_or(name).to_owned();
            let metric = metrics.entry(family).or_default();
            let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
            for (label, value) in labels.split("\",").filter_map(|pair| pair.split_once("=\"")) {
                if label != "le" {
                    metric.labels.insert(label.to_owned());
                }
                if CHOSEN.contains(&label) {
                    metric.values.insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
    }
    assert!(metrics.len() > 40, "the metrics were found: {}", metrics.len());
    metrics
}

/// The rows of the page that are about a metric: name, type, labels.
fn documented(page: &Page) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let kinds = ["counter", "gauge", "histogram"];
    let rows = page.rows().into_iter().filter(|row| row.len() >= 4);
    let rows = rows.filter(|row| kinds.contains(&row[1].as_str()));
    rows.map(|row| {
        let labels = spans(&row[2]).map(str::to_owned).collect();
        (row[0].trim_matches('`').to_owned(), (row[1].clone(), labels))
    })
    .collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let (page, shown) = (Page::read(PAGE), shown());
    let documented = documented(&page);
    let words: BTreeSet<_> = spans(&page.text).collect();
    let mut broken = Vec::new();
    for (name, metric) in &shown {
        let (kind, labels) = (&metric.kind, &metric.labels);
        let cells = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        match documented.get(name) {
            None => broken.push(format!("add the row | `{name}` | {kind} | {cells} | MEANING |")),
            Some((said, _)) if said != kind => {
                broken.push(format!("{name} is a {kind}, not a {said}"));
            }
            Some((_, said)) if said != labels => {
                broken.push(format!("{name} has the labels {labels:?}, not {said:?}"));
            }
            Some(_) => {}
        }
        let unknown = metric.values.iter().filter(|value| !words.contains(value.as_str()));
        broken.extend(unknown.map(|value| format!("say what `{value}` means, of {name}")));
    }
    let gone = documented.keys().filter(|name| !shown.contains_key(*name));
    broken.extend(gone.map(|name| {
        format!("take out {name}, or make the relay of tests/docs/program.rs show it")
    }));
    assert_none(PAGE, &broken);
}

#[test]
fn other_pages_name_metrics_that_there_are() {
    let shown = shown();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut broken = Vec::new();
    for page in Page::all() {
        // What is said of an older run stays as it was said.
        if page.path.starts_with("perf/runs") || page.path.ends_with("CHANGELOG.md") {
            continue;
        }
        for (number, line) in (1..).zip(page.text.lines()) {
            let words = line.split(|c| !is_name(c)).filter(|word| word.starts_with("ringrelay_"));
            for word in words {
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                    word.strip_suffix(end).filter(|name| shown.contains_key(*name))
                });
                // `ringrelay_backend_opaque_*` stands for several.
                let several =
                    word.ends_with('_') && shown.keys().any(|name| name.starts_with(word));
                if family.is_none() && !shown.contains_key(word) && !several {
                    broken.push(format!("{}:{number}: {word}", page.path.display()));
                }
            }
        }
    }
    assert_none("no such metrics", &broken);
}
