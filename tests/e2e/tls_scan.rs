//! What a listener speaks to a scanner: hellos written by hand, which no TLS library of today
//! would send, and what the listener answers to each.

use crate::certificates::Authority;
use crate::harness::{DEADLINE, HttpBackend, Relay, http_listener, http_output};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const SSL_3_0: u16 = 0x0300;
const TLS_1_0: u16 = 0x0301;
const TLS_1_1: u16 = 0x0302;
const TLS_1_2: u16 = 0x0303;

/// What docs/tls.md names for TLS 1.2 with an ECDSA certificate: ECDHE with AES-256-GCM,
/// AES-128-GCM and ChaCha20-Poly1305.
const STRONG: [u16; 3] = [0xc02c, 0xc02b, 0xcca9];

/// The suites that scanners warn of: NULL, export, RC4, DES, 3DES, anonymous, RSA key exchange,
/// CBC, CCM with a short tag.
const WEAK: [(&str, u16); 16] = [
    ("NULL_MD5", 0x0001),
    ("RSA_EXPORT_RC4_40_MD5", 0x0003),
    ("RC4_128_MD5", 0x0004),
    ("RC4_128_SHA", 0x0005),
    ("RSA_DES_CBC_SHA", 0x0009),
    ("RSA_3DES_EDE_CBC_SHA", 0x000a),
    ("DH_ANON_AES_128_CBC_SHA", 0x0034),
    ("RSA_AES_128_CBC_SHA", 0x002f),
    ("RSA_AES_256_GCM_SHA384", 0x009d),
    ("DHE_RSA_AES_256_GCM_SHA384", 0x009f),
    ("ECDHE_ECDSA_RC4_128_SHA", 0xc007),
    ("ECDHE_ECDSA_3DES_EDE_CBC_SHA", 0xc008),
    ("ECDHE_ECDSA_AES_128_CBC_SHA", 0xc009),
    ("ECDHE_ECDSA_AES_256_CBC_SHA384", 0xc024),
    ("ECDHE_ECDSA_NULL_SHA", 0xc006),
    ("ECDHE_ECDSA_AES_128_CCM_8", 0xc0ae),
];

/// What a listener says to a hello.
#[derive(Debug, PartialEq)]
enum Said {
    /// It goes on, in this version and with this suite.
    Hello(u16, u16),
    /// It refuses, and says why by this number.
    Alert(u8),
}

const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// A vector of TLS: its length in `width` bytes, then its bytes.
fn vector(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_be_bytes();
    [&length[length.len() - width..], bytes].concat()
}

fn numbers(numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
    numbers.into_iter().flat_map(u16::to_be_bytes).collect()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &vector(2, body)[..]].concat()
}

/// A record that holds a ClientHello: this version at most, these suites.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let extensions = [
        // server_name: one host name.
        extension(0, &vector(2, &[&[0], &vector(2, b"localhost")[..]].concat())),
        // supported_groups: X25519, P-256, P-384.
        extension(10, &vector(2, &numbers([0x001d, 0x0017, 0x0018]))),
        // ec_point_formats: uncompressed.
        extension(11, &vector(1, &[0])),
        // signature_algorithms: ECDSA, RSA-PSS and PKCS#1 with SHA-256 and SHA-384, and SHA-1.
        extension(13, &vector(2, &numbers([0x0403, 0x0503, 0x0804, 0x0805, 0x0401, 0x0203]))),
    ];
    let mut body = [&version.to_be_bytes()[..], &[7; 32]].concat();
    body.extend(vector(1, &[]));
    body.extend(vector(2, &numbers(suites.iter().copied())));
    body.extend(vector(1, &[0]));
    // SSL 3.0 has no extensions.
    if version > SSL_3_0 {
        body.extend(vector(2, &extensions.concat()));
    }
    let handshake = [&[1], &vector(3, &body)[..]].concat();
    let record_version = version.min(TLS_1_0).to_be_bytes();
    [&[22], &record_version[..], &vector(2, &handshake)].concat()
}

/// Says hello on a connection of its own.
fn say(to: SocketAddr, version: u16, suites: &[u16]) -> Said {
    let mut stream = TcpStream::connect(to).expect("the relay listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    stream.write_all(&hello(version, suites)).expect("the relay reads");
    let mut record = [0; 5];
    stream.read_exact(&mut record).expect("an answer: an alert at least");
    let mut body = vec![0; u16::from_be_bytes([record[3], record[4]]).into()];
    stream.read_exact(&mut body).expect("a whole record");
    match record[0] {
        21 => Said::Alert(body[1]),
        22 => {
            assert_eq!(body[0], 2, "a ServerHello");
            // Behind its length, version and random number stands the session's id.
            let suite = 4 + 2 + 32 + 1 + usize::from(body[38]);
            let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            Said::Hello(number(4), number(suite))
        }
        other => panic!("a record of type {other}"),
    }
}

fn https_relay() -> (Relay, HttpBackend, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let pem = dir.path().join("relay.pem");
    let identity = Authority::new("ca").issue(&["localhost"]);
    std::fs::write(&pem, identity).expect("a temporary file");
    let backend = HttpBackend::healthy();
    let outputs = [http_output("a", backend.addr(), "")];
    let relay =
        Relay::start(&http_listener("tls", &format!("ssl-combined-pem = {pem:?}"), &outputs));
    (relay, backend, dir)
}

/// All numbers of suites that any version before TLS 1.3 has.
fn suites() -> Vec<u16> {
    [0x0000..=0x00ff, 0xc000..=0xc0ff, 0xcc00..=0xccff, 0xd000..=0xd0ff]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn ssl_3_and_the_first_two_versions_of_tls_are_refused() {
    let (relay, _backend, _dir) = https_relay();
    let all = suites();
    for version in [SSL_3_0, TLS_1_0, TLS_1_1] {
        // SSL 3.0 has no extensions, and what they would say is missed first.
        let why = if version == SSL_3_0 { HANDSHAKE_FAILURE } else { PROTOCOL_VERSION };
        assert_eq!(say(relay.addr("tls"), version, &all), Said::Alert(why), "{version:#06x}");
    }
    // SSL 2 has a hello of its own: two bytes of length, its type, its version, three lengths.
    let mut stream = TcpStream::connect(relay.addr("tls")).expect("the relay listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    let ssl_2 = [&[0x80, 28, 1, 0, 2, 0, 3, 0, 0, 0, 16, 1, 0, 0x80][..], &[7; 16]].concat();
    stream.write_all(&ssl_2).expect("the relay reads");
    let mut answer = Vec::new();
    // It may reset the connection.
    drop(stream.read_to_end(&mut answer));
    assert_ne!(answer.first(), Some(&22), "no handshake: {answer:?}");
    relay.finish();
}

#[test]
fn weak_suites_are_refused_and_the_documented_ones_are_all_there_are() {
    let (relay, backend, _dir) = https_relay();
    let addr = relay.addr("tls");
    for (name, suite) in WEAK {
        assert_eq!(say(addr, TLS_1_2, &[suite]), Said::Alert(HANDSHAKE_FAILURE), "{name}");
    }
    // As scanners do: the listener picks one of all, which is then left out, until it has none.
    let (mut offered, mut picked) = (suites(), Vec::new());
    let refused = loop {
        match say(addr, TLS_1_2, &offered) {
            Said::Hello(version, suite) => {
                assert_eq!(version, TLS_1_2);
                picked.push(suite);
                offered.retain(|other| *other != suite);
            }
            Said::Alert(why) => break why,
        }
    };
    assert_eq!(refused, HANDSHAKE_FAILURE);
    picked.sort_unstable();
    let mut strong = STRONG;
    strong.sort_unstable();
    assert_eq!(picked, strong);
    assert_eq!(backend.connections(), 0);
    relay.finish();
}
