//! The server's side: a listener's certificate and whom it lets in, read again when a file
//! changes.
//!
//! `config` makes one per listener; the threads of `http` share it. The files are looked at on a
//! handshake, at most once a second. A new file that cannot be used changes nothing but the log.
//! The number of handshakes under way is bounded by that of connections, and their time here.

use super::{ALPN, Read, VERSIONS, Wire, Wrong, pem, provider, wire, words};
use crate::stream::Stream;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Clients across the world on a bad line need a second or two.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The files are looked at no more often.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
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
    stamps: Stamps,
    looked: Instant,
    told: Option<Instant>,
}

impl Acceptor {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn new(files: ServerFiles, read: Read<'_>) -> Result<Self, Wrong> {
        // Looked at before the content: a change in between is found at the next look.
        let stamps = files.stamps();
        let config = Arc::new(files.load(read)?);
        let state = Mutex::new(State { config, stamps, looked: Instant::now(), told: None });
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

    /// Logs a failed handshake, unless another one was logged a moment ago.
    pub fn tell(&self, listener: &str, why: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_none_or(|told| told.elapsed() >= TELL_PAUSE) {
            state.told = Some(Instant::now());
            tracing::info!(listener, "a client's TLS handshake failed: {why}");
        }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_PAUSE {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        Arc::clone(&state.config)
    }

    fn look(&self, state: &mut State) {
        let stamps = self.files.stamps();
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        let file = self.files.identity.display();
        match self.files.load(&super::read) {
            Ok(config) => {
                state.config = Arc::new(config);
                tracing::info!(%file, "the certificate files changed and were read again");
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
    fn load(&self, read: Read<'_>) -> Result<ServerConfig, Wrong> {
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
        let resolver = Arc::new(SingleCertAndKey::from(identity));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    fn stamps(&self) -> Stamps {
        [stamp(&self.identity), self.client_authorities.as_deref().and_then(stamp)]
    }
}

/// What tells that a file is another one, or was written to, or may be read now.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));
type Stamps = [Option<Stamp>; 2];

fn stamp(path: &Path) -> Option<Stamp> {
    let data = path.metadata().ok()?;
    let (written, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
    Some((data.dev(), data.ino(), data.size(), written, changed))
}
