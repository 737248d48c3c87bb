//! Every configuration that a page shows is one that the relay takes: what stands in a fence of
//! `toml`, with what a fragment lacks filled in.

use super::assert_none;
use super::certificates::Authority;
use super::page::{Kind, Page};
use super::program::binary;
use std::fs;
use std::path::Path;
use std::process::Command;
use toml::{Table, Value};

/// Where pages say that certificates are.
const ETC: &str = "/etc/ringrelay/";

fn table(pairs: &[(&str, &str)]) -> Table {
    pairs.iter().map(|&(key, value)| (key.to_owned(), Value::from(value))).collect()
}

/// An output that a fragment leaves out.
fn output(name: &str) -> Value {
    table(&[("name", name), ("location", "http://127.0.0.1:1/"), ("database", "d")]).into()
}

/// Fills in what a fragment lacks: listeners of its outputs, outputs of its listeners, and the
/// outputs that its filters name.
fn completed(mut fragment: Table) -> Table {
    let filters = fragment.get("filter").and_then(Value::as_array).into_iter().flatten();
    let named = filters.filter_map(|filter| filter.get("outputs")?.as_array()).flatten();
    let mut missing: Vec<_> = named.filter_map(Value::as_str).map(str::to_owned).collect();
    for kind in ["http", "udp"] {
        let Some(listeners) = fragment.get_mut(kind) else { continue };
        if listeners.is_table() {
            // `[[http.output]]` stands alone.
            *listeners = Value::Array(vec![listeners.clone()]);
        }
        for listener in listeners.as_array_mut().into_iter().flatten() {
            let listener = listener.as_table_mut().expect("a listener is a table");
            listener.entry("bind-addr").or_insert_with(|| "127.0.0.1:0".into());
            let outputs = listener.entry("output").or_insert_with(|| {
                let mut one = output("filled-in");
                if kind == "http" {
                    one.as_table_mut().expect("it is one").remove("database");
                }
                vec![one].into()
            });
            for output in outputs.as_array().into_iter().flatten() {
                missing.retain(|name| output.get("name").and_then(Value::as_str) != Some(name));
            }
        }
    }
    missing.sort();
    missing.dedup();
    if !missing.is_empty() || !["http", "udp"].iter().any(|kind| fragment.contains_key(*kind)) {
        missing.push("another".to_owned());
        let outputs: Vec<_> = missing.iter().map(|name| output(name)).collect();
        let mut listener = table(&[("name", "filled-in"), ("bind-addr", "127.0.0.1:0")]);
        listener.insert("output".to_owned(), outputs.into());
        let listeners = fragment.entry("udp").or_insert_with(|| Value::Array(Vec::new()));
        listeners.as_array_mut().expect("it was made one").push(listener.into());
    }
    fragment
}

/// The environment variables that passwords and tokens are in.
fn variables(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                if key.ends_with("-env") {
                    found.extend(value.as_str().map(str::to_owned));
                }
                variables(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| variables(value, found)),
        _ => {}
    }
}

/// What the relay has against a configuration.
fn complaint(text: &str, etc: &Path) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = text.replace(ETC, &format!("{}/", etc.display()));
    let fragment: Table = text.parse().map_err(|error| format!("{error}"))?;
    let whole = completed(fragment);
    let mut names = Vec::new();
    variables(&whole.clone().into(), &mut names);
    let file = dir.path().join("relay.toml");
    fs::write(&file, whole.to_string()).expect("a temporary file");
    let mut check = Command::new(binary());
    check.arg("-config").arg(&file).arg("-check").env_clear();
    let output = check.envs(names.iter().map(|name| (name, "secret"))).output();
    let output = output.expect("the relay's binary runs");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into())
    }
}

fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new("an authority");
    let write = |name: &str, pem: String| {
        fs::write(dir.path().join(name), pem).expect("a temporary file");
    };
    write("ca.pem", authority.pem());
    for name in ["relay.pem", "client.pem"] {
        write(name, authority.issue(&["localhost"]));
    }
    dir
}

#[test]
fn the_relay_takes_every_configuration_that_a_page_shows() {
    let (etc, mut broken, mut seen) = (certificates(), Vec::new(), 0);
    for page in Page::all() {
        for (number, text) in page.fences("toml") {
            seen += 1;
            if let Err(why) = complaint(&text, etc.path()) {
                broken.push(format!("{}:{number}: {}", page.path.display(), why.trim()));
            }
        }
        for line in page.lines().iter().filter(|line| line.kind == Kind::Indented) {
            let starts = ["[[http", "[[udp", "[[filter", "[admin]"];
            if starts.iter().any(|start| line.text.trim_start().starts_with(start)) {
                let place = format!("{}:{}", page.path.display(), line.number);
                broken.push(format!("{place}: write it in a fence of toml, so that it is tested"));
            }
        }
    }
    assert!(seen > 5, "the examples were found: {seen}");
    assert_none(
        "mend these examples (line numbers within them are those of the filled-in file)",
        &broken,
    );
}

#[test]
fn mistakes_in_examples_are_seen() {
    let etc = certificates();
    let whole = "[[http]]\nssl-combined-pem = \"/etc/ringrelay/relay.pem\"\n";
    assert_eq!(complaint(whole, etc.path()), Ok(()));
    assert_eq!(complaint("[[filter]]\noutputs = [\"a\", \"b\"]\n", etc.path()), Ok(()));
    assert_eq!(complaint("[[udp.output]]\nlocation = \"h:1\"\nmtu = 1400\n", etc.path()), Ok(()));
    let wrong = complaint("[[http.output]]\nlocation = \"http://h/\"\nmtu = 1400\n", etc.path());
    assert!(wrong.as_ref().is_err_and(|why| why.contains("mtu")), "{wrong:?}");
}
