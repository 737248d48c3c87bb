//! The client's side: whom a backend's connection trusts, and who it says it is.
//!
//! `config` makes one per backend, for its sender thread. The files are looked at on a handshake,
//! at most once a second. A new file that cannot be used changes nothing but the log.

use super::stamp::Stamps;
use super::trust::{Anyone, Authorities};
use super::{ALPN, Read, VERSIONS, Wire, Wrong, pem, provider, wire, words};
use crate::stream::Stream;
use hyper_util::rt::TokioIo;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The files of a backend's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// `ca-file`: whom to trust instead of the system's authorities.
    pub authorities: Option<PathBuf>,
    /// `client-pem`: the certificate chain and key to show to the backend.
    pub identity: Option<PathBuf>,
    /// `skip-tls-verification`: trust any certificate.
    pub skip_verification: bool,
}

/// Shakes hands with one backend.
pub struct Connector {
    files: ClientFiles,
    name: ServerName<'static>,
    /// The system's authorities, if they are trusted.
    roots: Option<Arc<RootCertStore>>,
    state: Mutex<State>,
}

struct State {
    config: Arc<ClientConfig>,
    stamps: Stamps,
}

impl Connector {
    /// Reads and checks the files. `host` is what the backend's certificate must be for: a name or
    /// an address, without brackets. `roots` gives the system's authorities.
    ///
    /// # Errors
    /// What is wrong with which key.
    pub fn new(
        files: ClientFiles,
        host: &str,
        read: Read<'_>,
        roots: &dyn Fn() -> Result<Arc<RootCertStore>, String>,
    ) -> Result<Self, Wrong> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Wrong {
            key: "location",
            wrong: format!("has the host `{host}`, which no certificate can be for; correct it"),
        })?;
        let trusts_system = !files.skip_verification && files.authorities.is_none();
        let roots = if trusts_system {
            Some(roots().map_err(|wrong| Wrong { key: "location", wrong })?)
        } else {
            None
        };
        let stamps = Stamps::of(files.paths());
        let config = files.load(read, roots.as_ref())?;
        Ok(Self { files, name, roots, state: Mutex::new(State { config, stamps }) })
    }

    /// The files that this is made from.
    #[must_use]
    pub fn files(&self) -> &ClientFiles {
        &self.files
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamps.changed(self.files.paths()) {
            match self.files.load(&super::read, self.roots.as_ref()) {
                Ok(config) => {
                    state.config = config;
                    let host = self.name.to_str();
                    tracing::info!(%host, "the certificate files changed and were read again");
                }
                Err(Wrong { key, wrong }) => {
                    let [authorities, identity] = self.files.paths();
                    let file = if key == CA_FILE { authorities } else { identity };
                    let file = file.unwrap_or(Path::new("")).display();
                    tracing::error!(%file, "the old certificates stay in use: {key} {wrong}");
                }
            }
        }
        Arc::clone(&state.config)
    }

    /// Shakes hands. The caller bounds the time. If it fails the backend has been told by an alert.
    ///
    /// # Errors
    /// Why it failed, in words for the operator.
    pub async fn connect(&self, stream: Stream) -> Result<Wire, String> {
        let connector = TlsConnector::from(self.config());
        let shaking = connector.connect(self.name.clone(), TokioIo::new(stream)).into_fallible();
        match shaking.await {
            Ok(stream) => Ok(Wire::tls(stream)),
            Err((error, mut stream)) => {
                // The alert is in the stream, which keeps it until it is flushed.
                drop(wire::flush(&mut stream).await);
                Err(words::of_backend(&error))
            }
        }
    }
}

impl Connector {
    /// As [`connect`](Self::connect), over any stream of tokio's.
    ///
    /// # Errors
    /// Why it failed, in words for the operator.
    pub async fn secure<S>(&self, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaken = TlsConnector::from(self.config()).connect(self.name.clone(), stream).await;
        shaken.map_err(|error| words::of_backend(&error))
    }
}

const CA_FILE: &str = "ca-file";
const CLIENT_PEM: &str = "client-pem";

impl ClientFiles {
    /// `roots` are trusted where the files name nobody.
    fn load(
        &self,
        read: Read<'_>,
        roots: Option<&Arc<RootCertStore>>,
    ) -> Result<Arc<ClientConfig>, Wrong> {
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = match (&self.authorities, roots) {
            _ if self.skip_verification => Arc::new(Anyone::new(&provider)),
            (None, Some(roots)) => {
                Arc::new(Authorities::new(Arc::clone(roots), Vec::new(), &provider))
            }
            (path, _) => {
                let path = path.as_deref().unwrap_or(Path::new(""));
                let (roots, pinned) = pem::authorities(CA_FILE, path, read)?;
                Arc::new(Authorities::new(Arc::new(roots), pinned, &provider))
            }
        };
        let identity = match &self.identity {
            Some(path) => Some(pem::identity(CLIENT_PEM, path, read, &provider)?),
            None => None,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&VERSIONS)
            .expect("the provider has suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }

    fn paths(&self) -> [Option<&Path>; 2] {
        [self.authorities.as_deref(), self.identity.as_deref()]
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, &self.name) == (&other.files, &other.name)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (&self.files, &self.name).fmt(f)
    }
}
