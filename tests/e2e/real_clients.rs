//! Real clients in front of the relay, and a real InfluxDB behind it.

use crate::harness::{
    HttpBackend, InfluxDb, Relay, http_listener, http_output, python, require, udp_listener,
    wait_until,
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

/// Its writes go to `/api/v2/write`, which this version does not serve: the client must learn so.
#[test]
fn the_python_client_of_influxdb_2_pings_and_is_told_that_v2_writes_are_not_served() {
    if !require(&["python"]) {
        return;
    }
    let backend = HttpBackend::healthy();
    let outputs = [http_output("a", backend.addr(), "")];
    let relay = Relay::start(&http_listener("in", "", &outputs));
    let said = python("use_v2.py", &arguments(&[], relay.addr("in"))).stdout;
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["True relay", "404"]);
    relay.finish();
    assert!(backend.requests().is_empty());
}
