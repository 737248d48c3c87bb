//! Real clients in front of the relay, and a real InfluxDB behind it.

use crate::certificates::Authority;
use crate::harness::{
    InfluxDb, Relay, VictoriaMetrics, http_listener, http_output, python, require, udp_listener,
    v2_output, wait_until,
};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Points that `scripts/write_v1.py` writes.
const POINTS: usize = 200;

/// What InfluxDB holds once that script has run.
fn expected() -> Value {
    let row = |n: usize| {
        let time = 1_700_000_000_000_000_000_u64 + n as u64;
        // The client itself turns a newline into a backslash and an `n`.
        json!([time, 21.5, "say \"hi\",\\nthen go", true, 3])
    };
    json!([{
        "name": "rooms, all",
        "tags": {"floor": "2=upper", "room": "living room"},
        "columns": ["time", "celsius", "note", "open", "people"],
        "values": (0..POINTS).map(row).collect::<Vec<_>>(),
    }])
}

#[track_caller]
fn same(dump: &Value) {
    // All of it would fill screens.
    let (got, wanted) = (&dump[0], &expected()[0]);
    assert_eq!((&got["tags"], &got["columns"]), (&wanted["tags"], &wanted["columns"]));
    assert_eq!(got["values"][0], wanted["values"][0]);
    assert!(
        *dump == expected(),
        "{} rows, or other series",
        got["values"].as_array().map_or(0, Vec::len)
    );
}

fn arguments(how: &[&str], addr: SocketAddr) -> Vec<String> {
    let addr = [addr.ip().to_string(), addr.port().to_string()];
    how.iter().map(|&how| how.to_owned()).chain(addr).collect()
}

#[test]
fn the_python_client_of_influxdb_1_writes_by_http() {
    if !require(&["influxd", "python"]) {
        return;
    }
    let database = InfluxDb::start();
    let outputs = [http_output("db", database.http, "")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    for how in ["http", "gzip"] {
        database.create(how);
        let mut arguments = arguments(&[how], relay.addr("in"));
        arguments.push(how.to_owned());
        let said = python("write_v1.py", &arguments).stdout;
        assert_eq!(String::from_utf8_lossy(&said).trim(), "relay", "what it was pinged");
        same(&database.dump(how));
    }
    relay.finish();
}

#[test]
fn the_python_client_of_influxdb_1_writes_by_udp() {
    if !require(&["influxd", "python"]) {
        return;
    }
    let database = InfluxDb::start();
    database.create("d");
    let outputs = [http_output("db", database.http, "database = \"d\"")];
    let relay = Relay::start(&udp_listener("in", "", &outputs));
    python("write_v1.py", &arguments(&["udp"], relay.addr("in")));
    wait_until("all points to arrive", || database.rows("d") >= POINTS);
    same(&database.dump("d"));
    relay.finish();
}

#[test]
fn the_python_client_of_influxdb_2_writes_to_databases_of_both_apis() {
    if !require(&["influxd", "victoria-metrics", "python"]) {
        return;
    }
    let (old, new) = (InfluxDb::start(), VictoriaMetrics::start());
    old.create("d");
    let outputs = [http_output("old", old.http, ""), v2_output("new", new.http, "")];
    let relay = Relay::start(&http_listener("in", "ack = \"all\"", &outputs));
    let mut arguments = arguments(&[], relay.addr("in"));
    arguments.push("d/autogen".to_owned());
    let said = python("use_v2.py", &arguments).stdout;
    let refused = "unable to parse 'm f=': missing field value (line 2)";
    let wanted = ["True relay".to_owned(), format!("400 invalid 2 {refused}")];
    assert_eq!(String::from_utf8_lossy(&said).lines().collect::<Vec<_>>(), wanted);
    let dump = old.dump("d");
    let row = |n: usize| json!([1_700_000_000_000_000_000_u64 + n as u64 * 1_000_000, 21.5, n]);
    assert_eq!(dump[0]["tags"], json!({"room": "living room"}));
    assert_eq!(dump[0]["values"], json!((0..POINTS).map(row).collect::<Vec<_>>()));
    let series = new.export("%7B__name__=~%22rooms.*_people%22%7D");
    let values = series.iter().flat_map(|series| series["values"].as_array());
    let values: Vec<_> = values.flatten().filter_map(Value::as_u64).collect();
    assert_eq!(values, (0..POINTS as u64).collect::<Vec<_>>());
    relay.finish();
}

#[test]
fn both_python_clients_write_by_https_to_a_relay_that_they_can_trust() {
    if !require(&["influxd", "python"]) {
        return;
    }
    let authority = Authority::new("ca");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path.display().to_string()
    };
    let ca = write("ca.pem", &authority.pem());
    let stranger = write("stranger.pem", &Authority::new("stranger").pem());
    let pem = write("relay.pem", &authority.issue(&["127.0.0.1"]));
    let database = InfluxDb::start();
    database.create("v1");
    database.create("v2");
    let more = format!("ssl-combined-pem = {pem:?}");
    let relay = Relay::start(&http_listener("in", &more, &[http_output("db", database.http, "")]));
    let say = |script: &str, how: &[&str], more: [&str; 2]| {
        let mut arguments = arguments(how, relay.addr("in"));
        arguments.extend(more.map(str::to_owned));
        let said = python(script, &arguments).stdout;
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    assert_eq!(say("write_v1.py", &["https"], ["v1", &stranger]), "not trusted");
    assert_eq!(say("use_v2.py", &[], ["v2", &stranger]), "not trusted");
    assert_eq!((database.rows("v1"), database.rows("v2")), (0, 0));
    assert_eq!(say("write_v1.py", &["https"], ["v1", &ca]), "relay\nrelay");
    same(&database.dump("v1"));
    assert!(say("use_v2.py", &[], ["v2", &ca]).starts_with("True relay\n400 invalid 2 "));
    assert_eq!(database.rows("v2"), POINTS);
    relay.finish();
}
