//! What a configuration's values point to outside the file: names, files, environment variables.
//!
//! The checks ask through [`Outside`]; [`Host`] answers as this host is, [`Nothing`] knows of
//! nothing, so that a text alone can be checked.

use crate::tls;
use rustls::RootCertStore;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

pub(super) trait Outside {
    /// The addresses of the host name of a `bind-addr`.
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
    fn variable(&self, name: &str) -> Option<OsString>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The authorities that the host trusts.
    fn roots(&self) -> Result<Arc<RootCertStore>, String>;
}

/// This host.
#[derive(Default)]
pub(super) struct Host {
    /// Reading them takes milliseconds, and many outputs may want them.
    roots: OnceCell<Result<Arc<RootCertStore>, String>>,
}

impl Outside for Host {
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        tls::read(path)
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        self.roots.get_or_init(tls::system_roots).clone()
    }
}

/// A host on which nothing is found.
pub(super) struct Nothing;

impl Outside for Nothing {
    fn addresses(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn variable(&self, _: &str) -> Option<OsString> {
        None
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        Err("needs this host's certificate authorities, which are not looked for here".to_owned())
    }
}
