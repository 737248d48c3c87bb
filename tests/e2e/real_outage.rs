//! A real InfluxDB is killed under load, stays away, and comes back, while the relay is restarted
//! or killed: both replicas hold the same points, which are the ones that were sent.
//!
//! The outage lasts ten seconds, or `RINGRELAY_OUTAGE_SECONDS`.

use crate::harness::{
    Client, InfluxDb, Metrics, Relay, UdpSource, http_listener, http_output, require, udp_listener,
    wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long load flows before the outage, and after it.
const AROUND: Duration = Duration::from_secs(1);
/// Between two writes of one source.
const PACE: Duration = Duration::from_millis(5);
const LINES_PER_WRITE: i64 = 10;
const DATAGRAMS_PER_BURST: i64 = 4;
const FIRST_STAMP: i64 = 1_700_000_000_000_000_000;

fn outage() -> Duration {
    let seconds = std::env::var("RINGRELAY_OUTAGE_SECONDS");
    Duration::from_secs(seconds.map_or(10, |text| text.parse().expect("seconds")))
}

fn lines(source: &str, numbers: Range<i64>) -> String {
    let line = |n: i64| format!("load,source={source} n={n}i {}\n", FIRST_STAMP + n * 1_000);
    numbers.map(line).collect()
}

/// What a database holds of `count` lines of each source.
fn held(http: i64, udp: i64) -> Value {
    let series = [("http", http), ("udp", udp)].map(|(source, count)| {
        let values: Vec<_> = (0..count).map(|n| json!([FIRST_STAMP + n * 1_000, n])).collect();
        let tags = json!({"source": source});
        json!({"name": "load", "columns": ["time", "n"], "tags": tags, "values": values})
    });
    Value::Array(series.to_vec())
}

/// One flow of load: whether it is to end, whether the relay may end before it, whether it has
/// ended.
#[derive(Default)]
struct Flow {
    stop: AtomicBool,
    may_break: AtomicBool,
    ended: AtomicBool,
}

impl Flow {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Tells all flows to end, also when the test fails.
struct StopAll<'a>([&'a Flow; 2]);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|flow| flow.stop());
    }
}

/// How many lines were sent: by HTTP acknowledged, by UDP taken by the relay.
#[derive(Default)]
struct Load {
    http: i64,
    udp: i64,
}

impl Load {
    /// Writes by HTTP and UDP while `during` runs, which gets both flows.
    fn flow<R>(&mut self, relay: &Relay, during: impl FnOnce(&Flow, &Flow) -> R) -> R {
        let (http, udp) = (Flow::default(), Flow::default());
        std::thread::scope(|scope| {
            scope.spawn(|| self.http = write(relay, self.http, &http));
            scope.spawn(|| self.udp = send(relay, self.udp, &udp));
            let _stop = StopAll([&http, &udp]);
            during(&http, &udp)
        })
    }
}

/// Writes until told to stop, or until the relay ends. Gives the first number that is not
/// acknowledged: as a careful client does, the next call begins with it.
fn write(relay: &Relay, mut next: i64, flow: &Flow) -> i64 {
    let mut client = relay.client("http");
    while flow.goes_on() {
        let body = lines("http", next..next + LINES_PER_WRITE);
        let status = try_write(&mut client, &body);
        if status == Some(204) {
            next += LINES_PER_WRITE;
        } else {
            assert!(flow.may_break.load(Ordering::Relaxed), "not acknowledged: {status:?}");
            break;
        }
        std::thread::sleep(PACE);
    }
    flow.ended.store(true, Ordering::Relaxed);
    next
}

fn try_write(client: &mut Client, body: &str) -> Option<u16> {
    let head = "POST /write?db=d HTTP/1.1\r\nHost: relay\r\nContent-Length: ";
    client.send(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).ok()?;
    Some(client.receive().ok()??.status())
}

fn send(relay: &Relay, mut next: i64, flow: &Flow) -> i64 {
    let source = UdpSource::new(relay, "udp");
    while flow.goes_on() {
        let first = |n| next + n * LINES_PER_WRITE;
        let burst = (0..DATAGRAMS_PER_BURST).map(|n| lines("udp", first(n)..first(n + 1)));
        source.send_all(&burst.collect::<Vec<_>>());
        next = first(DATAGRAMS_PER_BURST);
        std::thread::sleep(PACE);
    }
    flow.ended.store(true, Ordering::Relaxed);
    next
}

fn configuration(databases: &[InfluxDb; 2], spool: &Path) -> String {
    let keys = format!(
        "buffer-size-mb = 1\nmax-delay-interval = \"500ms\"\nspool-dir = \"{}\"\n\
         fsync = \"always\"\n",
        spool.display()
    );
    let outputs = |more: &str| {
        let output =
            |name, database: &InfluxDb| http_output(name, database.http, &format!("{keys}{more}"));
        [output("a", &databases[0]), output("b", &databases[1])]
    };
    let http = http_listener("http", "ack = \"all\"", &outputs(""));
    http + &udp_listener("udp", "", &outputs("database = \"d\""))
}

/// Whether all that came by UDP is at its backends, or in the spool of those that are away.
fn udp_is_kept(metrics: &Metrics) -> bool {
    let of = |name: &str| metrics.of(&format!("ringrelay_backend_{name}"), &[("relay", "udp")]);
    of("queue_lines") == of("backlog_lines")
        && of("lines_buffered_total") == of("lines_spooled_total")
}

fn away_and_back(signal: Signal) {
    if !require(&["influxd"]) {
        return;
    }
    let ip = Ipv4Addr::new(127, 0, if signal == Signal::KILL { 1 } else { 2 }, 2);
    let mut databases = [InfluxDb::start(), InfluxDb::mortal(ip)];
    for database in &databases {
        database.create("d");
        database.make_shard("d", FIRST_STAMP);
    }
    let spool = tempfile::tempdir().expect("a temporary directory");
    let toml = configuration(&databases, spool.path());
    let mut load = Load::default();

    let relay = Relay::start(&toml);
    let down = load.flow(&relay, |http, udp| {
        std::thread::sleep(AROUND);
        databases[1].kill();
        let down = Instant::now();
        std::thread::sleep(outage() / 2);
        // Datagrams are promised to nobody until they are kept, so these wait for that.
        udp.stop();
        wait_until("the last burst to be taken", || udp.ended.load(Ordering::Relaxed));
        wait_until("what came by UDP to be kept", || udp_is_kept(&relay.metrics()));
        http.may_break.store(true, Ordering::Relaxed);
        relay.signal(signal);
        wait_until("the relay's end to be noticed", || http.ended.load(Ordering::Relaxed));
        down
    });
    let stopped = relay.wait();
    assert_eq!(stopped.status.success(), signal == Signal::TERM, "{}", stopped.status);
    let before = (load.http, load.udp);

    let relay = Relay::start(&toml);
    let away = load.flow(&relay, |_, _| {
        std::thread::sleep(outage().saturating_sub(down.elapsed()));
        let kept = relay.metrics().of("ringrelay_backend_backlog_lines", &[("backend", "b")]);
        databases[1].restart();
        let away = down.elapsed();
        std::thread::sleep(AROUND);
        (away, kept)
    });
    let restored = relay
        .wait_until_settled()
        .of("ringrelay_backend_lines_restored_total", &[("backend", "b")]);
    let settled = down.elapsed() - away.0;
    let expected = held(load.http, load.udp);
    for (name, database) in ["a", "b"].into_iter().zip(&databases) {
        let dump = database.dump("d");
        let (held, sent) = (summary(&dump), summary(&expected));
        let books = stopped.log[stopped.log.len().saturating_sub(8)..].join("\n");
        assert!(dump == expected, "{name} holds {held}, and was sent {sent}; before:\n{books}");
    }
    eprintln!(
        "{signal:?}: away {:?}; {before:?} lines before and {:?} after; {restored} restored, {} \
         waited at the return; all there {settled:?} after it",
        away.0,
        (load.http - before.0, load.udp - before.1),
        away.1,
    );
    assert!(restored > 0 && load.http > before.0 && load.udp > before.1, "all phases had load");
    relay.finish();
}

/// How many rows of each source there are, the first of them and the first gaps: a whole dump is
/// no message.
fn summary(dump: &Value) -> String {
    let series = dump.as_array().map(Vec::as_slice).unwrap_or_default();
    let said = series.iter().map(|series| {
        let rows = series["values"].as_array().map(Vec::as_slice).unwrap_or_default();
        let numbers: Vec<i64> = rows.iter().filter_map(|row| row[1].as_i64()).collect();
        let gaps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1);
        let gaps: Vec<_> = gaps.take(5).collect();
        let first = rows.first().unwrap_or(&Value::Null);
        let keys: Vec<_> = series.as_object().into_iter().flat_map(|it| it.keys()).collect();
        format!(
            "{} rows of {} {keys:?}, first {first}, gaps {gaps:?}; ",
            numbers.len(),
            series["tags"]
        )
    });
    said.collect()
}

#[test]
fn replicas_agree_after_an_outage_with_the_relay_restarted_in_it() {
    away_and_back(Signal::TERM);
}

#[test]
fn replicas_agree_after_an_outage_with_the_relay_killed_in_it() {
    away_and_back(Signal::KILL);
}
