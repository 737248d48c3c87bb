//! SIGHUP under load: outputs, filters, limits and certificates change, and every line is accounted
//! for. What is refused is in `reload_refused`, what is taken out in `reload_removed`.

use crate::certificates::Authority;
use crate::harness::{
    HttpBackend, Manager, Metrics, Relay, UdpSink, UdpSource, http_listener, http_output, names,
    numbered, udp_listener, udp_output, wait_until,
};
use rustix::process::Signal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Lines that are sent together.
const TOGETHER: usize = 32;
/// Lines that are sent before the first change at least, between two, and after the last.
const BETWEEN: usize = 1_600;

/// Sends the first of `lines`, some at a time, beside `change`, which is given how to wait until
/// more of them were sent; gives those that were sent.
fn beside(
    lines: &[String],
    send: impl FnMut(&[String]) + Send,
    change: impl FnOnce(&dyn Fn()),
) -> &[String] {
    let (sent, last) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let (mut send, mut some) = (send, lines.chunks(TOGETHER));
    thread::scope(|scope| {
        let loading = scope.spawn(|| {
            while sent.load(Ordering::Relaxed) < last.load(Ordering::Relaxed) {
                send(some.next().expect("there are more lines than any test sends"));
                sent.fetch_add(TOGETHER, Ordering::Relaxed);
            }
        });
        let more = || {
            let until = sent.load(Ordering::Relaxed) + BETWEEN;
            wait_until("more to be sent", || {
                assert!(!loading.is_finished(), "the load has failed");
                sent.load(Ordering::Relaxed) >= until
            });
        };
        more();
        change(&more);
        last.store(sent.load(Ordering::Relaxed) + BETWEEN, Ordering::Relaxed);
    });
    &lines[..sent.into_inner()]
}

/// Sends each line as a datagram.
fn by_udp(relay: &Relay) -> impl FnMut(&[String]) + Send {
    let source = UdpSource::new(relay, "in");
    move |some| source.send_all(some)
}

/// Posts, on one connection.
fn by_http(relay: &Relay) -> impl FnMut(&[String]) + Send {
    let mut client = relay.client("in");
    move |some| {
        let answer = client.write("db=d", some.join("\n"));
        assert_eq!(answer.status(), 204, "{}", answer.text());
    }
}

/// A listener's series of a backend that was taken out end once it has drained.
pub(crate) fn wait_until_gone(relay: &Relay, backend: &str) {
    let is_there = |metrics: &Metrics| metrics.backends().iter().any(|(_, name)| name == backend);
    wait_until("its series to end", || !is_there(&relay.metrics()));
    let count = |words: &str, backend: &str| {
        relay.log().iter().filter(|line| line.contains(words) && line.contains(backend)).count()
    };
    let gone = count("output taken out", &format!("backend=\"{backend}\""));
    let closed = || count("books closed", &format!("backend={backend} "));
    wait_until("its closing books in the log", || gone > 0 && closed() == gone);
}

#[test]
fn outputs_by_udp_come_go_and_move_between_two_datagrams() {
    let [stays, goes, comes] = [(); 3].map(|()| UdpSink::start());
    let [from, to] = [(); 2].map(|()| UdpSink::start());
    let stays = |mtu: usize| udp_output("stays", stays.addr(), &format!("mtu = {mtu}"));
    let before =
        [stays(1024), udp_output("goes", goes.addr(), ""), udp_output("moves", from.addr(), "")];
    let after =
        [udp_output("comes", comes.addr(), ""), udp_output("moves", to.addr(), ""), stays(600)];
    let relay = Relay::start(&udp_listener("in", "workers = 1", &before));
    let lines = numbered("udp", 200_000);
    let lines = beside(&lines, by_udp(&relay), |_| {
        relay.reload(&udp_listener("in", "workers = 1\nbatch-wait-us = 500", &after));
    });
    let (metrics, sent) = (relay.wait_until_settled(), lines.len());
    assert_eq!(metrics.books("in", "stays").delivered, sent as u64);
    assert_eq!(metrics.books("in", "moves").delivered, sent as u64, "its counters go on");
    wait_until("every line", || goes.lines().len() + comes.lines().len() == sent);
    wait_until("every line", || from.lines().len() + to.lines().len() == sent);
    assert!(comes.lines().len() >= BETWEEN / 2 && to.lines().len() >= BETWEEN / 2);
    assert_eq!([goes.lines(), comes.lines()].concat(), lines, "each once, in order");
    assert_eq!([from.lines(), to.lines()].concat(), lines, "each once, in order");
    wait_until_gone(&relay, "goes");
    assert_eq!(relay.metrics().of("ringrelay_config_reloads_total", &[("result", "success")]), 1);
    let stopped = relay.finish();
    assert_eq!(stopped.books("in", "goes").delivered, goes.lines().len() as u64);
}

#[test]
fn outputs_by_http_come_go_and_move_between_two_requests() {
    let [stays, goes, comes, from, to] = [(); 5].map(|()| HttpBackend::healthy());
    let stays_output = |more: &str| http_output("stays", stays.addr(), more);
    let before = [
        stays_output(""),
        http_output("goes", goes.addr(), ""),
        http_output("moves", from.addr(), ""),
    ];
    let after = [
        http_output("comes", comes.addr(), ""),
        http_output("moves", to.addr(), "timeout = \"5s\""),
        stays_output("content-encoding = \"identity\"\nqueue-size-mb = 2"),
    ];
    let ack = "ack = \"all\"";
    let relay = Relay::start(&http_listener("in", ack, &before));
    let lines = numbered("http", 200_000);
    let lines = beside(&lines, by_http(&relay), |_| {
        relay.reload(&http_listener("in", &format!("{ack}\nmax-connections = 20"), &after));
    });
    assert_eq!(stays.wait_for_lines(lines.len()), lines);
    assert_eq!([goes.lines(), comes.lines()].concat(), lines, "each once, in order");
    assert_eq!([from.lines(), to.lines()].concat(), lines, "each once, in order");
    assert!(comes.lines().len() >= BETWEEN / 2 && to.lines().len() >= BETWEEN / 2);
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.books("in", "moves").delivered, lines.len() as u64, "its counters go on");
    let connections = metrics.of(names::HTTP_CONNECTIONS, &[("listener", "in")]);
    assert_eq!(connections, 1, "the client's connection was not closed");
    assert_eq!(stays.connections(), 1, "nor the one to a backend that stayed");
    wait_until_gone(&relay, "goes");
    relay.finish();
}

#[test]
fn many_reloads_lose_nothing() {
    let sinks = [(); 2].map(|()| UdpSink::start());
    let backend = HttpBackend::healthy();
    let database = "database = \"d\"\nbuffer-size-mb = 16";
    let toml = |turn: usize| {
        let fork = udp_output(&format!("fork-{turn}"), sinks[turn % 2].addr(), "");
        let outputs = [fork, http_output("db", backend.addr(), database)];
        let filter = "[[filter]]\nmeasurement-expression = 'nothing'\noutputs = ['db']\n";
        let filter = if turn % 2 == 1 { filter } else { "" };
        udp_listener("in", "workers = 1", &outputs) + filter
    };
    let relay = Relay::start(&toml(0));
    let lines = numbered("many", 200_000);
    let lines = beside(&lines, by_udp(&relay), |more| {
        for turn in 1..=12 {
            relay.reload(&toml(turn));
            more();
        }
    });
    let metrics = relay.wait_until_settled();
    let mut all: Vec<_> = sinks.iter().flat_map(UdpSink::lines).collect();
    wait_until("all lines", || {
        all = sinks.iter().flat_map(UdpSink::lines).collect();
        all.len() >= lines.len()
    });
    let number =
        |line: &String| line.rsplit(' ').next().and_then(|stamp| stamp.parse::<u64>().ok());
    all.sort_by_key(number);
    assert_eq!(all, lines, "each once");
    let (books, filtered) = (metrics.books("in", "db"), metrics.filtered("in", "db"));
    assert_eq!(books.taken + filtered, lines.len() as u64, "{books:?}");
    assert!(filtered > 6_000 && books.delivered > 6_000, "{books:?} {filtered}");
    assert_eq!(backend.lines().len() as u64, books.delivered);
    relay.finish();
}

#[test]
fn what_a_client_began_before_a_reload_goes_to_those_that_are_there_when_it_has_come() {
    let (old, new) = (HttpBackend::healthy(), HttpBackend::healthy());
    let relay = Relay::start(&http_listener("in", "", &[http_output("old", old.addr(), "")]));
    let mut client = relay.client("in");
    let body = "m f=1 1";
    let head = format!("POST /write?db=d HTTP/1.1\r\nHost: r\r\nContent-Length: {}\r\n\r\n", 7);
    client.send(head.as_bytes()).expect("the relay reads");
    client.send(&body.as_bytes()[..3]).expect("the relay reads");
    relay.reload(&http_listener("in", "", &[http_output("new", new.addr(), "")]));
    // The body that is still coming does not hold up the one that was taken out.
    wait_until_gone(&relay, "old");
    client.send(&body.as_bytes()[3..]).expect("the relay reads");
    assert_eq!(client.receive().expect("it answers").expect("an answer").status(), 204);
    assert_eq!(new.wait_for_lines(1), [body]);
    assert!(old.requests().is_empty());
    relay.finish();
}

#[test]
fn a_filter_changes_between_two_batches() {
    let (sink, backend) = (UdpSink::start(), HttpBackend::healthy());
    let outputs =
        [udp_output("out", sink.addr(), ""), http_output("db", backend.addr(), "database = \"d\"")];
    let toml = udp_listener("in", "workers = 1", &outputs);
    let relay = Relay::start(&toml);
    let mut lines = numbered("f", 200_000);
    let odd = lines.iter_mut().skip(1).step_by(2);
    odd.for_each(|line| *line = line.replacen("cpu", "mem", 1));
    let filter = "[[filter]]\nmeasurement-expression = '^cpu$'\noutputs = ['out', 'db']\n";
    let lines = beside(&lines, by_udp(&relay), |_| relay.reload(&(toml.clone() + filter)));
    let metrics = relay.wait_until_settled();
    sink.wait_for_lines(usize::try_from(metrics.books("in", "out").delivered).expect("few"));
    for (name, got) in [("out", sink.lines()), ("db", backend.lines())] {
        let filtered = metrics.filtered("in", name);
        assert_eq!(metrics.books("in", name).taken + filtered, lines.len() as u64, "{name}");
        // All that came before, and every other line after that.
        let last = got.iter().rposition(|line| line.starts_with("mem")).map_or(0, |at| at + 1);
        assert_eq!(got[..last], lines[..last], "{name}");
        let rest: Vec<_> = lines[last..].iter().filter(|line| line.starts_with("cpu")).collect();
        assert_eq!(got[last..].iter().collect::<Vec<_>>(), rest, "{name}");
        let enough = last >= BETWEEN && filtered >= BETWEEN as u64 / 4;
        assert!(enough, "{name}: {last}, {filtered}");
    }
    relay.finish();
}

#[test]
fn rate_limits_come_and_go() {
    let (sink, backend) = (UdpSink::start(), HttpBackend::healthy());
    let udp = |more: &str| udp_listener("in", more, &[udp_output("out", sink.addr(), "")]);
    let web = |more: &str| http_listener("web", more, &[http_output("db", backend.addr(), "")]);
    let relay = Relay::start(&(udp("workers = 1") + &web("")));
    let lines = numbered("rate", 200_000);
    let lines = beside(&lines, by_udp(&relay), |more| {
        relay.reload(&(udp("workers = 1\nrate-limit-lines = 100") + &web("rate-limit = 1")));
        more();
        relay.reload(&(udp("workers = 1") + &web("rate-limit = 1")));
    });
    let metrics = relay.wait_until_settled();
    let refused = metrics.of(names::UDP_REFUSED, &[("reason", "rate_limited")]);
    assert_eq!(metrics.accepted("in") + refused, lines.len() as u64, "each is accounted for");
    assert!(refused > 0);
    sink.wait_for_lines(lines.len() - usize::try_from(refused).expect("few"));
    let mut client = relay.client("web");
    let statuses: Vec<_> = (0..5).map(|_| client.write("db=d", "m f=1 1").status()).collect();
    assert_eq!(statuses[0], 204);
    assert!(statuses.contains(&429), "{statuses:?}");
    relay.reload(&(udp("workers = 1") + &web("default-ping-response = 299")));
    for _ in 0..5 {
        assert_eq!(client.write("db=d", "m f=1 1").status(), 204, "the limit is gone");
    }
    assert_eq!(client.get("/ping").status(), 299);
    relay.finish();
}

#[test]
fn certificates_change_and_open_connections_stay() {
    let [first, second] = ["first", "second"].map(Authority::new);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    let old = write("old.pem", &first.issue_for(&["localhost"], 2020..2040));
    let new = write("new.pem", &second.issue_for(&["localhost"], 2020..2041));
    let trusted = write("trusted.pem", &first.pem());
    let backend = HttpBackend::healthy();
    let server = |pem: &std::path::Path| {
        let outputs = [http_output("db", backend.addr(), "")];
        http_listener("tls", &format!("ssl-combined-pem = {pem:?}"), &outputs)
    };
    let behind = Relay::start(&server(&old));
    let port = behind.addr("tls").port();
    let output = format!(
        "name = \"out\"\nlocation = \"https://localhost:{port}/\"\nca-file = {trusted:?}\n"
    );
    let toml = http_listener("in", "", &[output]);
    let relay = Relay::start(&toml);
    let expiry = || behind.metrics().of("ringrelay_tls_certificate_expiry_timestamp_seconds", &[]);
    let expires = expiry();
    let lines = numbered("tls", 200_000);
    let lines = beside(&lines, by_http(&relay), |more| {
        behind.reload(&server(&new));
        assert!(expiry() > expires, "{expires}");
        more();
        let made = behind.metrics().of(names::HTTP_CONNECTIONS, &[("listener", "tls")]);
        assert_eq!(made, 1, "the connection from before went on");
        // Connections that are made from now on trust the new one.
        write("trusted.pem", &second.pem());
        relay.reload(&toml);
    });
    assert_eq!(backend.wait_for_lines(lines.len()), lines, "each once, in order");
    let metrics = behind.metrics();
    assert_eq!(metrics.of(names::HTTP_CONNECTIONS, &[("listener", "tls")]), 2);
    assert_eq!(metrics.of(names::HTTP_HANDSHAKES_FAILED, &[("listener", "tls")]), 0);
    relay.finish();
    behind.finish();
}

#[test]
fn a_backlog_moves_with_its_output_and_a_spool_stays_behind() {
    let (down, _up) = HttpBackend::down_until_told();
    let up = HttpBackend::healthy();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let keeps = "buffer-size-mb = 16\nmax-delay-interval = \"1h\"";
    let spools = format!("{keeps}\nspool-dir = {:?}\nfsync = \"always\"", dir.path());
    let toml = |backend: &HttpBackend| {
        let outputs = [
            http_output("memory", backend.addr(), keeps),
            http_output("disk", backend.addr(), &spools),
        ];
        http_listener("in", "ack = \"all\"", &outputs)
    };
    let alone = http_listener("in", "", &[http_output("memory", up.addr(), keeps)]);
    let relay = Relay::start(&toml(&down));
    let lines = numbered("kept", 300);
    let mut client = relay.client("in");
    for line in &lines {
        assert_eq!(client.write("db=d", line).status(), 204);
    }
    // One moves, the other goes.
    relay.reload(&alone);
    assert_eq!(up.wait_for_lines(300), lines, "tried at once, in order");
    wait_until_gone(&relay, "disk");
    let left =
        |line: &String| line.contains("its spool stays on the disk") && line.contains("lines=300");
    wait_until("the log to say where", || relay.log().iter().any(left));
    // It comes again, with what it had.
    relay.reload(&toml(&up));
    assert_eq!(up.wait_for_lines(600)[300..], lines);
    let metrics = relay.wait_until_settled();
    assert_eq!(metrics.books("in", "disk").restored, 300);
    relay.finish();
}

#[test]
fn the_service_manager_is_told() {
    let (sink, manager) = (UdpSink::start(), Manager::start());
    let toml = udp_listener("in", "", &[udp_output("out", sink.addr(), "")]);
    let relay = Relay::start_as(manager.command(), &toml);
    manager.wait_for("READY=1");
    relay.reload(&toml);
    let told = manager.wait_for("RELOADING=1");
    assert!(told.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told}");
    let ready = || manager.told().iter().filter(|text| text.contains("READY=1")).count();
    wait_until("the end of the reload", || ready() == 2);
    relay.refuses("[[udp]]\n");
    wait_until("the end of the second", || ready() == 3);
    manager.wait_for("STATUS=serving; the configuration was not reloaded: see the log");
    // Several at once are one or two reloads, and none stops the relay.
    for _ in 0..5 {
        relay.signal(Signal::HUP);
    }
    UdpSource::new(&relay, "in").send_all(&["m f=1 1"]);
    assert_eq!(sink.wait_for_lines(1), ["m f=1 1"]);
    relay.finish();
}
