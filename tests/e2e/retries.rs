//! What a backend with a buffer is sent again, and what is not: by its answers.

use crate::harness::{HttpBackend, Relay, Reply, http_listener, http_output, lines, numbered};
use crate::harness::{wait_for, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const KEYS: &str = "buffer-size-mb = 1\nqueue-size-mb = 1\nmax-delay-interval = \"20ms\"\n";

fn relay(backend: &HttpBackend, more: &str) -> Relay {
    let output = http_output("a", backend.addr(), &format!("{KEYS}{more}"));
    Relay::start(&http_listener("in", "", &[output]))
}

/// A backend that gives `first` to the first request, and then 204.
fn at_first(first: Reply) -> HttpBackend {
    let asked = AtomicUsize::new(0);
    HttpBackend::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => first.clone(),
        _ => Reply::status(204),
    })
}

#[test]
fn what_may_pass_is_sent_again_and_its_client_goes_on() {
    for status in [302, 408, 425, 429, 500, 501, 502, 503, 504] {
        let backend = at_first(Reply::status(status));
        let relay = relay(&backend, "");
        let answer = relay.client("in").write("db=d&rp=week&u=me&p=x", "m f=1 1");
        assert_eq!(answer.status(), 204, "{status}: it is kept");
        assert_eq!(backend.wait_for_lines(1), ["m f=1 1"], "{status}");
        let books = relay.finish().books("in", "a");
        assert_eq!((books.taken, books.delivered), (1, 1), "{status}");
        let requests = backend.requests();
        assert_eq!(requests.len(), 2, "{status}");
        assert_eq!(requests[0].query(), requests[1].query(), "{status}: to the same place");
    }
}

#[test]
fn retry_after_makes_the_pause_longer() {
    let backend = at_first(Reply { retry_after: Some(1), ..Reply::status(429) });
    let relay = relay(&backend, "");
    let started = Instant::now();
    assert_eq!(relay.client("in").write("db=d", "m f=1 1").status(), 204);
    backend.wait_for_lines(1);
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    relay.finish();
}

#[test]
fn what_is_too_large_is_sent_in_parts() {
    let backend = HttpBackend::start(|request| {
        let body = lines(request.body());
        let fits = body.len() <= 3 && !body.iter().any(|line| line.contains("huge"));
        Reply::status(if fits { 204 } else { 413 })
    });
    let relay = relay(&backend, "");
    let mut sent = numbered("parts", 20);
    assert_eq!(relay.client("in").write("db=d", sent.join("\n")).status(), 204);
    assert_eq!(backend.wait_for_lines(20), sent, "in order");
    sent[7] = "huge f=1 1".to_owned();
    let answer = relay.client("in").write("db=d", sent.join("\n"));
    assert_eq!(answer.status(), 413, "one line alone is too large: {}", answer.text());
    assert_eq!(backend.wait_for_lines(39).len(), 39, "and harms no other");
    let books = relay.finish().books("in", "a");
    assert_eq!((books.delivered, books.dropped("refused")), (39, 1));
}

#[test]
fn what_is_refused_for_good_is_told_logged_and_counted() {
    let up = Arc::<AtomicBool>::default();
    let is_up = Arc::clone(&up);
    let backend = HttpBackend::start(move |request| {
        if !is_up.load(Ordering::Relaxed) {
            Reply::status(503)
        } else if request.text().contains("bad") {
            Reply::json(400, "{\"error\":\"field type conflict\"}")
        } else {
            Reply::status(204)
        }
    });
    let relay = relay(&backend, "");
    let mut client = relay.client("in");
    for line in ["one f=1 1", "bad f=1 2", "two f=1 3"] {
        assert_eq!(client.write("db=d", line).status(), 204, "it is kept");
    }
    up.store(true, Ordering::Relaxed);
    assert_eq!(backend.wait_for_lines(2), ["one f=1 1", "two f=1 3"], "nothing is held up");
    let said = |line: &String| line.contains("refused") && line.contains("field type conflict");
    wait_until("the log to say why", || relay.log().iter().any(said));
    let answer = client.write("db=d", "bad f=1 4");
    assert_eq!((answer.status(), answer.error().as_str()), (400, "field type conflict"));
    let books = relay.finish().books("in", "a");
    assert_eq!((books.delivered, books.dropped("refused")), (2, 2));
}

#[test]
fn what_an_operator_can_mend_is_kept_or_dropped_as_configured() {
    for status in [401, 403, 404] {
        let mended = Arc::<AtomicBool>::default();
        let is_mended = Arc::clone(&mended);
        let backend = HttpBackend::start(move |_| {
            let is_mended = is_mended.load(Ordering::Relaxed);
            if is_mended { Reply::status(204) } else { Reply::json(status, "{\"error\":\"no\"}") }
        });
        let (keeps, drops) = (relay(&backend, ""), relay(&backend, "on-refused = \"drop\""));
        for relay in [&keeps, &drops] {
            let answer = relay.client("in").write("db=d", "m f=1 1");
            assert_eq!((answer.status(), answer.error().as_str()), (status, "no"), "it is told");
        }
        let books = drops.finish().books("in", "a");
        assert_eq!((books.taken, books.dropped("refused")), (1, 1), "{status}");
        mended.store(true, Ordering::Relaxed);
        backend.wait_for_lines(1);
        let books = keeps.finish().books("in", "a");
        assert_eq!((books.taken, books.delivered), (1, 1), "{status}");
    }
}

#[test]
fn a_write_that_the_backend_fails_for_is_set_aside_and_can_be_sent_again() {
    let backend = HttpBackend::start(|request| {
        let fails = request.text().contains("poison");
        if fails { Reply::json(500, "{\"error\":\"panic\"}") } else { Reply::status(204) }
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let relay = relay(&backend, &format!("dead-letter-dir = {:?}", dir.path()));
    let mut client = relay.client("in");
    let before = numbered("before", 3);
    let after = numbered("after", 3);
    for line in before.iter().chain(["poison f=1 1".to_owned()].iter()).chain(&after) {
        assert_eq!(client.write("db=d", line).status(), 204, "stored or kept");
    }
    // The first behind the suspect goes ahead of it to tell whether it is one, and comes again.
    let (before, again) = ([before, after[..1].to_vec()].concat(), after);
    assert_eq!(backend.wait_for_lines(7), [before, again].concat(), "the order holds");
    let read = || {
        let files = std::fs::read_dir(dir.path()).expect("it is there");
        let file = files.flatten().next()?;
        let text = std::fs::read_to_string(file.path()).ok()?;
        text.contains("poison").then_some(text)
    };
    let letters = wait_for("the dead letter", read);
    assert!(letters.contains("500") && letters.contains("panic"), "{letters}");
    let again = letters.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(again.collect::<Vec<_>>(), ["poison f=1 1"], "{letters}");
    let books = relay.finish().books("in", "a");
    assert_eq!((books.delivered, books.dropped("poison")), (6, 1));
}

#[test]
fn a_full_buffer_refuses_what_is_new_and_keeps_what_it_has() {
    let (backend, up) = HttpBackend::down_until_told();
    let other = HttpBackend::healthy();
    let relay = {
        let outputs =
            [http_output("a", backend.addr(), KEYS), http_output("other", other.addr(), "")];
        let sole = http_listener("in", "ack = \"all\"", &outputs);
        Relay::start(&sole)
    };
    let mut client = relay.client("in");
    let mut kept = Vec::new();
    // 60 KB each: far more of them than fit into 1 MB.
    let body = |n: usize| format!("m,n={n} f=\"{}\" {n}", "x".repeat(60_000));
    let mut refused = 0;
    for n in 0..60 {
        match client.write("db=d", body(n)).status() {
            204 => kept.push(body(n)),
            503 => refused += 1,
            status => panic!("{status}"),
        }
    }
    assert!(refused > 20 && kept.len() > 10, "{} kept, {refused} refused", kept.len());
    up.store(true, Ordering::Relaxed);
    assert!(backend.wait_for_lines(kept.len()) == kept, "what was taken stays, in order");
    assert_eq!(other.wait_for_lines(60).len(), 60, "the other missed nothing");
    let stopped = relay.finish();
    let books = stopped.books("in", "a");
    assert_eq!((books.taken, books.dropped("buffer_full")), (60, refused));
    let said = |line: &&String| line.contains("the backlog is full");
    assert_eq!(stopped.log.iter().filter(said).count(), 1, "once");
}
