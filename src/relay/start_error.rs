//! Why the relay could not start: each text names the key, the value and the remedy.

use crate::service::passed::PassedError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What kept the relay from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address could not be bound.
    #[error("[[{section}]] {name:?}: bind-addr = \"{address}\": {error}; {remedy}")]
    Bind {
        /// `http`, `udp` or `admin`.
        section: &'static str,
        /// The listener's name.
        name: String,
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's words.
        error: io::Error,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// What the service manager passed is not what the configuration says.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// A backend's files could not be opened.
    #[error("output {name:?}: {key} = {dir:?}: {error}{remedy}", remedy = directory_remedy(.error))]
    Directory {
        /// The output's name.
        name: String,
        /// `dead-letter-dir` or `spool-dir`.
        key: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The kernel's words.
        error: io::Error,
    },
    /// Too few files may be open for any client to connect.
    #[error(
        "the limit on open files is {limit}, and this configuration needs {needed} before one \
         client is served; {FILE_LIMIT_REMEDY}, or configure fewer outputs and http-threads"
    )]
    FileLimit {
        /// What the process may open.
        limit: usize,
        /// What it needs at least.
        needed: usize,
    },
    /// No ring could be made.
    #[error("io_uring: {0}; {remedy}", remedy = ring_remedy(.0))]
    Ring(io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}; raise the limit on tasks (`ulimit -u`, TasksMax)")]
    Thread(io::Error),
    /// A thread ended while it was starting.
    #[error("a thread ended while it was starting; this is a defect, please report it")]
    Died,
}

impl StartError {
    pub(super) fn bind(
        section: &'static str,
        name: &str,
        address: SocketAddr,
        error: io::Error,
    ) -> Self {
        let remedy = match error.kind() {
            _ if is_file_limit(&error) => FILE_LIMIT_REMEDY,
            io::ErrorKind::AddrInUse => {
                "another process has this port: stop it, or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this host has this address: use one that `ip address` lists"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a higher port"
            }
            _ => "check the address",
        };
        Self::Bind { section, name: name.to_owned(), address, error, remedy }
    }
}

const FILE_LIMIT_REMEDY: &str = "raise the limit on open files (`ulimit -n`, LimitNOFILE)";

fn is_file_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What holds a directory for another process says itself what to do.
fn directory_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy => "",
        _ => "; give a directory that the relay's user may write to",
    }
}

fn ring_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "the kernel forbids it: set sysctl kernel.io_uring_disabled=0, and in a container \
             allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile"
        }
        Some(libc::ENOSYS) => {
            "this kernel has none, or a seccomp profile hides it: run Linux 6.1 or newer, and in a \
             container allow io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(libc::EINVAL) => "this kernel is too old: run Linux 6.1 or newer",
        Some(libc::ENOMEM) => "raise the limit on locked memory (`ulimit -l`, LimitMEMLOCK)",
        _ if is_file_limit(error) => FILE_LIMIT_REMEDY,
        _ => "run Linux 6.1 or newer with io_uring allowed",
    }
}
