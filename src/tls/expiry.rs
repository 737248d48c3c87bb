//! When a listener's own certificates expire: for the log and for a metric. Called by the acceptor.

use crate::sys;
use rustls::pki_types::CertificateDer;
use std::path::Path;
use x509_cert::Certificate;
use x509_cert::der::Decode;

const DAY_S: u64 = 86_400;
/// Renewal usually comes a month before: then it has failed for a fortnight.
const SOON_S: u64 = 14 * DAY_S;

/// When the first of a chain's certificates expires, in seconds since the epoch; `None` if that
/// cannot be read from any of them.
pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let of_one = |der: &CertificateDer<'_>| {
        let certificate = Certificate::from_der(der).ok()?;
        Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
    };
    chain.iter().filter_map(of_one).min()
}

/// Logs a certificate that has expired, or will soon.
pub(super) fn warn(file: &Path, expires_s: Option<u64>) {
    let Some(words) = expires_s.and_then(|expires_s| words(expires_s, sys::now_s())) else {
        return;
    };
    let file = file.display();
    tracing::warn!(%file, "{words}: renew it");
}

fn words(expires_s: u64, now_s: u64) -> Option<String> {
    let days = |earlier: u64, later: u64| match later.saturating_sub(earlier) / DAY_S {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if expires_s <= now_s {
        Some(format!("the certificate expired {} ago", days(expires_s, now_s)))
    } else if expires_s - now_s < SOON_S {
        Some(format!("the certificate expires in {}", days(now_s, expires_s)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificates::Authority;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn the_first_of_a_chain_to_expire_counts() {
        let authority = Authority::new("ca");
        let der = |years| {
            let pem = authority.issue_for(&["a"], years);
            CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
        };
        // 2040-01-01 and 2060-01-01; from 2050 on the form of the date is another one.
        let (near, far) = (der(2020..2040), der(2020..2060));
        assert_eq!(of_chain(&[far.clone(), near.clone()]), Some(2_208_988_800));
        assert_eq!(of_chain(&[far]), Some(2_840_140_800));
        assert_eq!(of_chain(&[CertificateDer::from(vec![1, 2, 3]), near]), Some(2_208_988_800));
        assert_eq!(of_chain(&[]), None);
    }

    #[test]
    fn a_certificate_is_warned_of_for_a_fortnight() {
        let now = 1_800_000_000;
        let said = |expires_s| words(expires_s, now).unwrap_or_default();
        assert_eq!(said(now + 14 * DAY_S), "");
        assert_eq!(said(now + 14 * DAY_S - 1), "the certificate expires in 13 days");
        assert_eq!(said(now + DAY_S), "the certificate expires in 1 day");
        assert_eq!(said(now + 1), "the certificate expires in less than a day");
        assert_eq!(said(now), "the certificate expired less than a day ago");
        assert_eq!(said(now - 3 * DAY_S), "the certificate expired 3 days ago");
    }
}
