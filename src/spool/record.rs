//! The bytes of a record. Pure: what is read and written comes in and goes out.
//!
//! ```text
//! magic u32 | crc u32 | payload length u32 | index u32 | kept_s u64 | api u8 | lines u32 | payload
//! payload: destination length u32 | destination | where each line ends u32... | the lines
//! destination: query | authorization | count of headers u32 | name, value of each
//! ```
//!
//! Little endian; a text is its length as u32 and its bytes. Without lines it is an opaque body.
//! The checksum is CRC-32 over the segment's salt and number and all of the record that follows
//! it. The magic is a part of the salt: nobody who sends lines can make one up.

use super::name::Name;
use crate::batch::Batch;
use crate::write::{Api, Destination};
use bytes::Bytes;
use crc32fast::Hasher;
use hyper::header::{HeaderName, HeaderValue};
use std::sync::Arc;

/// What stands before the payload.
pub(super) const HEADER_BYTES: usize = 29;
/// What the shortest record takes: its payload has the length of a destination.
pub(super) const RECORD_BYTES_MIN: u64 = HEADER_BYTES as u64 + 4;
/// Where what the checksum covers begins.
pub(super) const COVERED: usize = 8;
/// The length of a text that is not there.
const NONE: u32 = u32::MAX;

/// A write that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it goes.
    pub destination: &'a Destination,
    /// What is written.
    pub batch: &'a Batch,
    /// When it was taken, in seconds since the epoch.
    pub kept_s: u64,
}

/// What ties records to their segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    pub(super) magic: [u8; 4],
    /// The checksum of salt and number.
    start: u32,
}

impl Seal {
    pub(super) fn new(name: Name) -> Self {
        let salt = name.salt.to_le_bytes();
        let mut hasher = Hasher::new();
        hasher.update(&salt);
        hasher.update(&name.id.to_le_bytes());
        // Never zeros, of which damaged files have many.
        Self { magic: [salt[0] | 1, salt[1], salt[2], salt[3]], start: hasher.finalize() }
    }

    /// Begins a checksum.
    pub(super) fn hasher(self) -> Hasher {
        Hasher::new_with_initial(self.start)
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) crc: u32,
    pub(super) payload: u32,
    pub(super) index: u32,
    pub(super) kept_s: u64,
    pub(super) api: u8,
    pub(super) lines: u32,
}

impl Header {
    /// `None` if the bytes do not begin with the magic, or are too few.
    pub(super) fn parse(bytes: &[u8], seal: Seal) -> Option<Self> {
        let mut fields = Fields(bytes.strip_prefix(&seal.magic)?);
        Some(Self {
            crc: fields.u32()?,
            payload: fields.u32()?,
            index: fields.u32()?,
            kept_s: u64::from(fields.u32()?) | u64::from(fields.u32()?) << 32,
            api: *fields.take(1)?.first()?,
            lines: fields.u32()?,
        })
    }

    /// The length of the whole record.
    pub(super) fn record_bytes(self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.payload)
    }

    /// Whether `record` is this header's whole record, unharmed.
    pub(super) fn holds(self, record: &[u8], seal: Seal) -> bool {
        let mut hasher = seal.hasher();
        hasher.update(&record[COVERED..]);
        record.len() as u64 == self.record_bytes() && hasher.finalize() == self.crc
    }
}

/// How many bytes a record takes.
pub(super) fn len(record: &Record<'_>) -> u64 {
    let ends = record.batch.ends().len() as u64 * 4;
    let destination = destination_bytes(record.destination);
    RECORD_BYTES_MIN + destination + ends + record.batch.bytes().len() as u64
}

fn destination_bytes(destination: &Destination) -> u64 {
    let text = |text: &[u8]| 4 + text.len() as u64;
    let authorization = destination.authorization.as_deref().unwrap_or_default();
    let headers = destination.headers.iter();
    let headers = headers.map(|(name, value)| text(name.as_ref()) + text(value.as_bytes()));
    text(destination.query.as_bytes()) + text(authorization) + 4 + headers.sum::<u64>()
}

/// Writes a record but for its lines, which follow as they are. It must be shorter than 4 GiB.
pub(super) fn encode(out: &mut Vec<u8>, seal: Seal, index: u32, record: &Record<'_>) {
    let body = record.batch.bytes();
    out.clear();
    out.extend_from_slice(&seal.magic);
    out.extend_from_slice(&[0; 4]);
    push_u32(out, len(record) - HEADER_BYTES as u64);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&record.kept_s.to_le_bytes());
    out.push(match record.destination.api {
        Api::Lines => 0,
        Api::Prometheus => 1,
    });
    push_u32(out, record.batch.lines());
    push_u32(out, destination_bytes(record.destination));
    encode_destination(out, record.destination);
    for end in record.batch.ends() {
        out.extend_from_slice(&end.to_le_bytes());
    }
    let mut hasher = seal.hasher();
    hasher.update(&out[COVERED..]);
    hasher.update(body);
    out[4..COVERED].copy_from_slice(&hasher.finalize().to_le_bytes());
}

fn encode_destination(out: &mut Vec<u8>, destination: &Destination) {
    push_text(out, destination.query.as_bytes());
    match &destination.authorization {
        Some(authorization) => push_text(out, authorization),
        None => out.extend_from_slice(&NONE.to_le_bytes()),
    }
    push_u32(out, destination.headers.len() as u64);
    for (name, value) in &destination.headers {
        push_text(out, name.as_ref());
        push_text(out, value.as_bytes());
    }
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push_u32(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn push_u32(out: &mut Vec<u8>, number: u64) {
    let number = u32::try_from(number).expect("a record is shorter than 4 GiB");
    out.extend_from_slice(&number.to_le_bytes());
}

/// A payload taken apart.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    pub(super) destination: &'a [u8],
    ends: &'a [u8],
    body: &'a [u8],
}

impl<'a> Payload<'a> {
    /// `None` if it is not one, though its checksum holds: this relay did not write it.
    pub(super) fn parse(bytes: &'a [u8], header: Header) -> Option<Self> {
        let mut fields = Fields(bytes);
        let destination = fields.text()?;
        let ends = fields.take(usize::try_from(header.lines).ok()?.checked_mul(4)?)?;
        let payload = Self { destination, ends, body: fields.0 };
        let mut last = 0;
        for end in payload.ends() {
            if end <= last {
                return None;
            }
            last = end;
        }
        (ends.is_empty() || last as usize == payload.body.len()).then_some(payload)
    }

    fn ends(&self) -> impl Iterator<Item = u32> {
        let ends = self.ends.as_chunks().0.iter();
        ends.map(|&end| u32::from_le_bytes(end))
    }

    pub(super) fn batch(&self) -> Arc<Batch> {
        let body = Bytes::copy_from_slice(self.body);
        if self.ends.is_empty() {
            return Batch::opaque(body);
        }
        Batch::from_body(body, self.ends().collect())
    }
}

/// `None` if the bytes are no destination of this version.
pub(super) fn decode_destination(bytes: &[u8], api: u8) -> Option<Destination> {
    let api = match api {
        0 => Api::Lines,
        1 => Api::Prometheus,
        _ => return None,
    };
    let mut fields = Fields(bytes);
    let query = String::from_utf8(fields.text()?.to_vec()).ok()?;
    let authorization = match fields.u32()? {
        NONE => None,
        len => Some(Bytes::copy_from_slice(fields.take(usize::try_from(len).ok()?)?)),
    };
    let mut headers = Vec::new();
    for _ in 0..fields.u32()? {
        let name = HeaderName::from_bytes(fields.text()?).ok()?;
        headers.push((name, HeaderValue::from_bytes(fields.text()?).ok()?));
    }
    fields.0.is_empty().then_some(Destination { query, authorization, api, headers })
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }
}
