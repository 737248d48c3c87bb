//! Each way in which books can fail to close, one by one, from a run whose books close.

use super::*;
use crate::ledger::{Percentiles, Received};
use crate::sequence::Counts;
use std::collections::BTreeMap;

fn sent(protocol: Protocol, lines: u64) -> SentReport {
    SentReport {
        lines,
        writes: lines / 10,
        writes_per_send: 1,
        ..SentReport::new(protocol, 10, 1, 1_180)
    }
}

fn backend(lines: u64) -> BackendReport {
    let received = Received {
        lines,
        altered: 0,
        altered_sample: None,
        total: Counts { received: lines, ..Counts::default() },
        sources: Vec::new(),
        digest: "d".into(),
        latency: Percentiles::default(),
    };
    let sink = SinkReport {
        protocol: Protocol::Udp,
        address: ([127, 0, 0, 1], 9).into(),
        messages: 0,
        kernel_drops: 0,
        answers: BTreeMap::new(),
        received,
    };
    let counted = Some(BackendCounts { delivered: lines, dropped: Vec::new() });
    BackendReport { name: "b".into(), mtu: 1_400, sink, counted }
}

/// 100 datagrams of 10 lines, all delivered to two backends.
fn whole() -> ListenerReport {
    ListenerReport {
        name: "udp".into(),
        sent: sent(Protocol::Udp, 1_000),
        kernel_drops: 0,
        counted: Some(FrontCounts { datagrams: 100, ..FrontCounts::default() }),
        backends: vec![backend(1_000), backend(1_000)],
    }
}

fn failures(change: impl FnOnce(&mut ListenerReport)) -> Vec<String> {
    let mut listener = whole();
    change(&mut listener);
    check(&listener).failures
}

#[track_caller]
fn fails_with(words: &str, change: impl FnOnce(&mut ListenerReport)) {
    let failures = failures(change);
    assert!(failures.iter().any(|failure| failure.contains(words)), "{words}: {failures:?}");
}

fn counts(listener: &mut ListenerReport) -> &mut BackendCounts {
    listener.backends[0].counted.as_mut().expect("the relay keeps counters")
}

fn front(listener: &mut ListenerReport) -> &mut FrontCounts {
    listener.counted.as_mut().expect("the relay keeps counters")
}

#[test]
fn a_whole_run_is_proven_without_a_note() {
    assert_eq!(check(&whole()), Findings::default());
}

#[test]
fn a_run_without_lines_proves_nothing() {
    fails_with("nothing was sent", |listener| {
        listener.sent = sent(Protocol::Udp, 0);
        listener.counted = Some(FrontCounts::default());
        listener.backends = vec![backend(0)];
    });
}

#[test]
fn one_line_lost_in_silence_fails() {
    fails_with("1 lines lost in silence", |listener| {
        counts(listener).delivered = 999;
        listener.backends[0].sink.received.lines = 999;
    });
}

#[test]
fn one_line_more_than_was_sent_fails() {
    fails_with("accounts for 1001 lines", |listener| counts(listener).delivered = 1_001);
}

#[test]
fn delivered_must_have_arrived() {
    fails_with("999 arrived", |listener| listener.backends[0].sink.received.lines = 999);
    fails_with("1001 lines arrived", |listener| listener.backends[0].sink.received.lines = 1_001);
}

#[test]
fn what_the_relay_says_it_dropped_is_accounted_for() {
    let drop_five = |listener: &mut ListenerReport| {
        counts(listener).delivered = 995;
        counts(listener).dropped = vec![("queue_full".into(), 5)];
        listener.backends[0].sink.received.lines = 995;
    };
    assert_eq!(failures(drop_five), Vec::<String>::new());
    let mut listener = whole();
    drop_five(&mut listener);
    assert!(check(&listener).notes[0].contains("queue_full"));
    assert_eq!(lines_counted_lost(&listener, &listener.backends[0]), 5);
}

#[test]
fn what_the_kernel_dropped_must_be_said_by_the_relay() {
    let drop_two = |listener: &mut ListenerReport| {
        front(listener).datagrams = 98;
        listener.kernel_drops = 2;
        listener.backends = vec![backend(980), backend(980)];
    };
    assert_eq!(
        failures(|listener| {
            drop_two(listener);
            front(listener).kernel_drops = 2;
        }),
        Vec::<String>::new()
    );
    fails_with("the relay says 0", drop_two);
    fails_with("2 datagrams did not reach the relay", |listener| {
        drop_two(listener);
        listener.kernel_drops = 0;
    });
}

#[test]
fn one_kernel_drop_may_be_a_whole_train_but_no_more() {
    let train = |lost: u64| {
        move |listener: &mut ListenerReport| {
            listener.sent.writes_per_send = 50;
            listener.kernel_drops = 1;
            front(listener).kernel_drops = 1;
            front(listener).datagrams = 100 - lost;
            listener.backends = vec![backend(1_000 - 10 * lost)];
        }
    };
    assert_eq!(failures(train(50)), Vec::<String>::new());
    fails_with("51 datagrams did not reach", train(51));
}

#[test]
fn defects_of_lines_fail_each_by_name() {
    fails_with("1 lines altered", |listener| listener.backends[1].sink.received.altered = 1);
    let total = |listener: &mut ListenerReport, counts| {
        listener.backends[1].sink.received.total = counts;
    };
    let none = Counts::default();
    fails_with("lines duplicate", |l| total(l, Counts { duplicate: 1, ..none }));
    fails_with("lines reordered", |l| total(l, Counts { reordered: 1, ..none }));
    fails_with("duplicate or reordered", |l| total(l, Counts { unplaced: 1, ..none }));
}

#[test]
fn replicas_must_agree() {
    fails_with("different timestamps", |l| l.backends[1].sink.received.digest = "e".into());
}

#[test]
fn what_the_sink_itself_lost_is_not_the_relays_fault() {
    let lose = |lost: u64, drops| {
        move |listener: &mut ListenerReport| {
            listener.backends[0].sink.kernel_drops = drops;
            listener.backends[0].sink.received.lines = 1_000 - lost;
        }
    };
    assert_eq!(failures(lose(12, 1)), Vec::<String>::new());
    fails_with("the sink's socket dropped 13 times", lose(12, 13));
}

#[test]
fn a_relay_without_counters_must_deliver_everything() {
    let uncounted = |lines| {
        move |listener: &mut ListenerReport| {
            listener.counted = None;
            listener.backends = vec![BackendReport { counted: None, ..backend(lines) }];
        }
    };
    assert_eq!(failures(uncounted(1_000)), Vec::<String>::new());
    fails_with("1 of 1000 lines lost", uncounted(999));
}

#[test]
fn http_lines_may_be_missing_only_if_the_client_was_told() {
    let http = |arrived, told| {
        move |listener: &mut ListenerReport| {
            listener.sent = sent(Protocol::Http, 1_000);
            listener.sent.lines_told_lost = told;
            listener.counted = Some(FrontCounts::default());
            listener.backends = vec![backend(arrived)];
        }
    };
    assert_eq!(failures(http(1_000, 0)), Vec::<String>::new());
    assert_eq!(failures(http(990, 10)), Vec::<String>::new());
    assert_eq!(failures(http(1_000, 10)), Vec::<String>::new(), "told lost, but arrived");
    fails_with("10 lines lost in silence", http(990, 0));
}
