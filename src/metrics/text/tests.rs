//! Reads the text as strictly as Prometheus does, and compares it with `docs/metrics.md`.

use super::*;
use crate::metrics::{HttpListener, Reloads, UdpListener};
use crate::tls::certificates::Authority;
use crate::tls::{Acceptor, ServerFiles};
use crossbeam_utils::CachePadded;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "a \"b\\c\nd\",{e}";

fn tls() -> Arc<Acceptor> {
    let pem = Authority::new("ca").issue_for(&["relay"], 2020..2040);
    let files = ServerFiles { identity: "/nonexistent".into(), client_authorities: None };
    let read = |_: &std::path::Path| Ok(pem.clone().into_bytes());
    Arc::new(Acceptor::new(files, &read).expect("a good file"))
}

fn registry() -> Registry {
    let backend = Arc::new(Backend::new(NAME.into(), "out".into(), Arc::default()));
    backend.taken.add(12);
    backend.delivered.add(5);
    backend.drop_lines(Drop::Unavailable, 7);
    backend.requests[4].add(3);
    for ms in [1, 2, 100_000] {
        backend.latency.record(Duration::from_millis(ms));
    }
    let udp: [Arc<CachePadded<UdpWorker>>; 2] = Default::default();
    let http: [Arc<CachePadded<HttpWorker>>; 2] = Default::default();
    udp[0].datagrams.add(1);
    udp[1].datagrams.add(2);
    http[1].answers[Endpoint::Ping as usize][0].add(9);
    Registry {
        started_s: 1_700_000_000,
        udp: vec![UdpListener { name: NAME.into(), workers: udp.to_vec() }],
        http: vec![HttpListener {
            name: "web".into(),
            workers: http.to_vec(),
            tls: Some(tls()).into(),
        }],
        backends: vec![backend].into(),
        reloads: Reloads::default(),
    }
}

struct Parsed {
    /// Kind by family name.
    kinds: BTreeMap<String, String>,
    /// Label names by family name.
    labels: BTreeMap<String, BTreeSet<String>>,
    /// Value by name and labels.
    samples: BTreeMap<(String, Vec<(String, String)>), f64>,
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}

/// Reads `name="value",...}` and gives what follows it.
fn parse_labels(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"").expect("a label has a quoted value");
        assert!(is_name(name), "label name {name:?}");
        let (mut value, mut chars) = (String::new(), rest.chars());
        loop {
            match chars.next().expect("a label value is closed") {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("escape {other:?}"),
                }),
                c => value.push(c),
            }
        }
        labels.push((name.to_owned(), value));
        text = chars.as_str();
        match text.as_bytes()[0] {
            b',' => text = &text[1..],
            b'}' => return (labels, &text[1..]),
            other => panic!("{other} behind a label"),
        }
    }
}

fn parse(text: &str) -> Parsed {
    let (kinds, labels, samples) = Default::default();
    let mut parsed = Parsed { kinds, labels, samples };
    let (mut family, mut helped) = (String::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(is_name(name) && !words.is_empty(), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            let twice = parsed.kinds.insert(name.to_owned(), kind.to_owned());
            assert_eq!(twice, None, "{name} comes once");
            name.clone_into(&mut family);
            parsed.labels.insert(family.clone(), BTreeSet::new());
        } else {
            let (name, labels, value) = match line.find('{') {
                Some(at) => {
                    let (labels, rest) = parse_labels(&line[at + 1..]);
                    (&line[..at], labels, rest.strip_prefix(' ').expect("a space"))
                }
                None => {
                    let (name, value) = line.split_once(' ').expect("a value");
                    (name, Vec::new(), value)
                }
            };
            let suffix = name.strip_prefix(&family).expect("samples follow their TYPE");
            let allowed: &[&str] = match parsed.kinds[&family].as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line}");
            let names = labels.iter().map(|(name, _)| name.clone()).filter(|name| name != "le");
            parsed.labels.get_mut(&family).expect("its TYPE came").extend(names);
            let value = value.parse().expect("a number");
            let twice = parsed.samples.insert((name.to_owned(), labels), value);
            assert_eq!(twice, None, "{line} comes once");
        }
    }
    parsed
}

fn value(parsed: &Parsed, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
    parsed.samples[&(format!("ringrelay_{name}"), labels)]
}

#[test]
fn reads_back_as_what_was_counted() {
    let parsed = parse(&render(&registry()));
    let listener = ("listener", NAME);
    assert_eq!(value(&parsed, "udp_datagrams_received_total", &[listener]), 3.0, "summed");
    let ping = [("listener", "web"), ("endpoint", "ping"), ("code", "2xx")];
    assert_eq!(value(&parsed, "http_requests_total", &ping), 9.0);
    let (relay, backend) = (("relay", NAME), ("backend", "out"));
    let unavailable = [relay, backend, ("reason", "unavailable")];
    assert_eq!(value(&parsed, "backend_lines_dropped_total", &unavailable), 7.0);
    assert_eq!(value(&parsed, "backend_requests_total", &[relay, backend, ("code", "none")]), 3.0);
    assert_eq!(value(&parsed, "start_time_seconds", &[]), 1_700_000_000.0);
}

#[test]
fn the_histogram_is_cumulative_and_in_seconds() {
    let parsed = parse(&render(&registry()));
    let name = "backend_request_duration_seconds";
    let (relay, backend) = (("relay", NAME), ("backend", "out"));
    let le = |le| value(&parsed, &format!("{name}_bucket"), &[relay, backend, ("le", le)]);
    assert_eq!((le("0.000512"), le("0.001024"), le("0.002048")), (0.0, 1.0, 2.0));
    assert_eq!((le("33.554432"), le("+Inf")), (2.0, 3.0));
    assert_eq!(value(&parsed, &format!("{name}_count"), &[relay, backend]), 3.0);
    assert_eq!(value(&parsed, &format!("{name}_sum"), &[relay, backend]), 100.003);
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let docs = std::fs::read_to_string(path).expect("docs/metrics.md is there");
    let mut documented = BTreeMap::new();
    for row in docs.lines().filter(|line| line.starts_with("| `ringrelay_")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("four cells: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        let labels: BTreeSet<_> = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned())
            .filter(|label| !label.is_empty())
            .collect();
        let name = name.trim_matches('`').to_owned();
        let twice = documented.insert(name.clone(), (kind.to_owned(), labels));
        assert_eq!(twice, None, "{name} has one row");
    }
    let parsed = parse(&render(&registry()));
    let emitted: BTreeMap<_, _> = parsed
        .kinds
        .into_iter()
        .map(|(name, kind)| (name.clone(), (kind, parsed.labels[&name].clone())))
        .collect();
    assert_eq!(documented, emitted, "docs/metrics.md (left) and /metrics (right) agree");
}
