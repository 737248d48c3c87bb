//! Gets `/metrics` by HTTP, on a connection that is kept. By tokio's own sockets: whoever looks
//! on need not be where io_uring is allowed.

use super::TopError;
use super::scrape::Snapshot;
use super::target::Target;
use crate::tls::{self, Connector};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A relay of a thousand backends has a quarter of it.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one relay, again and again.
#[derive(Debug)]
pub(super) struct Fetcher {
    runtime: Runtime,
    client: Client,
}

#[derive(Debug)]
struct Client {
    target: Target,
    tls: Option<Connector>,
    /// From the last time, if it is still open.
    requests: Option<SendRequest<Empty<Bytes>>>,
}

/// Why there is no answer.
enum Failure {
    /// The connection ended before an answer came: a new one may fare better.
    Gone(String),
    Other(String),
}

impl Fetcher {
    /// Reads the files of TLS; connects to nothing.
    ///
    /// # Errors
    /// A file cannot be used, or the system has no more threads or files.
    pub(super) fn new(target: &Target) -> Result<Self, TopError> {
        let tls = target.tls.clone().map(|files| {
            let made = Connector::new(files, &target.host, &tls::read, &tls::system_roots);
            made.map_err(|wrong| match wrong.key {
                "location" => TopError::Usage(format!("{} {}", target.shown(), wrong.wrong)),
                key => TopError::Usage(format!("-{key} {}", wrong.wrong)),
            })
        });
        let client = Client { target: target.clone(), tls: tls.transpose()?, requests: None };
        Ok(Self { runtime: Builder::new_current_thread().enable_all().build()?, client })
    }

    /// What the relay counts now.
    ///
    /// # Errors
    /// Why it does not say, in words.
    pub(super) fn fetch(&mut self) -> Result<Snapshot, String> {
        let Self { runtime, client } = self;
        let answer = runtime.block_on(async { timeout(TIMEOUT, client.get()).await });
        let text = answer.unwrap_or_else(|_| {
            client.requests = None;
            Err(format!("none within {} s", TIMEOUT.as_secs()))
        });
        Snapshot::parse(&text?)
    }
}

impl Client {
    async fn get(&mut self) -> Result<String, String> {
        let kept = self.requests.take();
        let was_kept = kept.is_some();
        match self.ask(kept).await {
            Ok(text) => Ok(text),
            // The relay may have closed it meanwhile, or have been started again.
            Err(Failure::Gone(_)) if was_kept => match self.ask(None).await {
                Ok(text) => Ok(text),
                Err(Failure::Gone(why) | Failure::Other(why)) => Err(why),
            },
            Err(Failure::Gone(why) | Failure::Other(why)) => Err(why),
        }
    }

    async fn ask(&mut self, kept: Option<SendRequest<Empty<Bytes>>>) -> Result<String, Failure> {
        let mut requests = match kept {
            Some(requests) => requests,
            None => self.connect().await.map_err(Failure::Other)?,
        };
        let mut request = Request::get(&self.target.path)
            .header(HOST, self.target.authority())
            .header(USER_AGENT, concat!("ringrelay-top/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = &self.target.authorization {
            request = request.header(AUTHORIZATION, secret.expose());
        }
        let request = request.body(Empty::new()).map_err(|error| other(&error))?;
        let gone = |error: hyper::Error| Failure::Gone(words(&error));
        requests.ready().await.map_err(gone)?;
        let answer = requests.send_request(request).await.map_err(gone)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Failure::Other(error.to_string()))?.to_bytes();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                let why = "it wants a user (401): write USER:PASSWORD@ before the host";
                return Err(Failure::Other(why.to_owned()));
            }
            status => return Err(Failure::Other(format!("it answers {status}"))),
        }
        self.requests = Some(requests);
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let tcp = TcpStream::connect(self.target.authority()).await;
        let tcp = tcp.map_err(|error| of_connect(&error))?;
        match &self.tls {
            None => drive(tcp).await,
            Some(tls) => drive(tls.secure(tcp).await?).await,
        }
    }
}

/// Has a task carry the bytes while the runtime runs.
async fn drive<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (requests, connection) = shaken.map_err(|error| words(&error))?;
    tokio::spawn(async { drop(connection.await) });
    Ok(requests)
}

fn other(error: &hyper::http::Error) -> Failure {
    Failure::Other(error.to_string())
}

/// hyper's words, with what is behind them.
fn words(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn of_connect(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::TopOptions;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    /// Serves each answer on one connection, and tells the heads of the requests.
    fn server(answers: Vec<&'static str>) -> (SocketAddr, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (tell, heads) = channel();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
                let lines = lines.by_ref().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                drop(tell.send(head.join("\n")));
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        (address, heads)
    }

    fn fetcher(url: String) -> Fetcher {
        let options = TopOptions { url: Some(url), ..TopOptions::default() };
        Fetcher::new(&Target::of(&options).expect("a URL")).expect("it connects to nothing")
    }

    #[test]
    fn sends_the_credentials_and_connects_again_when_the_relay_was_started_again() {
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\nringrelay_start_time_seconds 17\n";
        let (address, heads) = server(vec![answer, answer]);
        let mut fetcher = fetcher(format!("http://me:word@{address}"));
        for _ in 0..2 {
            assert_eq!(fetcher.fetch().expect("an answer").started_s, 17);
            let head = heads.recv().expect("a request").to_lowercase();
            assert!(head.starts_with("get /metrics http/1.1\n"), "{head}");
            assert!(head.contains("authorization: basic bwu6d29yza=="), "{head}");
        }
        let why = fetcher.fetch().expect_err("nobody is there");
        assert_eq!(why, "nobody listens there");
    }

    #[test]
    fn what_is_no_relay_is_told() {
        for (answer, words) in [
            ("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "it wants a user (401)"),
            ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "it answers 404 Not Found"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nup 1", "no metrics of ringrelay"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP version"),
            ("", "connection closed"),
        ] {
            let (address, _heads) = server(vec![answer]);
            let why = fetcher(address.to_string()).fetch().expect_err("no relay");
            assert!(why.contains(words), "{answer:?}: {why}");
        }
    }
}
