//! What one completion of a receive brought.

/// The payload of one completion.
#[derive(Debug)]
pub struct Received<'a> {
    /// The datagrams' bytes, one behind the other.
    pub payload: &'a [u8],
    /// The sender's address, as [`name::decode`](super::name::decode) reads it.
    pub name: &'a [u8],
    /// The length of each joined datagram but the last, which may be shorter; `None` if the
    /// payload is one datagram.
    pub stride: Option<usize>,
    /// The kernel's running count of datagrams dropped at this socket, if it told.
    pub kernel_drops: Option<u32>,
    /// The payload was cut to the size of the buffer.
    pub truncated: bool,
}

impl Received<'_> {
    /// The length of each datagram but the last: all of the payload if that is one. Never 0.
    #[must_use]
    pub fn datagram_bytes(&self) -> usize {
        self.stride.unwrap_or(self.payload.len()).max(1)
    }

    /// How many datagrams there are; an empty one counts.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.payload.len().div_ceil(self.datagram_bytes()).max(1)
    }
}
