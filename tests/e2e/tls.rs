//! TLS and credentials: from one relay by HTTPS to another, and whom they do not talk to.

use crate::certificates::{Authority, self_signed};
use crate::harness::{
    HttpBackend, Relay, Reply, binary, config_file, http_listener, http_output, names, numbered,
    run, wait_until,
};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("a temporary file");
        path
    }

    /// A relay that speaks HTTPS with this combined PEM, in front of `backend`.
    fn https_relay(&self, pem: &str, more: &str, backend: &HttpBackend) -> Relay {
        let pem = self.write("relay.pem", pem);
        let more = format!("ssl-combined-pem = {pem:?}\n{more}");
        Relay::start(&http_listener("tls", &more, &[http_output("out", backend.addr(), "")]))
    }
}

/// A relay that takes HTTP and writes to `addr` by HTTPS, as to `localhost`.
fn relay_to(addr: SocketAddr, more: &str) -> Relay {
    let location = format!("https://localhost:{}/", addr.port());
    let output = format!("name = \"out\"\nlocation = \"{location}\"\n{more}\n");
    Relay::start(&http_listener("in", "", &[output]))
}

#[test]
fn lines_go_by_https_with_client_certificates_on_kept_connections() {
    let (authority, clients, files) = (Authority::new("ca"), Authority::new("c"), Files::new());
    let ca = files.write("ca.pem", &authority.pem());
    let client_ca = files.write("client-ca.pem", &clients.pem());
    let mine = files.write("mine.pem", &clients.issue(&["relay"]));
    let backend = HttpBackend::healthy();
    let server = files.https_relay(
        &authority.issue(&["localhost"]),
        &format!("client-ca-file = {client_ca:?}"),
        &backend,
    );
    let more = format!("ca-file = {ca:?}\nclient-pem = {mine:?}\ncontent-encoding = \"gzip\"");
    let relay = relay_to(server.addr("tls"), &more);
    let (lines, mut client) = (numbered("a", 500), relay.client("in"));
    for chunk in lines.chunks(10) {
        assert_eq!(client.write("db=d", chunk.join("\n")).status(), 204);
    }
    assert_eq!(backend.wait_for_lines(500), lines, "in order");
    let metrics = server.metrics();
    let listener = [("listener", "tls")];
    let connections = metrics.of(names::HTTP_CONNECTIONS, &listener);
    assert!((1..=2).contains(&connections), "the sender's and the front's were kept");
    assert_eq!(metrics.of(names::HTTP_HANDSHAKES_FAILED, &listener), 0);
    relay.finish();
    server.finish();
}

#[test]
fn a_backend_that_is_not_trusted_is_down_and_the_log_says_why() {
    let (authority, files) = (Authority::new("ca"), Files::new());
    let ca = files.write("ca.pem", &authority.pem());
    let backend = HttpBackend::healthy();
    for (pem, why) in [
        (authority.issue_for(&["localhost"], 2001..2002), "no TLS: its certificate expired "),
        (self_signed(&["localhost"], true), "no TLS: its certificate is self-signed"),
        (authority.issue(&["influx.test"]), "is for influx.test, not for the host localhost"),
        (Authority::new("x").issue(&["localhost"]), "of an authority that is not trusted"),
    ] {
        let server = files.https_relay(&pem, "", &backend);
        let relay = relay_to(server.addr("tls"), &format!("ca-file = {ca:?}"));
        assert_eq!(relay.client("in").write("db=d", "a f=1 1").status(), 503);
        let down = |line: &String| line.contains("backend is down") && line.contains(why);
        wait_until(why, || relay.log().iter().any(down));
        relay.finish();
        server.finish();
    }
    assert_eq!(backend.connections(), 0, "nothing came through");
}

#[test]
fn a_backends_authority_is_read_again_when_its_file_changes() {
    let (right, wrong, files) = (Authority::new("right"), Authority::new("wrong"), Files::new());
    let ca = files.write("ca.pem", &wrong.pem());
    let mine = files.write("mine.pem", &wrong.issue(&["relay"]));
    let client_ca = files.write("client-ca.pem", &right.pem());
    let backend = HttpBackend::healthy();
    let more = format!("client-ca-file = {client_ca:?}");
    let server = files.https_relay(&right.issue(&["localhost"]), &more, &backend);
    let more = format!("ca-file = {ca:?}\nclient-pem = {mine:?}\ntimeout = \"2s\"");
    let relay = relay_to(server.addr("tls"), &more);
    let write = || relay.client("in").write("db=d", "a f=1 1").status();
    assert_eq!(write(), 503);
    let said = |words: &str| relay.log().iter().any(|line| line.contains(words));
    // Half a file is no reason to trust nobody, or anybody.
    files.write("ca.pem", "-----BEGIN CERTIFICATE-----\nhalf of it");
    wait_until("the broken file to be looked at", || {
        assert_eq!(write(), 503);
        said("the old certificates stay in use: ca-file")
    });
    files.write("ca.pem", &right.pem());
    files.write("mine.pem", &right.issue(&["relay"]));
    wait_until("the new files to be used", || write() == 204);
    assert!(said("changed and were read again"));
    relay.finish();
    server.finish();
}

#[test]
fn when_a_certificate_expires_is_a_metric_and_a_warning() {
    let (authority, files, backend) = (Authority::new("ca"), Files::new(), HttpBackend::healthy());
    let expiry = |relay: &Relay| {
        let name = "ringrelay_tls_certificate_expiry_timestamp_seconds";
        relay.metrics().of(name, &[("listener", "tls")])
    };
    let pem = authority.issue_for(&["localhost"], 2020..2040);
    let server = files.https_relay(&pem, "", &backend);
    assert_eq!(expiry(&server), 2_208_988_800, "the first second of 2040");
    // A scrape is enough to find a new file: nobody need have shaken hands.
    files.write("relay.pem", &authority.issue_for(&["localhost"], 2001..2002));
    wait_until("the new file", || expiry(&server) == 1_009_843_200);
    let log = server.finish().log.join("\n");
    assert!(log.contains("the certificate expired ") && log.contains("renew it"), "{log}");
}

#[test]
fn credentials_reach_the_backend_and_nobody_else() {
    let (secret, colon) = ("hunter2", "hun:ter/2");
    let backend = HttpBackend::start(|request| match request.header("authorization") {
        // dXM6aHVudGVyMg== is us:hunter2.
        Some("Basic dXM6aHVudGVyMg==" | "Token hunter2") => Reply::status(204),
        // The same of us:hun:ter/2.
        Some("Basic dXM6aHVuOnRlci8y") => Reply::status(204),
        _ => Reply::json(401, r#"{"error":"authorization failed"}"#),
    });
    let addr = backend.addr();
    let with = |name: &str, more: &str| http_output(name, addr, more);
    let outputs = [
        with("basic", &format!("username = \"us\"\npassword = \"{secret}\"")),
        with("token", &format!("token = \"{secret}\"")),
        format!("location = \"http://us:hun%3Ater%2f2@{addr}/\""),
        // What the relay logs of a backend that is down names none of it either.
        format!("name = \"down\"\nlocation = \"http://us:{secret}@127.0.0.1:1/\""),
    ];
    let toml = http_listener("in", "", &outputs);
    let relay = Relay::start(&toml);
    let mut client = relay.client("in");
    let target = "/write?db=d&u=them&p=theirs";
    let written = client.request("POST", target, &[("Authorization", "Token x")], b"a f=1 1");
    assert_eq!(written.status(), 204);
    backend.wait_for_lines(3);
    for request in backend.requests() {
        assert_eq!(request.query(), "db=d");
    }
    let metrics = relay.client("in").get("/metrics").text();
    assert!(metrics.contains(&format!("backend=\"http://{addr}/\"")), "{metrics}");
    let log = relay.finish().log.join("\n");
    assert!(log.contains("backend is down"), "{log}");

    let (_dir, file) = config_file(&toml);
    let check = run(Command::new(binary()).arg("-check").arg("-config").arg(&file));
    assert!(check.status.success());
    let mut said = [check.stdout, check.stderr].concat();
    let mistakes =
        [("\"us\"", "\"u:s\""), ("token = ", "token = 1"), ("http://us:", "http://us:/")];
    for (good, bad) in mistakes {
        let (_dir, file) = config_file(&toml.replace(good, bad));
        let refused = run(Command::new(binary()).arg("-config").arg(&file));
        assert_eq!(refused.status.code(), Some(2), "{bad}");
        said.extend(refused.stderr);
    }
    let all = format!("{metrics}\n{log}\n{}", String::from_utf8_lossy(&said));
    for secret in [secret, colon, "hun%3A", "dXM6", "theirs"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn credentials_come_from_the_environment() {
    let toml = |more: &str| {
        let addr = "127.0.0.1:9".parse().expect("an address");
        http_listener("in", "", &[http_output("out", addr, more)])
    };
    let check = |more: &str, value: Option<&str>| {
        let (_dir, file) = config_file(&toml(more));
        let mut command = Command::new(binary());
        command.arg("-check").arg("-config").arg(&file).env_remove("RELAY_TEST_SECRET");
        command.envs(value.map(|value| ("RELAY_TEST_SECRET", value)));
        let output = run(&mut command);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    for more in [
        "token-env = \"RELAY_TEST_SECRET\"",
        "username = \"me\"\npassword-env = \"RELAY_TEST_SECRET\"",
    ] {
        let (code, said) = check(more, Some("hunter2"));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("credentials of its own") && !said.contains("hunter2"), "{said}");
        for (value, why) in [(None, "not set, or empty"), (Some("hunter2\n"), "control character")]
        {
            let (code, said) = check(more, value);
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains("-env = \"RELAY_TEST_SECRET\": names an envi"), "{said}");
            assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn without_verification_anyone_is_trusted_and_asked_for_health_too() {
    let (authority, files) = (Authority::new("ca"), Files::new());
    let backend = HttpBackend::healthy();
    for pem in [
        authority.issue_for(&["localhost"], 2001..2002),
        self_signed(&["localhost"], false),
        authority.issue(&["influx.test"]),
    ] {
        let server = files.https_relay(&pem, "", &backend);
        let relay = relay_to(server.addr("tls"), "skip-tls-verification = true");
        assert_eq!(relay.client("in").write("db=d", "a f=1 1").status(), 204);
        let health = relay.client("in").get("/health").text();
        assert!(health.contains("\"status\":\"healthy\""), "{health}");
        relay.finish();
        server.finish();
    }
    assert_eq!(backend.lines().len(), 3);
}

#[test]
fn a_certificate_is_for_the_very_host_and_for_now() {
    let (authority, files) = (Authority::new("ca"), Files::new());
    let ca = files.write("ca.pem", &authority.pem());
    let backend = HttpBackend::healthy();
    for (host, pem, why) in [
        ("127.0.0.1", authority.issue(&["localhost"]), Some("not for the host 127.0.0.1")),
        ("localhost", authority.issue(&["127.0.0.1"]), Some("not for the host localhost")),
        ("localhost", authority.issue_for(&["localhost"], 2100..2101), Some("is not valid for")),
        ("127.0.0.1", authority.issue(&["127.0.0.1"]), None),
        ("localhost", authority.issue(&["localhost", "127.0.0.1"]), None),
    ] {
        let server = files.https_relay(&pem, "", &backend);
        let location = format!("https://{host}:{}/", server.addr("tls").port());
        let output = format!("name = \"out\"\nlocation = \"{location}\"\nca-file = {ca:?}\n");
        let relay = Relay::start(&http_listener("in", "", &[output]));
        let status = relay.client("in").write("db=d", "a f=1 1").status();
        assert_eq!(status, if why.is_some() { 503 } else { 204 }, "{host}: {why:?}");
        if let Some(why) = why {
            let down = |line: &String| line.contains("backend is down") && line.contains(why);
            wait_until(why, || relay.log().iter().any(down));
        }
        relay.finish();
        server.finish();
    }
    assert_eq!(backend.lines().len(), 2);
}
