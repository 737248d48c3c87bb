//! The endpoints: what the HTTP front answers and `docs/endpoints.md` explains are the same: paths,
//! methods, where they are served, and what metrics call them.

use super::assert_none;
use super::page::{Page, root, spans};
use super::program::Program;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const PAGE: &str = "docs/endpoints.md";

/// A row of the table: `| path | methods | where | endpoint | ... |`.
struct Row {
    path: String,
    /// As in `Allow`.
    methods: String,
    /// Served by the `[[http]]` listeners, and counted there.
    by_listeners: bool,
    /// Served on the `[admin]` address.
    by_admin: bool,
    label: String,
}

fn documented() -> Vec<Row> {
    let rows = Page::read(PAGE).rows().into_iter().filter(|row| row[0].starts_with("`/"));
    let rows: Vec<_> = rows
        .map(|row| {
            assert!(row.len() >= 5, "{PAGE}: path, methods, where, endpoint, what: {row:?}");
            let one = |cell: &str| spans(cell).next().map(str::to_owned).unwrap_or_default();
            let methods = spans(&row[1]).collect::<Vec<_>>().join(", ");
            let (by_listeners, by_admin) = match row[2].as_str() {
                "listeners" => (true, false),
                "listeners, admin" => (true, true),
                "admin" => (false, true),
                other => panic!("{PAGE}: `listeners`, `admin` or both, not {other:?}"),
            };
            Row { path: one(&row[0]), methods, by_listeners, by_admin, label: one(&row[3]) }
        })
        .collect();
    assert!(rows.len() > 5, "the endpoints were found: {}", rows.len());
    rows
}

/// The paths that the source of the HTTP front names: as constants, or in a `match`.
fn in_source() -> BTreeSet<String> {
    let mut files = vec![root().join("src/http.rs")];
    let entries = fs::read_dir(root().join("src/http")).expect("the HTTP front");
    files.extend(entries.map(|entry| entry.expect("an entry of it").path()));
    let mut paths = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_file() && !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(file).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines() {
            let Some((before, rest)) = line.split_once("\"/") else { continue };
            let Some((path, after)) = rest.split_once('"') else { continue };
            let constant = before.contains("PATH") && before.contains("&str");
            if constant || after.trim_start().starts_with(['=', '|']) {
                paths.insert(format!("/{path}"));
            }
        }
    }
    assert!(paths.len() >= 10, "the paths were found: {paths:?}");
    paths
}

/// Requests so far of the listener `http`, by endpoint.
fn counted(program: &Program) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in program.scrape() {
        let Some(rest) = line.strip_prefix("ringrelay_http_requests_total{") else { continue };
        if !rest.contains("listener=\"http\"") {
            continue;
        }
        let label = rest.split_once("endpoint=\"").and_then(|(_, rest)| rest.split_once('"'));
        let (label, _) = label.expect("requests are counted by endpoint");
        let value = rest.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
        *counts.entry(label.to_owned()).or_default() += value.expect("a count");
    }
    counts
}

#[test]
fn every_endpoint_is_documented_and_every_documented_endpoint_is_there() {
    let (rows, source) = (documented(), in_source());
    let paths: BTreeSet<_> = rows.iter().map(|row| row.path.clone()).collect();
    let mut broken: Vec<_> = source
        .difference(&paths)
        .map(|path| format!("add a row for `{path}`: path, methods, where, endpoint, what"))
        .collect();
    let gone = paths.difference(&source);
    broken.extend(gone.map(|path| format!("src/http knows no {path}: take out its row")));
    let program = Program::start();
    for Row { path, methods, by_listeners, by_admin, label } in &rows {
        let before = counted(&program);
        let place = if *by_listeners { "http" } else { "admin" };
        // No endpoint deletes.
        let refused = program.ask(place, "DELETE", path);
        if (refused.status, &refused.allow) != (405, methods) {
            let (status, allow) = (refused.status, refused.allow);
            broken.push(format!("{path}: DELETE is answered {status}, with Allow {allow:?}"));
        }
        for method in methods.split(", ") {
            let status = program.ask(place, method, path).status;
            if status == 405 || (status == 404 && label != "prom_write") {
                broken.push(format!("{path}: {method} is answered {status}"));
            }
        }
        let asked = 1 + methods.split(", ").count() as u64;
        let grown = counted(&program).get(label).copied().unwrap_or_default()
            - before.get(label).copied().unwrap_or_default();
        if *by_listeners && grown != asked {
            broken.push(format!("{path}: metrics do not call it endpoint=\"{label}\""));
        }
        for (place, wanted) in [("http", by_listeners), ("admin", by_admin)] {
            let found = program.ask(place, "GET", path).status != 404;
            if found != *wanted && label != "prom_write" {
                broken.push(format!("{path}: by {place} it is there: {found}"));
            }
        }
    }
    let labels: BTreeSet<_> = rows.into_iter().map(|row| row.label).collect();
    let unknown = counted(&program).into_keys().filter(|label| label != "other");
    let unknown = unknown.filter(|label| !labels.contains(label));
    broken.extend(unknown.map(|label| format!("which path do metrics call `{label}`?")));
    assert_none(PAGE, &broken);
}
