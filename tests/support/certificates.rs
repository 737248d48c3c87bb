//! Certificates for tests: an authority of its own, and what goes wrong with certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).expect("a certificate"))
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, and its key: a combined PEM.
    pub(crate) fn issue(&self, names: &[&str]) -> String {
        self.sign(&params("server", names))
    }

    /// As [`issue`](Self::issue), valid only in the years between these.
    pub(crate) fn issue_for(&self, names: &[&str], years: std::ops::Range<i32>) -> String {
        let mut params = params("server", names);
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> String {
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        format!("{}{}", certificate.pem(), key.serialize_pem())
    }
}

/// A certificate that nobody but itself vouches for, and its key. `openssl req -x509` makes such
/// ones as authorities.
pub(crate) fn self_signed(names: &[&str], is_authority: bool) -> String {
    let mut params = params("server", names);
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = key();
    let certificate = params.self_signed(&key).expect("a certificate");
    format!("{}{}", certificate.pem(), key.serialize_pem())
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
