//! The backlog on disk: it outlives the relay, in order, and takes what memory has no room for.

use crate::harness::{
    HttpBackend, Relay, Reply, UdpSource, http_listener, http_output, numbered, run, udp_listener,
    wait_until,
};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

fn keys(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!(
        "buffer-size-mb = 1\nmax-delay-interval = \"20ms\"\nspool-dir = \"{dir}\"\n\
         fsync = \"always\"\n{more}"
    )
}

/// What is in the directories of a spool but for their locks.
fn files(dir: &Path) -> Vec<PathBuf> {
    let backends = std::fs::read_dir(dir).expect("it is there");
    let files = backends.flat_map(|backend| {
        std::fs::read_dir(backend.expect("it is there").path()).expect("it is a directory")
    });
    let files = files.map(|file| file.expect("it is there").path());
    files.filter(|file| file.file_name().is_some_and(|name| name != "lock")).collect()
}

#[test]
fn what_is_left_at_the_end_is_sent_after_the_next_start() {
    for kills in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let (late, up) = HttpBackend::down_until_told();
        let outputs = [http_output("late", late.addr(), &keys(dir.path(), ""))];
        let toml = http_listener("in", "ack = \"all\"", &outputs);
        let relay = Relay::start(&toml);
        let mut client = relay.client("in");
        let lines = numbered("left", 150);
        for line in &lines[..100] {
            assert_eq!(client.write("db=d", line).status(), 204);
        }
        assert_eq!(relay.metrics().of("ringrelay_backend_lines_spooled_total", &[]), 100);
        if kills {
            drop(relay);
        } else {
            relay.signal(Signal::TERM);
            assert_eq!(relay.wait().books("in", "late").spooled, 100);
        }
        assert!(!files(dir.path()).is_empty());

        let relay = Relay::start(&toml);
        let mut client = relay.client("in");
        for line in &lines[100..] {
            assert_eq!(client.write("db=d", line).status(), 204);
        }
        up.store(true, Ordering::Relaxed);
        assert_eq!(late.wait_for_lines(lines.len()), lines);
        wait_until("the spool to be empty", || files(dir.path()).is_empty());
        let stopped = relay.finish();
        let books = stopped.books("in", "late");
        assert_eq!((books.taken, books.restored, books.delivered), (50, 100, 150));

        let relay = Relay::start(&toml);
        assert_eq!(relay.finish().books("in", "late").restored, 0, "nothing comes twice");
    }
}

#[test]
fn what_memory_has_no_room_for_is_read_back_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (late, up) = HttpBackend::down_until_told();
    let more = "database = \"d\"\nqueue-size-mb = 64";
    let outputs = [http_output("late", late.addr(), &keys(dir.path(), more))];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    let lines = numbered("much", 60_000);
    let datagrams: Vec<_> = lines.chunks(20).map(|lines| lines.join("\n")).collect();
    UdpSource::new(&relay, "in").send_all(&datagrams);
    let of_late = [("backend", "late")];
    let metric = |name: &str| relay.metrics().of(&format!("ringrelay_backend_{name}"), &of_late);
    wait_until("all to be kept", || metric("backlog_lines") == 60_000);
    assert!(metric("backlog_bytes") <= 3 << 19, "memory is bounded, to one write more");
    assert!(metric("spool_bytes") > 60_000 * 30);
    up.store(true, Ordering::Relaxed);
    assert!(late.wait_for_lines(lines.len()) == lines, "all, in order");
    wait_until("the spool to be empty", || metric("spool_bytes") == 0);
    relay.finish();
}

#[test]
fn a_full_spool_drops_its_oldest_and_counts_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (late, up) = HttpBackend::down_until_told();
    let outputs = [http_output("late", late.addr(), &keys(dir.path(), "spool-size-mb = 8"))];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let mut client = relay.client("in");
    let lines = numbered("full", 200_000);
    for lines in lines.chunks(1_000) {
        assert_eq!(client.write("db=d", lines.join("\n")).status(), 204);
    }
    let of_late = [("backend", "late")];
    let dropped = relay.metrics().books("in", "late").dropped("spool_full");
    assert!(relay.metrics().of("ringrelay_backend_spool_bytes", &of_late) <= 8 << 20);
    assert!((1_000..199_000).contains(&dropped), "{dropped}");
    assert_eq!(dropped % 1_000, 0, "whole writes");
    up.store(true, Ordering::Relaxed);
    let dropped = usize::try_from(dropped).expect("a small number");
    let taken = late.wait_for_lines(lines.len() - dropped);
    // A write that was in flight when its segment went is older than all others, and is not lost.
    let in_flight = if taken[0] == lines[dropped] { 0 } else { 1_000 };
    let newest = &lines[dropped + in_flight..];
    let first = taken[in_flight..].iter().zip(newest).position(|(got, sent)| got != sent);
    assert_eq!((first, taken.len() + dropped), (None, lines.len()), "the oldest are gone");
    let said = |line: &&String| line.contains("the spool is full");
    assert_eq!(relay.finish().log.iter().filter(said).count(), 1, "once");
}

/// One database does not exist: its writes fill the memory's half and more, and others go on.
#[test]
fn what_waits_for_its_own_sake_is_passed_by_and_comes_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let created = Arc::<AtomicBool>::default();
    let is_created = Arc::clone(&created);
    let late = HttpBackend::start(move |request| {
        let missing = request.query().contains("missing") && !is_created.load(Ordering::Relaxed);
        Reply::status(if missing { 404 } else { 204 })
    });
    let outputs = [http_output("late", late.addr(), &keys(dir.path(), ""))];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let (mut one, mut other) = (relay.client("in"), relay.client("in"));
    let (missing, good) = (numbered("missing", 30_000), numbered("good", 3_000));
    for (missing, good) in missing.chunks(1_000).zip(good.chunks(100)) {
        assert_eq!(one.write("db=missing", missing.join("\n")).status(), 404, "it is told");
        assert_eq!(other.write("db=good", good.join("\n")).status(), 204);
    }
    assert!(late.wait_for_lines(good.len()) == good, "others go on");
    created.store(true, Ordering::Relaxed);
    let all = late.wait_for_lines(good.len() + missing.len());
    assert!(all[good.len()..] == missing, "in order");
    wait_until("the spool to be empty", || files(dir.path()).is_empty());
    relay.finish();
}

/// As above, but it was first in the memory when the backend came back.
#[test]
fn what_fails_after_an_outage_makes_room_for_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let status = Arc::new(AtomicU16::new(503));
    let now = Arc::clone(&status);
    let late = HttpBackend::start(move |request| {
        let status = now.load(Ordering::Relaxed);
        let refused = status == 404 && !request.query().contains("missing");
        Reply::status(if refused { 204 } else { status })
    });
    let outputs = [http_output("late", late.addr(), &keys(dir.path(), ""))];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let (mut one, mut other) = (relay.client("in"), relay.client("in"));
    let (missing, good) = (numbered("missing", 30_000), numbered("good", 30_000));
    for missing in missing.chunks(1_000) {
        assert_eq!(one.write("db=missing", missing.join("\n")).status(), 204);
    }
    for good in good.chunks(1_000) {
        assert_eq!(other.write("db=good", good.join("\n")).status(), 204);
    }
    status.store(404, Ordering::Relaxed);
    assert!(late.wait_for_lines(good.len()) == good, "others go on");
    status.store(204, Ordering::Relaxed);
    let all = late.wait_for_lines(good.len() + missing.len());
    assert!(all[good.len()..] == missing, "in order");
    wait_until("the spool to be empty", || files(dir.path()).is_empty());
    relay.finish();
}

#[test]
fn a_flush_empties_the_spool() {
    let dir = tempfile::tempdir().expect("a directory");
    let (late, up) = HttpBackend::down_until_told();
    let outputs = [http_output("late", late.addr(), &keys(dir.path(), ""))];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let mut client = relay.client("in");
    for lines in numbered("flushed", 40_000).chunks(1_000) {
        assert_eq!(client.write("db=d", lines.join("\n")).status(), 204);
    }
    assert_eq!(client.request("POST", "/admin/flush", &[], b"").status(), 200);
    let flushed = relay.metrics().books("in", "late").dropped("flushed");
    let in_flight = 40_000 - usize::try_from(flushed).expect("a small number");
    assert!(in_flight <= 1_000, "all but the one that is tried: {in_flight}");
    up.store(true, Ordering::Relaxed);
    assert_eq!(client.write("db=d", "after f=1 1").status(), 204);
    assert_eq!(late.wait_for_lines(in_flight + 1)[in_flight..], ["after f=1 1"]);
    wait_until("the spool to be empty", || files(dir.path()).is_empty());
    relay.finish();
}

#[test]
fn prometheus_writes_outlive_the_relay_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (late, up) = HttpBackend::down_until_told();
    let output = format!(
        "name = \"late\"\nlocation = \"http://{}/receive\"\ntype = \"prometheus\"\n{}",
        late.addr(),
        keys(dir.path(), "")
    );
    let toml = http_listener("in", "", &[output]);
    let relay = Relay::start(&toml);
    let mut client = relay.client("in");
    let headers = [("content-encoding", "snappy"), ("content-type", "application/x-protobuf")];
    let sent = client.request("POST", "/api/v1/prom/write?db=d", &headers, b"opaque");
    assert_eq!(sent.status(), 204);
    relay.signal(Signal::TERM);
    relay.wait();
    up.store(true, Ordering::Relaxed);
    let relay = Relay::start(&toml);
    wait_until("the write to come", || {
        let last = late.requests().pop().expect("one came");
        last.body() == b"opaque" && last.header("content-encoding") == Some("snappy")
    });
    relay.wait_until_settled();
    relay.finish();
}

#[test]
fn two_relays_cannot_share_a_spool() {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = HttpBackend::healthy();
    let outputs = [http_output("late", backend.addr(), &keys(dir.path(), ""))];
    let toml = http_listener("in", "", &outputs);
    let relay = Relay::start(&toml);
    let (_home, file) = crate::harness::config_file(&toml);
    let mut command = std::process::Command::new(crate::harness::binary());
    let second = run(command.arg("-config").arg(file));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains("spool-dir") && said.contains("another process"), "{said}");
    relay.finish();
}
