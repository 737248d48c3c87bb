//! The client's side: whom a backend's connection trusts, and who it says it is.
//!
//! `config` makes one per backend; its threads share it. The files are read once, at start.

use super::trust::{Anyone, Authorities};
use super::{ALPN, Read, VERSIONS, Wire, Wrong, pem, provider, wire, words};
use crate::stream::Stream;
use hyper_util::rt::TokioIo;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

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
#[derive(Clone)]
pub struct Connector {
    files: ClientFiles,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
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
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = match &files.authorities {
            _ if files.skip_verification => Arc::new(Anyone::new(&provider)),
            Some(path) => {
                let (roots, pinned) = pem::authorities("ca-file", path, read)?;
                Arc::new(Authorities::new(Arc::new(roots), pinned, &provider))
            }
            None => {
                let roots = roots().map_err(|wrong| Wrong { key: "location", wrong })?;
                Arc::new(Authorities::new(roots, Vec::new(), &provider))
            }
        };
        let identity = match &files.identity {
            Some(path) => Some(pem::identity("client-pem", path, read, &provider)?),
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
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Wrong {
            key: "location",
            wrong: format!("has the host `{host}`, which no certificate can be for; correct it"),
        })?;
        Ok(Self { files, name, config: Arc::new(config) })
    }

    /// The files that this is made from.
    #[must_use]
    pub fn files(&self) -> &ClientFiles {
        &self.files
    }

    /// Shakes hands. The caller bounds the time. If it fails the backend has been told by an alert.
    ///
    /// # Errors
    /// Why it failed, in words for the operator.
    pub async fn connect(&self, stream: Stream) -> Result<Wire, String> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
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
