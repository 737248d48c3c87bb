//! Control messages of UDP sockets as bytes: what a receive brought, what a GSO send asks for.
//!
//! Pure: reads and writes byte slices in the layout of `struct cmsghdr` on 64-bit Linux (an
//! 8-byte length that counts the header, level, type, data, padding to 8 bytes).

const HEADER_BYTES: usize = 16;
const ALIGN_BYTES: usize = 8;

/// What a control message of `data` bytes occupies, padding included.
#[must_use]
pub const fn space(data: usize) -> usize {
    HEADER_BYTES + data.next_multiple_of(ALIGN_BYTES)
}

/// What the kernel said beside a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// `UDP_GRO`: the length of the datagrams that were joined.
    pub gro_stride: Option<usize>,
    /// `SO_RXQ_OVFL`: the socket's running count of drops.
    pub kernel_drops: Option<u32>,
}

impl Control {
    /// Reads all control messages in `bytes`; a malformed one ends the reading.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Self {
        let mut control = Self::default();
        while let Some((level, kind, data, rest)) = split_message(bytes) {
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let stride = word(data).and_then(|word| usize::try_from(word).ok());
                    control.gro_stride = stride.filter(|&stride| stride > 0);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => control.kernel_drops = word(data),
                _ => {}
            }
            bytes = rest;
        }
        control
    }
}

/// The control message that has the kernel cut one send into datagrams of `bytes` each.
#[must_use]
pub fn gso_segment(bytes: u16) -> [u8; space(size_of::<u16>())] {
    let mut message = [0; space(size_of::<u16>())];
    message[..8].copy_from_slice(&(HEADER_BYTES + size_of::<u16>()).to_ne_bytes());
    message[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    message[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    message[16..18].copy_from_slice(&bytes.to_ne_bytes());
    message
}

fn split_message(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(12..)?.first_chunk()?);
    let data = bytes.get(HEADER_BYTES..length)?;
    let rest = bytes.get(length.next_multiple_of(ALIGN_BYTES)..).unwrap_or_default();
    Some((level, kind, data, rest))
}

fn word(data: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(space(data.len()), 0);
        bytes
    }

    #[test]
    fn reads_stride_and_drops_in_any_order_and_skips_others() {
        let stride = message(libc::SOL_UDP, libc::UDP_GRO, &1400i32.to_ne_bytes());
        let other = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &[7; 16]);
        let drops = message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &9u32.to_ne_bytes());
        let expected = Control { gro_stride: Some(1400), kernel_drops: Some(9) };
        assert_eq!(Control::decode(&[&stride[..], &other, &drops].concat()), expected);
        assert_eq!(Control::decode(&[&drops[..], &stride].concat()), expected);
    }

    #[test]
    fn malformed_control_ends_the_reading() {
        assert_eq!(Control::decode(&[0; 64]), Control::default());
        assert_eq!(Control::decode(&[255; 64]), Control::default());
        let zero_stride = message(libc::SOL_UDP, libc::UDP_GRO, &[0; 4]);
        assert_eq!(Control::decode(&zero_stride), Control::default());
        let cut = &message(libc::SOL_UDP, libc::UDP_GRO, &[1; 4])[..18];
        assert_eq!(Control::decode(cut), Control::default());
    }

    #[test]
    fn a_gso_message_is_laid_out_as_the_kernel_reads_it() {
        let bytes = gso_segment(1400);
        let (level, kind, data, rest) = split_message(&bytes).expect("it is whole");
        assert_eq!((level, kind), (libc::SOL_UDP, libc::UDP_SEGMENT));
        assert_eq!(data, 1400u16.to_ne_bytes());
        assert!(rest.is_empty());
    }
}
