//! A sender's address as the kernel writes it in front of a payload. Pure: reads byte slices in
//! the layout of `struct sockaddr_in` and `struct sockaddr_in6`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address in `bytes`; `None` if it is of no family that UDP has, or cut.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let address: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some((Ipv4Addr::from(address), port).into())
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            Some((Ipv6Addr::from(address), port).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_families_and_nothing_else() {
        let mut v4 = u16::try_from(libc::AF_INET).expect("small").to_ne_bytes().to_vec();
        v4.extend([0x1f, 0x99, 10, 0, 0, 7]);
        assert_eq!(decode(&v4), "10.0.0.7:8089".parse().ok());
        assert_eq!(decode(&v4[..7]), None);
        let mut v6 = u16::try_from(libc::AF_INET6).expect("small").to_ne_bytes().to_vec();
        v6.extend([0x1f, 0x99, 1, 2, 3, 4]);
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        v6.extend([0; 4]);
        assert_eq!(decode(&v6), "[::1]:8089".parse().ok());
        assert_eq!(decode(&[0; 28]), None);
        assert_eq!(decode(&[]), None);
    }
}
