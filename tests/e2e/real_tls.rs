//! What OpenSSL finds at a listener that speaks HTTPS: TLS 1.2 and 1.3 with strong suites only.

use crate::certificates::Authority;
use crate::harness::{HttpBackend, Relay, http_listener, http_output, require, run};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Server {
    relay: Relay,
    ca: PathBuf,
    _backend: HttpBackend,
    _dir: tempfile::TempDir,
}

impl Server {
    /// A relay with this certificate and key, vouched for by `ca`. Both are PEM.
    fn start(ca: &str, identity: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("a temporary file");
            path
        };
        let (ca, pem) = (write("ca.pem", ca), write("relay.pem", identity));
        let backend = HttpBackend::healthy();
        let outputs = [http_output("a", backend.addr(), "")];
        let more = format!("ssl-combined-pem = {pem:?}");
        let relay = Relay::start(&http_listener("tls", &more, &outputs));
        Self { relay, ca, _backend: backend, _dir: dir }
    }

    /// Shakes hands with these options: whether it came about, and what was said.
    fn scan(&self, options: &[&str]) -> (bool, String) {
        scan(self.relay.addr("tls"), &self.ca, options)
    }
}

fn scan(addr: SocketAddr, ca: &Path, options: &[&str]) -> (bool, String) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-brief", "-verify_return_error", "-servername", "localhost"]);
    command.arg("-CAfile").arg(ca).arg("-connect").arg(addr.to_string()).args(options);
    let output = run(&mut command);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn openssl(arguments: &[&str]) -> String {
    let output = run(Command::new("openssl").args(arguments));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// Certificates with both kinds of keys: the name, what vouches for it, and the combined PEM.
fn identities() -> [(&'static str, String, String); 2] {
    let authority = Authority::new("ca");
    let ecdsa = authority.issue(&["localhost"]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("key.pem").display().to_string();
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"];
    let for_whom = ["/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", &key];
    let certificate = openssl(&[&new[..], &for_whom].concat());
    let key = std::fs::read_to_string(&key).expect("openssl wrote it");
    let rsa = format!("{certificate}{key}");
    [("ECDSA", authority.pem(), ecdsa), ("RSA", certificate, rsa)]
}

/// All that openssl has, strong or not.
const ALL: &str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";

#[test]
fn openssl_finds_tls_1_2_and_1_3_only() {
    if !require(&["openssl"]) {
        return;
    }
    for (kind, ca, identity) in identities() {
        let server = Server::start(&ca, &identity);
        for (version, name) in [
            ("-tls1", None),
            ("-tls1_1", None),
            ("-tls1_2", Some("TLSv1.2")),
            ("-tls1_3", Some("TLSv1.3")),
        ] {
            // Without that level OpenSSL itself would not offer the old versions.
            let (shaken, said) = server.scan(&["-cipher", ALL, version]);
            assert_eq!(shaken, name.is_some(), "{kind} {version}: {said}");
            match name {
                Some(name) => assert!(said.contains(name) && said.contains("OK"), "{said}"),
                None => assert!(said.contains("alert"), "refused by the relay: {said}"),
            }
        }
        server.relay.finish();
    }
}

#[test]
fn openssl_finds_no_weak_cipher() {
    if !require(&["openssl"]) {
        return;
    }
    let strong = ["AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305"];
    let list = openssl(&["ciphers", "-s", "-tls1_2", ALL]);
    let ciphers: Vec<_> = list.trim().split(':').filter(|name| !name.starts_with("TLS_")).collect();
    assert!(ciphers.len() > 50, "a scan of little says little: {ciphers:?}");
    for (kind, ca, identity) in identities() {
        let server = Server::start(&ca, &identity);
        let wanted: Vec<_> = strong.iter().map(|name| format!("ECDHE-{kind}-{name}")).collect();
        let mut taken = Vec::new();
        for cipher in &ciphers {
            let only = format!("{cipher}:@SECLEVEL=0");
            let (shaken, said) = server.scan(&["-tls1_2", "-cipher", &only]);
            assert!(shaken || said.contains("alert handshake failure"), "{cipher}: {said}");
            taken.extend(shaken.then(|| (*cipher).to_owned()));
        }
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(taken), sorted(wanted), "TLS 1.2 with {kind}");
        for (suite, is_spoken) in [
            ("TLS_AES_256_GCM_SHA384", true),
            ("TLS_AES_128_GCM_SHA256", true),
            ("TLS_CHACHA20_POLY1305_SHA256", true),
            ("TLS_AES_128_CCM_SHA256", false),
            ("TLS_AES_128_CCM_8_SHA256", false),
        ] {
            let (shaken, said) = server.scan(&["-tls1_3", "-ciphersuites", suite]);
            assert_eq!(shaken, is_spoken, "{suite}: {said}");
        }
        server.relay.finish();
    }
}
