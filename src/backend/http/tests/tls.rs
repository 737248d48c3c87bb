//! The sender to backends that speak TLS, and what it sends of its own.

use super::*;
use crate::secret::Secret;
use crate::tls::certificates::{Authority, self_signed};
use crate::tls::{self, ClientFiles, Connector};
use flate2::read::GzDecoder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use std::fs;
use std::path::{Path, PathBuf};

/// A backend with this combined PEM that answers every request 204. It lets in whom `clients`
/// signed, if that is given.
fn tls_backend(
    pem: &str,
    version: &'static SupportedProtocolVersion,
    clients: Option<&Authority>,
) -> (SocketAddr, Requests<Request>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("the provider knows it");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let root = CertificateDer::from_pem_slice(authority.pem().as_bytes());
            roots.add(root.expect("PEM")).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
        }
    };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let config = builder.with_single_cert(chain.expect("PEM"), key).expect("a good pair");
    let config = Arc::new(config);

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (got, requests) = channel();
    thread::spawn(move || {
        for (connection, tcp) in listener.incoming().enumerate() {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            let mut stream = StreamOwned::new(tls, tcp.expect("a connection"));
            let got = got.clone();
            thread::spawn(move || {
                while let Some((head, body)) = read_request(&mut stream) {
                    let body = String::from_utf8(body).expect("text");
                    drop(got.send(Request { head, body, connection }));
                    let answer = answer("204 No Content").expect("it has one");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, requests)
}

/// Files of one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("it is writable");
        path
    }
}

fn trusting(ca: &Path) -> ClientFiles {
    ClientFiles { authorities: Some(ca.to_owned()), ..ClientFiles::default() }
}

fn tls_target(address: SocketAddr, files: ClientFiles) -> HttpTarget {
    let none = || -> Result<Arc<RootCertStore>, String> { Err("no system's roots here".into()) };
    let connector = Connector::new(files, "localhost", &tls::read, &none).expect("good files");
    let authority = format!("localhost:{}", address.port());
    HttpTarget { authority, tls: Some(Arc::new(connector)), ..target(address) }
}

/// Why no connection comes about.
fn failure(target: &HttpTarget) -> String {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).expect("io_uring works");
    runtime.block_on(async {
        let (open, _closed) = mpsc::channel(1);
        let connected = connect::connect(target, DEADLINE, open).await;
        connected.expect_err("it is not trusted").to_string()
    })
}

#[test]
fn both_versions_are_spoken_and_connections_are_kept() {
    let (authority, files) = (Authority::new("ca"), Files::new());
    let ca = files.write("ca.pem", &authority.pem());
    for version in [&TLS12, &TLS13] {
        let pem = authority.issue(&["localhost"]);
        let (address, requests) = tls_backend(&pem, version, None);
        let sender = start(tls_target(address, trusting(&ca)));
        let line = format!("a f=\"{}\" 1", "x".repeat(50_000));
        for _ in 0..3 {
            assert!(matches!(settled(sender.write("d", &line)), Answer::Delivered));
            let request = next(&requests);
            assert_eq!((request.connection, request.body.len()), (0, line.len() + 1));
            let host = format!("host: localhost:{}\r\n", address.port());
            assert!(request.head.contains(&host), "{}", request.head);
        }
        assert_eq!(sender.finish().delivered.get(), 3);
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_in_words_that_say_why() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let files = Files::new();
    let ca = files.write("ca.pem", &authority.pem());
    let cases = [
        (
            other.issue(&["localhost"]),
            "no TLS: its certificate is of an authority that is not trust",
        ),
        (self_signed(&["localhost"], false), "no TLS: its certificate is self-signed and not trus"),
        (self_signed(&["localhost"], true), "no TLS: its certificate is self-signed and not trust"),
        (authority.issue_for(&["localhost"], 2001..2002), "no TLS: its certificate expired "),
        (
            authority.issue_for(&["localhost"], 4000..4001),
            "no TLS: its certificate is not valid for another ",
        ),
        (
            authority.issue(&["influx.test", "127.0.0.1"]),
            "no TLS: its certificate is for influx.test, 127.0.0.1, not for the host localhost",
        ),
    ];
    for (pem, words) in cases {
        for version in [&TLS12, &TLS13] {
            let (address, requests) = tls_backend(&pem, version, None);
            let why = failure(&tls_target(address, trusting(&ca)));
            assert!(why.starts_with(words), "{why}");
            let skip = ClientFiles { skip_verification: true, ..ClientFiles::default() };
            let sender = start(tls_target(address, skip));
            assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Delivered), "{why}");
            assert_eq!(next(&requests).body, "a f=1 1\n", "nothing came before");
            sender.finish();
        }
    }
}

#[test]
fn a_self_signed_certificate_can_be_trusted_by_itself_for_its_own_names() {
    let files = Files::new();
    for is_authority in [false, true] {
        let pem = self_signed(&["localhost"], is_authority);
        let ca = files.write("pinned.pem", &pem);
        let (address, _requests) = tls_backend(&pem, &TLS13, None);
        let sender = start(tls_target(address, trusting(&ca)));
        assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Delivered));
        sender.finish();

        let pem = self_signed(&["influx.test"], is_authority);
        let ca = files.write("pinned.pem", &pem);
        let (address, _requests) = tls_backend(&pem, &TLS13, None);
        let why = failure(&tls_target(address, trusting(&ca)));
        assert!(why.contains("is for influx.test, not for the host localhost"), "{why}");
    }
}

#[test]
fn what_speaks_no_tls_is_told_apart() {
    let files = Files::new();
    let ca = files.write("ca.pem", &Authority::new("ca").pem());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
            drop(stream.read_to_end(&mut Vec::new()));
        }
    });
    let why = failure(&tls_target(address, trusting(&ca)));
    assert!(why.starts_with("no TLS: it does not speak TLS at this port; write http://"), "{why}");
}

#[test]
fn a_silent_backend_does_not_hold_the_handshake() {
    let files = Files::new();
    let ca = files.write("ca.pem", &Authority::new("ca").pem());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut target = tls_target(listener.local_addr().expect("it is bound"), trusting(&ca));
    target.timeout = Duration::from_millis(200);
    let sender = start(target);
    assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Unavailable));
    sender.finish();
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let files = Files::new();
    let ca = files.write("ca.pem", &authority.pem());
    let mine = files.write("mine.pem", &clients.issue(&["relay"]));
    for version in [&TLS12, &TLS13] {
        let pem = authority.issue(&["localhost"]);
        let (address, requests) = tls_backend(&pem, version, Some(&clients));
        let known = ClientFiles { identity: Some(mine.clone()), ..trusting(&ca) };
        let sender = start(tls_target(address, known));
        assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Delivered));
        assert_eq!(next(&requests).body, "a f=1 1\n");
        sender.finish();

        let sender = start(tls_target(address, trusting(&ca)));
        assert!(matches!(settled(sender.write("d", "a f=1 1")), Answer::Unavailable));
        sender.finish();
        assert!(requests.try_recv().is_err(), "nothing came through");
    }
}

#[test]
fn an_outputs_own_credentials_replace_the_clients() {
    let (address, requests) = backend(|_, _| answer("204 No Content"));
    let own = Some(Secret::new("Token hunter2"));
    let target = HttpTarget { authorization: own, ..target(address) };
    assert!(!format!("{target:?}").contains("hunter2"), "{target:?}");
    let sender = start(target);
    assert!(matches!(settled(sender.write("d&u=me&p=mine", "a f=1 1")), Answer::Delivered));
    let request = next(&requests);
    assert!(request.head.starts_with("POST /write?db=d HTTP/1.1\r\n"), "{}", request.head);
    assert!(request.head.contains("authorization: Token hunter2\r\n"), "{}", request.head);
    sender.finish();
}

#[test]
fn bodies_are_compressed_where_that_is_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let backend = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (head, body) = read_request(&mut stream).expect("a request");
        let answer = answer("204 No Content").expect("it has one");
        stream.write_all(answer.as_bytes()).expect("the sender reads");
        (head, body)
    });
    let sender = start(HttpTarget { gzip: true, ..target(address) });
    let line = format!("a f=\"{}\" 1", "x".repeat(1_000));
    assert!(matches!(settled(sender.write("d", &line)), Answer::Delivered));
    let (head, body) = backend.join().expect("the backend does not panic");
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(body.len() < 100, "{} bytes", body.len());
    let mut text = String::new();
    GzDecoder::new(&*body).read_to_string(&mut text).expect("it is gzip");
    assert_eq!(text, format!("{line}\n"));
    assert_eq!(sender.finish().delivered_bytes.get(), line.len() as u64 + 1, "as it was");
}
