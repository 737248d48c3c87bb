//! The Debian packages, as a user meets them: installed, started by their unit's own command as
//! its own user, written to and queried, removed, purged.
//!
//! That changes the machine, so it is done only where `RINGRELAY_PACKAGES` names the directory
//! with the packages (`cargo deb`); `.ci/run package` does. No systemd is needed.

use crate::harness::{Client, InfluxDb, Relay, binary, lines, numbered, require, run, wait_until};
use rustix::fs::{Mode, stat};
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const CONFIG: &str = "/etc/ringrelay/ringrelay.toml";
const STATE: &str = "/var/lib/ringrelay";
const PACKAGES: [&str; 2] = ["ringrelay", "influxdb-relay-is-ringrelay"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The values of a setting in a unit file or the like.
fn settings(text: &str, name: &str) -> Vec<String> {
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

#[test]
fn the_packaged_configuration_runs_and_the_sockets_are_its_listeners() {
    let file = root().join("packaging/ringrelay.toml");
    let output = run(Command::new(binary()).arg("-check").arg("-config").arg(&file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config = fs::read_to_string(&file).expect("it is text");
    let config: toml::Table = config.parse().expect("it runs");
    for (unit, setting, table) in [
        ("ringrelay-udp.socket", "ListenDatagram", "udp"),
        ("ringrelay-http.socket", "ListenStream", "http"),
    ] {
        let unit = root().join("packaging/systemd").join(unit);
        let mut sockets = settings(&fs::read_to_string(unit).expect("it is text"), setting);
        sockets.dedup();
        assert_eq!(sockets, [config[table][0]["bind-addr"].as_str().expect("an address")]);
    }
}

/// The packages, if they may be installed here.
fn packages() -> Option<Vec<PathBuf>> {
    let Some(dir) = std::env::var_os("RINGRELAY_PACKAGES") else {
        // Straight to the descriptor: libtest keeps what a passing test prints.
        let said = "SKIPPED package: no RINGRELAY_PACKAGES; `.ci/run package` installs them\n";
        std::io::stderr().write_all(said.as_bytes()).expect("stderr is open");
        return None;
    };
    let files = fs::read_dir(dir).expect("RINGRELAY_PACKAGES is a directory");
    let files: Vec<_> = files.map(|file| file.expect("an entry of it").path()).collect();
    let found = PACKAGES.map(|name| {
        let is_its = |file: &&PathBuf| {
            let file = file.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with(&format!("{name}_")) && file.ends_with(".deb")
        };
        let found: Vec<_> = files.iter().filter(is_its).collect();
        assert_eq!(found.len(), 1, "one {name} in RINGRELAY_PACKAGES");
        found[0].canonicalize().expect("it is there")
    });
    Some(found.into())
}

fn done(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

fn said(output: &Output) -> Vec<String> {
    lines(&output.stdout)
}

fn apt(arguments: &[&str], packages: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) {
    // Longer than other commands: it also writes an index of all manual pages.
    let mut command = Command::new("timeout");
    command.args(["300", "apt-get", "-y", "-qq", "--no-install-recommends"]);
    command.args(["-o", "DPkg::Lock::Timeout=120"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    done(command.args(arguments).args(packages));
}

/// Leaves nothing behind, whatever the test does.
struct Installed;

impl Drop for Installed {
    fn drop(&mut self) {
        let mut purge = Command::new("dpkg");
        drop(purge.args(["--purge", "--force-all"]).args(PACKAGES).output());
    }
}

/// What `id` says of the service's user.
fn id(which: &str) -> u32 {
    let said = said(&done(Command::new("id").args([which, "ringrelay"])));
    said[0].parse().expect("a number")
}

#[test]
fn install_start_write_query_remove() {
    let Some(packages) = packages() else { return };
    assert!(require(&["apt-get", "setpriv", "influxd"]), "this is where they must be");
    assert!(!Path::new(CONFIG).exists(), "a ringrelay is installed here");
    let installed = Installed;
    apt(&["install"], &packages);
    let files = said(&done(Command::new("dpkg").arg("-L").args(PACKAGES)));
    let changed = said(&done(Command::new("dpkg").args(["--verify", "ringrelay"])));
    // A small image may leave pages out as it installs.
    assert!(changed.iter().all(|file| file.contains("/usr/share/")), "{changed:?}");
    let version = |name: &str| done(Command::new(name).arg("-version")).stdout;
    assert_eq!(version("/usr/bin/ringrelay"), version("/usr/bin/influxdb-relay"));

    // Credentials in it would be the service's alone.
    let (uid, gid) = (id("-u"), id("-g"));
    let of_config = stat(CONFIG).expect("it is there");
    assert_eq!((of_config.st_uid, of_config.st_gid), (0, gid));
    assert_eq!(Mode::from_raw_mode(of_config.st_mode), Mode::from_raw_mode(0o640));

    let (one, two) = (InfluxDb::start(), InfluxDb::start());
    one.create("telegraf");
    two.create("telegraf");
    let config = edited(&one, &two);
    fs::write(CONFIG, &config).expect("root may write it");
    apt(&["install", "--reinstall"], &packages[..1]);
    assert_eq!(fs::read_to_string(CONFIG).expect("it is there"), config, "the user's own stays");

    let relay = Relay::start_command(service(&files, uid, gid), &config);
    let stamped = numbered("package", 60);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    for line in &stamped[..30] {
        socket.send_to(line.as_bytes(), relay.addr("udp")).expect("loopback takes it");
    }
    let body = stamped[30..].join("\n");
    assert_eq!(Client::connect(relay.addr("http")).write("db=telegraf", body).status(), 204);
    wait_until("both to have all", || [&one, &two].iter().all(|db| db.rows("telegraf") == 60));
    assert_eq!(one.dump("telegraf"), two.dump("telegraf"));
    relay.finish();
    assert!(Path::new(STATE).join("http").is_dir(), "what it keeps is where it may write");

    apt(&["remove"], PACKAGES);
    assert_eq!(fs::read_to_string(CONFIG).expect("it is there"), config, "removed, not purged");
    assert!(!Path::new("/usr/bin/ringrelay").exists());
    assert!(!Path::new("/usr/bin/influxdb-relay").exists());
    apt(&["purge"], PACKAGES);
    drop(installed);
    let left = files.iter().filter(|file| !Path::new(file).is_dir() && Path::new(file).exists());
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&String>::new());
    let left =
        [CONFIG, "/etc/ringrelay", STATE].into_iter().filter(|path| Path::new(path).exists());
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!((id("-u"), id("-g")), (uid, gid), "users stay, as Debian's policy has it");
}

/// The installed configuration as its comments say to change it, for two databases.
fn edited(one: &InfluxDb, two: &InfluxDb) -> String {
    let text = fs::read_to_string(CONFIG).expect("it is there");
    let (before, second) = text.split_once("#[[http.output]]\n").expect("a second one is shown");
    let second: String = second.lines().map(|line| format!("{}\n", &line[1..])).collect();
    let second =
        format!("[[http.output]]\n{second}").replace("10.0.0.2:8086", &two.http.to_string());
    let first =
        before.replace("127.0.0.1:8086", &one.http.to_string()).replace("#spool-dir", "spool-dir");
    let by_udp = second.replace("http.output", "udp.output") + "database = \"telegraf\"\n";
    let (udp, http) = first.split_once("[[http]]").expect("it has both");
    format!("{udp}{by_udp}[[http]]{http}{second}")
}

/// The command of the installed service, as its user, with its directory and no privileges.
fn service(files: &[String], uid: u32, gid: u32) -> Command {
    let unit = files.iter().find(|file| file.ends_with("/ringrelay.service")).expect("a unit");
    let unit = fs::read_to_string(unit).expect("it is text");
    assert_eq!(settings(&unit, "User"), ["ringrelay"]);
    assert_eq!(settings(&unit, "StateDirectory"), [STATE.rsplit('/').next().expect("a name")]);
    fs::create_dir_all(STATE).expect("root may make it");
    chown(STATE, Some(uid), Some(gid)).expect("root may give it away");
    assert_eq!(fs::metadata(STATE).expect("it is there").uid(), uid);
    let start = settings(&unit, "ExecStart");
    assert_eq!(start.len(), 1, "{start:?}");
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
    command.args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    command.args(start[0].split_whitespace());
    command
}
