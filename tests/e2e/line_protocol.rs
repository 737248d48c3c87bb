//! Which lines the relay takes: those that InfluxDB 1.x takes, and few more.

use crate::harness::{
    HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, names, udp_listener,
    udp_output, wait_until,
};
use serde_json::Value;

/// What InfluxDB 1.x says to each of many inputs.
const VECTORS: &str = include_str!("../vectors/line-protocol.jsonl");

struct Vector {
    input: Vec<u8>,
    is_taken: bool,
    points: u64,
    reason: String,
}

/// `\r\n` and unsigned integers are taken on top.
fn is_addition(input: &[u8]) -> bool {
    input.ends_with(b"\r\n") || input == b"m f=1u" || input.ends_with(b"18446744073709551615u")
}

fn vectors() -> Vec<Vector> {
    let vectors = VECTORS.lines().map(|line| {
        let json: Value = serde_json::from_str(line).expect("a vector is JSON");
        let hex = json["input_hex"].as_str().expect("every vector has an input");
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let input: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let is_taken = json["accept"] == true || is_addition(&input);
        let points = if is_addition(&input) { Some(1) } else { json["points"].as_u64() };
        let reason = json["reason"].as_str().unwrap_or_default().to_owned();
        Vector { input, is_taken, points: points.unwrap_or_default(), reason }
    });
    vectors.collect()
}

#[test]
fn what_influxdb_takes_is_taken_by_http_and_what_it_refuses_is_refused() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&http_listener("in", "", &[http_output("a", backend.addr(), "")]));
    let mut client = relay.client("in");
    let vectors = vectors();
    assert!(vectors.len() > 140, "only {}", vectors.len());
    for Vector { input, is_taken, points, reason } in vectors {
        let shown = input.escape_ascii();
        let before = relay.metrics().accepted("in");
        let answer = client.write("db=d", &input);
        assert_eq!(answer.status(), if is_taken { 204 } else { 400 }, "{shown}");
        let points = if is_taken { points } else { 0 };
        assert_eq!(relay.metrics().accepted("in") - before, points, "{shown}");
        if !is_taken {
            assert!(answer.error().contains(&reason), "{shown}: {}", answer.error());
        }
    }
    relay.finish();
}

#[test]
fn what_influxdb_takes_is_taken_by_udp_and_what_it_refuses_is_counted_by_its_reason() {
    let sink = UdpSink::start();
    let relay = Relay::start(&udp_listener("in", "", &[udp_output("a", sink.addr(), "")]));
    let source = UdpSource::new(&relay, "in");
    // By UDP a bad line refuses itself alone; here each input is one line.
    let one_line = |vector: &Vector| vector.is_taken || !vector.input.contains(&b'\n');
    for Vector { input, is_taken, points, reason } in vectors().into_iter().filter(one_line) {
        let shown = input.escape_ascii();
        // A label has no numbers: `time_outside_range`.
        let words = reason.split(" -").next().unwrap_or_default();
        let reason = words.replace(' ', "_");
        let count = || {
            let metrics = relay.metrics();
            let refused = metrics.by(names::UDP_REFUSED, "reason", &[("listener", "in")]);
            (metrics.accepted("in"), refused)
        };
        let (accepted, mut refused) = count();
        let wanted = if is_taken {
            (accepted + points, refused)
        } else {
            *refused.entry(reason).or_default() += 1;
            (accepted, refused)
        };
        source.send_all(&[&input]);
        wait_until(&format!("{shown} to be counted as {wanted:?}"), || count() == wanted);
    }
    relay.finish();
}

#[test]
fn lines_go_on_as_they_came() {
    let backend = HttpBackend::healthy();
    let relay = Relay::start(&http_listener("in", "", &[http_output("a", backend.addr(), "")]));
    let mut client = relay.client("in");
    let lines = [
        "m,z=1,a=2 b=1,a=2 1",
        "m f=1u 2",
        "m f=18446744073709551615u 3",
        "m f=1.50e+3,g=-0i,h=t,i=FALSE 4",
        "m\\ n,t\\,g=a\\=b f=\"a\\\"b,c =d\" 5",
    ];
    assert_eq!(client.write("db=d", lines.join("\r\n")).status(), 204);
    assert_eq!(backend.wait_for_lines(lines.len()), lines, "but for the ends of lines");
    let twice = client.write("db=d", "m,a=1,a=2 f=1 1");
    assert_eq!(twice.status(), 400, "a tag key stands once");
    assert!(twice.error().contains("duplicate tags"), "{}", twice.error());
    relay.finish();
}
