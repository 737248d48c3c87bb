//! The bytes of a connection, plain or through TLS, as hyper reads and writes them.
//!
//! `http` and `backend::http` hand it to hyper. A match each call, no dynamic dispatch; what TLS
//! keeps for a connection is boxed, so that a plain one does not pay for it.

use crate::stream::Stream;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_rustls::TlsStream;

/// hyper's end of a connection.
pub enum Wire {
    /// As the bytes are.
    Plain(Stream),
    /// Through TLS, after its handshake.
    Tls(Box<TokioIo<TlsStream<TokioIo<Stream>>>>),
}

impl Wire {
    pub(super) fn tls(stream: impl Into<TlsStream<TokioIo<Stream>>>) -> Self {
        Self::Tls(Box::new(TokioIo::new(stream.into())))
    }
}

/// Sends what a failed handshake left to be said.
pub(super) async fn flush(stream: &mut TokioIo<Stream>) -> io::Result<()> {
    poll_fn(|context| Pin::new(stream.inner_mut()).poll_flush(context)).await
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, cursor),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, cursor),
        }
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
