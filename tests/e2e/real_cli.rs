//! The real `influx` of InfluxDB 1.x connects and writes through the relay to two real InfluxDBs.

use crate::certificates::Authority;
use crate::harness::{InfluxDb, Relay, http_listener, http_output, influx, require, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// What the CLI said, on both of its outputs.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Two InfluxDB with a database `d`, behind a relay that tells its clients when both have a write.
fn replicas(more: &str) -> (Relay, [InfluxDb; 2]) {
    let databases = [InfluxDb::start(), InfluxDb::start()];
    for database in &databases {
        database.create("d");
    }
    let outputs = ["a", "b"].into_iter().zip(&databases);
    let outputs: Vec<_> =
        outputs.map(|(name, database)| http_output(name, database.http, "")).collect();
    (Relay::start(&http_listener("in", &format!("ack = \"all\"\n{more}"), &outputs)), databases)
}

fn series(name: &str, tags: &Value, columns: &[&str], values: &Value) -> Value {
    json!({"name": name, "tags": tags, "columns": columns, "values": values})
}

const INSERT: &str =
    "insert rooms\\,\\ all,room=living\\ room celsius=21.5,note=\"say \\\"hi\\\"\" ";

#[test]
fn inserts_are_found_in_both_databases() {
    if !require(&["influxd", "influx"]) {
        return;
    }
    let (relay, databases) = replicas("");
    let home = tempfile::tempdir().expect("a temporary directory");
    let execute = |precision: &str, command: &str| {
        let arguments = ["-database", "d", "-precision", precision, "-execute", command];
        influx(relay.addr("in"), home.path(), &arguments)
    };
    let stamp = 1_700_000_000_u64;
    for (precision, unit) in [("ns", 1_000_000_000), ("u", 1_000_000), ("ms", 1_000), ("s", 1)] {
        let output = execute(precision, &format!("{INSERT}{}", stamp * unit));
        assert!(output.status.success(), "{precision}: {}", said(&output));
        assert_eq!(said(&output), "", "{precision}");
    }
    let into = execute("s", &format!("insert into autogen second,host=a f=1i {}", stamp + 1));
    assert_eq!((into.status.success(), said(&into).as_str()), (true, ""));
    let stamp_ns = stamp * 1_000_000_000;
    let columns = ["time", "celsius", "note"];
    let wanted = json!([
        series(
            "rooms, all",
            &json!({"room": "living room"}),
            &columns,
            &json!([[stamp_ns, 21.5, "say \"hi\""]])
        ),
        series(
            "second",
            &json!({"host": "a"}),
            &["time", "f"],
            &json!([[stamp_ns + 1_000_000_000, 1]])
        ),
    ]);
    for database in &databases {
        assert_eq!(database.dump("d"), wanted, "one point, four times written; and another");
    }
    // What is refused is said as InfluxDB would say it, and nothing of it is written.
    let bad = said(&execute("ns", "insert m f="));
    assert!(bad.contains("unable to parse 'm f=': missing field value (line 1)"), "{bad}");
    let direct = ["-database", "d", "-execute", "insert m f="];
    let direct = said(&influx(databases[0].http, home.path(), &direct));
    assert!(direct.contains("unable to parse 'm f=': missing field value"), "{direct}");
    // The relay relays no queries: the CLI learns so at once.
    let query = execute("ns", "show databases");
    assert!(!query.status.success(), "{}", said(&query));
    assert!(said(&query).contains("send queries to a backend"), "{}", said(&query));
    relay.finish();
}

#[test]
fn files_are_imported_into_both_databases() {
    if !require(&["influxd", "influx"]) {
        return;
    }
    let (relay, databases) = replicas("");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("export");
    // As `influx_inspect export` writes it. More than the 5000 points of one request.
    let count = 9_000;
    let mut export = "# DDL\nCREATE DATABASE d WITH NAME autogen\n# DML\n\
                      # CONTEXT-DATABASE: d\n# CONTEXT-RETENTION-POLICY: autogen\n"
        .to_owned();
    for n in 0..count {
        export += &format!("cpu,host=a f={n}i {}\n", 1_700_000_000_000_000_000_u64 + n);
    }
    std::fs::write(&file, export).expect("a temporary file");
    let path = file.display().to_string();
    let arguments = ["-import", "-path", &path, "-precision", "ns"];
    let output = influx(relay.addr("in"), dir.path(), &arguments);
    assert!(output.status.success(), "{}", said(&output));
    for line in [format!("Processed {count} inserts"), "Failed 0 inserts".to_owned()] {
        assert!(said(&output).contains(&line), "{}", said(&output));
    }
    let rows = |n: u64| json!([1_700_000_000_000_000_000_u64 + n, n]);
    let values: Vec<_> = (0..count).map(rows).collect();
    let wanted = series("cpu", &json!({"host": "a"}), &["time", "f"], &json!(values));
    for database in &databases {
        assert!(database.dump("d") == json!([wanted]), "{} rows", database.rows("d"));
    }
    relay.finish();
}

#[test]
fn it_writes_by_https_and_trusts_only_the_right_relay() {
    if !require(&["influxd", "influx"]) {
        return;
    }
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    let pem = write("relay.pem", &authority.issue(&["127.0.0.1"]));
    let (relay, databases) = replicas(&format!("ssl-combined-pem = {pem:?}"));
    let addr = relay.addr("in");
    let insert = |ca: &Path| {
        let mut command = std::process::Command::new("influx");
        command.env("HOME", dir.path()).env("SSL_CERT_FILE", ca).env("SSL_CERT_DIR", "/nowhere");
        command.args(["-host", "127.0.0.1", "-port", &addr.port().to_string(), "-ssl"]);
        run(command.args(["-database", "d", "-execute", "insert m f=1 1700000000000000000"]))
    };
    let refused = insert(&write("stranger.pem", &stranger.pem()));
    assert!(said(&refused).contains("certificate"), "{}", said(&refused));
    assert_eq!(databases[0].rows("d"), 0);
    let taken = insert(&write("ca.pem", &authority.pem()));
    assert_eq!((taken.status.success(), said(&taken).as_str()), (true, ""));
    for database in &databases {
        assert_eq!(database.rows("d"), 1);
    }
    relay.finish();
}
