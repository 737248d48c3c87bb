//! A socket of ours, and a peer that is a plain TCP stream.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(10);

fn start<F: Future>(future: F) -> F::Output {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).expect("io_uring works");
    runtime
        .block_on(async { tokio::time::timeout(DEADLINE, future).await })
        .expect("the test ends before its deadline")
}

/// A socket and the peer's end of it.
async fn pair() -> (Socket, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let tcp = TcpStream::connect(address).await.expect("it listens");
    let (peer, _) = listener.accept().expect("the backlog holds the connection");
    peer.set_read_timeout(Some(DEADLINE)).expect("a valid timeout");
    (Socket::new(tcp), peer)
}

async fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut read = hyper::rt::ReadBuf::new(buffer);
        ready!(Pin::new(&mut *stream).poll_read(context, read.unfilled()))?;
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written =
            std::future::poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes))
                .await?;
        bytes = &bytes[written..];
    }
    flush(stream).await
}

async fn flush(stream: &mut Stream) -> io::Result<()> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_flush(context)).await
}

#[test]
fn carries_megabytes_unchanged_both_ways() {
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    start(async {
        let (socket, mut peer) = pair().await;
        let echo = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("the peer reads to the end");
            peer.write_all(&all).expect("the peer writes it back");
        });
        let mut stream = socket.stream();
        write_all(&mut stream, &sent).await.expect("the peer reads");
        std::future::poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context))
            .await
            .expect("the connection is open");
        let (mut got, mut buffer) = (Vec::new(), vec![0; 10_000]);
        loop {
            match read(&mut stream, &mut buffer).await.expect("the peer writes") {
                0 => break,
                n => got.extend_from_slice(&buffer[..n]),
            }
        }
        assert!(got == sent, "{} of {} bytes came back", got.len(), sent.len());
        drop(stream);
        socket.close().await;
        echo.join().expect("the peer does not panic");
    });
}

#[test]
fn an_accepted_write_that_fails_surfaces_on_a_later_flush() {
    start(async {
        let (socket, peer) = pair().await;
        let mut stream = socket.stream();
        drop(peer);
        let end = Instant::now() + DEADLINE;
        let error = loop {
            if let Err(error) = write_all(&mut stream, b"x").await {
                break error;
            }
            assert!(Instant::now() < end, "writes to a closed peer went on succeeding");
        };
        assert!(
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
            "{error}"
        );
    });
}

#[test]
fn closing_ends_a_read_in_flight_and_tells_the_peer() {
    start(async {
        let (socket, mut peer) = pair().await;
        let mut stream = socket.stream();
        let mut buffer = [0; 10];
        tokio::select! {
            biased;
            _ = read(&mut stream, &mut buffer) => panic!("the peer sent nothing"),
            () = tokio::task::yield_now() => {}
        }
        let shared = Rc::downgrade(&socket.0);
        drop(stream);
        socket.close().await;
        assert_eq!(shared.strong_count(), 0, "nothing holds the socket any more");
        assert_eq!(peer.read(&mut [0; 1]).expect("an orderly end"), 0);
    });
}

#[test]
fn lingering_lets_the_peer_read_its_answer_first() {
    start(async {
        let (socket, mut peer) = pair().await;
        let client = thread::spawn(move || {
            peer.write_all(&vec![b'x'; 1_000_000]).expect("it is thrown away, not reset");
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).expect("no reset before the answer");
            answer
        });
        let mut stream = socket.stream();
        write_all(&mut stream, b"413").await.expect("the peer is there");
        drop(stream);
        socket.linger(10_000_000, DEADLINE).await;
        socket.close().await;
        assert_eq!(client.join().expect("the client does not panic"), b"413");
    });
}
