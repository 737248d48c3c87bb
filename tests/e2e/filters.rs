//! Filters: which points reach which backend, and that what does not is counted.

use crate::harness::{
    HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, udp_listener, udp_output,
};

/// Six lines: three measurements, of which one has an escape, with and without tags.
const LINES: [&str; 6] = [
    "cpu,host=a f=1 1",
    "cpu,host=a,datacenter=eu f=1 2",
    "cpu f=1 3",
    "disk\\ usage,host=a f=1 4",
    "mem,host=a f=\"cpu,x=1 \" 5",
    "mem,datacenter=eu f=1 6",
];

const FILTERS: &str = r#"
[[filter]]
measurement-expression = '^(cpu|disk usage)$'
outputs = ["some"]

[[filter]]
tag-expression = '^[a-z]{1,4}$'
outputs = ["some", "short"]

[[filter]]
measurement-expression = 'nothing'
outputs = ["none"]
"#;

fn picked(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|&n| LINES[n].to_owned()).collect()
}

#[test]
fn each_output_gets_the_points_that_pass_all_its_filters() {
    let backends: Vec<_> = (0..4).map(|_| HttpBackend::healthy()).collect();
    let names = ["all", "some", "short", "none"];
    let outputs: Vec<_> = names
        .iter()
        .zip(&backends)
        .map(|(name, backend)| http_output(name, backend.addr(), ""))
        .collect();
    let relay = Relay::start(&(http_listener("in", "ack = \"all\"", &outputs) + FILTERS));
    assert_eq!(relay.client("in").write("db=d", LINES.join("\n")).status(), 204);
    let wanted: [&[usize]; 4] = [&[0, 1, 2, 3, 4, 5], &[0, 2, 3], &[0, 2, 3, 4], &[]];
    let metrics = relay.wait_until_settled();
    for ((name, backend), wanted) in names.iter().zip(&backends).zip(wanted) {
        assert_eq!(backend.lines(), picked(wanted), "{name}");
        let dropped = (LINES.len() - wanted.len()) as u64;
        assert_eq!(metrics.filtered("in", name), dropped, "{name}");
    }
    assert!(backends[3].requests().is_empty(), "nothing is no request");
    relay.finish();
}

#[test]
fn a_write_that_no_backend_gets_is_a_success() {
    let backend = HttpBackend::healthy();
    let filter = "[[filter]]\nmeasurement-expression = '^cpu$'\noutputs = ['a']\n";
    let outputs = [http_output("a", backend.addr(), "")];
    let relay = Relay::start(&(http_listener("in", "", &outputs) + filter));
    assert_eq!(relay.client("in").write("db=d", "mem f=1 1\nmem f=1 2").status(), 204);
    assert_eq!(relay.metrics().filtered("in", "a"), 2);
    relay.finish();
    assert!(backend.requests().is_empty());
}

#[test]
fn points_that_came_by_udp_are_filtered_too() {
    let (sink, all, backend) = (UdpSink::start(), UdpSink::start(), HttpBackend::healthy());
    let outputs = [
        udp_output("short", sink.addr(), ""),
        udp_output("all", all.addr(), ""),
        http_output("some", backend.addr(), "database = \"d\""),
        udp_output("none", sink.addr(), ""),
    ];
    let relay = Relay::start(&(udp_listener("in", "", &outputs) + FILTERS));
    // More than one batch, so that padded ones are among them.
    let datagrams = vec![LINES.join("\n"); 300];
    UdpSource::new(&relay, "in").send_all(&datagrams);
    let times = |numbers: &[usize]| -> Vec<String> {
        datagrams.iter().flat_map(|_| picked(numbers)).collect()
    };
    assert_eq!(sink.wait_for_lines(4 * datagrams.len()), times(&[0, 2, 3, 4]));
    assert_eq!(all.wait_for_lines(6 * datagrams.len()), times(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(backend.wait_for_lines(3 * datagrams.len()), times(&[0, 2, 3]));
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.filtered("in", "none"), 6 * datagrams.len() as u64);
    relay.finish();
}
