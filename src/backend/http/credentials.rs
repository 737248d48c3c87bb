//! An output's own credentials, in place of those that clients sent.
//!
//! Called by the transport. The values are marked as sensitive: no `Debug` output shows them.

use crate::secret::Secret;
use form_urlencoded::parse;
use hyper::http::HeaderValue;
use std::borrow::Cow;

/// The `Authorization` header of every request.
pub(super) fn header(secret: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret.expose())
        .expect("the configuration takes no credentials that a header cannot hold");
    value.set_sensitive(true);
    value
}

/// The query without the client's `u` and `p`, which InfluxDB 1.x prefers to the header.
pub(super) fn without_clients(query: &str) -> Cow<'_, str> {
    let is_credential =
        |pair: &&str| parse(pair.as_bytes()).any(|(key, _)| matches!(&*key, "u" | "p"));
    if !query.split('&').any(|pair| is_credential(&pair)) {
        return Cow::Borrowed(query);
    }
    let rest: Vec<_> = query.split('&').filter(|pair| !is_credential(pair)).collect();
    Cow::Owned(rest.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_what_names_the_client_and_nothing_else() {
        for (query, expected) in [
            ("db=d", "db=d"),
            ("", ""),
            ("u=me&p=x%26p&db=d", "db=d"),
            ("db=d&%75=me&pp=1&rp=u&p=", "db=d&pp=1&rp=u"),
            ("u&db=u", "db=u"),
        ] {
            assert_eq!(without_clients(query), expected, "{query}");
        }
    }

    #[test]
    fn the_header_is_not_shown() {
        let value = header(&Secret::new("Token hunter2"));
        assert_eq!(value.as_bytes(), b"Token hunter2");
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
