//! A real Prometheus writes through the relay to a real InfluxDB and a real VictoriaMetrics, one
//! of which is killed and comes back: both hold every sample.

use crate::harness::{
    HttpBackend, InfluxDb, Prometheus, Relay, Reply, VictoriaMetrics, http_listener, require,
    wait_until,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Samples by their time in milliseconds, by the labels of their series.
type Samples = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>>;

/// What Prometheus scrapes: a sample whose value is the number of the scrape.
fn target() -> (HttpBackend, Arc<AtomicU64>) {
    let scrapes = Arc::<AtomicU64>::default();
    let count = Arc::clone(&scrapes);
    let backend = HttpBackend::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let body = format!(
            "scrapes{{kind=\"a \\\"quoted\\\", odd=one\"}} {number}\nconstant -0.125\n\
             large 1.7976931348623157e+308\nspecial{{value=\"nan\"}} NaN\n"
        );
        let content_type = Some("text/plain; version=0.0.4");
        Reply { content_type, body, ..Reply::status(200) }
    });
    (backend, scrapes)
}

fn output(name: &str, addr: SocketAddr, path: &str) -> String {
    format!(
        "name = \"{name}\"\nlocation = \"http://{addr}/\"\n\
         endpoints = {{ write_prom = \"{path}\" }}\n\
         buffer-size-mb = 16\nmax-delay-interval = \"100ms\"\n"
    )
}

fn labels(of: &Value, more: Option<(&str, &Value)>) -> BTreeMap<String, String> {
    let fields = of.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value));
    let text = |value: &Value| value.as_str().map(str::to_owned).expect("a label is a text");
    fields.chain(more).map(|(key, value)| (key.to_owned(), text(value))).collect()
}

fn of_influxdb(dump: &Value) -> Samples {
    let series = dump.as_array().expect("series").iter().map(|series| {
        assert_eq!(series["columns"], serde_json::json!(["time", "value"]), "{series}");
        let rows = series["values"].as_array().expect("rows").iter();
        let samples = rows.map(|row| {
            let stamp = row[0].as_i64().expect("a time");
            assert_eq!(stamp % 1_000_000, 0, "milliseconds");
            (stamp / 1_000_000, row[1].as_f64().expect("a number"))
        });
        (labels(&series["tags"], Some(("__name__", &series["name"]))), samples.collect())
    });
    series.collect()
}

fn of_victoriametrics(export: &[Value]) -> Samples {
    let mut all = Samples::new();
    for series in export {
        let stamps = series["timestamps"].as_array().expect("times").iter();
        let values = series["values"].as_array().expect("values").iter();
        // InfluxDB stores no NaN, and leaves it out without an error.
        let samples = stamps.zip(values).filter(|(_, value)| !value.is_null());
        let samples = samples.map(|(stamp, value)| {
            (stamp.as_i64().expect("a time"), value.as_f64().expect("a number"))
        });
        all.entry(labels(&series["metric"], None)).or_default().extend(samples);
    }
    all.retain(|_, samples| !samples.is_empty());
    all
}

/// Asserts that both hold the same. VictoriaMetrics stores numbers as decimals: the last of their
/// digits may differ.
#[track_caller]
fn same(a: &Samples, b: &Samples) {
    assert_eq!(a.keys().collect::<BTreeSet<_>>(), b.keys().collect::<BTreeSet<_>>());
    for (series, samples) in a {
        let other = &b[series];
        assert_eq!(
            samples.keys().collect::<Vec<_>>(),
            other.keys().collect::<Vec<_>>(),
            "times of {series:?}"
        );
        for (stamp, value) in samples {
            let off = (value - other[stamp]).abs();
            assert!(off <= value.abs() * 1e-12, "{series:?} at {stamp}: {value}, {}", other[stamp]);
        }
    }
}

#[test]
fn influxdb_and_victoriametrics_hold_every_sample_after_an_outage() {
    if !require(&["prometheus", "influxd", "victoria-metrics"]) {
        return;
    }
    let mut influxdb = InfluxDb::mortal(Ipv4Addr::new(127, 45, 0, 1));
    let victoriametrics = VictoriaMetrics::start();
    influxdb.create("prom");
    let outputs = [
        output("influxdb", influxdb.http, "/api/v1/prom/write"),
        output("vm", victoriametrics.http, "/api/v1/write"),
    ];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let (target, scrapes) = target();
    let url = format!("http://{}/api/v1/prom/write?db=prom", relay.addr("in"));
    let targets = [("counter", target.addr()), ("relay", relay.addr("admin"))];
    let prometheus = Prometheus::start(&targets, &url);

    let wait_for_scrapes = |more: u64| {
        let wanted = scrapes.load(Ordering::Relaxed) + more;
        wait_until("scrapes", || scrapes.load(Ordering::Relaxed) >= wanted);
    };
    let books = |backend: &str| relay.metrics().opaque_books("in", backend);
    wait_until("the first writes", || books("influxdb").delivered > 3);
    influxdb.kill();
    wait_until("a backlog", || books("influxdb").queued > 0);
    wait_for_scrapes(8);
    let kept = books("influxdb");
    assert!(kept.queued > 4 && books("vm").queued <= 2, "{kept:?}, {:?}", books("vm"));
    influxdb.restart();
    wait_until("the backlog to drain", || books("influxdb").delivered > kept.taken);
    wait_for_scrapes(5);
    // It would begin again with all that it could not send.
    let log = prometheus.end();
    assert!(!log.contains("level=error") && !log.contains("non-recoverable"), "{log}");
    wait_until("all to be delivered", || {
        ["influxdb", "vm"].iter().all(|backend| books(backend).queued == 0)
    });
    for backend in ["influxdb", "vm"] {
        let books = books(backend);
        assert_eq!(books.delivered, books.taken, "{books:?}");
    }

    let one = of_influxdb(&influxdb.dump("prom"));
    let other = of_victoriametrics(&victoriametrics.export("%7B__name__!=%22%22%7D"));
    same(&one, &other);
    let of = |name: &str| {
        let named = |(series, _): &(&BTreeMap<_, _>, &BTreeMap<_, _>)| series["__name__"] == name;
        let found: Vec<_> = one.iter().filter(named).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]
    };
    let (series, samples) = of("scrapes");
    assert_eq!((&*series["kind"], &*series["job"]), ("a \"quoted\", odd=one", "counter"));
    // What Prometheus itself has not sent before its end, the last scrapes, nobody can have.
    let numbers: Vec<_> = samples.values().copied().collect();
    let all: Vec<_> = (1..=numbers.len()).map(|n| n as f64).collect();
    assert_eq!(numbers, all, "not one is missing");
    assert!(numbers.len() > 10, "{} scrapes", numbers.len());
    assert!(of("large").1.values().all(|value| *value == f64::MAX));
    assert!(of("constant").1.values().all(|value| *value == -0.125));
    assert!(one.keys().any(|series| series["__name__"].starts_with("ringrelay_backend_")));
    relay.finish();
}
