//! Real databases behind the relay: two InfluxDB 1.x hold the same points, which are the ones
//! that were sent; VictoriaMetrics takes them as well.

use crate::harness::{
    InfluxDb, Relay, UdpSource, VictoriaMetrics, http_listener, http_output, require, udp_listener,
    udp_output, wait_until,
};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines of every kind that line protocol has, and what a database holds of each: series name,
/// tags, then column and value.
fn kinds() -> Vec<(&'static str, &'static str, Value, &'static str, Value)> {
    vec![
        ("float f=-1.5e3", "float", json!({}), "f", json!(-1500)),
        ("int,host=a f=42i", "int", json!({"host": "a"}), "f", json!(42)),
        ("bool,host=a f=T", "bool", json!({"host": "a"}), "f", json!(true)),
        ("string f=\"plain\"", "string", json!({}), "f", json!("plain")),
        ("quote f=\"say \\\"hi\\\", a=b\"", "quote", json!({}), "f", json!("say \"hi\", a=b")),
        ("newline f=\"two\nlines\"", "newline", json!({}), "f", json!("two\nlines")),
        ("back f=\"a\\\\b\"", "back", json!({}), "f", json!("a\\b")),
        (
            "with\\ space,tag\\ key=tag\\,value\\=x f=1",
            "with space",
            json!({"tag key": "tag,value=x"}),
            "f",
            json!(1),
        ),
        (
            "unicode,ort=K\u{f6}ln f=\"\u{1f600}\"",
            "unicode",
            json!({"ort": "K\u{f6}ln"}),
            "f",
            json!("\u{1f600}"),
        ),
        ("unsorted,z=1,a=2 f=1", "unsorted", json!({"a": "2", "z": "1"}), "f", json!(1)),
    ]
}

const FIRST_STAMP: i64 = 1_700_000_000_000_000_000;

/// What InfluxDB holds after these kinds, stamped from [`FIRST_STAMP`] on.
fn expected() -> Vec<Value> {
    let mut series: Vec<_> = kinds()
        .into_iter()
        .zip(FIRST_STAMP..)
        .map(|((_, name, tags, column, value), stamp)| {
            let mut series = json!({"name": name, "columns": ["time", column]});
            series["values"] = json!([[stamp, value]]);
            if tags != json!({}) {
                series["tags"] = tags;
            }
            series
        })
        .collect();
    series.sort_by_key(|series| series["name"].as_str().map(str::to_owned));
    series
}

fn stamped() -> Vec<String> {
    let kinds = kinds().into_iter().zip(FIRST_STAMP..);
    kinds.map(|((line, ..), stamp)| format!("{line} {stamp}")).collect()
}

fn unstamped() -> Vec<String> {
    kinds().into_iter().map(|(line, ..)| line.to_owned()).collect()
}

fn series(dump: &Value) -> Vec<Value> {
    let mut series = dump.as_array().cloned().unwrap_or_default();
    series.sort_by_key(|series| series["name"].as_str().map(str::to_owned));
    series
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// Asserts that both hold what was sent without timestamps: the same, stamped in this time.
#[track_caller]
fn stamped_alike(dumps: &[Value; 2], before: i64) {
    assert_eq!(dumps[0], dumps[1], "replicas agree");
    let window = before..=now_ns() + 1_000_000;
    let (mut got, mut wanted) = (series(&dumps[0]), expected());
    for series in got.iter_mut().chain(&mut wanted) {
        let stamp = series["values"][0][0].take();
        let sent = stamp.as_i64().expect("a timestamp");
        assert!(window.contains(&sent) || sent < FIRST_STAMP + 1_000, "{series}: {sent}");
    }
    assert_eq!(got, wanted);
}

/// Two InfluxDB with a database `d`, and a relay in front of them: `http`, `udp-http`, `udp-udp`.
fn replicas() -> (Relay, [InfluxDb; 2]) {
    let databases = [InfluxDb::start(), InfluxDb::start()];
    for database in &databases {
        database.create("d");
        database.create("udp");
    }
    let names = ["a", "b"];
    let outputs = |output: &dyn Fn(&str, &InfluxDb) -> String| {
        let outputs = names.iter().zip(&databases);
        outputs.map(|(name, database)| output(name, database)).collect::<Vec<_>>()
    };
    let http = outputs(&|name, database| http_output(name, database.http, ""));
    let to_http = outputs(&|name, database| http_output(name, database.http, "database = \"d\""));
    let to_udp = outputs(&|name, database| udp_output(name, database.udp, ""));
    let toml = [
        http_listener("http", "", &http),
        udp_listener("udp-http", "", &to_http),
        udp_listener("udp-udp", "", &to_udp),
    ];
    (Relay::start(&toml.concat()), databases)
}

/// Waits until both hold `rows` rows, and gives what they hold.
#[track_caller]
fn dumps(databases: &[InfluxDb; 2], name: &str, rows: usize) -> [Value; 2] {
    databases.each_ref().map(|database| {
        wait_until(&format!("{rows} rows in {name}"), || database.rows(name) >= rows);
        database.dump(name)
    })
}

#[test]
fn two_influxdb_hold_what_was_written_by_http() {
    if !require(&["influxd"]) {
        return;
    }
    let (relay, databases) = replicas();
    let mut client = relay.client("http");
    let answer = client.write("db=d", stamped().join("\n"));
    assert_eq!(answer.status(), 204, "{}", answer.text());
    for dump in dumps(&databases, "d", kinds().len()) {
        assert_eq!(series(&dump), expected());
    }
    // The same in other precisions, to be found at the same times.
    for (precision, unit) in [("u", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)] {
        let line = format!("precise,unit={precision} f=1 {}", FIRST_STAMP / unit);
        assert_eq!(client.write(&format!("db=d&precision={precision}"), line).status(), 204);
    }
    for dump in dumps(&databases, "d", kinds().len() + 3) {
        let precise = series(&dump).into_iter().filter(|series| series["name"] == "precise");
        for series in precise {
            assert_eq!(series["values"], json!([[FIRST_STAMP, 1]]), "{series}");
        }
    }
    relay.finish();
}

#[test]
fn two_influxdb_agree_on_points_without_timestamps_written_by_http() {
    if !require(&["influxd"]) {
        return;
    }
    let (relay, databases) = replicas();
    let before = now_ns();
    let answer = relay.client("http").write("db=d", unstamped().join("\n"));
    assert_eq!(answer.status(), 204, "{}", answer.text());
    stamped_alike(&dumps(&databases, "d", kinds().len()), before);
    relay.finish();
}

#[test]
fn two_influxdb_hold_what_came_by_udp() {
    if !require(&["influxd"]) {
        return;
    }
    let (relay, databases) = replicas();
    for (listener, database) in [("udp-http", "d"), ("udp-udp", "udp")] {
        UdpSource::new(&relay, listener).send_all(&stamped());
        for dump in dumps(&databases, database, kinds().len()) {
            assert_eq!(series(&dump), expected(), "{listener}");
        }
    }
    relay.finish();
}

#[test]
fn two_influxdb_agree_on_points_without_timestamps_that_came_by_udp() {
    if !require(&["influxd"]) {
        return;
    }
    let (relay, databases) = replicas();
    for (listener, database) in [("udp-http", "d"), ("udp-udp", "udp")] {
        let before = now_ns();
        UdpSource::new(&relay, listener).send_all(&unstamped());
        stamped_alike(&dumps(&databases, database, kinds().len()), before);
    }
    relay.finish();
}

#[test]
fn an_error_of_influxdb_reaches_the_client_in_its_words() {
    if !require(&["influxd"]) {
        return;
    }
    let (relay, _databases) = replicas();
    let mut client = relay.client("http");
    let answer = client.write("db=nowhere", "m f=1 1");
    assert_eq!(answer.status(), 404);
    assert!(answer.error().contains("database not found"), "{}", answer.error());
    assert_eq!(client.write("db=d", "typed f=1 1").status(), 204);
    // Both must hold the first, or the second may still be a success at one of them.
    relay.wait_until_settled();
    let answer = client.write("db=d", "typed f=\"text\" 2");
    assert_eq!(answer.status(), 400);
    assert!(answer.error().contains("field type conflict"), "{}", answer.error());
    relay.finish();
}

#[test]
fn victoriametrics_holds_what_came_by_http_and_udp() {
    if !require(&["victoria-metrics"]) {
        return;
    }
    let database = VictoriaMetrics::start();
    let outputs = |more: &str| [http_output("vm", database.http, more)];
    let relay = Relay::start(&format!(
        "{}{}",
        http_listener("http", "", &outputs("")),
        udp_listener("udp", "", &outputs("database = \"d\"")),
    ));
    let lines = |source: &str| -> Vec<String> {
        // It keeps milliseconds.
        let stamp = |n: i64| FIRST_STAMP + n * 1_000_000;
        (0..100).map(|n| format!("cpu,source={source} idle={n} {}", stamp(n))).collect()
    };
    let mut client = relay.client("http");
    for body in lines("http").chunks(10) {
        assert_eq!(client.write("db=d", body.join("\n")).status(), 204);
    }
    UdpSource::new(&relay, "udp").send_all(&lines("udp"));
    relay.wait_until_settled();
    let stamps: Vec<i64> = (0..100).map(|n| FIRST_STAMP / 1_000_000 + n).collect();
    let values: Vec<i64> = (0..100).collect();
    for source in ["http", "udp"] {
        let selector = format!("cpu_idle%7Bsource=%22{source}%22%7D");
        let export = database.export(&selector);
        assert_eq!(export.len(), 1, "one series: {export:?}");
        let wanted = json!({"__name__": "cpu_idle", "db": "d", "source": source});
        assert_eq!(export[0]["metric"], wanted);
        assert_eq!(export[0]["timestamps"], json!(stamps));
        assert_eq!(export[0]["values"], json!(values));
    }
    relay.finish();
}
