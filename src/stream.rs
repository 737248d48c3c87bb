//! HTTP's bytes by io_uring: hyper's poll-based reads and writes over a `tokio-uring` TCP stream.
//!
//! `http` (as server) and `backend::http` (as client) own a [`Socket`] each connection and lend
//! hyper its [`Stream`]. io_uring owns a buffer while an operation runs, hyper owns none: at most
//! one owned-buffer operation per direction is in flight, and each byte is copied once between its
//! buffer and hyper's. This file knows nothing of HTTP, timeouts or TLS.

use crate::sys;
pub use crate::sys::Peer;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio_uring::buf::{BoundedBuf, Slice};
use tokio_uring::net::TcpStream;
use tokio_uring::{InFlightOneshot, WriteData, WriteTransform};

/// What a connection that waits for bytes holds: an idle client must cost little.
const READ_BYTES_IDLE: usize = 4 * 1024;
/// What the next read takes after one that filled its buffer.
const READ_BYTES_BUSY: usize = 64 * 1024;
/// Written bytes that are gathered before they must leave: a merged request takes few writes.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Both towards a client, where they must stay small: there may be thousands, and some of them
/// never read.
const CLIENT_READ_BYTES: usize = 32 * 1024;
const CLIENT_WRITE_BYTES: usize = 16 * 1024;
/// What a connection of a client may hold: what is read, and what is written twice, gathered and
/// under way.
pub const CLIENT_BYTES_MAX: usize = CLIENT_READ_BYTES + 2 * CLIENT_WRITE_BYTES;

/// The owner's end of a connection. Ends every operation on the socket when it goes.
pub struct Socket(Rc<Shared>);

/// hyper's end of a connection.
pub struct Stream {
    shared: Rc<Shared>,
    reading: Reading,
    writing: Option<WriteOperation>,
    /// Accepted from hyper, not yet given to the kernel.
    gathered: Vec<u8>,
}

struct Shared {
    tcp: TcpStream,
    read_bytes_max: usize,
    write_bytes_max: usize,
    /// What was in flight when hyper let go of its end. The kernel may still use the buffers, so
    /// they are waited for, not dropped.
    left: RefCell<Vec<Pin<Box<dyn Future<Output = ()>>>>>,
}

type ReadOperation = Pin<Box<dyn Future<Output = (io::Result<usize>, Vec<u8>)>>>;
type WriteOperation = InFlightOneshot<WriteData<Slice<Vec<u8>>>, WriteTransform<Slice<Vec<u8>>>>;

enum Reading {
    /// Bytes that hyper has not taken yet, from this offset on.
    Data(Vec<u8>, usize),
    InFlight(ReadOperation),
    /// The peer has sent all it will, or the read failed.
    Ended,
}

impl Socket {
    /// Takes a stream that was connected to a backend, and turns Nagle's delay off.
    #[must_use]
    pub fn new(tcp: TcpStream) -> Self {
        Self::with(tcp, READ_BYTES_BUSY, WRITE_BYTES_MAX)
    }

    /// As [`new`](Self::new), of a stream that a client connected: what is written are answers.
    #[must_use]
    pub fn of_client(tcp: TcpStream) -> Self {
        Self::with(tcp, CLIENT_READ_BYTES, CLIENT_WRITE_BYTES)
    }

    fn with(tcp: TcpStream, read_bytes_max: usize, write_bytes_max: usize) -> Self {
        // Small answers would wait for an acknowledgement otherwise; where it fails they do.
        drop(tcp.set_nodelay(true));
        Self(Rc::new(Shared { tcp, read_bytes_max, write_bytes_max, left: RefCell::default() }))
    }

    /// What is known of the other end, whether or not anything is being read.
    #[must_use]
    pub fn peer(&self) -> Peer {
        sys::peer(&self.0.tcp)
    }

    /// hyper's end. A socket has one at a time.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream {
            shared: Rc::clone(&self.0),
            reading: Reading::Data(Vec::new(), 0),
            writing: None,
            gathered: Vec::new(),
        }
    }

    /// Says that nothing more will be written, then throws away what the peer still sends, until
    /// it closes, `bytes_max` came, or `timeout` passed. Closing with unread bytes would reset the
    /// connection and take an answer away that the peer has not read yet.
    pub async fn linger(&self, bytes_max: usize, timeout: Duration) {
        if self.0.tcp.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let throw_away = async {
            let (mut bytes, mut buffer) = (0, Vec::with_capacity(READ_BYTES_BUSY));
            while bytes < bytes_max {
                buffer = match self.0.tcp.read(buffer).await {
                    (Ok(1..), buffer) => buffer,
                    _ => return,
                };
                bytes += buffer.len();
                buffer.clear();
            }
        };
        let mut throw_away = std::pin::pin!(throw_away);
        if tokio::time::timeout(timeout, throw_away.as_mut()).await.is_err() {
            drop(self.0.tcp.shutdown(Shutdown::Both));
            throw_away.await;
        }
    }

    /// Ends the connection in both directions and waits until no operation uses it any more.
    /// hyper's end must have been dropped.
    pub async fn close(self) {
        drop(self.0.tcp.shutdown(Shutdown::Both));
        let left = self.0.left.take();
        for operation in left {
            operation.await;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A read in flight would keep the socket open for as long as the peer is silent.
        drop(self.0.tcp.shutdown(Shutdown::Both));
        // What is left holds the socket too: without this the two would keep each other.
        drop(self.0.left.take());
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut left = self.shared.left.borrow_mut();
        if let Reading::InFlight(read) = std::mem::replace(&mut self.reading, Reading::Ended) {
            left.push(Box::pin(async { drop(read.await) }));
        }
        if let Some(write) = self.writing.take() {
            left.push(Box::pin(async { drop(write.await) }));
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.reading {
                Reading::Data(data, taken) if *taken < data.len() => {
                    let take = cursor.remaining().min(data.len() - *taken);
                    cursor.put_slice(&data[*taken..*taken + take]);
                    *taken += take;
                    return Poll::Ready(Ok(()));
                }
                Reading::Data(data, _) => {
                    this.reading = Reading::InFlight(this.shared.read(std::mem::take(data)));
                }
                Reading::InFlight(read) => {
                    let (result, data) = ready!(read.as_mut().poll(context));
                    this.reading = match result {
                        Ok(1..) => Reading::Data(data, 0),
                        Ok(0) => Reading::Ended,
                        Err(error) => {
                            this.reading = Reading::Ended;
                            return Poll::Ready(Err(error));
                        }
                    };
                }
                Reading::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Shared {
    fn read(self: &Rc<Self>, mut buffer: Vec<u8>) -> ReadOperation {
        let filled = !buffer.is_empty() && buffer.len() == buffer.capacity();
        let bytes = if filled { self.read_bytes_max } else { READ_BYTES_IDLE };
        if buffer.capacity() == bytes {
            buffer.clear();
        } else {
            buffer = Vec::with_capacity(bytes);
        }
        let shared = Rc::clone(self);
        Box::pin(async move { shared.tcp.read(buffer).await })
    }
}

impl Stream {
    /// Writes out what was gathered. An error of a write that was reported as accepted surfaces
    /// here, on the next write or flush.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(write) = &mut self.writing {
                let (result, slice) = ready!(Pin::new(write).poll(context));
                self.writing = None;
                let rest = match result {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(written) => slice.begin() + written,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                let mut buffer = slice.into_inner();
                if rest < buffer.len() {
                    self.writing = Some(self.shared.tcp.write(buffer.slice(rest..)).submit());
                } else if self.gathered.is_empty() && buffer.capacity() <= READ_BYTES_BUSY {
                    buffer.clear();
                    self.gathered = buffer;
                }
            } else if self.gathered.is_empty() {
                return Poll::Ready(Ok(()));
            } else {
                let buffer = std::mem::take(&mut self.gathered);
                self.writing = Some(self.shared.tcp.write(buffer.slice_full()).submit());
            }
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes_max = self.shared.write_bytes_max;
        // Nothing leaves before a flush or a full buffer: head and body share one operation.
        if self.gathered.len() >= bytes_max {
            match self.poll_drain(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.gathered.len() >= bytes_max => return Poll::Pending,
                Poll::Pending | Poll::Ready(Ok(())) => {}
            }
        }
        let before = self.gathered.len();
        for slice in slices {
            let room = bytes_max - self.gathered.len();
            let take = room.min(slice.len());
            self.gathered.extend_from_slice(&slice[..take]);
        }
        Poll::Ready(Ok(self.gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Poll::Ready(self.shared.tcp.shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests;
