//! Mistakes about TLS and credentials: files that are missing or wrong, keys that clash. No
//! message quotes a secret.

use crate::certificates::{Authority, self_signed};
use crate::{each, http, http_output, udp_output, words};
use ringrelay::config::Config;
use std::fs;
use std::path::PathBuf;

/// What is wrong with a configuration in which `FILE` stands for a file with this text.
fn with_file(toml: &str, text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (pem, config): (PathBuf, PathBuf) = (dir.path().join("x"), dir.path().join("f"));
    fs::write(&pem, text).expect("a temporary file");
    fs::write(&config, toml.replace("FILE", &pem.display().to_string())).expect("another");
    let start = format!("{}:", config.display());
    Config::load(&config).map_err(|error| {
        let text = error.to_string();
        assert!(text.lines().all(|line| line.starts_with(&start)), "{text}");
        text.replace(&start, "f:").replace(&pem.display().to_string(), "FILE")
    })
}

#[test]
fn files_that_cannot_be_used() {
    let authority = Authority::new("ca");
    let (one, two) = (authority.issue(&["a"]), authority.issue(&["b"]));
    let (certificate, key) = one.split_at(one.find("-----BEGIN PRIVATE").expect("a key"));
    let other_key = &two[two.find("-----BEGIN PRIVATE").expect("a key")..];
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let wrong_key = "names a file whose key is not that of its first certificate; put the certi";
    let cases = [
        (certificate.to_owned(), "names a file without a private key; append "),
        (key.to_owned(), "names a file without a certificate; put "),
        (String::new(), "names a file without a certificate; put "),
        (format!("{certificate}{other_key}"), wrong_key),
        (format!("{}{one}", authority.pem()), wrong_key),
        (format!("{certificate}{encrypted}"), "names a file whose key is encrypted; decrypt it"),
        (one[..one.len() - 20].to_owned(), "names a file that is no PEM: a section does not end"),
        (one.replace("MI", "!!"), "names a file that is no PEM: a section is not base64"),
    ];
    let listener = http("ssl-combined-pem = 'FILE'");
    let output = http_output("client-pem = 'FILE'\nskip-tls-verification = true")
        .replace("http://", "https://");
    let places = [(&listener, "f:2: ssl-combined-pem"), (&output, "f:4: client-pem")];
    for (toml, place) in places {
        for (text, wrong) in &cases {
            let error = with_file(toml, text).expect_err(wrong);
            assert!(error.starts_with(&format!("{place} = 'FILE': {wrong}")), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        with_file(toml, &one).expect("it is good");
        let old = authority.issue_for(&["a"], 2001..2002);
        with_file(toml, &old).expect("the dates are for the peer to judge");
        with_file(toml, &format!("{key}{certificate}{}", authority.pem())).expect("in any order");
    }
}

#[test]
fn authorities_that_cannot_be_used() {
    let ca = http_output("ca-file = 'FILE'").replace("http://", "https://");
    let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    for (text, wrong) in [
        ("", "names a file without a certificate; give the PEM file of the authority"),
        ("hello", "names a file without a certificate; give the PEM file of the authority"),
        (broken, "has a bad certificate, number 1 of the file ("),
    ] {
        let error = with_file(&ca, text).expect_err(wrong);
        assert!(error.starts_with(&format!("f:4: ca-file = 'FILE': {wrong}")), "{error}");
    }
    with_file(&ca, &Authority::new("ca").pem()).expect("it is good");
    with_file(&ca, &self_signed(&["h"], false)).expect("a certificate by itself is good");
    let clients = http("ssl-combined-pem = 'FILE'\nclient-ca-file = '/nonexistent'");
    let error = with_file(&clients, &self_signed(&["h"], false)).expect_err("it is missing");
    assert_eq!(
        error,
        "f:3: client-ca-file = '/nonexistent': cannot be read: No such file or directory \
         (os error 2); name a PEM file that the relay's user may read"
    );
    let directory = with_file(&http("ssl-combined-pem = '/'"), "").expect_err("a directory");
    assert!(directory.contains("cannot be read: it is no regular file; name"), "{directory}");
}

#[test]
fn keys_that_clash_or_lack_another() {
    each(&[
        (
            http("client-ca-file = '/x'"),
            "f:2: client-ca-file = '/x': has no use without `ssl-combined-pem`: clients show \
             certificates by TLS only; add that key, or remove this one",
        ),
        (
            http_output("ca-file = '/x'"),
            "f:4: ca-file = '/x': has no use for a location without TLS; remove it, or write the \
             location as https://",
        ),
        (
            http_output("skip-tls-verification = true\nca-file = '/x'\nlocation = 'https://h/'"),
            "f:5: ca-file = '/x': has no use beside skip-tls-verification = true, which trusts \
             everyone; remove one of the two",
        ),
        (
            http_output("username = 'me'"),
            "f:4: username = 'me': has no password; add `password`, or `password-env` with the \
             name of an environment variable",
        ),
        (
            http_output("password = 'hunter2'"),
            "f:3: [[http.output]]: has a password and no `username`; add that key",
        ),
        (
            http_output("username = 'm:e'\npassword = 'hunter2'"),
            "f:4: username = 'm:e': has a colon, which HTTP cannot carry; take another user",
        ),
        (
            http_output("token-env = 'X'\ntoken = 'hunter2'"),
            "f:4: token-env = 'X': is given beside `token`; remove one of the two",
        ),
        (
            http_output("token = 'hunter2'\nusername = 'me'\npassword = 'hunter2'"),
            "f:4: token = ...: is one kind of credentials, `username` and `password` are another; \
             keep the kind that the backend takes",
        ),
        (
            http_output("username = 'me'\npassword = 'x'\nlocation = 'http://u:hunter2@h/'"),
            "f:6: location = 'http://...@h/': names a user, as does `username`; remove one of the \
             two",
        ),
        (
            http_output("token = 'x'\nlocation = 'http://u:hunter2@h/'"),
            "f:5: location = 'http://...@h/': names a user beside a token; remove one of the two",
        ),
        (
            http_output("token-env = 'RINGRELAY_NO_SUCH_VARIABLE'"),
            "f:4: token-env = 'RINGRELAY_NO_SUCH_VARIABLE': names an environment variable that is \
             not set, or empty; set it where the relay is started (systemd: Environment= or \
             EnvironmentFile=)",
        ),
        (
            http_output("content-encoding = 'zstd'"),
            "f:4: content-encoding = 'zstd': is no encoding that the relay makes; write \"gzip\", \
             or \"identity\" for none",
        ),
        (
            udp_output("token = 'hunter2'"),
            "f:4: token = ...: has no use for an output by UDP; remove it, or write the location \
             as a URL",
        ),
    ]);
}

#[test]
fn no_message_quotes_a_secret() {
    for text in [
        http_output("password = 42424242"),
        http_output("token = 'secret 42424242'"),
        http_output("token = \"42424242"),
        http_output("token = 42424242 x"),
        http_output("location = 'http://u:4242/4242@h/'"),
        http_output("location = 'http://u:4242#4242@h/'"),
        http_output("location = 'http://4242@h/'"),
        http_output("location = 'http://u:4242%zz@h:99x/'"),
        "[[http]]\nbind-addr = ':1'\noutput = [{ location = 'http://h/', token = '4242' x }]"
            .into(),
        http_output("username = 'me'\npassword = '4242\\u0007'").replace('\'', "\""),
    ] {
        let error = words(&text);
        assert!(!error.contains("4242"), "{error}");
    }
}

#[test]
fn a_location_with_a_user_has_a_name_without_one() {
    let text = http_output("location = 'http://me:a%2Fb%40c@h:8086/x'");
    let config = Config::parse(&text, "f").expect("it is served");
    let output = &config.http[0].outputs[0];
    assert_eq!(&*output.name, "http://h:8086/x");
    let shown = format!("{config:?} {}", config.summary());
    assert!(!shown.contains("a/b@c") && !shown.contains("a%2Fb"), "{shown}");
}
