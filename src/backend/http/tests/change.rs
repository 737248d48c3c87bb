//! An output that goes on with another configuration.

use super::harness::*;
use super::*;
use crate::write::Answer;
use std::sync::Barrier;

fn to(target: HttpTarget) -> Change {
    Change { target, dead_letters: None }
}

#[test]
fn what_is_in_flight_ends_where_it_began_and_the_rest_goes_to_the_new_address() {
    let gate = Arc::new(Barrier::new(2));
    let waits = Arc::clone(&gate);
    let (old, at_old) = backend(move |_, _| {
        waits.wait();
        answer("204 No Content")
    });
    let (new, at_new) = backend(|_, _| answer("204 No Content"));
    let sending = start(target(old));
    let first = sending.write("d", "m f=1 1");
    assert_eq!(next(&at_old).body, "m f=1 1\n");
    let second = sending.write("d", "m f=2 2");
    sending.change.try_send(to(target(new))).expect("there is room");
    let other = sending.write("e", "m f=3 3");
    assert_eq!(next(&at_new).body, "m f=3 3\n", "its lane is free");
    gate.wait();
    assert_eq!(next(&at_new).body, "m f=2 2\n", "after the one before it");
    for answer in [first, second, other] {
        assert!(matches!(settled(answer), Answer::Delivered));
    }
    assert!(at_old.try_recv().is_err(), "nothing more went there");
    assert_eq!(sending.finish().delivered.get(), 3);
}

#[test]
fn what_comes_after_a_change_finds_its_new_endpoint() {
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let sending = start(HttpTarget { write_prom_path: None, ..target(address) });
    sending.change.try_send(to(target(address))).expect("there is room");
    assert!(matches!(settled(sending.write_opaque("x")), Answer::Delivered));
    assert!(next(&requests).head.starts_with("POST /api/v1/prom/write"));
    sending.finish();
}
