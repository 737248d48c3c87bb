//! TLS by rustls: the server's side of a listener ([`Acceptor`]), the client's side of a backend
//! ([`Connector`]), and the byte stream of either ([`Wire`]).
//!
//! `config` builds the first two from PEM files, so that all of them are checked before anything
//! runs; `http` accepts and `backend::http` connects with them. TLS 1.2 and 1.3, HTTP/1.1 alone.
//! Knows nothing of HTTP itself.

mod acceptor;
mod connector;
mod expiry;
mod pem;
mod stamp;
mod trust;
mod wire;
mod words;

pub use acceptor::{Acceptor, ServerFiles};
pub use connector::{ClientFiles, Connector};
pub use trust::system_roots;
pub use wire::Wire;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedProtocolVersion, version};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

/// What is wrong with a file, for the key that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The configuration's key.
    pub key: &'static str,
    /// A sentence without its subject, with the remedy.
    pub wrong: String,
}

/// Gives the content of a file.
pub type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// The bundle of a Linux host has a quarter of it.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a file of certificates.
///
/// # Errors
/// What the system says; also for what is no regular file, or larger than 4 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(bytes)
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
const ALPN: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
#[path = "../tests/support/certificates.rs"]
pub(crate) mod certificates;
