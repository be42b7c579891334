//! Trusted certificates: authorities, and other certificates in the trust store itself.
//!
//! webpki checks the chains. As in Java, a certificate in the trust store is trusted as it is, within its
//! dates, even if it is self-signed and claims to be an authority. It may sign for others only if it says
//! that it is an authority; otherwise anyone who holds the key of a listed certificate could make identities.
//! Source: `X509Util`, `ZKTrustManager`; Java's `PKIXValidator#verifyTrustAnchor`.

use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DistinguishedName, Error, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::version1::{Version1, check_dates};
use crate::{algorithms, provider};

/// Trusted certificates.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    listed: Arc<[CertificateDer<'static>]>,
    /// The listed certificates that may sign for others.
    authorities: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
    /// Verifier of clients' chains; `None` without an authority.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// Role of the holder of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

impl Trust {
    /// Builds the trust from a store's certificates. *Errors*: the certificate that cannot be read, and the reason.
    pub(crate) fn new(listed: Vec<CertificateDer<'static>>) -> Result<Trust, String> {
        let authorities: Vec<_> = listed.iter().filter(|certificate| is_authority(certificate)).cloned().collect();
        let mut all = RootCertStore::empty();
        for certificate in &listed {
            all.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        Ok(Trust::of(listed, authorities, roots))
    }

    /// Returns the system's trusted certificates.
    pub(crate) fn of_system() -> Trust {
        let mut roots = RootCertStore::empty();
        // Certificates of the system that cannot be read are ignored.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Trust::of(Vec::new(), Vec::new(), roots)
    }

    fn of(
        listed: Vec<CertificateDer<'static>>,
        authorities: Vec<CertificateDer<'static>>,
        roots: RootCertStore,
    ) -> Trust {
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build().ok();
        Trust { listed: listed.into(), authorities: authorities.into(), roots, clients }
    }

    /// Returns the subjects of the authorities that clients are asked to have certificates from.
    pub(crate) fn subjects(&self) -> Vec<DistinguishedName> {
        let subject = |certificate: &CertificateDer<'_>| {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            Some(DistinguishedName::from(parsed.subject().as_raw().to_vec()))
        };
        self.listed.iter().filter_map(subject).collect()
    }

    /// Checks that the holder of this certificate is trusted in this role. *Errors*: the reason for the refusal.
    pub(crate) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.lists(certificate) {
            let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
            return Ok(check_dates(&parsed, now)?);
        }
        if let Some(version1) = Version1::read(certificate) {
            return version1.check(&self.authorities, now);
        }
        match (role, &self.clients) {
            (Role::Server, _) => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms().all)
            }
            (Role::Client, Some(chains)) => chains.verify_client_cert(certificate, intermediates, now).map(drop),
            (Role::Client, None) => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn lists(&self, certificate: &CertificateDer<'_>) -> bool {
        self.listed.iter().any(|listed| listed.as_ref() == certificate.as_ref())
    }
}

/// Returns whether a certificate may sign for others, by Java's rules: it says that it is an authority, and
/// may sign certificates. Certificates before version 3 cannot say so: a self-signed one is an authority.
// Java accepts all of these.
fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    if parsed.version() != X509Version::V3 {
        return parsed.subject() == parsed.issuer();
    }
    let says_so = matches!(parsed.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    let may_sign = match parsed.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    says_so && may_sign
}
