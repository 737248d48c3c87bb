//! The teller by a clock of its own: who is told, when, and how much at most.

use super::*;
use std::net::Ipv4Addr;

const SECOND: Duration = Duration::from_secs(1);

fn notes() -> [Arc<Notes>; 1] {
    [Arc::new(Notes::new("in".into()))]
}

fn send([notes]: &[Arc<Notes>; 1], from: &str, lines: u64, first: &str) {
    let from = from.parse().expect("an address");
    notes.note(from, lines, Reason::MissingFields, first.as_bytes());
}

fn sender(from: &str, lines: u64, first: &str) -> Report {
    let (from, first) = (from.to_owned(), first.to_owned());
    Report::Sender { listener: "in".into(), from, lines, reason: Reason::MissingFields, first }
}

#[test]
fn a_sender_is_told_at_once_and_then_once_a_minute_with_all_that_came() {
    let (mut teller, notes, start) = (Teller::default(), notes(), Instant::now());
    assert_eq!(teller.tell(&notes, start), []);
    send(&notes, "10.0.0.1:500", 3, "first");
    assert_eq!(teller.tell(&notes, start), [sender("10.0.0.1:500", 3, "first")]);
    for second in 1..60 {
        send(&notes, "10.0.0.1:501", 2, &format!("at {second}"));
        assert_eq!(teller.tell(&notes, start + second * SECOND), [], "{second}");
    }
    let minute = start + MINUTE;
    assert_eq!(teller.tell(&notes, minute), [sender("10.0.0.1:501", 118, "at 1")]);
    assert_eq!(teller.tell(&notes, minute + MINUTE), [], "it has stopped");
    assert!(teller.accounts.is_empty());
    send(&notes, "10.0.0.1:0", 1, "again");
    let later = minute + MINUTE + SECOND;
    assert_eq!(teller.tell(&notes, later), [sender("10.0.0.1", 1, "again")], "no port");
}

#[test]
fn each_listener_and_each_sender_has_its_line() {
    let (mut teller, start) = (Teller::default(), Instant::now());
    let [one] = notes();
    let both = [Arc::clone(&one), Arc::new(Notes::new("web".into()))];
    send(&[one], "[::1]:9", 1, "x");
    send(&[Arc::clone(&both[1])], "[::1]:9", 2, "y");
    let told = teller.tell(&both, start);
    assert!(matches!(&told[0], Report::Sender { listener, from, lines: 2, .. }
        if **listener == *"web" && from == "[::1]:9"));
    assert_eq!(told[1..], [sender("[::1]:9", 1, "x")]);
}

#[test]
fn a_flood_of_addresses_stays_within_the_cap_and_the_loudest_are_named() {
    let (mut teller, notes, start) = (Teller::default(), notes(), Instant::now());
    let (mut told, mut lines, mut sent) = (Vec::new(), 0, 0);
    for second in 0..300_u32 {
        for n in 0..1_000_u32 {
            let from = (Ipv4Addr::from(second * 1_000 + n), 7).into();
            notes[0].note(from, 1, Reason::MissingFields, b"flood");
            sent += 1;
        }
        told.extend(teller.tell(&notes, start + second * SECOND));
        assert!(teller.accounts.len() <= SENDERS_MAX);
    }
    told.extend(teller.rest(&notes, start + 300 * SECOND));
    for report in &told {
        lines += match report {
            Report::Sender { lines, .. } | Report::Others { lines, .. } => lines,
        };
    }
    assert_eq!(lines, sent, "every line is told once");
    let others: Vec<_> =
        told.iter().filter(|report| matches!(report, Report::Others { more: true, .. })).collect();
    assert_eq!(others.len(), 5, "one each minute");
    assert!(told.len() - others.len() <= 5 * TOLD_MAX + TOLD_MAX, "{}", told.len());
}

#[test]
fn the_cap_leaves_who_sent_most_and_counts_the_others() {
    let (mut teller, notes, start) = (Teller::default(), notes(), Instant::now());
    for n in 1..=100 {
        send(&notes, &format!("10.0.0.{n}:5"), n, "x");
    }
    let told = teller.tell(&notes, start);
    assert_eq!(told.len(), TOLD_MAX);
    assert_eq!(told[0], sender("10.0.0.100:5", 100, "x"));
    assert_eq!(told[29], sender("10.0.0.71:5", 71, "x"));
    assert_eq!(teller.tell(&notes, start + 59 * SECOND), []);
    let others = Report::Others { senders: 70, more: false, lines: (1..=70).sum() };
    assert_eq!(teller.tell(&notes, start + MINUTE), [others]);
    send(&notes, "10.0.0.1:5", 4, "y");
    assert_eq!(teller.tell(&notes, start + MINUTE), [sender("10.0.0.1:5", 4, "y")]);
}

#[test]
fn at_the_end_what_was_held_back_is_told() {
    let (mut teller, notes, start) = (Teller::default(), notes(), Instant::now());
    send(&notes, "10.0.0.1:5", 1, "x");
    assert_eq!(teller.tell(&notes, start).len(), 1);
    send(&notes, "10.0.0.1:5", 6, "y");
    assert_eq!(teller.rest(&notes, start + SECOND), [sender("10.0.0.1:5", 6, "y")]);
    assert_eq!(teller.rest(&notes, start + SECOND), []);
}
