//! Addresses as the Go relays take them: `bind-addr`, `host:port`, and URLs of backends. Pure:
//! no name is resolved here. Every error is a sentence without its subject, with the remedy.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A `bind-addr`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bind<'a> {
    Address(SocketAddr),
    /// A host name, to be resolved by whoever may.
    Name(&'a str, u16),
}

/// Reads `:9096` (all addresses of both families), `127.0.0.1:9096`, `[::1]:9096`,
/// `localhost:9096` (the IPv4 one, which Go prefers too) or `name:9096`.
pub(super) fn bind(text: &str) -> Result<Bind<'_>, String> {
    if let Ok(address) = text.parse() {
        return Ok(Bind::Address(address));
    }
    let (host, port) = split(text)?;
    let address = |ip: IpAddr| Ok(Bind::Address(SocketAddr::new(ip, port)));
    match host {
        Host::Missing => address(Ipv6Addr::UNSPECIFIED.into()),
        Host::Name("localhost") => address(Ipv4Addr::LOCALHOST.into()),
        Host::Ip(ip) => address(ip),
        Host::Name(name) => Ok(Bind::Name(name, port)),
    }
}

/// Reads the `host:port` of a UDP backend. As in Go, a missing host is this one.
pub(super) fn udp_location(text: &str) -> Result<String, String> {
    let (host, port) = split(text)?;
    if port == 0 {
        return Err("has port 0; give the port that the backend listens on".to_owned());
    }
    Ok(match host {
        Host::Missing => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        Host::Ip(ip) => SocketAddr::new(ip, port).to_string(),
        Host::Name(name) => format!("{name}:{port}"),
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    Missing,
    Ip(IpAddr),
    Name(&'a str),
}

fn split(text: &str) -> Result<(Host<'_>, u16), String> {
    let (host, port) = text
        .rsplit_once(':')
        .filter(|(_, port)| !port.ends_with(']'))
        .ok_or("has no port; write host:port, as in \"127.0.0.1:9096\"")?;
    let port = Some(port)
        .filter(|port| port.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| format!("has the port `{port}`; give a number from 0 to 65535"))?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let ip: Ipv6Addr = inner
            .parse()
            .map_err(|_| format!("has `{inner}` in brackets, which is no IPv6 address"))?;
        return Ok((Host::Ip(ip.into()), port));
    }
    if host.contains(':') {
        return Err("has too many colons; write host:port without a scheme, \
                    and an IPv6 address in brackets: \"[::1]:9096\""
            .to_owned());
    }
    Ok((classify(host)?, port))
}

fn classify(host: &str) -> Result<Host<'_>, String> {
    if host.is_empty() {
        return Ok(Host::Missing);
    }
    if let Ok(ip) = host.parse() {
        return Ok(Host::Ip(ip));
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    // An all-digits last label is a mistyped IPv4 address, never a name (RFC 3696, section 2).
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    // 253 is the longest name of the DNS (RFC 1035).
    if host.len() > 253 || !host.bytes().all(letter) || numeric {
        return Err(format!("has the host `{host}`; give an IP address or a host name"));
    }
    Ok(Host::Name(host))
}

/// The URL of an HTTP backend, taken apart.
pub(super) struct Location {
    pub(super) https: bool,
    /// `user:password@`, decoded.
    pub(super) user: Option<(String, String)>,
    /// `host:port`.
    pub(super) authority: String,
    /// With its leading `/`.
    path: String,
}

/// Reads `http://host:8086`, `http://host/base/` or `http://host:8086/write`; `https` too, and a
/// user with a password before the host.
pub(super) fn http_location(text: &str) -> Result<Location, String> {
    let location = plain_location(text);
    if text.contains('@') {
        // What exactly is wrong might quote a part of the password.
        return location.map_err(|_| {
            "is no URL; write \"http://user:password@host:8086/\" with every character of the \
             password but letters and digits as % and its two hexadecimal digits, or take it out \
             and set `username` and `password`"
                .to_owned()
        });
    }
    location
}

/// The location without its user and password: for names and log lines.
pub(super) fn without_user(location: &str) -> Cow<'_, str> {
    let parts = location.split_once("://").and_then(|(scheme, rest)| {
        let (_, host) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://{host}"))
    });
    parts.map_or(Cow::Borrowed(location), Cow::Owned)
}

fn user(info: &str) -> Result<(String, String), String> {
    let (name, password) = info.split_once(':').ok_or("has a user without a password")?;
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
        Some(text).filter(|text| !text.contains(char::is_control))
    };
    let user = decode(name).zip(decode(password)).ok_or("has a user that is no text")?;
    // It would be taken for the end of the name.
    if user.0.contains(':') { Err("has a user with a colon".into()) } else { Ok(user) }
}

fn plain_location(text: &str) -> Result<Location, String> {
    let (scheme, _) =
        text.split_once("://").ok_or("is no URL; write \"http://host:8086/\"".to_owned())?;
    let (https, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return Err(format!("has the scheme `{scheme}`; write \"http://host:8086/\"")),
    };
    if text.contains(['?', '#']) {
        return Err("has a query or a fragment, which would not be sent; remove it: the query \
                    comes from the client's request"
            .to_owned());
    }
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("is no URL ({error}); write \"http://host:8086/\""))?;
    let authority = uri.authority().ok_or("names no host; write \"http://host:8086/\"")?;
    let (user, address) = match authority.as_str().rsplit_once('@') {
        Some((info, address)) => (Some(user(info)?), address),
        None => (None, authority.as_str()),
    };
    let bare = address.strip_suffix(':').unwrap_or(address);
    let has_port = bare.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let with_port = if has_port { bare.to_owned() } else { format!("{bare}:{default_port}") };
    let authority = udp_location(&with_port)?;
    if with_port.starts_with(':') {
        return Err("names no host; write \"http://host:8086/\"".to_owned());
    }
    if uri.path().contains('@') {
        // Much rather a password with a slash in it than a path.
        return Err("has an @ behind its host".to_owned());
    }
    check_path(uri.path())?;
    Ok(Location { https, user, authority, path: uri.path().to_owned() })
}

impl Location {
    /// The path of an endpoint under this URL, joined with one `/`.
    pub(super) fn join(&self, endpoint: &str) -> Result<String, String> {
        let base = self.path.trim_end_matches('/');
        let path = format!("{base}/{}", endpoint.trim_start_matches('/'));
        check_path(&path).map(|()| path)
    }

    /// Where writes go when no endpoint is named: a URL that ends in `/` (or in its host) is a
    /// base URL to which `endpoint` is added, any other is the full write URL of the original
    /// relay.
    pub(super) fn write_path(&self, endpoint: &str) -> String {
        if self.path.ends_with('/') {
            format!("{}{endpoint}", self.path)
        } else {
            self.path.clone()
        }
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let plain =
        path.is_ascii() && !path.contains(['?', '#']) && PathAndQuery::try_from(path).is_ok();
    if plain {
        return Ok(());
    }
    Err(format!("gives the path `{path}`; write a plain path such as \"/write\", without a query"))
}

/// Whether two sockets of one transport cannot both be bound: the same port, on the same address
/// or on all addresses. Port 0 is a free port each time.
pub(super) fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let wide = |a: SocketAddr, b: SocketAddr| {
        a.ip().is_unspecified() && (a.is_ipv6() || a.is_ipv4() == b.is_ipv4())
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || wide(a, b) || wide(b, a))
}
