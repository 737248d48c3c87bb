//! A listening socket that a runtime waits for by readiness. Called by `http`.
#![expect(unsafe_code, reason = "tokio wants it promised that the descriptor stays open")]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A listening socket whose connections a `tokio` runtime waits for by readiness.
#[derive(Debug)]
pub struct ReadyListener(AsyncFd<TcpListener>);

impl ReadyListener {
    /// To be called within a runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // SAFETY: a `TcpListener` has one open descriptor for as long as it lives, and nobody
        // gets to replace this one.
        Ok(Self(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?))
    }

    /// The next connection. Can be dropped and called again without losing one.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let mut ready = self.0.readable().await?;
            // Another thread may have been faster: then there is nothing to accept.
            if let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) {
                return accepted;
            }
        }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpListener {
        self.0.get_ref()
    }
}
