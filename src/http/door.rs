//! A listening socket: its connections one by one, and its end.
//!
//! Called by `connection`. Waiting for readiness and accepting are two steps, so that a wait can be
//! given up at any time: an accept that the kernel works on could end with a connection that
//! nobody serves, which a socket that goes on to the next relay must not lose.

use crate::sys::ReadyListener;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use tokio_uring::net::TcpStream;

/// One listening socket of one thread.
#[derive(Debug)]
pub(super) struct Door {
    listener: ReadyListener,
    /// Others have it too: it is left as it is.
    stays_open: bool,
}

impl Door {
    /// A door that was bound and listens. To be called within a runtime.
    pub(super) fn new(socket: TcpListener, stays_open: bool) -> io::Result<Self> {
        Ok(Self { listener: ReadyListener::new(socket)?, stays_open })
    }

    /// The next connection. Can be dropped and called again without losing one.
    pub(super) async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((TcpStream::from_std(stream), peer))
    }

    /// Clients are refused at once from now on, rather than left waiting in the kernel's queue;
    /// those of a door that stays open wait there for the next relay.
    pub(super) fn close(&self) {
        if self.stays_open {
            return;
        }
        let socket = socket2::SockRef::from(self.listener.socket());
        if let Err(error) = socket.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the listener was shut down already");
        }
    }
}
