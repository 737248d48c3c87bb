//! An output that is taken out of the configuration: it drains what it has, up to a deadline.

use crate::harness::{
    ADMIN, HttpBackend, Relay, Reply, UdpSink, UdpSource, http_output, numbered, udp_listener,
    udp_output,
};
use crate::reload::wait_until_gone;
use rustix::process::Signal;

#[test]
fn an_output_that_is_taken_out_drains_what_it_has() {
    let (stuck, gate) = HttpBackend::gated(|_| Reply::status(204));
    let (lost, closed) = HttpBackend::gated(|_| Reply::status(204));
    let sink = UdpSink::start();
    let kept = udp_output("kept", sink.addr(), "");
    let more = "database = \"d\"\ntimeout = \"60s\"";
    let of = |stuck: &HttpBackend| {
        udp_listener("in", "", &[http_output("stuck", stuck.addr(), more), kept.clone()])
    };
    let without = udp_listener("in", "", std::slice::from_ref(&kept));
    let relay = Relay::start(&of(&stuck));
    let lines = numbered("drains", 500);
    UdpSource::new(&relay, "in").send_all(&lines);
    stuck.wait_for_requests(1);
    relay.reload(&without);
    assert_eq!(relay.metrics().books("in", "stuck").queued, 500, "its series are there");
    let said = relay.refuses(&format!("{}{}", of(&stuck), ADMIN));
    assert!(said.contains("was taken out a moment ago and still drains"), "{said}");
    gate.open();
    assert_eq!(stuck.wait_for_lines(500), lines);
    wait_until_gone(&relay, "stuck");
    // What does not drain in time is dropped, and counted.
    relay.reload(&format!("shutdown-timeout = \"100ms\"\n{}", of(&lost)));
    UdpSource::new(&relay, "in").send_all(&lines);
    lost.wait_for_requests(1);
    relay.reload(&format!("shutdown-timeout = \"100ms\"\n{without}"));
    wait_until_gone(&relay, "stuck");
    let books = relay.log().into_iter().rfind(|line| line.contains("books closed"));
    let books = books.expect("they are in the log");
    assert!(books.contains("taken=500") && books.ends_with("dropped=shutdown=500"), "{books}");
    closed.open();
    relay.finish();
}

#[test]
fn a_shorter_shutdown_timeout_holds_for_what_drains_already() {
    let (stuck, _gate) = HttpBackend::gated(|_| Reply::status(204));
    let sink = UdpSink::start();
    let kept = udp_output("kept", sink.addr(), "");
    let stuck_output = http_output("stuck", stuck.addr(), "database = \"d\"\ntimeout = \"60s\"");
    let of = |timeout: &str, outputs: &[String]| {
        format!("shutdown-timeout = \"{timeout}\"\n{}", udp_listener("in", "", outputs))
    };
    let relay = Relay::start(&of("10m", &[stuck_output, kept.clone()]));
    UdpSource::new(&relay, "in").send_all(&numbered("drains", 500));
    stuck.wait_for_requests(1);
    relay.reload(&of("10m", std::slice::from_ref(&kept)));
    relay.reload(&of("100ms", &[kept]));
    relay.signal(Signal::TERM);
    let books = relay.wait().books("in", "stuck");
    assert_eq!((books.taken, books.dropped("shutdown")), (500, 500), "{books:?}");
}
