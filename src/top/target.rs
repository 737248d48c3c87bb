//! Whom `ringrelay top` asks: a URL as typed, or the address in the relay's configuration. Opens
//! nothing but the configuration.

use crate::cli::TopOptions;
use crate::config::Config;
use crate::secret::Secret;
use crate::tls::ClientFiles;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::Uri;
use percent_encoding::percent_decode_str;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Where the relay serves HTTP in the examples.
const DEFAULT: &str = "http://127.0.0.1:9096";
/// Its port, for an address without a scheme.
const DEFAULT_PORT: u16 = 9096;
const PATH: &str = "/metrics";

/// Where `/metrics` is, and how to get at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// With its leading `/`.
    pub(super) path: String,
    /// The `Authorization` header.
    pub(super) authorization: Option<Secret>,
    /// `None` without TLS.
    pub(super) tls: Option<ClientFiles>,
}

impl Target {
    /// What the options ask for.
    ///
    /// # Errors
    /// What is wrong, with the remedy.
    pub(super) fn of(options: &TopOptions) -> Result<Self, String> {
        let url = match (&options.url, &options.config) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => of_config(file)?,
            (None, None) => DEFAULT.to_owned(),
        };
        let mut target = Self::parse(&url)?;
        let files = ClientFiles {
            authorities: options.ca_file.clone(),
            identity: options.client_pem.clone(),
            skip_verification: options.skip_tls_verification,
        };
        match &mut target.tls {
            Some(tls) => *tls = files,
            None if files == ClientFiles::default() => {}
            None => {
                let url = target.shown();
                return Err(format!(
                    "{url} is without TLS: -ca-file, -client-pem and \
                                    -skip-tls-verification are for https://"
                ));
            }
        }
        Ok(target)
    }

    fn parse(typed: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!("{} is no URL of a relay: {why}; write {DEFAULT}", without_user(typed)))
        };
        let has_scheme = typed.contains("://");
        let url = if has_scheme { typed.to_owned() } else { format!("http://{typed}") };
        let Ok(uri) = url.parse::<Uri>() else { return wrong("it cannot be read") };
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return wrong("its scheme is neither http nor https"),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return wrong("it has no host");
        };
        let behind = authority.rsplit('@').next().unwrap_or_default();
        let port = match (uri.port_u16(), has_scheme, https) {
            (Some(0), ..) => return wrong("its port is 0"),
            (Some(port), ..) => port,
            _ if behind.len() > host.len() => return wrong("its port is no number"),
            (None, false, _) => DEFAULT_PORT,
            (None, true, https) => {
                if https {
                    443
                } else {
                    80
                }
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: if path == "/" { PATH } else { path }.to_owned(),
            authorization: user.map(basic),
            tls: https.then(ClientFiles::default),
        })
    }

    /// `host:port`, for the resolver and the `Host` header.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The URL without its secrets.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let path = if self.path == PATH { "" } else { &self.path };
        format!("{scheme}://{}{path}", self.authority())
    }
}

fn without_user(url: &str) -> String {
    match (url.rsplit_once('@'), url.split_once("://")) {
        (Some((_, rest)), Some((scheme, _))) => format!("{scheme}://{rest}"),
        (Some((_, rest)), None) => rest.to_owned(),
        (None, _) => url.to_owned(),
    }
}

fn basic(user: &str) -> Secret {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut bytes: Vec<u8> = percent_decode_str(name).collect();
    bytes.push(b':');
    bytes.extend(percent_decode_str(password));
    Secret::new(&format!("Basic {}", BASE64_STANDARD.encode(bytes)))
}

/// The first address in the configuration that serves `/metrics`.
fn of_config(file: &Path) -> Result<String, String> {
    let config = Config::load(file).map_err(|error| error.to_string())?;
    let first = config.http.first();
    let http = first.map(|listener| (listener.bind, listener.tls.is_some()));
    let Some((bind, tls)) = config.admin.map(|admin| (admin, false)).or(http) else {
        let file = file.display();
        return Err(format!("{file} has neither [admin] nor [[http]]: nothing serves /metrics"));
    };
    if bind.port() == 0 {
        return Err(format!("{bind} is any free port: give the URL that the relay logged"));
    }
    let address = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(address, bind.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(typed: &str) -> String {
        Target::parse(typed).map_or_else(|why| why, |target| target.shown())
    }

    #[test]
    fn urls_and_addresses_are_read() {
        for (typed, expected) in [
            (DEFAULT, DEFAULT),
            ("http://relay:1/", "http://relay:1"),
            ("http://relay/metrics", "http://relay:80"),
            ("https://relay", "https://relay:443"),
            ("https://relay:1/a/metrics?b=c", "https://relay:1/a/metrics?b=c"),
            ("relay", "http://relay:9096"),
            ("relay:1", "http://relay:1"),
            ("[::1]:1", "http://[::1]:1"),
            ("http://[fe80::2]", "http://[fe80::2]:80"),
            ("me:word@relay:1", "http://relay:1"),
        ] {
            assert_eq!(shown(typed), expected);
        }
        assert_eq!(Target::parse("relay").expect("an address").path, "/metrics");
        assert_eq!(Target::parse("[::1]:1").expect("an address").host, "::1");
    }

    #[test]
    fn a_password_is_sent_and_not_shown() {
        let target = Target::parse("https://me:p%40ss@relay:1").expect("a URL");
        let expected = format!("Basic {}", BASE64_STANDARD.encode("me:p@ss"));
        assert_eq!(target.authorization.as_ref().map(Secret::expose), Some(&*expected));
        assert_eq!(target.shown(), "https://relay:1");
        assert!(!format!("{target:?}").contains("p@ss"));
        assert!(!shown("ftp://me:word@relay").contains("word"));
        assert!(!shown("http://me:word@").contains("word"));
    }

    #[test]
    fn what_is_no_url_says_so() {
        for (typed, why) in [
            ("ftp://relay", "its scheme is neither"),
            ("http://", "it cannot be read"),
            ("http://relay:0", "its port is 0"),
            ("http://relay:99999", "its port is no number"),
            ("-", "http://-:9096"),
            ("a b", "it cannot be read"),
        ] {
            assert!(shown(typed).contains(why), "{typed}: {}", shown(typed));
        }
        let options = TopOptions { skip_tls_verification: true, ..TopOptions::default() };
        let why = Target::of(&options).expect_err("it is without TLS");
        assert!(why.contains("is without TLS: -ca-file"), "{why}");
    }

    #[test]
    fn a_configuration_names_its_admin_address_or_its_first_listener() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("relay.toml");
        let of = |text: &str| {
            std::fs::write(&file, text).expect("a temporary file");
            of_config(&file)
        };
        let output = "[[http.output]]\nlocation = \"http://127.0.0.1:8086/\"\n";
        let http = format!("[[http]]\nbind-addr = \":9096\"\n{output}");
        assert_eq!(of(&http), Ok("http://[::1]:9096".to_owned()));
        let admin = "[admin]\nbind-addr = \"0.0.0.0:8088\"\n";
        assert_eq!(of(&(http.clone() + admin)), Ok("http://127.0.0.1:8088".to_owned()));
        let udp = http.replace("[[http", "[[udp").replace("http://127.0.0.1:8086/", "127.0.0.1:9");
        assert!(of(&udp).expect_err("nothing serves it").contains("nothing serves /metrics"));
        let free = http.replace(":9096", ":0");
        assert!(of(&free).expect_err("it is any").contains("any free port"));
        assert!(of("[[http").is_err());
    }
}
