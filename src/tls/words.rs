//! Why a handshake failed, in words for the operator. Pure.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};
use std::io;

/// What is said of a certificate that vouches for itself.
#[derive(Debug, thiserror::Error)]
#[error("it is self-signed")]
pub(super) struct SelfSigned;

/// Why a backend is not talked to. Its subject is the handshake's failure.
pub(super) fn of_backend(error: &io::Error) -> String {
    match source(error) {
        Some(Error::InvalidCertificate(why)) => certificate(why),
        Some(Error::InvalidMessage(_)) => {
            "it does not speak TLS at this port; write http:// if that is right".to_owned()
        }
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => {
                format!("it refuses us ({alert:?}); it may want another `client-pem`")
            }
            AlertDescription::ProtocolVersion => {
                "it speaks neither TLS 1.2 nor 1.3; update it".to_owned()
            }
            alert => format!("it refuses us ({alert:?})"),
        },
        Some(Error::PeerIncompatible(why)) => {
            format!("it speaks no TLS 1.2 or 1.3 that we speak ({why:?}); update it")
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it hung up during the TLS handshake; does it speak TLS at this port?".to_owned()
        }
        None => error.to_string(),
    }
}

/// Why a client is not talked to.
pub(super) fn of_client(error: &io::Error) -> String {
    match source(error) {
        Some(Error::NoCertificatesPresented) => "it shows no certificate".to_owned(),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of an authority that `client-ca-file` does not have".to_owned()
        }
        Some(Error::InvalidCertificate(why)) => format!("its certificate is refused: {why}"),
        Some(Error::InvalidMessage(_)) => "it does not speak TLS".to_owned(),
        Some(Error::AlertReceived(alert)) => format!("it refuses us ({alert:?})"),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it hung up".to_owned(),
        None => error.to_string(),
    }
}

fn source(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired => "its certificate has expired; renew it".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago; renew it", between(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid for another {}; check the clocks",
            between(*time, *not_before)
        ),
        CertificateError::UnknownIssuer => "its certificate is of an authority that is not \
            trusted; name that authority's certificate as `ca-file`"
            .to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name at all".into() } else { names.join(", ") };
            format!(
                "its certificate is for {names}, not for the host {}; correct one of the two",
                expected.to_str()
            )
        }
        CertificateError::Other(why) if why.0.is::<SelfSigned>() => {
            "its certificate is self-signed and not trusted; name it as `ca-file` to trust it"
                .to_owned()
        }
        why => format!("its certificate is refused: {why}"),
    }
}

/// `DnsName("a.b")` as `a.b`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

fn between(earlier: UnixTime, later: UnixTime) -> String {
    let secs = later.as_secs().saturating_sub(earlier.as_secs());
    let (count, unit) = match secs {
        0..7_200 => (secs / 60, "minutes"),
        7_200..172_800 => (secs / 3_600, "hours"),
        _ => (secs / 86_400, "days"),
    };
    format!("{count} {unit}")
}
