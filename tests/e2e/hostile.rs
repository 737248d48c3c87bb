//! Hostile input: a clear answer or a counted drop, no crash, and nothing for the neighbours.

use crate::harness::{
    Client, HttpBackend, Relay, UdpSink, UdpSource, http_listener, http_output, lines, numbered,
    udp_listener, udp_output,
};

/// A seeded generator (xorshift64): a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("less than a usize")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Bytes that look like line protocol.
    fn almost(&mut self, count: usize) -> Vec<u8> {
        let alphabet = b"mf=1, \"\\\n#t-.eiu\r\t\0\xff";
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

fn udp_relay() -> (Relay, UdpSink) {
    let sink = UdpSink::start();
    (Relay::start(&udp_listener("in", "", &[udp_output("sink", sink.addr(), "")])), sink)
}

fn http_relay() -> (Relay, HttpBackend) {
    let backend = HttpBackend::healthy();
    (Relay::start(&http_listener("in", "", &[http_output("a", backend.addr(), "")])), backend)
}

#[test]
fn random_datagrams_harm_no_neighbour() {
    let (relay, sink) = udp_relay();
    let good = numbered("good", 300);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut datagrams = Vec::new();
    for (n, line) in good.iter().enumerate() {
        let size = random.below(3_000);
        datagrams.push(if n % 2 == 0 { random.bytes(size) } else { random.almost(size) });
        datagrams.push(Vec::new());
        datagrams.push(line.clone().into_bytes());
    }
    let half_open = |size: usize| [b"m f=\"".to_vec(), vec![b'x'; size]].concat();
    datagrams.extend([
        random.bytes(65_507),
        half_open(65_000),
        vec![b'\n'; 65_507],
        vec![b' '; 9_000],
    ]);
    UdpSource::new(&relay, "in").send_all(&datagrams);
    let source = UdpSource::new(&relay, "in");
    source.send_all(&["last f=1 1"]);
    relay.wait_until_settled();
    let arrived =
        || sink.lines().iter().filter(|line| good.contains(line)).cloned().collect::<Vec<_>>();
    crate::harness::wait_until("the last line", || {
        sink.lines().iter().any(|line| line == "last f=1 1")
    });
    assert_eq!(arrived(), good);
    relay.finish();
}

/// Sends bytes on a connection of their own and reads whatever comes back until the relay closes
/// it or has nothing more to say.
fn provoke(relay: &Relay, bytes: &[u8]) -> Vec<u16> {
    let mut client = relay.client("in");
    let mut statuses = Vec::new();
    // The relay may hang up before it has read everything.
    if client.send(bytes).is_ok() && client.end() {
        while let Ok(Some(answer)) = client.receive() {
            statuses.push(answer.status());
        }
    }
    statuses
}

#[test]
fn garbage_on_an_http_connection_is_400_or_the_end_of_it() {
    let (relay, backend) = http_relay();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut neighbour = relay.client("in");
    let good = numbered("good", 60);
    for line in &good {
        let size = 1 + random.below(2_000);
        let statuses = provoke(&relay, &random.bytes(size));
        assert!(statuses.iter().all(|status| (400..500).contains(status)), "{statuses:?}");
        assert_eq!(neighbour.write("db=d", line).status(), 204);
    }
    assert_eq!(backend.wait_for_lines(good.len()), good);
    relay.finish();
    assert_eq!(backend.lines(), good, "and nothing else came");
}

#[test]
fn half_requests_are_no_requests() {
    let (relay, backend) = http_relay();
    let whole = "POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 8\r\n\r\nm f=1 1\n";
    for cut in 0..whole.len() {
        let statuses = provoke(&relay, &whole.as_bytes()[..cut]);
        assert!(statuses.iter().all(|status| *status == 400), "{cut}: {statuses:?}");
    }
    assert_eq!(relay.metrics().accepted("in"), 0);
    assert_eq!(provoke(&relay, whole.as_bytes()), [204], "the whole one is");
    backend.wait_for_lines(1);
    relay.finish();
    assert_eq!(backend.lines(), ["m f=1 1"]);
}

#[test]
fn what_follows_a_request_is_no_part_of_it() {
    let (relay, backend) = http_relay();
    let request = |line: &str| {
        let length = line.len();
        format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {length}\r\n\r\n{line}")
    };
    let pipelined = request("m f=1 1") + &request("m f=1 2") + "m f=1 3\n\0garbage";
    let statuses = provoke(&relay, pipelined.as_bytes());
    assert_eq!(statuses[..2], [204, 204], "{statuses:?}");
    assert!(statuses[2..].iter().all(|status| *status == 400), "{statuses:?}");
    assert_eq!(backend.wait_for_lines(2), ["m f=1 1", "m f=1 2"]);
    relay.finish();
    assert_eq!(backend.lines().len(), 2, "the garbage went nowhere");
}

#[test]
fn contradictory_framing_is_refused() {
    let (relay, backend) = http_relay();
    let head = "POST /write?db=d HTTP/1.1\r\nHost: r\r\n";
    for framing in [
        "Content-Length: 8\r\nContent-Length: 9\r\n\r\nm f=1 1\n",
        "Content-Length: -1\r\n\r\nm f=1 1\n",
        "Content-Length: eight\r\n\r\nm f=1 1\n",
        "Transfer-Encoding: chunked\r\n\r\nnothex\r\nm f=1 1\n\r\n0\r\n\r\n",
    ] {
        let statuses = provoke(&relay, format!("{head}{framing}").as_bytes());
        assert!(statuses.iter().all(|status| *status == 400), "{framing:?}: {statuses:?}");
    }
    assert_eq!(relay.metrics().accepted("in"), 0);
    relay.finish();
    assert!(backend.requests().is_empty());
}

#[test]
fn huge_heads_are_refused() {
    let (relay, backend) = http_relay();
    let long_target = format!("POST /write?db={} HTTP/1.1\r\nHost: r\r\n\r\n", "d".repeat(200_000));
    let long_header = format!("POST /write?db=d HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let many_headers = format!("POST /write?db=d HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    for head in [&long_target, &long_header, &many_headers] {
        let statuses = provoke(&relay, head.as_bytes());
        assert!(statuses.iter().all(|status| matches!(status, 400 | 414 | 431)), "{statuses:?}");
    }
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    backend.wait_for_lines(1);
    relay.finish();
}

#[test]
fn idle_and_abandoned_connections_hold_nobody_up() {
    let (relay, backend) = http_relay();
    let idle: Vec<Client> = (0..100)
        .map(|n| {
            let mut client = relay.client("in");
            if n % 2 == 0 {
                let half =
                    "POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\nm f=1";
                client.send(half.as_bytes()).expect("the relay reads");
            }
            client
        })
        .collect();
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    drop(idle);
    assert_eq!(relay.client("in").write("db=d", "m f=1 2").status(), 204);
    assert_eq!(backend.wait_for_lines(2), ["m f=1 1", "m f=1 2"]);
    relay.finish();
}

#[test]
fn random_bodies_are_400_and_forward_nothing() {
    let (relay, backend) = http_relay();
    let mut client = relay.client("in");
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..200 {
        let size = 1 + random.below(500);
        // No newline: one line, and no comment. What is left cannot be valid.
        let mut body = random.bytes(size);
        body.retain(|byte| !matches!(byte, b'\n' | b'#' | b'='));
        body.insert(0, b'x');
        let answer = client.write("db=d", &body);
        assert_eq!(answer.status(), 400, "{}", body.escape_ascii());
    }
    assert_eq!(relay.metrics().accepted("in"), 0);
    relay.finish();
    assert!(backend.requests().iter().all(|request| lines(request.body()).is_empty()));
}
