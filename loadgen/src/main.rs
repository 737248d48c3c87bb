//! Load generator, sink and benchmark for line protocol relays.
fn main() {}
