//! TLS and credentials of listeners and outputs, checked. Called by [`super::check`] and
//! [`super::output`]. All files are read here, so that none is missing when the relay runs.

use super::outside::Outside;
use super::raw::Section;
use crate::secret::Secret;
use crate::tls::{Acceptor, ClientFiles, Connector, ServerFiles, Wrong};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::path::PathBuf;
use std::sync::Arc;

/// What an `[[http]]` listener shakes hands with. The outer `None` is a problem that was reported.
#[expect(clippy::option_option, reason = "a problem and no TLS are two things")]
pub(super) fn acceptor(
    section: Section<'_>,
    outside: &dyn Outside,
) -> Option<Option<Arc<Acceptor>>> {
    let client_authorities = section.text("client-ca-file").map(PathBuf::from);
    let Some(identity) = section.text("ssl-combined-pem").map(PathBuf::from) else {
        if client_authorities.is_some() {
            let wrong = "has no use without `ssl-combined-pem`: clients show certificates by TLS \
                         only; add that key, or remove this one";
            section.wrong("client-ca-file", wrong);
        }
        return Some(None);
    };
    let files = ServerFiles { identity, client_authorities };
    let acceptor = Acceptor::new(files, &|path| outside.read(path));
    Some(Some(Arc::new(told(section, acceptor)?)))
}

/// What an output shakes hands with. The outer `None` is a problem that was reported.
#[expect(clippy::option_option, reason = "a problem and no TLS are two things")]
pub(super) fn connector(
    section: Section<'_>,
    https: bool,
    authority: &str,
    outside: &dyn Outside,
) -> Option<Option<Arc<Connector>>> {
    let file = |key| section.text(key).map(PathBuf::from);
    let skip = section.value("skip-tls-verification").and_then(|value| value.as_bool());
    let files = ClientFiles {
        authorities: file("ca-file"),
        identity: file("client-pem"),
        skip_verification: skip.unwrap_or_default(),
    };
    if !https {
        for key in ["ca-file", "client-pem"].into_iter().filter(|key| file(key).is_some()) {
            section.wrong(
                key,
                "has no use for a location without TLS; remove it, or write the location as \
                 https://",
            );
        }
        return Some(None);
    }
    if files.skip_verification && files.authorities.is_some() {
        let wrong = "has no use beside skip-tls-verification = true, which trusts everyone; \
                     remove one of the two";
        section.wrong("ca-file", wrong);
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connector = Connector::new(files, host, &|path| outside.read(path), &|| outside.roots());
    Some(Some(Arc::new(told(section, connector)?)))
}

fn told<T>(section: Section<'_>, made: Result<T, Wrong>) -> Option<T> {
    made.map_err(|Wrong { key, wrong }| section.wrong(key, wrong)).ok()
}

/// The `Authorization` header of an output's requests, if it has credentials of its own. `user` is
/// what its location names.
pub(super) fn authorization(
    section: Section<'_>,
    user: Option<(String, String)>,
    outside: &dyn Outside,
) -> Option<Secret> {
    let token = secret(section, "token", "token-env", outside);
    let password = secret(section, "password", "password-env", outside);
    let username = section.text("username");
    if username.is_some() || password.is_some() {
        if user.is_some() {
            let wrong = "names a user, as does `username`; remove one of the two";
            section.wrong("location", wrong);
        }
        if token.is_some() {
            let key = ["token", "token-env"].into_iter().find(|key| section.has(key));
            let wrong = "is one kind of credentials, `username` and `password` are another; keep \
                         the kind that the backend takes";
            section.wrong(key.unwrap_or("token"), wrong);
        }
    }
    let basic = |name: &str, password: &str| {
        Secret::new(&format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))))
    };
    match (username, password, user) {
        (Some(name), Some(_), _) if name.contains(':') => {
            section.wrong("username", "has a colon, which HTTP cannot carry; take another user");
            None
        }
        (Some(name), Some(password), _) => Some(basic(name, &password)),
        (Some(_), None, _) => {
            // Else it was given, and what is wrong with it was said.
            if !section.has("password") && !section.has("password-env") {
                let wrong = "has no password; add `password`, or `password-env` with the name of \
                             an environment variable";
                section.wrong("username", wrong);
            }
            None
        }
        (None, Some(_), _) => {
            section.wrong_table("has a password and no `username`; add that key");
            None
        }
        (None, None, Some((name, password))) => {
            if token.is_some() {
                section.wrong("location", "names a user beside a token; remove one of the two");
            }
            Some(basic(&name, &password))
        }
        (None, None, None) => token.map(|token| Secret::new(&format!("Token {token}"))),
    }
}

/// A secret from the file or from the environment.
fn secret(
    section: Section<'_>,
    key: &'static str,
    key_env: &'static str,
    outside: &dyn Outside,
) -> Option<String> {
    let variable = section.text(key_env);
    if let Some(value) = section.text(key) {
        if variable.is_some() {
            section.wrong(key_env, format!("is given beside `{key}`; remove one of the two"));
        }
        if key == "token" && !fits_header(value) {
            section.wrong(key, "has a character that a header cannot hold; copy it again");
            return None;
        }
        return Some(value.to_owned());
    }
    let variable = variable?;
    let found = outside.variable(variable).filter(|value| !value.is_empty());
    let Some(found) = found else {
        let wrong = "names an environment variable that is not set, or empty; set it where the \
                     relay is started (systemd: Environment= or EnvironmentFile=)";
        section.wrong(key_env, wrong);
        return None;
    };
    let text = found.into_string().ok().filter(|text| !text.contains(char::is_control));
    match text {
        Some(text) if key != "token" || fits_header(&text) => Some(text),
        _ => {
            let wrong = "names an environment variable whose value has a control character, such \
                         as a newline at its end, or is no text; set it without";
            section.wrong(key_env, wrong);
            None
        }
    }
}

fn fits_header(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `content-encoding`: whether bodies are compressed.
pub(super) fn gzip(section: Section<'_>) -> bool {
    match section.text("content-encoding") {
        None | Some("identity") => false,
        Some("gzip") => true,
        Some(_) => {
            let wrong = "is no encoding that the relay makes; write \"gzip\", or \"identity\" for \
                         none";
            section.wrong("content-encoding", wrong);
            false
        }
    }
}
