//! The server's side: a listener's certificate and whom it lets in, read again when a file
//! changes.
//!
//! `config` makes one per listener; the threads of `http` share it. The files are looked at on a
//! handshake and for `/metrics`, at most once a second. A new file that cannot be used changes
//! nothing but the log. The number of handshakes under way is bounded by that of connections, and
//! their time here.

use super::stamp::Stamps;
use super::{ALPN, Read, VERSIONS, Wire, Wrong, expiry, pem, provider, wire, words};
use crate::stream::Stream;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Clients across the world on a bad line need a second or two.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Failed handshakes are logged no more often; the metric counts each.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// The files of a listener's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// `ssl-combined-pem`: the certificate chain and its key.
    pub identity: PathBuf,
    /// `client-ca-file`: who signs the certificates that clients must show.
    pub client_authorities: Option<PathBuf>,
}

/// Shakes hands with the clients of one listener.
pub struct Acceptor {
    files: ServerFiles,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    /// When the certificate, or one between it and its authority, expires.
    expires_s: Option<u64>,
    stamps: Stamps,
    told: Option<Instant>,
    /// Failed handshakes since.
    unsaid: u64,
}

impl Acceptor {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn new(files: ServerFiles, read: Read<'_>) -> Result<Self, Wrong> {
        let stamps = Stamps::of(files.paths());
        let (config, expires_s) = files.load(read)?;
        expiry::warn(&files.identity, expires_s);
        let state = Mutex::new(State { config, expires_s, stamps, told: None, unsaid: 0 });
        Ok(Self { files, state })
    }

    /// The files that this is made from.
    #[must_use]
    pub fn files(&self) -> &ServerFiles {
        &self.files
    }

    /// Shakes hands, within 10 s. If that fails the client has been told by an alert.
    ///
    /// # Errors
    /// Why it failed, in words.
    pub async fn accept(&self, stream: Stream) -> Result<Wire, String> {
        let acceptor = TlsAcceptor::from(self.config());
        let shaking = acceptor.accept(TokioIo::new(stream)).into_fallible();
        match timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(Ok(stream)) => Ok(Wire::tls(stream)),
            Ok(Err((error, mut stream))) => {
                // The alert is in the stream, which keeps it until it is flushed.
                drop(timeout(HANDSHAKE_TIMEOUT, wire::flush(&mut stream)).await);
                Err(words::of_client(&error))
            }
            Err(_) => Err(format!("it took longer than {HANDSHAKE_TIMEOUT:?}")),
        }
    }

    /// Logs a failed handshake with the client at `from`, unless another one was logged a moment
    /// ago; the next line says how many were not.
    pub fn tell(&self, listener: &str, from: IpAddr, why: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| told.elapsed() < TELL_PAUSE) {
            state.unsaid += 1;
            return;
        }
        state.told = Some(Instant::now());
        let (from, unsaid) = (from.to_canonical(), std::mem::take(&mut state.unsaid));
        tracing::info!(listener, %from, unsaid, "a client's TLS handshake failed: {why}");
    }

    /// When the certificate, or one between it and its authority, expires, in seconds since the
    /// epoch; `None` if it does not say so in a way that can be read.
    #[must_use]
    pub fn expires_s(&self) -> Option<u64> {
        self.look().expires_s
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.look().config)
    }

    /// The state, after a look whether the files have changed.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamps.changed(self.files.paths()) {
            self.load_again(&mut state);
        }
        state
    }

    fn load_again(&self, state: &mut State) {
        let file = self.files.identity.display();
        match self.files.load(&super::read) {
            Ok((config, expires_s)) => {
                (state.config, state.expires_s) = (config, expires_s);
                tracing::info!(%file, "the certificate files changed and were read again");
                expiry::warn(&self.files.identity, expires_s);
            }
            Err(Wrong { key, wrong }) => {
                let file = match key {
                    CLIENT_CA_FILE => self.files.client_authorities.as_deref(),
                    _ => Some(&*self.files.identity),
                };
                let file = file.unwrap_or(Path::new("")).display();
                tracing::error!(%file, "the old certificates stay in use: {key} {wrong}");
            }
        }
    }
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

const SSL_COMBINED_PEM: &str = "ssl-combined-pem";
const CLIENT_CA_FILE: &str = "client-ca-file";

impl ServerFiles {
    /// What they make, and when it expires.
    fn load(&self, read: Read<'_>) -> Result<(Arc<ServerConfig>, Option<u64>), Wrong> {
        let provider = provider();
        let identity = pem::identity(SSL_COMBINED_PEM, &self.identity, read, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&VERSIONS)
            .expect("the provider has suites for both versions");
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let (roots, _) = pem::authorities(CLIENT_CA_FILE, path, read)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let wrong = |error| Wrong {
                    key: CLIENT_CA_FILE,
                    wrong: format!("cannot be used ({error}); export it again"),
                };
                builder.with_client_cert_verifier(verifier.map_err(wrong)?)
            }
        };
        let expires_s = expiry::of_chain(&identity.cert);
        let resolver = Arc::new(SingleCertAndKey::from(identity));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok((Arc::new(config), expires_s))
    }

    fn paths(&self) -> [Option<&Path>; 2] {
        [Some(&*self.identity), self.client_authorities.as_deref()]
    }
}
