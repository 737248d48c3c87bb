//! The front through TLS, asked by rustls' blocking client.

use super::harness::*;
use crate::config::HttpListener;
use crate::tls::certificates::{Authority, self_signed};
use crate::tls::{self, Acceptor, ServerFiles};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts `authority` and shows `identity`, if it has one.
fn client(
    front: &Front,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&str>,
) -> Tls {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(root).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider knows them")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = "relay.test".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    StreamOwned::new(connection, front.client())
}

fn with_tls(identity: &Path, authorities: Option<&Path>) -> impl FnOnce(&mut HttpListener) {
    let files = ServerFiles {
        identity: identity.to_owned(),
        client_authorities: authorities.map(Path::to_owned),
    };
    let acceptor = Acceptor::new(files, &tls::read).expect("good files");
    |listener| listener.tls = Some(Arc::new(acceptor))
}

fn write(client: &mut Tls) -> io::Result<Reply> {
    client.write_all(&post("/write?db=a", "", b"a f=1 1\n"))?;
    // The handshake's failure shows here; what comes behind it is a whole answer.
    client.conn.complete_io(&mut client.sock)?;
    Ok(reply(client))
}

#[test]
fn both_versions_write_and_are_kept_alive() {
    let (authority, dir) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
    let pem = dir.path().join("relay.pem");
    fs::write(&pem, authority.issue(&["relay.test"])).expect("it is writable");
    let front = start_changed(&[delivered], with_tls(&pem, None));
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut client = client(&front, &authority, &[version], None);
        for _ in 0..3 {
            assert_eq!(write(&mut client).expect("it speaks TLS").status, 204);
        }
        assert_eq!(client.conn.protocol_version(), Some(name));
        assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    assert_eq!(front.metrics.connections.get(), 2);
    assert_eq!(front.metrics.lines.get(), 6);
    assert_eq!(front.metrics.handshakes_failed.get(), 0);
    front.stop();
}

#[test]
fn a_refused_body_that_is_still_coming_does_not_take_the_answer_away() {
    let (authority, dir) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
    let pem = dir.path().join("relay.pem");
    fs::write(&pem, authority.issue(&["relay.test"])).expect("it is writable");
    let front = start_changed(&[delivered], with_tls(&pem, None));
    let mut client = client(&front, &authority, &[&TLS13], None);
    client.write_all(&post("/write?db=a", "", &vec![b'x'; 3_000_000])).expect("thrown away");
    assert_eq!(reply(&mut client).status, 413);
    assert_eq!(client.read(&mut [0]).expect("it says that it ends"), 0);
    front.stop();
}

/// A hello of TLS 1.0 or 1.1, as old clients send it: RFC 4346, section 7.4.1.2.
fn old_hello(minor: u8) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short hello");
    let suites = [0xc0, 0x14, 0xc0, 0x13, 0x00, 0x35, 0x00, 0x2f];
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0, length(&suites)]);
    hello.extend(suites);
    hello.extend([1, 0]);
    let handshake = [&[1, 0, 0, length(&hello)], &hello[..]].concat();
    [&[0x16, 3, 1, 0, length(&handshake)], &handshake[..]].concat()
}

#[test]
fn old_versions_and_plain_http_are_refused_by_an_alert() {
    let (authority, dir) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
    let pem = dir.path().join("relay.pem");
    fs::write(&pem, authority.issue(&["relay.test"])).expect("it is writable");
    let front = start_changed(&[delivered], with_tls(&pem, None));
    let plain = post("/write?db=a", "", b"a f=1 1\n");
    for (n, hello) in [old_hello(1), old_hello(2), plain].iter().enumerate() {
        let mut client = front.client();
        client.write_all(hello).expect("the front reads");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an orderly end");
        // A fatal alert; of the old ones, handshake_failure or protocol_version (RFC 8446, 6.2).
        assert!(matches!(answer[..], [0x15, 3, _, 0, 2, 2, _]), "{n}: {answer:?}");
        assert!(n == 2 || matches!(answer[6], 40 | 70), "{n}: {answer:?}");
    }
    wait(|| front.metrics.handshakes_failed.get() == 3);
    let mut good = client(&front, &authority, &[&TLS13], None);
    assert_eq!(write(&mut good).expect("it speaks TLS").status, 204);
    assert_eq!((front.metrics.lines.get(), front.metrics.unreadable.get()), (1, 0));
    front.stop();
}

#[test]
fn a_new_certificate_is_used_and_a_bad_one_is_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let dir = tempfile::tempdir().expect("a directory");
    let pem = dir.path().join("relay.pem");
    fs::write(&pem, old.issue(&["relay.test"])).expect("it is writable");
    let front = start_changed(&[delivered], with_tls(&pem, None));
    let asks = |authority| write(&mut client(&front, authority, &[&TLS13], None)).is_ok();
    assert!(asks(&old) && !asks(&new));
    let mut kept = client(&front, &old, &[&TLS13], None);
    assert_eq!(write(&mut kept).expect("the old one").status, 204);

    let next = dir.path().join("next.pem");
    fs::write(&next, new.issue(&["relay.test"])).expect("it is writable");
    fs::rename(&next, &pem).expect("in one directory");
    wait(|| asks(&new));
    assert!(!asks(&old));
    assert_eq!(write(&mut kept).expect("open connections stay").status, 204);

    let bad = Instant::now();
    fs::write(&pem, "-----BEGIN CERTIFICATE-----\nhalf of it").expect("it is writable");
    // The file is looked at once a second.
    wait(|| asks(&new) && bad.elapsed().as_millis() > 1_100);
    assert!(asks(&new));
    fs::write(&pem, old.issue(&["relay.test"])).expect("it is writable");
    wait(|| asks(&old));
    front.stop();
}

#[test]
fn clients_must_show_a_certificate_where_that_is_wanted() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let dir = tempfile::tempdir().expect("a directory");
    let (pem, ca) = (dir.path().join("relay.pem"), dir.path().join("clients.pem"));
    fs::write(&pem, authority.issue(&["relay.test"])).expect("it is writable");
    fs::write(&ca, clients.pem()).expect("it is writable");
    let front = start_changed(&[delivered], with_tls(&pem, Some(&ca)));
    let good = clients.issue(&["client"]);
    let bad = [
        (None, "CertificateRequired"),
        (Some(authority.issue(&["client"])), "UnknownCA"),
        (Some(self_signed(&["client"], false)), "UnknownCA"),
        (Some(clients.issue_for(&["client"], 2001..2002)), "CertificateExpired"),
    ];
    for version in [&TLS12, &TLS13] {
        for (identity, alert) in &bad {
            let mut client = client(&front, &authority, &[version], identity.as_deref());
            let sent = client.write_all(&post("/write?db=a", "", b"a f=1 1\n"));
            let error = sent.and_then(|()| client.read(&mut [0])).expect_err("it is refused");
            assert!(error.to_string().contains(alert), "{error} {alert}");
        }
        let mut client = client(&front, &authority, &[version], Some(&good));
        assert_eq!(write(&mut client).expect("it is let in").status, 204);
    }
    wait(|| front.metrics.handshakes_failed.get() == 2 * bad.len() as u64);
    assert_eq!(front.metrics.lines.get(), 2);
    front.stop();
}

#[test]
fn a_handshake_under_way_does_not_keep_the_front_from_stopping() {
    let (authority, dir) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
    let pem = dir.path().join("relay.pem");
    fs::write(&pem, authority.issue(&["relay.test"])).expect("it is writable");
    let front = start_changed(&[delivered], with_tls(&pem, None));
    let mut silent = front.client();
    silent.write_all(&old_hello(2)[..9]).expect("the front reads");
    wait(|| front.metrics.connections.get() == 1);
    let started = Instant::now();
    front.stop();
    assert!(started.elapsed().as_secs() < 5, "it waits for nobody's hello");
    assert_eq!(silent.read(&mut [0]).expect("an orderly end"), 0);
}
