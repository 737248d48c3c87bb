//! Clients that leave, dawdle, or never read: they hold up neither others nor the relay's end.

use crate::certificates::Authority;
use crate::harness::{
    Client, DEADLINE, HttpBackend, Relay, Reply, binary, config_file, http_listener, http_output,
    run, v2_output, wait_until,
};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

const POST: &[u8] = b"POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 8\r\n\r\nm f=1 1\n";
const HALF: &[u8] = b"POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 90\r\n\r\nm f=1";

fn relay(head: &str, more: &str, backend: &HttpBackend) -> Relay {
    let outputs = [http_output("a", backend.addr(), "timeout = \"60s\"")];
    Relay::start(&format!("{head}\n{}", http_listener("in", more, &outputs)))
}

/// Asserts that a new client is answered, and soon.
#[track_caller]
fn is_served(relay: &Relay) {
    let started = Instant::now();
    let mut client = relay.client("in");
    let closing = [("Connection", "close")];
    assert_eq!(client.request("GET", "/ping", &closing, b"").status(), 204);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn clients_that_have_closed_their_end_make_room() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = relay("http-threads = 1", "max-connections = 3", &backend);
    for n in 1..=3 {
        relay.client("in").send(POST).expect("the relay reads");
        wait_until("its write to be taken", || relay.metrics().accepted("in") == n);
    }
    is_served(&relay);
    gate.open();
    relay.finish();
}

#[test]
fn a_client_that_only_finished_sending_is_answered() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = relay("http-threads = 1", "max-connections = 3", &backend);
    let mut client = relay.client("in");
    client.send(POST).expect("the relay reads");
    assert!(client.end());
    // Longer than the relay takes to notice.
    let noticed = Instant::now() + Duration::from_millis(2_500);
    wait_until("it to be noticed", || Instant::now() > noticed);
    gate.open();
    let answer = client.receive().expect("an answer").expect("before the end");
    assert_eq!(answer.status(), 204);
    relay.finish();
}

#[test]
fn clients_that_reset_their_connection_are_let_go_at_once() {
    let (backend, gate) = HttpBackend::gated(|_| Reply::status(204));
    let relay = relay("http-threads = 1", "", &backend);
    let before = relay.open_files();
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut client = TcpStream::connect(relay.addr("in")).expect("the relay listens");
            client.write_all(POST).expect("the relay reads");
            client
        })
        .collect();
    wait_until("their writes to be taken", || relay.metrics().accepted("in") == 40);
    for client in clients {
        let socket = socket2::SockRef::from(&client);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP option");
    }
    wait_until("their connections to be closed", || relay.open_files() < before + 20);
    gate.open();
    relay.finish();
}

#[test]
fn places_are_made_on_whatever_thread_they_are() {
    let backend = HttpBackend::healthy();
    let relay = relay("http-threads = 4", "max-connections = 1", &backend);
    let _idle = relay.client("in");
    for _ in 0..8 {
        is_served(&relay);
    }
    relay.finish();
}

#[test]
fn handshakes_that_dawdle_make_room() {
    let (authority, dir) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    let (ca, pem) = (file("ca", authority.pem()), file("pem", authority.issue(&["localhost"])));
    let backend = HttpBackend::healthy();
    let more = format!("max-connections = 2\nssl-combined-pem = {pem:?}");
    let server = relay("http-threads = 1", &more, &backend);
    let _silent: Vec<Client> = (0..2).map(|_| server.client("in")).collect();
    let location = format!("https://localhost:{}/", server.addr("in").port());
    let output = format!("name = \"o\"\nlocation = \"{location}\"\nca-file = {ca:?}\n");
    let client = Relay::start(&http_listener("out", "", &[output]));
    let started = Instant::now();
    assert_eq!(client.client("out").write("db=d", "m f=1 1").status(), 204);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    client.finish();
    server.finish();
}

/// Asks for much and reads nothing, until the relay takes no more.
fn never_reads(relay: &Relay) -> TcpStream {
    let mut client = TcpStream::connect(relay.addr("in")).expect("the relay listens");
    client.set_write_timeout(Some(Duration::from_millis(300))).expect("a valid timeout");
    let many = b"GET /metrics HTTP/1.1\r\nHost: r\r\n\r\n".repeat(1_000);
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "the relay takes requests without end");
        match client.write(&many) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return client;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_that_never_reads_is_ended_by_idle_timeout_and_costs_little() {
    let backend = HttpBackend::healthy();
    let relay = relay("http-threads = 1", "idle-timeout = \"2s\"", &backend);
    let before = relay.resident_bytes();
    let clients: Vec<_> = (0..10).map(|_| never_reads(&relay)).collect();
    let each = relay.resident_bytes().saturating_sub(before) / 10;
    assert!(each < 300 * 1024, "{each} bytes each");
    let expired = || relay.metrics().of("ringrelay_http_connections_expired_total", &[]);
    wait_until("them to be ended", || expired() == 10);
    drop(clients);
    relay.finish();
}

#[test]
fn stopping_waits_for_no_client_that_dawdles() {
    let backend = HttpBackend::healthy();
    let relay = relay("shutdown-timeout = \"60s\"", "", &backend);
    let mut dawdlers: Vec<_> = (0..6).map(|_| relay.client("in")).collect();
    for (client, cut) in dawdlers.iter_mut().zip([1, 30, HALF.len(), HALF.len() - 5, 0, 50]) {
        client.send(&HALF[..cut]).expect("the relay reads");
    }
    let _deaf = never_reads(&relay);
    let started = Instant::now();
    relay.finish();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn what_makes_no_request_for_a_backend_does_not_take_it_down() {
    let backend = HttpBackend::start(|request| match request.header("authorization") {
        Some("Token me:good") => Reply::status(204),
        _ => Reply::json(401, "{\"code\":\"unauthorized\",\"message\":\"unauthorized access\"}"),
    });
    let outputs = [v2_output("a", backend.addr(), "buffer-size-mb = 1\non-refused = \"drop\"")];
    let relay = Relay::start(&http_listener("in", "max-header-size-kb = 256", &outputs));
    let mut client = relay.client("in");
    let refused = client.write("db=d&u=me&p=a%0D%0AX:%20y", "m f=1 1");
    assert_eq!(refused.status(), 401, "{}", refused.text());
    let name = "%80".repeat(10_000);
    for query in [format!("db={name}"), format!("db=d&rp={name}"), format!("db=d&x={name}{name}")] {
        assert_eq!(client.write(&query, "m f=1 1").status(), 400);
    }
    let path = format!("/api/v2/write?bucket={name}");
    assert_eq!(client.request("POST", &path, &[], b"m f=1 1").status(), 400);
    assert_eq!(client.write("db=d&u=me&p=good", "m f=1 2").status(), 204);
    assert_eq!(backend.wait_for_lines(1), ["m f=1 2"]);
    assert!(!relay.finish().log.join("\n").contains("down"), "it never was");
}

#[test]
fn clients_leave_files_for_the_backends() {
    let backend = HttpBackend::healthy();
    let outputs = [http_output("a", backend.addr(), "max-in-flight = 2")];
    let toml = format!("http-threads = 2\n{}", http_listener("in", "", &outputs));
    let relay = Relay::start_limited(&toml, 280);
    let log = relay.log().join("\n");
    assert!(log.contains("the limit on open files, 280, leaves "), "{log}");
    let crowd: Vec<_> = (0..300).map(|_| relay.client("in")).collect();
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    assert_eq!(backend.wait_for_lines(1), ["m f=1 1"]);
    drop(crowd);
    let log = relay.finish().log.join("\n");
    assert!(!log.contains("open files (os error"), "{log}");
    let (_dir, file) = config_file(&format!("{toml}[admin]\nbind-addr = \"127.0.0.1:0\"\n"));
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 150; exec \"$0\" -config \"$1\"").arg(binary()).arg(&file);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the limit on open files is 150"), "{said}");
}
