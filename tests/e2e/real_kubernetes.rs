//! The manifest for Kubernetes: valid by Kubernetes' schemas, and in step with the relay. No
//! cluster runs it.

use crate::harness::{Relay, python, require};
use serde_json::Value;

const MANIFEST: &str = "packaging/kubernetes/daemonset.yaml";

fn documents(file: &str) -> Vec<Value> {
    let output = python("kubernetes.py", &[file.to_owned()]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).expect(kind)
}

/// The number in `total_mb=N` of what the relay says at start.
fn bound_mb(relay: &Relay) -> u64 {
    let log = relay.log().join("\n");
    let (_, rest) = log.split_once("total_mb=").expect("memory is bounded");
    rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn the_manifest_is_valid_and_in_step_with_the_relay() {
    if !require(&["python"]) {
        return;
    }
    let documents = documents(MANIFEST);
    let config = of_kind(&documents, "ConfigMap")["data"]["ringrelay.toml"].as_str();
    let config = config.expect("a configuration");
    let spec = &of_kind(&documents, "DaemonSet")["spec"]["template"]["spec"];
    let container = &spec["containers"][0];

    // The ports of the container are those of the file.
    let ports = container["ports"].as_array().expect("ports");
    let number_of = |name: &str| {
        let port = ports.iter().find(|port| port["name"] == name).expect(name);
        port["containerPort"].as_u64().expect("a number")
    };
    let bound = |table: &str, port: u64| {
        let (_, rest) = config.split_once(table).expect(table);
        let first = rest.split("bind-addr = ").nth(1).expect("an address");
        assert!(first.starts_with(&format!("\"0.0.0.0:{port}\"")), "{table} {port}: {first}");
    };
    bound("[admin]", number_of("admin"));
    bound("[[udp]]", number_of("udp"));
    bound("[[http]]", number_of("http"));

    // The relay runs with it, in directories and on ports of this test.
    let spool = tempfile::tempdir().expect("a directory");
    let admin = format!("[admin]\nbind-addr = \"0.0.0.0:{}\"\n", number_of("admin"));
    assert!(config.contains(&admin), "the harness brings its own");
    let mut here = config.replace(&admin, "");
    here = here.replace("/var/lib/ringrelay", &spool.path().display().to_string());
    for name in ["udp", "http"] {
        here = here.replace(&format!("0.0.0.0:{}", number_of(name)), "127.0.0.1:0");
    }
    let relay = Relay::start(&here);
    let limit = container["resources"]["limits"]["memory"].as_str().expect("a limit");
    let limit_mb = 1024 * limit.strip_suffix("Gi").and_then(|n| n.parse::<u64>().ok()).expect("Gi");
    assert!(bound_mb(&relay) < limit_mb, "{} MiB of {limit_mb}", bound_mb(&relay));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "admin");
        let status = relay.client("admin").get(get["path"].as_str().expect("a path")).status();
        assert!((200..300).contains(&status), "{probe}: {status}");
    }
    relay.finish();

    // It may drain before it is killed.
    let (_, timeout) = config.split_once("shutdown-timeout = \"").expect("a timeout");
    let timeout = timeout.split('s').next().and_then(|n| n.parse::<u64>().ok()).expect("seconds");
    let grace = spec["terminationGracePeriodSeconds"].as_u64().expect("a number");
    assert!(grace >= timeout + 10, "{grace} {timeout}");
}

#[test]
fn a_wrong_manifest_is_refused() {
    if !require(&["python"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("wrong.yaml");
    let text = std::fs::read_to_string(MANIFEST).expect("the manifest");
    std::fs::write(&file, text.replace("hostNetwork:", "hostNetwrk:")).expect("a file");
    let checked = std::panic::catch_unwind(|| documents(&file.display().to_string()));
    assert!(checked.is_err(), "the schema knows no hostNetwrk");
}
