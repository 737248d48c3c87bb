//! The command line, and starting: it works, or it fails clearly before anything is bound.

use crate::harness::{
    HttpBackend, Relay, UdpSink, binary, config_file, http_listener, http_output, require, run,
    script, udp_listener, udp_output,
};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output};

fn relay(arguments: &[&str]) -> Output {
    run(Command::new(binary()).args(arguments))
}

fn with_config(arguments: &[&str], toml: &str) -> Output {
    let (_dir, file) = config_file(toml);
    run(Command::new(binary()).args(arguments).arg("-config").arg(&file))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that the relay does not start with this configuration, and that it says all of this.
#[track_caller]
fn refuses(toml: &str, said: &[&str]) {
    let output = with_config(&[], toml);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for said in said {
        assert!(error.contains(said), "no {said:?} in: {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
    assert!(!error.contains("listening"), "nothing is bound: {error}");
}

fn valid() -> String {
    udp_listener("in", "", &[udp_output("out", "127.0.0.1:9".parse().expect("an address"), "")])
}

fn valid_http() -> String {
    let output = http_output("out", "127.0.0.1:9".parse().expect("an address"), "");
    format!("http-threads = 4\n{}", http_listener("in", "", &[output]))
}

#[test]
fn version_is_printed() {
    for argument in ["-version", "--version"] {
        let output = relay(&[argument]);
        assert!(output.status.success());
        let version = text(&output.stdout);
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        assert_eq!(version.lines().count(), 1, "{version}");
    }
}

#[test]
fn without_a_configuration_it_says_so_and_exits_1() {
    let output = relay(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("-config"), "{}", text(&output.stderr));
}

#[test]
fn a_missing_file_is_named() {
    let output = relay(&["-config", "/nonexistent/relay.toml"]);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}", output.status);
    assert!(text(&output.stderr).contains("/nonexistent/relay.toml"));
}

#[test]
fn an_unknown_argument_is_named() {
    let output = relay(&["-confg", "relay.toml"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("confg"), "{}", text(&output.stderr));
}

#[test]
fn check_validates_and_binds_nothing() {
    let sink = UdpSink::start();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("it is bound");
    let toml = udp_listener("in", "", &[udp_output("out", sink.addr(), "")])
        .replace("127.0.0.1:0", &addr.to_string());
    for arguments in [["-check"], ["--check"]] {
        let output = with_config(&arguments, &toml);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(said.contains(&addr.to_string()), "it prints what it would run: {said}");
        assert!(said.contains(&sink.addr().to_string()), "it prints what it would run: {said}");
    }
    let output = with_config(&["-check"], &format!("{toml}\nmtuu = 1"));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
}

#[test]
fn the_log_can_be_json() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("it is bound").to_string();
    // The first listener is bound, the second is not: the log says so, and the relay ends.
    let toml = valid() + &valid().replace("127.0.0.1:0", &addr).replace("\"in\"", "\"taken\"");
    let output = with_config(&["-log-format", "json"], &toml);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    // The last line is the error, as text.
    let logged = error.lines().filter(|line| line.starts_with('{'));
    let logged = logged.map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    let mut listening = logged.filter(|line| line["fields"]["message"] == "listening");
    let line = listening.next().expect("a listener was bound");
    assert_eq!(line["level"], "INFO", "{line}");
    assert_eq!(line["fields"]["relay"], "in", "{line}");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
    let toml = valid();
    refuses(&toml.replace("bind-addr", "bind-adr"), &["bind-adr", "bind-addr", "relay.toml", ":3"]);
    refuses(&format!("{toml}mtuu = 1\n"), &["mtuu", "mtu"]);
    refuses(&format!("[[upd]]\nname = \"x\"\n{toml}"), &["upd", "udp"]);
    let http = http_listener("in", "defualt-ping-response = 200", &[]);
    refuses(&http, &["defualt-ping-response", "default-ping-response"]);
}

#[test]
fn bad_values_are_refused_with_their_key_and_value() {
    let toml = valid();
    let addr = |addr: &str| toml.replace("127.0.0.1:0", addr);
    refuses(&addr("127.0.0.1"), &["bind-addr", "127.0.0.1"]);
    refuses(&addr("localhost:99999"), &["bind-addr", "localhost:99999"]);
    refuses(&addr("not an address"), &["bind-addr", "not an address"]);
    refuses(&toml.replace("127.0.0.1:9", ""), &["location"]);
    refuses(
        &toml.replace("name = \"in\"", "name = \"in\"\nprecision = \"days\""),
        &["precision", "days"],
    );
    refuses(&format!("{toml}mtu = -1\n"), &["mtu"]);
    let output = "[[udp.output]]\nname = \"out\"\nlocation = \"127.0.0.1:10\"\n";
    refuses(&format!("{toml}{output}"), &["out"]);
    let http = |more: &str| {
        let addr = "127.0.0.1:9".parse().expect("an address");
        http_listener("in", "", &[http_output("out", addr, more)])
    };
    refuses(&http("timeout = \"ten seconds\""), &["timeout", "ten seconds"]);
    refuses(&http("timeout = 10"), &["timeout"]);
    refuses("[[udp]\n", &["relay.toml"]);
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_else_stays_bound() {
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let tcp = tcp.and_then(|socket| socket.local_addr().map(|addr| (socket, addr)));
    let udp = udp.and_then(|socket| socket.local_addr().map(|addr| (socket, addr)));
    let ((_tcp, tcp), (_udp, udp)) = (tcp.expect("a free port"), udp.expect("a free port"));
    let backend = HttpBackend::healthy();
    let http = http_listener("web", "", &[http_output("out", backend.addr(), "")]);
    let both = [
        (http.replace("127.0.0.1:0", &tcp.to_string()) + &valid(), tcp, "web"),
        (http + &valid().replace("127.0.0.1:0", &udp.to_string()), udp, "in"),
    ];
    for (toml, addr, name) in both {
        let output = with_config(&[], &toml);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for said in [addr.to_string().as_str(), name, "bind-addr", "in use"] {
            assert!(error.contains(said), "no {said:?} in: {error}");
        }
        assert!(!error.lines().any(|line| line.ends_with(": ready")), "{error}");
    }
}

#[test]
fn the_sum_of_all_memory_bounds_is_logged_before_it_is_ready() {
    let relay = Relay::start(&valid_http());
    let log = relay.log();
    let line = log.iter().find(|line| line.contains("memory is bounded by")).expect("a line");
    let field = |name: &str| {
        let text = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        text.expect(name).parse::<u64>().expect("a number")
    };
    assert_eq!((field("queues_mb"), field("backlogs_mb"), field("bodies_mb")), (16, 0, 64));
    let parts = ["queues", "backlogs", "bodies", "connections", "requests", "rings"];
    let sum: u64 = parts.iter().map(|part| field(&format!("{part}_mb"))).sum();
    let total = field("total_mb");
    assert!((total..=total + 6).contains(&sum), "each is rounded up: {line}");
    assert!(relay.resident_bytes() < total << 20);
    relay.finish();
}

#[test]
fn without_io_uring_it_says_so_and_names_the_remedy() {
    if !require(&["python3"]) {
        return;
    }
    let (_udp, udp) = config_file(&valid());
    let (_http, http) = config_file(&valid_http());
    let forbidden = [("EPERM", "io_uring_disabled"), ("ENOSYS", "kernel")];
    for ((errno, remedy), file) in forbidden.iter().flat_map(|why| [(why, &udp), (why, &http)]) {
        let mut command = Command::new("python3");
        command.arg(script("without_io_uring.py")).arg(errno).arg(binary());
        let output = run(command.arg("-config").arg(file));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("io_uring") && error.contains(remedy), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        assert!(!error.lines().any(|line| line.ends_with(": ready")), "{error}");
    }
}

#[test]
fn without_enough_file_descriptors_it_says_so_before_it_is_ready() {
    let (_dir, file) = config_file(&valid_http());
    for limit in 8..24 {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" -config \"$1\""));
        let output = run(command.arg(binary()).arg(&file));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{limit}: {error}");
        assert!(error.contains("open files"), "{limit}: {error}");
        assert!(!error.lines().any(|line| line.ends_with(": ready")), "{limit}: {error}");
    }
}

#[test]
fn one_dash_or_two_and_an_equals_sign_name_the_configuration() {
    let (_dir, file) = config_file(&valid());
    let file = file.display().to_string();
    for dashes in ["-", "--"] {
        let (flag, joined) = (format!("{dashes}config"), format!("{dashes}config={file}"));
        for arguments in [vec![&*flag, &*file, "-check"], vec![&*joined, "-check"]] {
            let output = relay(&arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn v_logs_each_request_and_without_it_none_is() {
    for (arguments, wanted) in [(&["-v"][..], true), (&[], false)] {
        let relay = Relay::start_with(arguments, &valid_http());
        assert_eq!(relay.client("in").get("/ping?q=1").status(), 204);
        let log = relay.finish().log.join("\n");
        assert_eq!(log.contains("GET /ping 204"), wanted, "{arguments:?}: {log}");
    }
}

#[test]
fn files_of_both_go_relays_are_taken_as_they_are() {
    for (sample, said) in [
        ("original.conf", &["127.0.0.1:9096", "http://10.0.0.1:8086/write", "10.0.0.2:8089"][..]),
        ("fork.conf", &["0.0.0.0:9096", "http://influxdb2:80/write", "influxdb1:8089"]),
        ("fork-old.conf", &["9096"]),
    ] {
        let path = format!("{}/tests/samples/{sample}", env!("CARGO_MANIFEST_DIR"));
        let output = relay(&["-config", &path, "-check"]);
        assert!(output.status.success(), "{sample}: {}", text(&output.stderr));
        for said in said {
            let all = text(&output.stdout);
            assert!(all.contains(said), "{sample}: no {said} in:\n{all}");
        }
    }
}
