//! Names of hosts: a resolver on the schedule's own address, and a mount namespace in which the
//! relay finds it. Both need root.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// How names resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Right,
    /// There is no such name.
    NoSuchName,
    /// The resolver cannot tell.
    Failure,
    /// It says nothing at all.
    Silence,
}

const PORT: u16 = 53;
/// Where the header of a DNS message ends.
const HEADER: usize = 12;

/// The names of one relay.
pub(super) struct Names {
    answers: Arc<Mutex<Answers>>,
    over: Arc<AtomicBool>,
    dir: TempDir,
}

impl Names {
    /// All names are of `host`.
    pub(super) fn start(host: Ipv4Addr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("a temporary file");
        };
        write("resolv.conf", &format!("nameserver {host}\noptions timeout:1 attempts:1\n"));
        write("nsswitch.conf", "hosts: dns\n");
        let socket = UdpSocket::bind((host, PORT)).expect("the test required it");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a valid timeout");
        let answers = Arc::new(Mutex::new(Answers::Right));
        let over = Arc::<AtomicBool>::default();
        let (reads, ends) = (Arc::clone(&answers), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while !ends.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                let answers = *reads.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = answer(&question[..length], answers, host) {
                    // Who asked may be gone.
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { answers, over, dir }
    }

    pub(super) fn set(&self, answers: Answers) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    /// A command that becomes `program`, where it asks this resolver.
    pub(super) fn command(&self, program: &Path) -> Command {
        let script = "mount --bind \"$1/resolv.conf\" /etc/resolv.conf && \
                      mount --bind \"$1/nsswitch.conf\" /etc/nsswitch.conf && \
                      shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(self.dir.path()).arg(program);
        command
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The answer to one question for an address.
fn answer(question: &[u8], answers: Answers, host: Ipv4Addr) -> Option<Vec<u8>> {
    let code = match answers {
        Answers::Right => 0,
        Answers::Failure => 2,
        Answers::NoSuchName => 3,
        Answers::Silence => return None,
    };
    let name = question.get(HEADER..)?.iter().position(|&byte| byte == 0)?;
    let end = HEADER + name + 1 + 4;
    let kind = question.get(end - 4..end)?;
    // An IPv4 address of the Internet's class; there is none of any other kind.
    let found = code == 0 && kind == [0, 1, 0, 1];
    let mut answer = question[..2].to_vec();
    // A response, to a question that wanted recursion, from one who offers it.
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(&question[HEADER..end]);
    if found {
        // The name of the question, its kind, kept for no time, in four bytes.
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(host.octets());
    }
    Some(answer)
}

/// What is missing for it.
pub(super) fn missing() -> Option<String> {
    if !Path::new("/etc/resolv.conf").exists() || !Path::new("/etc/nsswitch.conf").exists() {
        return Some("there is no /etc/resolv.conf or no /etc/nsswitch.conf".to_owned());
    }
    // Not one that a schedule uses.
    if let Err(error) = UdpSocket::bind((Ipv4Addr::new(127, 9, 9, 9), PORT)) {
        return Some(format!("port {PORT} cannot be bound without root: {error}"));
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "true"]).stderr(Stdio::null());
    match unshare.status() {
        Ok(status) if status.success() => None,
        _ => Some("`unshare --mount` is not allowed or not there".to_owned()),
    }
}
