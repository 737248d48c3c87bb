//! UDP in: how datagrams become lines, and which lines are refused.

use crate::harness::{Relay, UdpSink, UdpSource, names, numbered, udp_listener, udp_output};
use std::time::{SystemTime, UNIX_EPOCH};

/// A relay from one UDP listener, `in`, to two sinks, `a` and `b`.
fn relay(more: &str) -> (Relay, [UdpSink; 2]) {
    let sinks = [UdpSink::start(), UdpSink::start()];
    let outputs = [udp_output("a", sinks[0].addr(), ""), udp_output("b", sinks[1].addr(), "")];
    (Relay::start(&udp_listener("in", more, &outputs)), sinks)
}

/// Sends the datagrams and asserts which lines both sinks get, in this order, and that `refused`
/// lines were refused.
#[track_caller]
fn relays(datagrams: &[&[u8]], expected: &[&str], refused: u64) {
    let (relay, sinks) = relay("");
    UdpSource::new(&relay, "in").send_all(datagrams);
    for sink in &sinks {
        assert_eq!(sink.wait_for_lines(expected.len()), expected);
    }
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.of(names::UDP_REFUSED, &[("listener", "in")]), refused);
    assert_eq!(metrics.accepted("in"), expected.len() as u64);
    relay.finish();
    for sink in &sinks {
        assert_eq!(sink.lines(), expected, "and nothing came later");
        let empty = sink.datagrams().iter().filter(|datagram| datagram.is_empty()).count();
        assert_eq!(empty, 0, "nothing is sent for nothing");
    }
}

#[test]
fn lines_arrive_whole_and_in_order_at_both_backends() {
    let (relay, sinks) = relay("");
    let lines = numbered("one", 3_000);
    let datagrams: Vec<_> = lines.chunks(7).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    for sink in &sinks {
        assert_eq!(sink.wait_for_lines(lines.len()), lines);
    }
    let metrics = relay.wait_until_settled();
    for backend in ["a", "b"] {
        assert_eq!(metrics.books("in", backend).delivered, lines.len() as u64);
    }
    relay.finish();
}

#[test]
fn each_of_many_sources_keeps_its_order() {
    let (relay, sinks) = relay("");
    let names = ["s0", "s1", "s2", "s3", "s4", "s5"];
    let sent = names.map(|name| numbered(name, 200));
    let sources = names.map(|_| UdpSource::new(&relay, "in"));
    for turn in 0..40 {
        for (source, lines) in sources.iter().zip(&sent) {
            lines[turn * 5..][..5].iter().for_each(|line| source.send(line));
        }
        sources[0].wait_for_taken((turn as u64 + 1) * 30);
    }
    for sink in &sinks {
        let got = sink.wait_for_lines(1_200);
        for (name, sent) in names.iter().zip(&sent) {
            let tag = format!("source={name} ");
            let of_source: Vec<_> = got.iter().filter(|line| line.contains(&tag)).collect();
            assert_eq!(of_source, sent.iter().collect::<Vec<_>>());
        }
    }
    relay.finish();
}

#[test]
fn the_last_newline_is_optional_and_never_joins_datagrams() {
    relays(
        &[b"a f=1 1", b"b f=1 2\n", b"c f=1 3\nd f=1 4", b"e f=1 5\n\n\n"],
        &["a f=1 1", "b f=1 2", "c f=1 3", "d f=1 4", "e f=1 5"],
        0,
    );
}

#[test]
fn a_line_is_never_completed_by_the_next_datagram() {
    // Joined, the second and the third would be the one line `part,tag=x f=1 2`.
    relays(
        &[b"whole f=1 1\npart,ta", b"g=x f=1 2", b"after f=1 3"],
        &["whole f=1 1", "g=x f=1 2", "after f=1 3"],
        1,
    );
}

#[test]
fn crlf_blank_lines_and_comments() {
    relays(
        &[
            b"a f=1 1\r\nb f=1 2\r\n",
            b"# a comment\nc f=1 3\n  # another\n\n \n",
            b"\r\n",
            b"#",
            b"",
        ],
        &["a f=1 1", "b f=1 2", "c f=1 3"],
        0,
    );
}

#[test]
fn a_bad_line_harms_itself_alone() {
    relays(
        &[b"good f=1 1\nbad\ngood f=1 2\n,t=1 f=1\ngood f=1 3\nbad f=\ngood f=1 4"],
        &["good f=1 1", "good f=1 2", "good f=1 3", "good f=1 4"],
        3,
    );
}

#[test]
fn an_open_quote_swallows_no_neighbour() {
    relays(
        &[b"before f=1 1", b"open f=\"never closed", b"after f=\"x\" 2\nlast f=1 3", b"f=\" 4"],
        &["before f=1 1", "after f=\"x\" 2", "last f=1 3"],
        2,
    );
}

#[test]
fn quoted_newlines_and_escapes_pass_untouched() {
    let (relay, sinks) = relay("");
    let quoted = b"log,host=a\\ b\\,c text=\"two\nlines, \\\"quoted\\\" \\\\\",n=1i 7";
    UdpSource::new(&relay, "in").send_all(&[&quoted[..], b"next f=1 8"]);
    for sink in &sinks {
        // The quoted newline counts as a line end here.
        sink.wait_for_lines(3);
        // The last line of a datagram may lack its newline.
        let datagrams = sink.datagrams();
        let trimmed: Vec<_> = datagrams.iter().map(|datagram| datagram.trim_ascii_end()).collect();
        let expected = [&quoted[..], b"next f=1 8"].join(&b'\n');
        assert_eq!(
            trimmed.join(&b'\n').escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.accepted("in"), 2, "a quoted newline ends no line");
    relay.finish();
}

#[test]
fn refused_lines_are_counted_by_reason() {
    let (relay, _sinks) = relay("");
    let bad = ["m", "m f=", ",t=1 f=1", "m,t f=1", "m f=1 x", "m f=\"open"];
    UdpSource::new(&relay, "in").send_all(&bad);
    let metrics = relay.wait_until_settled();
    let reasons = metrics.by(names::UDP_REFUSED, "reason", &[("listener", "in")]);
    assert_eq!(reasons.values().sum::<u64>(), bad.len() as u64, "{reasons:?}");
    assert!(reasons.len() >= 4, "reasons are told apart: {reasons:?}");
    assert_eq!(metrics.accepted("in"), 0);
    relay.finish();
}

#[test]
fn the_largest_datagrams_pass() {
    let (relay, sinks) = relay("");
    let lines = numbered("large", 4_000);
    // 65 507 bytes are the most that UDP carries.
    let mut datagrams = vec![String::new()];
    for line in &lines {
        let last = datagrams.last_mut().expect("there is one");
        if last.len() + line.len() + 1 > 65_507 {
            datagrams.push(String::new());
        }
        let last = datagrams.last_mut().expect("there is one");
        *last += &format!("{line}\n");
    }
    assert!(datagrams[0].len() > 65_400, "it is as large as it gets");
    UdpSource::new(&relay, "in").send_all(&datagrams);
    for sink in &sinks {
        assert_eq!(sink.wait_for_lines(lines.len()), lines);
    }
    relay.finish();
}

fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

fn stamp(line: &str) -> u128 {
    let stamp = line.rsplit(' ').next().and_then(|stamp| stamp.parse().ok());
    stamp.unwrap_or_else(|| panic!("no timestamp: {line}"))
}

#[test]
fn a_missing_timestamp_is_added_once_for_all_backends() {
    for (precision, unit_ns) in [("n", 1), ("u", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)] {
        let (relay, sinks) = relay(&format!("precision = \"{precision}\""));
        let before = now_ns() / unit_ns;
        let source = UdpSource::new(&relay, "in");
        source.send_all(&["m,n=0 f=1\nm,n=1 f=1 12345\nm,n=2 f=1", "m,n=3 f=1"]);
        let [a, b] = sinks.each_ref().map(|sink| sink.wait_for_lines(4));
        let after = now_ns() / unit_ns;
        assert_eq!(a, b, "replicas agree");
        assert_eq!(a[1], "m,n=1 f=1 12345", "a timestamp is never touched");
        for unstamped in [0, 2, 3] {
            assert!(a[unstamped].starts_with(&format!("m,n={unstamped} f=1 ")), "{a:?}");
            let stamp = stamp(&a[unstamped]);
            assert!((before..=after + 1_000).contains(&stamp), "{before} {stamp} {after}");
        }
        relay.finish();
    }
}

#[test]
fn points_of_one_series_in_two_datagrams_get_two_timestamps() {
    let (relay, sinks) = relay("");
    UdpSource::new(&relay, "in").send_all(&["m f=1"; 100]);
    let lines = sinks[0].wait_for_lines(100);
    let stamps: std::collections::BTreeSet<_> = lines.iter().map(|line| stamp(line)).collect();
    assert_eq!(stamps.len(), 100, "none overwrites another");
    relay.finish();
}

#[test]
fn stamps_are_in_the_precision_of_the_listener() {
    for (precision, digits) in
        [("n", 19), ("ns", 19), ("u", 16), ("us", 16), ("ms", 13), ("s", 10), ("m", 8), ("h", 6)]
    {
        let (relay, sinks) = relay(&format!("precision = \"{precision}\"\nread-buffer = 65536"));
        UdpSource::new(&relay, "in").send_all(&["m f=1", "m f=1 42"]);
        for sink in &sinks {
            let lines = sink.wait_for_lines(2);
            let stamp = lines[0].strip_prefix("m f=1 ").expect("the line, then its stamp");
            assert_eq!((stamp.len(), &*lines[1]), (digits, "m f=1 42"), "{precision}");
        }
        relay.finish();
    }
}
