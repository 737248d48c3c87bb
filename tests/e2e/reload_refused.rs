//! A new file that cannot take effect: it says why, changes nothing, and the relay goes on.

use crate::harness::{
    ADMIN, HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, udp_listener,
    udp_output,
};

#[test]
fn what_cannot_change_is_refused_whole_and_named() {
    let (sink, backend) = (UdpSink::start(), HttpBackend::healthy());
    let (spool, other) = (tempfile::tempdir(), tempfile::tempdir());
    let [spool, other] = [spool, other].map(|dir| dir.expect("a temporary directory"));
    let keeps = format!("buffer-size-mb = 16\nspool-dir = {:?}\nspool-size-mb = 64", spool.path());
    let udp = udp_listener("in", "workers = 1", &[udp_output("out", sink.addr(), "")]);
    let outputs = [
        http_output("kept", backend.addr(), &keeps),
        http_output("plain", backend.addr(), "buffer-size-mb = 16"),
    ];
    let web = http_listener("web", "ack = \"all\"", &outputs);
    let toml = format!("http-threads = 1\n{udp}{web}{ADMIN}");
    let relay = Relay::start(&format!("http-threads = 1\n{udp}{web}"));
    let other_dir = format!("{:?}", other.path());
    let spool_dir = format!("{:?}", spool.path());
    let database = format!("location = \"http://{}/\"\ndatabase = \"d\"", sink.addr());
    let by_udp = format!("location = \"{}\"", sink.addr());
    for (from, to, said) in [
        ("http-threads = 1", "http-threads = 2", "http-threads = 2 differs from what runs, 1"),
        (
            "name = \"in\"\nbind-addr = \"127.0.0.1:0\"",
            "name = \"in\"\nbind-addr = \"127.0.0.1:1\"",
            "[[udp]] \"in\": bind-addr = 127.0.0.1:1 differs from what runs, 127.0.0.1:0",
        ),
        ("name = \"in\"", "name = \"inlet\"", "[[udp]] \"in\" is not in the file any more"),
        ("name = \"in\"", "name = \"inlet\"", "[[udp]] \"inlet\" is new in the file"),
        ("workers = 1", "workers = 2", "[[udp]] \"in\": workers = 2 differs from what runs, 1"),
        ("workers = 1", "workers = 1\nread-buffer = 65536", "read-buffer = 65536 differs"),
        (ADMIN, "", "[admin]: bind-addr = none differs from what runs, 127.0.0.1:0"),
        (&by_udp, &database, "[[udp]] \"in\", output \"out\": location = http://"),
        (
            "buffer-size-mb = 16\nspool",
            "buffer-size-mb = 16\ntype = \"influxdb2\"\norg = \"o\"\nspool",
            "[[http]] \"web\", output \"kept\": type = influxdb2 differs from what runs, influxdb",
        ),
        (&spool_dir, &other_dir, "output \"kept\": spool-dir = "),
        (
            "spool-size-mb = 64",
            "spool-size-mb = 32",
            "spool-size-mb = 32 differs from what runs, 64",
        ),
        (&keeps, "", "output \"kept\": buffer-size-mb = 0 differs from what runs, 16"),
        (&keeps, "buffer-size-mb = 16", "spool-dir = none differs"),
    ] {
        let changed = toml.replacen(from, to, 1).replace(
            "write = \"/write\" }\nbuffer-size-mb = 16\ntype = \"influxdb2\"",
            "write = \"/api/v2/write\" }\nbuffer-size-mb = 16\ntype = \"influxdb2\"",
        );
        assert_ne!(changed, toml, "{from}");
        // What could change does not either.
        let changed =
            changed.replacen("ack = \"all\"", "ack = \"any\"\ndefault-ping-response = 299", 1);
        let words = relay.refuses(&changed);
        assert!(words.contains(said) && words.contains("needs a restart"), "{said}:\n{words}");
        assert_eq!(relay.client("web").get("/ping").status(), 204, "{said}");
    }
    let metrics = relay.metrics();
    assert_eq!(metrics.of("ringrelay_config_reloads_total", &[("result", "failure")]), 13);
    assert_eq!(metrics.of("ringrelay_config_last_reload_successful", &[]), 0);
    let began = metrics.of("ringrelay_config_last_reload_success_timestamp_seconds", &[]);
    assert_eq!(began, metrics.of("ringrelay_start_time_seconds", &[]));
    // All is as it was.
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    assert_eq!(sink.wait_for_lines(1), ["m f=1 1"]);
    assert_eq!(relay.client("web").write("db=d", "m f=1 2").status(), 204);
    assert_eq!(backend.wait_for_lines(2), ["m f=1 2", "m f=1 2"]);
    relay.reload(&format!("http-threads = 1\n{udp}{web}"));
    assert_eq!(relay.metrics().of("ringrelay_config_last_reload_successful", &[]), 1);
    relay.finish();
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let sink = UdpSink::start();
    let output = udp_output("out", sink.addr(), "");
    let toml = udp_listener("in", "", std::slice::from_ref(&output));
    let relay = Relay::start(&toml);
    let line = |words: &str| format!("{toml}{words}\n{ADMIN}");
    let pem = "[[http]]\nbind-addr = \"127.0.0.1:0\"\nssl-combined-pem = \"/nonexistent/x.pem\"\n\
               [[http.output]]\nlocation = \"http://127.0.0.1:1/\"";
    for (text, said) in [
        ("[[udp".to_owned(), "relay.toml:1: [[udp: is not TOML"),
        (String::new(), "has no listener"),
        (line("mtu = 70000"), "mtu = 70000: is out of bounds"),
        (line("mtoo = 1"), "mtoo"),
        (
            line("[[filter]]\nmeasurement-expression = '('\noutputs = ['out']"),
            "is no regular expression",
        ),
        (line(pem), "/nonexistent/x.pem"),
    ] {
        let words = relay.refuses(&text);
        assert!(words.contains(said) && words.contains("relay.toml"), "{said}:\n{words}");
    }
    // A new output whose directory cannot be had; another that could is not there either.
    let fine = http_output("fine", sink.addr(), "database = \"d\"");
    let more = "database = \"d\"\nbuffer-size-mb = 1\ndead-letter-dir = \"/proc/nonexistent\"";
    let bad = http_output("bad", sink.addr(), more);
    let outputs = [output, fine, bad];
    let words = relay.refuses(&(udp_listener("in", "", &outputs) + ADMIN));
    assert!(words.contains("dead-letter-dir = \"/proc/nonexistent\""), "{words}");
    let backends: Vec<_> = relay.metrics().backends().into_iter().map(|(_, name)| name).collect();
    assert_eq!(backends, ["out"]);
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    assert_eq!(sink.wait_for_lines(1), ["m f=1 1"]);
    relay.finish();
}
