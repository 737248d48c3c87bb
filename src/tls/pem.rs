//! PEM files: a certificate chain with its key, and certificate authorities. Called by the
//! acceptor and the connector. Every error is a sentence without its subject, with the remedy; it
//! never quotes what may be a key.

use super::{Read, Wrong};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;

/// A chain of certificates and the key of the first: what proves who one is.
pub(super) fn identity(
    key: &'static str,
    path: &Path,
    read: Read<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Wrong> {
    let wrong = |wrong: String| Wrong { key, wrong };
    let (chain, private) = split(&content(path, read).map_err(wrong)?).map_err(wrong)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| wrong(unusable(&error)))
}

/// Certificates to trust, each as it stands in the file too.
pub(super) fn authorities(
    key: &'static str,
    path: &Path,
    read: Read<'_>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Wrong> {
    let wrong = |wrong: String| Wrong { key, wrong };
    let bytes = content(path, read).map_err(wrong)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| wrong(no_pem(&error)))?;
    let mut roots = RootCertStore::empty();
    for (n, certificate) in certificates.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| {
            wrong(format!(
                "has a bad certificate, number {} of the file ({error}); export it again",
                n + 1
            ))
        })?;
    }
    if roots.is_empty() {
        return Err(wrong(
            "names a file without a certificate; give the PEM file of the authority, with \
             -----BEGIN CERTIFICATE----- in it"
                .to_owned(),
        ));
    }
    Ok((roots, certificates))
}

fn content(path: &Path, read: Read<'_>) -> Result<Vec<u8>, String> {
    read(path).map_err(|error| {
        format!("cannot be read: {error}; name a PEM file that the relay's user may read")
    })
}

fn split(bytes: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let (mut chain, mut private) = (Vec::new(), None);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error| no_pem(&error))?;
        if kind == SectionKind::Certificate {
            chain.push(CertificateDer::from(der));
        } else if private.is_none() {
            // As in Go, the first key counts.
            private = PrivateKeyDer::from_pem(kind, der);
        }
    }
    if chain.is_empty() {
        return Err("names a file without a certificate; put the certificate, those between it \
                    and its authority, and the key into one file"
            .to_owned());
    }
    let encrypted = memchr::memmem::find(bytes, b"ENCRYPTED").is_some();
    let private = private.ok_or_else(|| {
        if encrypted {
            "names a file whose key is encrypted; decrypt it, as in: openssl pkey -in FILE"
        } else {
            "names a file without a private key; append the certificate's key to it"
        }
        .to_owned()
    })?;
    Ok((chain, private))
}

fn no_pem(error: &Error) -> String {
    let why = match error {
        Error::MissingSectionEnd { .. } => "a section does not end; is the file cut off?",
        Error::IllegalSectionStart { .. } => "a -----BEGIN line is malformed",
        _ => "a section is not base64",
    };
    format!("names a file that is no PEM: {why}; export it again")
}

fn unusable(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "names a file whose key is not that of its first certificate; put the certificate \
             first, then those between it and its authority, and its own key"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(why) => {
            format!("names a file whose first certificate cannot be used ({why}); issue it again")
        }
        _ => "names a file whose key cannot be used; give an RSA key of 2048 to 8192 bits, an \
              ECDSA key on P-256 or P-384, or an Ed25519 key"
            .to_owned(),
    }
}
