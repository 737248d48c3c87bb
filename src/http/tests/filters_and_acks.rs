//! Filters and `ack`: which backend gets which lines, and what the client is told.

use super::harness::*;
use crate::config::{Ack, Dialect};
use crate::filter::{Expression, Filter};
use std::sync::Arc;

fn only(measurement: &str) -> Option<Filter> {
    let measurement = vec![Expression::parse(measurement).expect("it is valid")];
    Some(Filter { measurement, tag: Vec::new() })
}

/// The lines that each backend got, all writes together.
fn got(front: Front) -> Vec<String> {
    let got = front.got.iter().map(Arc::clone).collect::<Vec<_>>();
    front.stop();
    let text = |lines: Vec<u8>| String::from_utf8(lines).expect("text");
    let all = got.iter().map(|got| {
        let got = got.lock().expect("nobody panics with it");
        text(got.iter().flat_map(|(_, _, lines)| lines.clone()).collect())
    });
    all.collect()
}

#[test]
fn each_output_gets_the_points_that_pass_its_filter() {
    let front = start_with(
        Ack::All,
        vec![
            (delivered, Dialect::V1, None),
            (delivered, Dialect::V1, only("^cpu$")),
            (delivered, Dialect::V1, only("^mem$")),
        ],
    );
    let body = "cpu f=1 1\nmem f=1 2\nmem f=1 3\n";
    assert_eq!(front.post("/write?db=a", "", body.as_bytes()).status, 204);
    assert_eq!(front.post("/write?db=a", "", b"disk f=1 4\n").status, 204);
    let filtered: Vec<_> = front.backends.iter().map(|(b, _)| b.filtered.get()).collect();
    assert_eq!(filtered, [0, 3, 2]);
    let all = format!("{body}disk f=1 4\n");
    assert_eq!(got(front), [all, "cpu f=1 1\n".into(), "mem f=1 2\nmem f=1 3\n".into()]);
}

#[test]
fn points_that_every_filter_drops_are_a_success() {
    for ack in [Ack::Any, Ack::Quorum, Ack::All] {
        let front = start_with(
            ack,
            vec![(unavailable, Dialect::V1, only("^cpu$")), (refusing, Dialect::V1, only("^mem$"))],
        );
        assert_eq!(front.post("/write?db=a", "", b"disk f=1 1\n").status, 204);
        assert_eq!(front.post("/write?db=a", "", b"cpu f=1 1\n").status, 503, "only one is asked");
        assert_eq!(front.post("/write?db=a", "", b"mem f=1 1\n").status, 404);
        front.stop();
    }
}

#[test]
fn the_client_is_told_once_as_many_backends_have_it_as_it_takes() {
    let cases: [(Ack, &[Script], u16); 7] = [
        (Ack::All, &[delivered, delivered], 204),
        (Ack::All, &[delivered, unavailable], 503),
        (Ack::All, &[delivered, refusing], 404),
        (Ack::Quorum, &[delivered, hanging, delivered], 204),
        (Ack::Quorum, &[delivered, unavailable], 503),
        (Ack::Quorum, &[unavailable, delivered, refusing], 404),
        (Ack::Any, &[unavailable, refusing, delivered], 204),
    ];
    for (ack, scripts, status) in cases {
        let playing = scripts.iter().map(|&script| (script, Dialect::V1, None)).collect();
        let front = start_with(ack, playing);
        let reply = front.post("/write?db=a", "", b"a f=1 1\n");
        assert_eq!(reply.status, status, "{ack:?}: {reply:?}");
        front.stop();
    }
}
