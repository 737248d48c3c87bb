//! Configuration files for tests, in the Go relay's keys.

use std::net::SocketAddr;

/// An `[[http]]` on a free port. `more` are further keys, one per line.
pub(crate) fn http_listener(name: &str, more: &str, outputs: &[String]) -> String {
    listener("http", name, more, outputs)
}

/// A `[[udp]]` on a free port. `more` are further keys, one per line.
pub(crate) fn udp_listener(name: &str, more: &str, outputs: &[String]) -> String {
    listener("udp", name, more, outputs)
}

fn listener(kind: &str, name: &str, more: &str, outputs: &[String]) -> String {
    let head = format!("[[{kind}]]\nname = \"{name}\"\nbind-addr = \"127.0.0.1:0\"\n{more}\n");
    let outputs = outputs.iter().map(|output| format!("[[{kind}.output]]\n{output}\n"));
    head + &outputs.collect::<String>()
}

/// An output by HTTP. `more` are further keys, one per line.
pub(crate) fn http_output(name: &str, addr: SocketAddr, more: &str) -> String {
    let location = format!("name = \"{name}\"\nlocation = \"http://{addr}/\"\n");
    format!("{location}endpoints = {{ write = \"/write\" }}\n{more}\n")
}

/// An output by UDP. `more` are further keys, one per line.
pub(crate) fn udp_output(name: &str, addr: SocketAddr, more: &str) -> String {
    format!("name = \"{name}\"\nlocation = \"{addr}\"\n{more}\n")
}

/// An output by HTTP that speaks the API of InfluxDB 2. `more` are further keys, one per line.
pub(crate) fn v2_output(name: &str, addr: SocketAddr, more: &str) -> String {
    let location = format!("name = \"{name}\"\nlocation = \"http://{addr}/\"\n");
    format!("{location}type = \"influxdb2\"\norg = \"acme\"\n{more}\n")
}
