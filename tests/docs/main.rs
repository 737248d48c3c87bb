//! The documentation compared with the program, both ways: what the program offers is documented,
//! and what is documented is there. A test that fails says what to add, and where.
//!
//! Configuration keys are compared where they are listed (`src/config/schema.rs`), and `tidy`
//! compares nothing of this. No page is compared with another program.

#[path = "../support/certificates.rs"]
#[expect(dead_code, reason = "other crates of tests need more kinds of them")]
mod certificates;
mod costs;
mod endpoints;
mod examples;
mod flags;
mod links;
mod metrics;
mod page;
mod program;
mod words;

/// Fails with what to do about it.
#[track_caller]
fn assert_none(remedy: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{remedy}:\n  {}", broken.join("\n  "));
}
