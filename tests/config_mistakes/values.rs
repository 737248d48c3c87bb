//! Mistakes in single values: numbers, durations, addresses, URLs.

use super::{each, http, http_output, udp, udp_output, words};

#[test]
fn numbers_and_durations() {
    each(&[
        (
            udp_output("mtu = 63"),
            "f:4: mtu = 63: is out of bounds; give 64 to 65507, or 0 for the default",
        ),
        (
            udp_output("mtu = 65508"),
            "f:4: mtu = 65508: is out of bounds; give 64 to 65507, or 0 for the default",
        ),
        (
            http("max-connections = 0"),
            "f:2: max-connections = 0: is out of bounds; give 1 to 1000000",
        ),
        (
            http("header-timeout = '0s'"),
            "f:2: header-timeout = '0s': is out of bounds; give 1ms to 1h",
        ),
        (
            http("idle-timeout = '2d'"),
            "f:2: idle-timeout = '2d': is no duration; \
             give 1ms to 24h, each number with its unit, as in \"1m30s\"",
        ),
        (
            http("max-header-size-kb = 1025"),
            "f:2: max-header-size-kb = 1025: is out of bounds; give 1 to 1024",
        ),
        (
            http("health-critical-status = 99"),
            "f:2: health-critical-status = 99: is out of bounds; \
             give 200 to 599, or 0 for the default",
        ),
        (
            http("rate-limit-lines = -1"),
            "f:2: rate-limit-lines = -1: is out of bounds; give 0 to 1000000000",
        ),
        (
            udp("rate-limit-lines = 1000000001"),
            "f:2: rate-limit-lines = 1000000001: is out of bounds; give 0 to 1000000000",
        ),
        (
            http("admin-allow = ['10.0.0.0/33']"),
            "f:2: admin-allow = ['10.0.0.0/33']: has \"10.0.0.0/33\", which is no address and \
             no network; write them as in [\"127.0.0.0/8\", \"::1\"]",
        ),
        (
            udp_output("endpoints.write_prom = '/p'\nlocation = 'http://h/'\ndatabase = 'd'"),
            "f:4: endpoints: has no `write`, and points that come by UDP are line protocol; add it",
        ),
        (udp("read-buffer = -1"), "f:2: read-buffer = -1: is out of bounds; give 0 to 1073741823"),
        (
            udp("read-buffer = 0x4000_0000"),
            "f:2: read-buffer = 0x4000_0000: is out of bounds; give 0 to 1073741823",
        ),
        (
            udp("batch-wait-us = 99999999999999999999"),
            "f:2: batch-wait-us = 99999999999999999999: is out of bounds; give 0 to 100000",
        ),
        (
            http("default-ping-response = 199"),
            "f:2: default-ping-response = 199: is out of bounds; \
             give 200 to 599, or 0 for the default",
        ),
        (http("rate-limit = -1"), "f:2: rate-limit = -1: is out of bounds; give 0 to 1000000000"),
        (
            http("max-body-size-mb = 0"),
            "f:2: max-body-size-mb = 0: is out of bounds; give 1 to 1024",
        ),
        (
            http("max-bodies-size-mb = 31"),
            "f:2: max-bodies-size-mb = 31: is less than `max-body-size-mb`, \
             so that no body of that size fits; raise it",
        ),
        (
            http_output("queue-size-mb = 0"),
            "f:4: queue-size-mb = 0: is out of bounds; give 1 to 65536",
        ),
        (
            http_output("max-in-flight = 257"),
            "f:4: max-in-flight = 257: is out of bounds; give 1 to 256",
        ),
        (
            http_output("timeout = '10'"),
            "f:4: timeout = '10': is no duration; \
             give 1ms to 1h, each number with its unit, as in \"1m30s\"",
        ),
        (http_output("timeout = '0s'"), "f:4: timeout = '0s': is out of bounds; give 1ms to 1h"),
        (
            http_output("buffer-size-mb = 1\non-refused = 'retry'"),
            "f:5: on-refused = 'retry': is not known; give \"keep\" or \"drop\"",
        ),
        (
            http_output("dead-letter-dir = '/x'"),
            "f:4: dead-letter-dir = '/x': has no use without a backlog; \
             give `buffer-size-mb`, or remove it",
        ),
        (
            http_output("spool-dir = '/x'"),
            "f:4: spool-dir = '/x': has no use without a backlog; \
             give `buffer-size-mb`, or remove it",
        ),
        (
            http_output("buffer-size-mb = 1\nfsync = 'always'"),
            "f:5: fsync = 'always': has no use without a spool; give `spool-dir`, or remove it",
        ),
        (
            http_output("buffer-size-mb = 1\nspool-dir = '/x'\nfsync = 'daily'"),
            "f:6: fsync = 'daily': is not known; give \"always\", \"interval\" or \"never\"",
        ),
        (
            http_output("max-delay-interval = '2h'"),
            "f:4: max-delay-interval = '2h': is out of bounds; give 1ms to 1h",
        ),
        (
            format!("shutdown-timeout = '11m'\n{}", udp("")),
            "f:1: shutdown-timeout = '11m': is out of bounds; give 0s to 10m",
        ),
        (
            udp("precision = 'sec'"),
            "f:2: precision = 'sec': is no precision; give n, ns, u, us, ms, s, m or h",
        ),
    ]);
}

#[test]
fn addresses() {
    let bind = |address: &str| {
        format!("[[udp]]\nbind-addr = '{address}'\n[[udp.output]]\nlocation = 'h:1'")
    };
    each(&[
        (
            "[[udp]]\n[[udp.output]]\nlocation = 'h:1'".to_owned(),
            "f:1: [[udp]]: has no `bind-addr`; \
             give the address to listen on, as in bind-addr = \"127.0.0.1:9096\"",
        ),
        (
            bind(""),
            "f:2: bind-addr = '': is empty; \
             give the address to listen on, as in bind-addr = \"127.0.0.1:9096\"",
        ),
        (
            bind("9096"),
            "f:2: bind-addr = '9096': has no port; write host:port, as in \"127.0.0.1:9096\"",
        ),
        (
            bind("127.0.0.1:99999"),
            "f:2: bind-addr = '127.0.0.1:99999': has the port `99999`; \
             give a number from 0 to 65535",
        ),
        (
            bind("::1:9096"),
            "f:2: bind-addr = '::1:9096': has too many colons; write host:port without a scheme, \
             and an IPv6 address in brackets: \"[::1]:9096\"",
        ),
        (
            bind("[::g]:9096"),
            "f:2: bind-addr = '[::g]:9096': has `::g` in brackets, which is no IPv6 address",
        ),
        (
            bind("127.0.0.256:1"),
            "f:2: bind-addr = '127.0.0.256:1': has the host `127.0.0.256`; \
             give an IP address or a host name",
        ),
        (
            bind("relay.invalid:1"),
            "f:2: bind-addr = 'relay.invalid:1': has the host `relay.invalid`, \
             which is not found (unsupported); give an IP address",
        ),
        (
            udp_output("location = ''"),
            "f:4: location = '': is empty; \
             give the backend's address, as in location = \"127.0.0.1:8089\"",
        ),
        (
            udp_output("location = 'h:0'"),
            "f:4: location = 'h:0': has port 0; give the port that the backend listens on",
        ),
        (
            udp_output("location = 'udp://h:1'"),
            "f:4: location = 'udp://h:1': has the scheme `udp`; \
             write \"h:1\" for a backend by UDP, or \"http://host:8086/\" for one by HTTP",
        ),
    ]);
}

#[test]
fn urls() {
    each(&[
        (
            "[[http]]\nbind-addr = ':1'\n[[http.output]]\nname = 'x'".to_owned(),
            "f:3: [[http.output]]: has no `location`; \
             give the backend's URL, as in location = \"http://127.0.0.1:8086/\"",
        ),
        (
            http_output("location = '127.0.0.1:8086'"),
            "f:4: location = '127.0.0.1:8086': is no URL; write \"http://host:8086/\"",
        ),
        (
            http_output("location = 'ftp://h/'"),
            "f:4: location = 'ftp://h/': has the scheme `ftp`; write \"http://host:8086/\"",
        ),
        (
            http_output("location = 'http://:8086/'"),
            "f:4: location = 'http://:8086/': names no host; write \"http://host:8086/\"",
        ),
        (
            http_output("location = 'http://h:123456/'"),
            "f:4: location = 'http://h:123456/': has the port `123456`; \
             give a number from 0 to 65535",
        ),
        (
            http_output("location = 'http://h/write?db=x'"),
            "f:4: location = 'http://h/write?db=x': has a query or a fragment, which would not be \
             sent; remove it: the query comes from the client's request",
        ),
        (
            http_output("endpoints.write = '/write?db=x'"),
            "f:4: write = '/write?db=x': gives the path `/write?db=x`; \
             write a plain path such as \"/write\", without a query",
        ),
        (
            http_output("type = 'graphite'"),
            "f:4: type = 'graphite': is no type of backend; \
             write type = \"influxdb\" or \"influxdb2\", or remove it",
        ),
        (
            udp_output("location = 'http://h/'"),
            "f:3: [[udp.output]]: has no `database`; \
             write database = \"NAME\", because points that come by UDP name none",
        ),
        (
            udp_output("location = 'http://h/'\ndatabase = 'd'\nmtu = 500"),
            "f:6: mtu = 500: has no use for an output by HTTP; remove it",
        ),
        (
            udp_output("database = 'd'"),
            "f:4: database = 'd': has no use for an output by UDP; \
             remove it, or write the location as a URL",
        ),
    ]);
    let no_url = words(&http_output("location = 'http://h h/'"));
    assert!(no_url.starts_with("f:4: location = 'http://h h/': is no URL ("), "{no_url}");
}

#[test]
fn influxdb_2() {
    let v2 = |lines: &str| http_output(&format!("type = 'influxdb2'\n{lines}"));
    let v2_of_udp = |lines: &str| {
        udp_output(&format!("location = 'http://h/'\ntype = 'influxdb2'\norg = 'o'\n{lines}"))
    };
    each(&[
        (
            v2(""),
            "f:3: [[http.output]]: has no `org`; \
             write org = \"NAME\", the organization of InfluxDB 2 to write to",
        ),
        (
            v2("org = ''"),
            "f:5: org = '': is empty; \
             write org = \"NAME\", the organization of InfluxDB 2 to write to",
        ),
        (
            http_output("org = 'o'"),
            "f:4: org = 'o': is for InfluxDB 2; write type = \"influxdb2\" too, or remove it",
        ),
        (
            http_output("bucket = 'b'"),
            "f:4: bucket = 'b': is for InfluxDB 2; write type = \"influxdb2\" too, or remove it",
        ),
        (
            v2("org = 'o'\nendpoints = { write = '/write' }"),
            "f:6: write = '/write': ends in the write path of InfluxDB 1.x; \
             end it in \"/api/v2/write\", or give a base URL alone",
        ),
        (
            v2("org = 'o'\nlocation = 'http://h/write'"),
            "f:6: location = 'http://h/write': ends in the write path of InfluxDB 1.x; \
             end it in \"/api/v2/write\", or give a base URL alone",
        ),
        (
            v2_of_udp(""),
            "f:3: [[udp.output]]: has no `bucket`; \
             write bucket = \"NAME\", because points that come by UDP name none",
        ),
        (
            v2_of_udp("bucket = 'b'\ndatabase = 'd'"),
            "f:7: bucket = 'b': says the same as `database`; remove one of them",
        ),
        (
            v2_of_udp("bucket = 'b'\nretention-policy = 'r'"),
            "f:8: retention-policy = 'r': has no use without `database`; remove it",
        ),
        (
            udp_output("bucket = 'b'"),
            "f:4: bucket = 'b': has no use for an output by UDP; \
             remove it, or write the location as a URL",
        ),
        (
            http("ack = 'most'"),
            "f:2: ack = 'most': is no number of backends; give any, quorum or all",
        ),
    ]);
}
