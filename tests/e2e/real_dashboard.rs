//! The dashboard and the alerts over a running relay, by a real Prometheus: every expression of
//! the one gives a series, every alert knows its metrics, and those of an outage fire.

use crate::certificates::Authority;
use crate::harness::{
    HttpBackend, Prometheus, Relay, Reply, UdpSink, UdpSource, http_listener, http_output,
    numbered, require, run, udp_listener, udp_output, wait_for, wait_until,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than the harness's deadline: Prometheus shares the machine with all other tests.
const PATIENCE: Duration = Duration::from_secs(60);

fn packaged(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(packaged(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What Grafana puts in for its variables, "All" chosen for each.
fn filled_in(expression: &str) -> String {
    let with = [
        ("$__rate_interval", "1m"),
        ("$__interval", "1m"),
        ("$__range", "1h"),
        ("$instance", ".+"),
        ("$listener", ".+"),
        ("$backend", ".+"),
    ];
    let filled =
        with.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains('$'), "a variable that the dashboard does not have: {expression}");
    filled
}

/// Each expression of the dashboard, with the title of what shows it.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned).expect("a text");
    let mut all = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let targets = list(&panel["targets"]);
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{}", panel["title"]);
        for target in targets {
            all.push((text(&panel["title"]), filled_in(&text(&target["expr"]))));
        }
    }
    assert!(all.len() > 30, "the panels were found: {}", all.len());
    for variable in list(&dashboard["templating"]["list"]) {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            assert_eq!(query, text(&variable["definition"]));
            let inside = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')'));
            let (series, label) = inside.and_then(|q| q.rsplit_once(", ")).expect("label_values");
            all.push((
                format!("${}", text(&variable["name"])),
                filled_in(&format!("count by ({label}) ({series})")),
            ));
        }
    }
    all
}

/// The names of metrics in an expression: what a regular expression stands for is left out.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let quoted: String = expression.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let words = quoted.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let own = |word: &&str| word.starts_with("ringrelay_") || word.starts_with("process_");
    words.filter(own).map(str::to_owned).collect()
}

/// A relay in an outage: a backend of each kind that is well, and of each that is not.
struct Outage {
    relay: Relay,
    _parts: (UdpSink, HttpBackend, HttpBackend, HttpBackend),
    _dead: socket2::Socket,
    _dir: tempfile::TempDir,
}

impl Outage {
    fn begin() -> Self {
        let (sink, healthy) = (UdpSink::start(), HttpBackend::healthy());
        let refusing = HttpBackend::refusing(400, "{\"error\":\"no\"}");
        // Takes everything but one line, which is set aside after a while.
        let picky = HttpBackend::start(|request| {
            Reply::status(if request.text().contains("poison") { 500 } else { 204 })
        });
        let (dead, socket) = HttpBackend::dead();
        // Bound and dropped: nobody listens there.
        let closed = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let pem = at("relay.pem");
        std::fs::write(&pem, Authority::new("ca").issue(&["localhost"])).expect("a file");
        let spool = format!("buffer-size-mb = 1\nspool-dir = \"{}\"", at("spool"));
        let letters = format!("buffer-size-mb = 1\ndead-letter-dir = \"{}\"\n", at("letters"));
        let letters = letters + "max-delay-interval = \"20ms\"";
        let outputs = [
            http_output("healthy", healthy.addr(), ""),
            http_output("refusing", refusing.addr(), ""),
            http_output("dead", dead, ""),
            http_output("kept", dead, &spool),
            http_output("picky", picky.addr(), &letters),
        ];
        let by_udp = [
            udp_output("sink", sink.addr(), ""),
            udp_output("closed", closed.expect("a free port"), ""),
        ];
        let tls = format!("ssl-combined-pem = \"{pem}\"");
        let toml = udp_listener("udp", "", &by_udp)
            + &http_listener("http", "", &outputs)
            + &http_listener("tls", &tls, &[http_output("healthy", healthy.addr(), "")]);
        let relay = Relay::start(&toml);
        Self { relay, _parts: (sink, healthy, refusing, picky), _dead: socket, _dir: dir }
    }

    /// A little of everything that is counted.
    fn load(&self) {
        UdpSource::new(&self.relay, "udp").send_all(&["m f=1 1", "bad"]);
        for body in [&numbered("h", 3).join("\n"), "good f=1 1\nbad", "poison f=1 1"] {
            self.relay.client("http").write("db=d", body);
        }
    }
}

/// Keeps the load up until a condition holds.
fn until(outage: &Outage, what: &str, mut missing: impl FnMut() -> Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        outage.load();
        let missing = missing();
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}:\n{}", missing.join("\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn every_panel_of_the_dashboard_has_data() {
    if !require(&["prometheus"]) {
        return;
    }
    let dashboard: Value = serde_json::from_str(&read("grafana/ringrelay.json")).expect("JSON");
    let outage = Outage::begin();
    let targets = [("relay", outage.relay.addr("admin"))];
    let prometheus = Prometheus::watch(&targets, "groups: []\n");
    until(&outage, "expressions without a series", || {
        let empty = expressions(&dashboard).into_iter().filter_map(|(title, expression)| {
            let got = prometheus.ask("query", &[("query", &expression)]);
            let why = match got {
                Ok(data) if data["result"].as_array().is_some_and(|all| !all.is_empty()) => None,
                Ok(_) => Some("no series".to_owned()),
                Err(error) => Some(error),
            };
            why.map(|why| format!("{title}: {expression}: {why}"))
        });
        empty.collect()
    });
    for restarts in dashboard["annotations"]["list"].as_array().expect("a list") {
        if let Some(expression) = restarts["expr"].as_str() {
            let got = prometheus.ask("query", &[("query", &filled_in(expression))]);
            assert!(got.is_ok(), "{expression}: {got:?}");
        }
    }
    every_name_is_there(&outage.relay, &expressions(&dashboard));
}

/// A name in a part of an expression that gives nothing by itself would not be missed.
fn every_name_is_there(relay: &Relay, expressions: &[(String, String)]) {
    let text = relay.client("admin").get("/metrics").text();
    let families: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for (title, expression) in expressions {
        for name in metrics_of(expression) {
            assert!(families.contains(name.as_str()), "{title}: /metrics has no {name}");
        }
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("grafana/ringrelay.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let number = |value: &Value| value.as_u64().expect("a number");
    let ids: BTreeSet<_> = panels.iter().map(|panel| number(&panel["id"])).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = &panel["gridPos"];
        let (x, y, w, h) = (number(&at["x"]), number(&at["y"]), number(&at["w"]), number(&at["h"]));
        assert!(x + w <= 24, "{}: Grafana has 24 columns", panel["title"]);
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} lies over another panel", panel["title"]);
        }
        for source in panel["targets"].as_array().into_iter().flatten().chain([panel]) {
            let row = panel["type"] == "row";
            assert!(row || source["datasource"]["uid"] == "${datasource}", "{}", panel["title"]);
        }
    }
}

/// The rules as Prometheus holds them: name and expression.
fn rules(prometheus: &Prometheus) -> Vec<(String, String)> {
    let loaded = || prometheus.ask("rules", &[]).ok();
    let rules = wait_for("rules", || loaded().filter(|rules| rules["groups"][0].is_object()));
    let rules = rules["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned).expect("a text");
    rules.iter().map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect()
}

#[test]
fn alerts_of_an_outage_fire_and_say_what_to_do() {
    if !require(&["prometheus"]) {
        return;
    }
    // In a test nobody waits for minutes, nor a quarter of an hour for a backlog to be old.
    let text = read("prometheus/alerts.yml");
    let hasty: String = text
        .lines()
        .map(|line| if line.starts_with("    for: ") { "    for: 0s" } else { line })
        .map(|line| line.replace("_seconds > 900", "_seconds > 1") + "\n")
        .collect();
    assert_ne!(hasty, text);
    let outage = Outage::begin();
    let targets = [
        ("relay", outage.relay.addr("admin")),
        ("gone", "127.0.0.1:1".parse().expect("an address")),
    ];
    let prometheus = Prometheus::watch(&targets, &hasty);
    let rules = rules(&prometheus);
    assert_eq!(rules.len(), text.matches("- alert: ").count());
    every_name_is_there(&outage.relay, &rules);
    let expected = [
        "RingrelayBackendDown dead",
        "RingrelayBackendDown kept",
        "RingrelayBacklogOld kept",
        "RingrelayDeadLetters picky",
        "RingrelayLinesDropped dead",
        "RingrelayLinesRefusedByBackend picky",
        "RingrelayLinesRefusedByBackend refusing",
        "RingrelayLinesRefused http",
        "RingrelayLinesRefused udp",
        "RingrelayUdpBackendNotListening closed",
    ];
    let fired = || -> Vec<Value> {
        let alerts = prometheus.ask("alerts", &[]).expect("it answers");
        let alerts = alerts["alerts"].as_array().cloned().unwrap_or_default();
        alerts.into_iter().filter(|alert| alert["state"] == "firing").collect()
    };
    let named = |alert: &Value| {
        let labels = &alert["labels"];
        let whom = ["backend", "listener", "instance"].iter().find_map(|of| labels[*of].as_str());
        format!("{} {}", labels["alertname"].as_str().unwrap_or_default(), whom.unwrap_or_default())
    };
    until(&outage, "alerts that do not fire", || {
        let fired: BTreeSet<_> = fired().iter().map(named).collect();
        let missing = expected.iter().filter(|name| !fired.contains(**name));
        missing.map(|name| (*name).to_owned()).collect()
    });
    for alert in fired() {
        let name = named(&alert);
        // It comes and goes.
        let expected = expected.contains(&&*name) || name.ends_with(" picky");
        assert!(expected, "{name} has no reason to fire");
        for words in ["summary", "description"] {
            let words = alert["annotations"][words].as_str().expect("a text");
            let wrong = ["<no value>", "<error", "{{"].iter().any(|bad| words.contains(bad));
            assert!(!wrong && !words.contains("NaN"), "{name}: {words}");
        }
    }

    // The relay itself: the instance that never was a relay stays out of it.
    let instance = outage.relay.addr("admin").to_string();
    drop(outage);
    let down = format!("RingrelayDown {instance}");
    wait_until("the relay to be missed", || fired().iter().any(|alert| named(alert) == down));
    let others =
        fired().into_iter().filter(|alert| alert["labels"]["alertname"] == "RingrelayDown");
    assert_eq!(others.count(), 1);
}

#[test]
fn the_unit_tests_of_the_alerts_pass() {
    if !require(&["promtool"]) {
        return;
    }
    for arguments in [["check", "alerts.yml"], ["test", "alerts_test.yml"]] {
        let [what, file] = arguments;
        let file = packaged("prometheus").join(file);
        let output = run(Command::new("promtool").args([what, "rules"]).arg(file));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("SUCCESS"), "{what}: {said}");
    }
    let tested = read("prometheus/alerts_test.yml");
    for line in read("prometheus/alerts.yml").lines() {
        if let Some(name) = line.strip_prefix("  - alert: ") {
            assert!(tested.contains(&format!("\"{name}\"")), "{name} has no test");
        }
    }
}
