//! The `ringrelay` command.
fn main() {}
