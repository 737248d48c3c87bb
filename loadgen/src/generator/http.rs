//! One source by HTTP: one keep-alive connection, one request at a time, so that its lines have an
//! order. A request that is not answered 2xx is not repeated: its lines are counted as told lost.

use super::Source;
use super::report::Tally;
use crate::line::sent_digits;
use crate::pace::unix_ns;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What waits longer for an answer counts as unanswered.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// An answer is read up to here.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// After a failed connection.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

type Connection = SendRequest<Full<Bytes>>;

/// Sends the source's whole schedule. The thread sleeps by itself between requests: its timer is
/// finer than the runtime's.
pub(super) fn send(mut source: Source, database: &str) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a source's runtime")?;
    let path = format!("/write?db={database}");
    let mut tally = Tally::new(source.id);
    let mut connection = None;
    let (mut position, ring) = (0, source.payload.writes());
    while let Some((_, due_ns)) = source.next(&tally)? {
        let body = source.payload.patch(position, 1, tally.lines(), &sent_digits(due_ns));
        let body = Bytes::copy_from_slice(body);
        position = (position + 1) % ring;
        let lines = source.payload.lines_per_write() as u64;
        tally.report.writes += 1;
        tally.report.lines += lines;
        source.shared.lines.fetch_add(lines, Ordering::Relaxed);

        let request = post(&mut connection, source.target, &path, body);
        let answer = runtime.block_on(async { timeout(ANSWER_WITHIN, request).await });
        let status = match answer {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => {
                connection = None;
                std::thread::sleep(RECONNECT_AFTER);
                0
            }
        };
        *tally.report.answers.entry(status).or_default() += 1;
        if !(200..300).contains(&status) {
            tally.report.lines_told_lost += lines;
        }
        tally.request_us.saturating_record(unix_ns()?.saturating_sub(due_ns) / 1_000);
    }
    Ok(tally.close(&source.pacer))
}

async fn post(
    connection: &mut Option<Connection>,
    target: SocketAddr,
    path: &str,
    body: Bytes,
) -> Result<u16> {
    let mut open = match connection.take() {
        Some(open) if !open.is_closed() => open,
        _ => connect(target).await?,
    };
    open.ready().await?;
    let request = Request::post(path)
        .header(header::HOST, target.to_string())
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(body))?;
    let response = open.send_request(request).await?;
    let status = response.status().as_u16();
    Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!(error).context("reading the answer"))?;
    *connection = Some(open);
    Ok(status)
}

async fn connect(target: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It runs whenever the thread waits for an answer; its end shows in the next request.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}
