//! The configuration through its public face: the samples of both Go relays load, the file at the
//! root runs as it is, and each known mistake gets its line of advice.

use proptest::prelude::*;
use ringrelay::config::{
    Ack, Config, ConfigError, Connections, Dialect, HttpTarget, Output, Rate, Target, UdpTarget,
};
use ringrelay::filter::Expression;
use ringrelay::timestamp::Precision;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn load(path: &str) -> Config {
    Config::load(Path::new(path)).unwrap_or_else(|error| panic!("{path} loads: {error}"))
}

fn http(output: &Output) -> &HttpTarget {
    match &output.target {
        Target::Http(target) => target,
        Target::Udp(target) => panic!("an output by HTTP, not {target:?}"),
    }
}

fn write_url(target: &HttpTarget) -> String {
    format!("{}{}", target.authority, target.write_path.as_deref().expect("it takes lines"))
}

fn udp(output: &Output) -> &UdpTarget {
    match &output.target {
        Target::Udp(target) => target,
        Target::Http(target) => panic!("an output by UDP, not {target:?}"),
    }
}

#[test]
fn the_original_form_loads() {
    let config = load("tests/samples/original.conf");
    let listener = &config.http[0];
    assert_eq!((&*listener.name, listener.bind.to_string()), ("office", "127.0.0.1:9096".into()));
    let [east, west] = [http(&listener.outputs[0]), http(&listener.outputs[1])];
    assert_eq!(write_url(east), "10.0.0.1:8086/write");
    assert_eq!((west.timeout, west.batch_bytes_max), (Duration::from_secs(90), 50 * 1024));
    let outputs = &config.udp[0].outputs;
    assert_eq!(udp(&outputs[0]), &UdpTarget { location: "10.0.0.1:8089".into(), mtu: 512 });
    assert_eq!(udp(&outputs[1]), &UdpTarget { location: "10.0.0.2:8089".into(), mtu: 1024 });
}

#[test]
fn the_forks_form_loads() {
    let config = load("tests/samples/fork.conf");
    let listener = &config.http[0];
    assert_eq!(&*listener.name, "http://0.0.0.0:9096");
    assert_eq!(listener.ping_status, 200);
    assert_eq!(listener.default_retention_policy.as_deref(), Some("autogen"));
    let targets: Vec<_> = listener.outputs.iter().map(http).collect();
    let urls: Vec<_> = targets.iter().map(|target| write_url(target)).collect();
    assert_eq!(
        urls,
        ["influx_db-1:8086/write", "influxdb2:80/write", "[fd00::1]:9092/kapacitor/write"]
    );
    assert_eq!(targets[0].timeout, Duration::from_millis(500));
    assert_eq!(&*listener.outputs[1].name, "http://influxdb2");

    let listener = &config.udp[0];
    assert_eq!((&*listener.name, listener.bind.to_string()), (":9096", "[::]:9096".into()));
    assert_eq!(listener.precision, Precision::Millisecond);
    assert_eq!(listener.read_buffer_bytes, 8 << 20);
    assert_eq!(&*listener.outputs[0].name, "influxdb1:8089");
    assert_eq!(udp(&listener.outputs[0]).mtu, 1024, "0 is the default, as in Go");
    let here = UdpTarget { location: "127.0.0.1:8089".into(), mtu: 1400 };
    assert_eq!(udp(&listener.outputs[1]), &here);
}

#[test]
fn the_forks_old_form_loads() {
    let config = load("tests/samples/fork-old.conf");
    assert_eq!(config.http[0].bind.to_string(), "[::1]:9096");
    for output in &config.http[0].outputs {
        assert_eq!(http(output).timeout, Duration::from_secs(10));
        assert_eq!(http(output).write_path.as_deref(), Some("/write"));
    }
}

#[test]
fn the_defaults_are_the_go_relays() {
    let config = parse(
        "[[http]]\nbind-addr = ':1'\noutput = [{ location = 'http://h/' }]\n\
         [[udp]]\nbind-addr = ':1'\noutput = [{ location = 'h:2' }]",
    )
    .expect("the least that runs");
    assert_eq!((config.shutdown_timeout, config.admin), (Duration::from_secs(10), None));
    assert!(config.http_threads >= 1);
    let listener = &config.http[0];
    assert_eq!((listener.ping_status, &listener.default_retention_policy), (204, &None));
    assert_eq!((listener.body_bytes_max, listener.bodies_bytes_max), (32 << 20, 64 << 20));
    assert_eq!((listener.request_rate, listener.line_rate), (None, None));
    let Connections { open_max, head_timeout, idle_timeout, head_bytes_max } = listener.connections;
    assert_eq!((open_max, head_bytes_max), (4_096, 16 << 10));
    assert_eq!((head_timeout.as_secs(), idle_timeout.as_secs()), (10, 75));
    let output = &listener.outputs[0];
    assert_eq!((&*output.name, output.queue_bytes_max), ("http://h/", 16 << 20));
    let target = http(output);
    assert_eq!(target.timeout, Duration::from_secs(10));
    assert_eq!((target.batch_bytes_max, target.in_flight_max), (512 << 10, 8));
    let listener = &config.udp[0];
    assert_eq!((listener.precision, listener.read_buffer_bytes), (Precision::Nanosecond, 0));
    assert!((1..=4).contains(&listener.workers));
    assert_eq!(listener.batch_wait, Duration::from_millis(2));
    assert_eq!(udp(&listener.outputs[0]).mtu, 1024);
}

#[test]
fn larger_bodies_raise_the_default_of_all_bodies() {
    let text = "[[http]]\nbind-addr = ':1'\nmax-body-size-mb = 100\n\
                output = [{ location = 'http://h/' }]";
    assert_eq!(parse(text).expect("it runs").http[0].bodies_bytes_max, 100 << 20);
}

#[test]
fn a_location_is_a_base_url_or_the_full_write_url() {
    for (location, endpoints, url) in [
        ("http://h:8086", "", "h:8086/write"),
        ("http://h:8086/", "", "h:8086/write"),
        ("HTTP://h:8086/base/", "", "h:8086/base/write"),
        ("http://h:8086/api/put", "", "h:8086/api/put"),
        ("http://h:8086/base", "endpoints = { write = 'w' }", "h:8086/base/w"),
        ("http://h:8086/base", "endpoints = { ping = '/ping' }", "h:8086/base"),
        ("http://h:8086", "endpoints.write = '//a/b'", "h:8086/a/b"),
        ("http://[::1]", "", "[::1]:80/write"),
    ] {
        let text = format!(
            "[[http]]\nbind-addr = ':1'\n[[http.output]]\nlocation = '{location}'\n{endpoints}"
        );
        let config = parse(&text).unwrap_or_else(|error| panic!("{location}: {error}"));
        let target = http(&config.http[0].outputs[0]);
        assert_eq!(write_url(target), url, "{location}");
    }
}

#[test]
fn endpoints_lie_under_the_location_or_beside_the_full_write_url() {
    for (location, more, expected) in [
        ("http://h/", "", ["/write", "-", "/ping", "/query"]),
        ("http://h/base/write", "", ["/base/write", "-", "/base/ping", "/base/query"]),
        (
            "http://h/base",
            "endpoints = { write = 'w', write_prom = 'p', ping = 'pi', query = '/q' }",
            ["/base/w", "/base/p", "/base/pi", "/base/q"],
        ),
        (
            "http://h/base",
            "endpoints = { write_prom = 'p' }",
            ["-", "/base/p", "/base/ping", "/base/query"],
        ),
        (
            "http://h/api/v1/prom/write",
            "type = 'prometheus'",
            ["-", "/api/v1/prom/write", "/ping", "/query"],
        ),
        ("http://h/", "type = 'prometheus'", ["-", "/api/v1/prom/write", "/ping", "/query"]),
    ] {
        let text =
            format!("[[http]]\nbind-addr = ':1'\n[[http.output]]\nlocation = '{location}'\n{more}");
        let config = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let target = http(&config.http[0].outputs[0]);
        let or_none = |path: &Option<String>| path.clone().unwrap_or("-".to_owned());
        let (write, prom) = (or_none(&target.write_path), or_none(&target.write_prom_path));
        assert_eq!([&*write, &*prom, &*target.ping_path, &*target.query_path], expected, "{text}");
    }
}

#[test]
fn limits_are_read() {
    let config = parse(
        "[[http]]\nbind-addr = ':1'\nrate-limit = 50\nrate-limit-lines = 7\nburst-limit = 9\n\
         max-connections = 3\nheader-timeout = '2s'\nidle-timeout = '3s'\n\
         max-header-size-kb = 4\nhealth-timeout-ms = 5\nhealth-critical-status = 503\n\
         admin-allow = ['::1', '10.1.0.0/16']\noutput = [{ location = 'http://h/' }]\n\
         [[udp]]\nbind-addr = ':1'\nrate-limit-lines = 8\noutput = [{ location = 'h:2' }]",
    )
    .expect("it runs");
    let listener = &config.http[0];
    let rate = |per_second, burst| Some(Rate { per_second, burst });
    assert_eq!((listener.request_rate, listener.line_rate), (rate(50, 9), rate(7, 7)));
    assert_eq!(config.udp[0].line_rate, rate(8, 8));
    let connections = Connections {
        open_max: 3,
        head_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(3),
        head_bytes_max: 4096,
    };
    assert_eq!(listener.connections, connections);
    assert_eq!(listener.health_timeout, Duration::from_millis(5));
    assert_eq!(listener.health_critical_status, 503);
    let allowed: Vec<_> = listener.admin_allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["::1/128", "10.1.0.0/16"]);
}

#[test]
fn the_file_at_the_root_runs_and_shows_the_real_defaults() {
    let typed = std::fs::read_to_string("config.toml").expect("config.toml is at the root");
    let config = parse(&typed).expect("it runs as it is");
    assert_eq!((config.http.len(), config.udp.len()), (1, 1));
    assert_eq!(config.http[0].outputs.len(), 2);
    let database = http(&config.udp[0].outputs[1]).database.as_ref();
    assert_eq!(database.map(|database| &*database.name), Some("telegraf"));

    let mut shown = 0;
    let lines = typed.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => {
            shown += 1;
            setting
        }
        _ => line,
    });
    let uncommented = lines.collect::<Vec<_>>().join("\n");
    assert!(shown > 20, "{shown} keys are shown with their defaults");
    assert_eq!(parse(&uncommented).expect("the defaults run"), config);
}

#[test]
fn the_summary_has_a_paragraph_for_each_listener() {
    let text = "http-threads = 3\n[admin]\nbind-addr = ':3'\n\
        [[udp]]\nname = 'in'\nbind-addr = '127.0.0.1:1'\nworkers = 2\nread-buffer = 4096\n\
        output = [{ location = 'h:2' }, \
        { name = 'db', location = 'http://h:3/', database = 'd', retention-policy = 'r' }]\n\
        [[http]]\nbind-addr = ':1'\ndefault-retention-policy = 'week'\n\
        output = [{ location = 'http://u:p@h/', content-encoding = 'gzip' }]";
    let summary = parse(text).expect("it runs").summary().to_string();
    let http_limits = "4096 connections, idle for at most 75s, heads up to 16 KiB within 10s\n  \
        /health waits 10s, answers 200 when critical; /admin for 127.0.0.0/8, ::1/128";
    let limits = "timeout 10s, batches up to 512 KiB, 8 in flight, queue 16 MiB";
    assert_eq!(
        summary,
        format!(
            r#"udp "in" on udp 127.0.0.1:1
  precision ns, read buffer 4096 bytes, 2 workers, batches wait 2ms
  -> "h:2": udp h:2, mtu 1024, queue 16 MiB
  -> "db": http://h:3/write, database "d", retention policy "r", {limits}

http "http://:1" on tcp [::]:1
  bodies up to 32 MiB, 64 MiB together, ping answers 204, default retention policy "week"
  {http_limits}
  -> "http://h/": http://h:80/write, credentials of its own, gzip, {limits}

admin on tcp [::]:3: /, /status, /metrics, /ping, /ready

http-threads: 3; queues drain for at most 10s when stopped"#
        )
    );
}

#[test]
fn filters_reach_every_output_of_a_name_and_are_shared() {
    let config = parse(
        "[[http]]\nbind-addr = ':1'\n\
         output = [{ name = 'a', location = 'http://h/' }, \
         { name = 'b', location = 'http://i/' }]\n\
         [[udp]]\nbind-addr = ':1'\n\
         output = [{ name = 'a', location = 'h:2' }, { location = 'i:2' }]\n\
         [[filter]]\ntag-expression = '^x'\noutputs = ['a', 'b']\n\
         [[filter]]\nmeasurement-expression = 'y'\ntag-expression = ''\noutputs = ['b']\n\
         [[filter]]\ntype = 'any'\noutputs = ['i:2']",
    )
    .expect("it runs");
    let outputs: Vec<_> = [&config.http[0].outputs[..], &config.udp[0].outputs[..]].concat();
    let shown = |output: &Output| {
        let filter = output.filter.as_deref()?;
        let texts = |of: &[Expression]| of.iter().map(|e| e.as_str().to_owned()).collect();
        Some((texts(&filter.measurement), texts(&filter.tag)))
    };
    let shown: Vec<Option<(Vec<_>, Vec<_>)>> = outputs.iter().map(shown).collect();
    let a = Some((vec![], vec!["^x".to_owned()]));
    let b = Some((vec!["y".to_owned()], vec!["^x".to_owned()]));
    assert_eq!(shown, [a.clone(), b, a, None]);
    let [first, .., third, _] = &outputs[..] else { panic!("four outputs") };
    let pointer = |output: &Output| output.filter.as_ref().map(Arc::as_ptr);
    assert_eq!(pointer(first), pointer(third), "one filter for both");
}

#[test]
fn outputs_of_influxdb_2_have_an_organization_and_the_path_of_its_api() {
    let config = parse(
        "[[http]]\nbind-addr = ':1'\nack = 'quorum'\n[[http.output]]\ntype = 'influxdb2'\n\
         location = 'http://h/base/'\norg = 'o'\n[[http.output]]\ntype = 'influxdb2'\n\
         location = 'http://h'\norg = 'o'\nbucket = 'b'\n\
         endpoints = { write = '/x/api/v2/write' }\n\
         [[udp]]\nbind-addr = ':1'\n[[udp.output]]\ntype = 'influxdb2'\n\
         location = 'http://h/'\norg = 'o'\ndatabase = 'd'\nretention-policy = 'r'",
    )
    .expect("it runs");
    let all = config.http[0].outputs.iter().chain(&config.udp[0].outputs).map(http);
    let shown: Vec<_> = all
        .map(|target| {
            (target.write_path.as_deref().expect("it takes lines"), target.dialect.clone())
        })
        .collect();
    let v2 = |bucket: Option<&str>| Dialect::V2 {
        org: "o".to_owned(),
        bucket: bucket.map(str::to_owned),
    };
    let wanted = [
        ("/base/api/v2/write", v2(None)),
        ("/x/api/v2/write", v2(Some("b"))),
        ("/api/v2/write", v2(Some("d/r"))),
    ];
    assert_eq!(shown, wanted);
    assert_eq!(config.http[0].ack, Ack::Quorum);
    let summary = config.summary().to_string();
    assert!(summary.contains(", success once most backends have a write\n"), "{summary}");
    assert!(summary.contains("write, organization \"o\", bucket \"d/r\", timeout"), "{summary}");
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "f")
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    /// Texts that come further than noise: real keys with values of every type and form.
    #[test]
    fn any_settings_have_an_answer(lines in prop::collection::vec(setting(), 0..12)) {
        if let Err(error) = parse(&lines.join("\n")) {
            for line in error.to_string().lines() {
                prop_assert!(line.starts_with("f:"), "{}", line);
            }
        }
    }
}

fn setting() -> impl Strategy<Value = String> {
    let tables =
        ["[[http]]", "[[http.output]]", "[[udp]]", "[[udp.output]]", "[admin]", "[[filter]]"];
    let keys = [
        "name",
        "bind-addr",
        "location",
        "mtu",
        "timeout",
        "endpoints",
        "output",
        "outputs",
        "precision",
        "database",
        "workers",
        "rate-limit",
        "type",
        "max-body-size-mb",
        "http",
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        "[a-z0-9:./@\\[\\]%µ -]{0,24}".prop_map(|text| format!("'{text}'")),
        "(http|https|udp)://[a-z0-9:./@\\[\\]%?# -]{0,24}".prop_map(|text| format!("'{text}'")),
        Just("{ write = 'w?' }".to_owned()),
        Just("[{ location = 'h:1' }, 3]".to_owned()),
        Just("[[]]".to_owned()),
        Just("1.5".to_owned()),
        Just("0xffffffffffffffff".to_owned()),
        Just("1979-05-27".to_owned()),
    ];
    prop_oneof![
        prop::sample::select(tables.to_vec()).prop_map(str::to_owned),
        (prop::sample::select(keys.to_vec()), value)
            .prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}
