//! Each known mistake in a configuration file gets its line of advice: where, which key, which
//! value, what is wrong, what to do.

#[path = "../support/certificates.rs"]
mod certificates;
mod security;
mod structure;
mod values;

use ringrelay::config::{Config, ConfigError};
use std::io::Write;
use std::path::Path;

fn words(text: &str) -> String {
    match Config::parse(text, "f") {
        Ok(config) => panic!("a mistake in {text:?} was not found: {}", config.summary()),
        Err(error) => error.to_string(),
    }
}

/// `line` is line 2, in an `[[http]]` listener that would run without it.
fn http(line: &str) -> String {
    format!("[[http]]\n{line}\nbind-addr = ':1'\n[[http.output]]\nlocation = 'http://h/'")
}

/// `line` is line 2, in a `[[udp]]` listener that would run without it.
fn udp(line: &str) -> String {
    format!("[[udp]]\n{line}\nbind-addr = ':1'\n[[udp.output]]\nlocation = 'h:1'")
}

/// `line` is line 4, in an output of an `[[http]]` listener.
fn http_output(line: &str) -> String {
    let location = if line.contains("location") { "" } else { "location = 'http://h/'" };
    format!("[[http]]\nbind-addr = ':1'\n[[http.output]]\n{line}\n{location}")
}

/// `line` is line 4, in an output of a `[[udp]]` listener.
fn udp_output(line: &str) -> String {
    let location = if line.contains("location") { "" } else { "location = 'h:1'" };
    format!("[[udp]]\nbind-addr = ':1'\n[[udp.output]]\n{line}\n{location}")
}

/// Each case is a text and the whole of its error.
fn each(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        assert_eq!(words(text), *expected, "for the text:\n{text}");
    }
}

#[test]
fn the_file() {
    let missing = Config::load(Path::new("/nonexistent/relay.conf")).expect_err("it is missing");
    assert_eq!(
        missing.to_string(),
        "/nonexistent/relay.conf: cannot be read: No such file or directory (os error 2); \
         name a readable file with -config"
    );
    let directory = Config::load(Path::new("/")).expect_err("a directory is no file");
    assert!(matches!(directory, ConfigError::Unreadable { .. }), "{directory}");

    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"# fine\nname = '\xff'\n").expect("it is writable");
    let error = Config::load(file.path()).expect_err("it is not UTF-8");
    assert!(
        error.to_string().ends_with(":2: the text: is not UTF-8; save the file in that encoding"),
        "{error}"
    );
    let long = words(&"#".repeat(5_000_000));
    assert_eq!(long, "f:1: the file: is longer than 4194304 bytes; is it a configuration file?");
}

#[test]
fn no_toml() {
    for (text, line) in [
        ("[[http]]\nname = 'open\n", 2),
        ("[[http]\n", 1),
        ("\n\nname 'x'\n", 3),
        ("[[http]]\nname = 'a'\nname = 'b'\n", 3),
        ("[[udp.output]]\nlocation = 'h:1'\n[[udp]]\n", 3),
        ("mtu = 1_\n", 1),
    ] {
        let error = words(text);
        assert!(error.starts_with(&format!("f:{line}: ")), "{text}: {error}");
        assert!(error.contains(": is not TOML: "), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn keys() {
    each(&[
        (
            http("bind_addr = ':2'"),
            "f:2: bind_addr: is no key of [[http]]; did you mean `bind-addr`?",
        ),
        (
            http("defualt-ping-response = 1"),
            "f:2: defualt-ping-response: is no key of [[http]]; \
             did you mean `default-ping-response`?",
        ),
        (
            http_output("max-batch = 1"),
            "f:4: max-batch: is no key of [[http.output]]; did you mean `max-batch-kb`?",
        ),
        (
            http_output("endpoints = { wriet = '/write' }"),
            "f:4: wriet: is no key of endpoints; did you mean `write`?",
        ),
        (
            http_output("mtu = 500"),
            "f:4: mtu: is no key of [[http.output]]; it belongs to [[udp.output]]",
        ),
        (
            udp("timeout = '1s'"),
            "f:2: timeout: is no key of [[udp]]; it belongs to [[http.output]], [[udp.output]]",
        ),
        (
            format!("{}\n[admin]\nport = 9", udp("")),
            "f:7: port: is no key of [admin]; its keys are bind-addr",
        ),
        (
            format!("htpp = 1\n{}", udp("")),
            "f:1: htpp: is no key of top level; did you mean `http`?",
        ),
    ]);
}

#[test]
fn types() {
    each(&[
        (
            udp("workers = '2'"),
            "f:2: workers = '2': is of type string; \
             write a whole number without quotes: workers = 0",
        ),
        (
            http("name = 7"),
            "f:2: name = 7: is of type integer; write a text in quotes: name = \"...\"",
        ),
        (
            http_output("timeout = 10"),
            "f:4: timeout = 10: is of type integer; write a duration in quotes: timeout = \"10s\"",
        ),
        (
            udp_output("mtu = 1e3"),
            "f:4: mtu = 1e3: is of type float; write a whole number without quotes: mtu = 1024",
        ),
        (
            http_output("skip-tls-verification = 'no'"),
            "f:4: skip-tls-verification = 'no': is of type string; \
             write skip-tls-verification = true or skip-tls-verification = false",
        ),
        (
            http_output("endpoints = '/write'"),
            "f:4: endpoints = '/write': is of type string; write endpoints = { write = \"...\" }",
        ),
        (
            "[http]\nbind-addr = ':1'".to_owned(),
            "f:1: http: is of type table; write each as a table of its own under [[http]]",
        ),
    ]);
}
