//! Every key of the configuration says what it costs. That every key has a row, with its type,
//! default and bounds, is a test of `src/config/schema.rs`, which has the list of keys.

use super::assert_none;
use super::page::Page;

const PAGE: &str = "docs/configuration.md";

#[test]
fn every_key_says_what_it_costs() {
    let rows = Page::read(PAGE).rows().into_iter().filter(|row| row[0].starts_with('`'));
    let rows: Vec<_> = rows.filter(|row| row.len() == 5).collect();
    assert!(rows.len() > 60, "the keys were found: {}", rows.len());
    let says = |row: &[String]| {
        let words = row[4].to_lowercase();
        words.contains("cost") || words.contains("as in `[[http.output]]`")
    };
    let silent = rows.iter().filter(|row| !says(row));
    let broken: Vec<_> = silent
        .map(|row| {
            format!("{}: add \"Costs ...\" (CPU, memory, latency) or \"Costs nothing.\"", row[0])
        })
        .collect();
    assert_none(PAGE, &broken);
}
