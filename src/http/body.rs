//! Reads a request body into memory: whole, inflated, within its limits.
//!
//! Called by the endpoints that take a body. [`Budget`] bounds what all bodies of a listener hold
//! together, across its threads: it is charged as a body grows, not as its length is announced
//! (see `held`). Does not look at what a body says.

use super::answer::{Answer, Form};
use super::budget::{Budget, Listed, SLOW_AFTER};
use super::held::{HEAP_BYTES_MAX, Held};
use super::watch::Watch;
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use hyper::http::HeaderValue;
use std::cell::Cell;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A body of which nothing comes for this long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long, and how often, a body looks for the room that another one is about to give back: for
/// longer than those that came just before it may take to be found slow.
const ROOM_TIMEOUT: Duration = SLOW_AFTER.saturating_add(Duration::from_secs(1));
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// How much is inflated before other requests of the thread get their turn.
const INFLATE_BYTES: usize = 64 * 1024;

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Larger than the limit, in bytes; as sent or inflated.
    TooLarge(usize),
    /// The listener's budget is used up by other bodies.
    Busy,
    /// It hardly got on while others needed its room.
    Slow,
    /// Nothing came for too long.
    Stalled,
    /// The connection ended before the body did, or its framing is broken.
    CutOff(String),
    /// Not gzip, or cut short.
    BadGzip(String),
    /// A `Content-Encoding` that the relay cannot read.
    UnknownEncoding,
}

impl Unreadable {
    pub(super) fn into_answer(self, form: Form) -> Answer {
        match self {
            Self::TooLarge(limit) => form.error(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {limit} bytes: send it in smaller parts"),
            ),
            Self::Busy => busy(form, "too many request bodies are being read: try again"),
            Self::Slow => {
                busy(form, "the body came too slowly, and others need its room: try again")
            }
            Self::Stalled => form.error(
                StatusCode::BAD_REQUEST,
                &format!("the body stopped: nothing came for {} s", IDLE_MAX.as_secs()),
            ),
            Self::CutOff(why) => {
                form.error(StatusCode::BAD_REQUEST, &format!("the body was cut off: {why}"))
            }
            Self::BadGzip(why) => {
                form.error(StatusCode::BAD_REQUEST, &format!("the body is not gzip: {why}"))
            }
            Self::UnknownEncoding => form.error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unknown Content-Encoding: gzip and identity are taken",
            ),
        }
    }
}

fn busy(form: Form, why: &str) -> Answer {
    let mut answer = form.error(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// A body on its way in.
pub(super) struct Coming<'a> {
    body: &'a mut Incoming,
    watch: &'a Watch,
    whole: &'a Cell<bool>,
}

impl<'a> Coming<'a> {
    /// `watch` learns when no more of it is read, and `whole` is set if that is at its end.
    pub(super) fn new(body: &'a mut Incoming, watch: &'a Watch, whole: &'a Cell<bool>) -> Self {
        Self { body, watch, whole }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.watch.body_came();
    }
}

/// Reads a body to its end, at most `bytes_max` bytes as sent and as inflated.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Coming<'_>,
    budget: &Arc<Budget>,
    bytes_max: usize,
) -> Result<Held, Unreadable> {
    let gzip = is_gzip(headers)?;
    let held = read_as_sent(body, budget, bytes_max).await?;
    if gzip { inflate(&held, bytes_max).await } else { Ok(held) }
}

/// Reads a body to its end, at most `bytes_max` bytes, whatever its encoding.
pub(super) async fn read_as_sent(
    body: Coming<'_>,
    budget: &Arc<Budget>,
    bytes_max: usize,
) -> Result<Held, Unreadable> {
    let announced = body.body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(Unreadable::TooLarge(bytes_max));
    }
    // One more, for the newline that the last line may lack.
    let expected = announced.and_then(|bytes| usize::try_from(bytes).ok()).map(|n| n + 1);
    let (mut held, mut listed) = (Held::new(budget, expected), None::<Listed>);
    loop {
        let came = tokio::select! {
            biased;
            came = tokio::time::timeout(IDLE_MAX, body.body.frame()) => came,
            () = gives_way(listed.as_ref()) => return Err(Unreadable::Slow),
        };
        let frame = match came {
            Err(_) => return Err(Unreadable::Stalled),
            Ok(None) => {
                body.whole.set(true);
                break;
            }
            Ok(Some(Err(error))) => return Err(Unreadable::CutOff(error.to_string())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        if held.bytes().len() + data.len() > bytes_max {
            return Err(Unreadable::TooLarge(bytes_max));
        }
        // Also one that waits for room gives way: nobody else is told to while it does not.
        tokio::select! {
            biased;
            grown = grow(&mut held, data) => grown?,
            () = gives_way(listed.as_ref()) => return Err(Unreadable::Slow),
        }
        if body.body.is_end_stream() {
            continue;
        }
        match &mut listed {
            Some(listed) => listed.came(held.bytes().len()),
            None => listed = Some(Listed::new(budget, held.bytes().len())),
        }
    }
    Ok(held)
}

async fn gives_way(listed: Option<&Listed>) {
    match listed {
        Some(listed) => listed.gives_way().await,
        None => std::future::pending().await,
    }
}

/// Adds bytes to a body, if they fit, or soon will: where another body gives way to them, or they
/// are so few that whoever leaves next makes room for them.
async fn grow(held: &mut Held, bytes: &[u8]) -> Result<(), Unreadable> {
    let is_short = held.bytes().len() + bytes.len() <= HEAP_BYTES_MAX;
    let mut until = None;
    loop {
        match held.push(bytes) {
            Err(Unreadable::Busy) => {}
            pushed => return pushed,
        }
        let now = Instant::now();
        let may_come = held.budget().make_room() || is_short;
        if now >= *until.get_or_insert(now + ROOM_TIMEOUT) || !may_come {
            return Err(Unreadable::Busy);
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Unreadable> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (encodings.next(), encodings.next());
    let encoding = first.map_or(&b"identity"[..], HeaderValue::as_bytes).trim_ascii();
    let is = |name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
    match second {
        None if is("gzip") || is("x-gzip") => Ok(true),
        None if is("identity") || encoding.is_empty() => Ok(false),
        _ => Err(Unreadable::UnknownEncoding),
    }
}

/// Inflates a whole body. Small ones take turns; of large ones few go on at once, for all of them
/// together would use the budget up before any is done.
async fn inflate(packed: &Held, bytes_max: usize) -> Result<Held, Unreadable> {
    let mut decoder = MultiGzDecoder::new(packed.bytes());
    let mut held = Held::new(packed.budget(), None);
    let mut part = vec![0; INFLATE_BYTES];
    let mut place = None;
    loop {
        let n = decoder.read(&mut part).map_err(|error| Unreadable::BadGzip(error.to_string()))?;
        if n == 0 {
            return Ok(held);
        }
        if held.bytes().len() + n > bytes_max {
            return Err(Unreadable::TooLarge(bytes_max));
        }
        if place.is_none() && held.bytes().len() + n > HEAP_BYTES_MAX {
            place = Some(packed.budget().place_to_inflate().await);
        }
        grow(&mut held, &part[..n]).await?;
        // The runtime starts others' I/O only when it waits for some itself: a plain yield would
        // not let them on.
        drop(tokio_uring::no_op().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn packed(budget: &Arc<Budget>, bytes: &[u8]) -> Held {
        let mut held = Held::new(budget, None);
        held.push(bytes).expect("within the budget");
        held
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("writing to memory");
        encoder.finish().expect("writing to memory")
    }

    fn inflated(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        let budget = Arc::new(Budget::new(1 << 20));
        let result = {
            let held = packed(&budget, bytes);
            tokio_uring::start(inflate(&held, bytes_max)).map(|held| held.bytes().to_vec())
        };
        assert_eq!(budget.held(), 0, "everything was given back");
        result
    }

    #[test]
    fn inflates_members_and_refuses_what_is_cut_bad_or_large() {
        let (one, two) = (gzip(b"a f=1 1\n"), gzip(b"b f=2 2\n"));
        let both = [one.clone(), two].concat();
        assert_eq!(inflated(&both, 100).as_deref(), Ok(&b"a f=1 1\nb f=2 2\n"[..]));
        for cut in 0..one.len() {
            let result = inflated(&one[..cut], 100);
            assert!(matches!(result, Err(Unreadable::BadGzip(_))), "{cut}: {result:?}");
        }
        assert!(matches!(inflated(b"not gzip", 100), Err(Unreadable::BadGzip(_))));
        let bomb = gzip(&vec![b'x'; 100_000]);
        assert_eq!(inflated(&bomb, 99_999), Err(Unreadable::TooLarge(99_999)));
        assert_eq!(inflated(&bomb, 100_000).map(|bytes| bytes.len()), Ok(100_000));
    }
}
