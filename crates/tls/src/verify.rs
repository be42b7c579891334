//! Whether the other side's certificate is to be trusted, and whether it is the one that was wanted.
//!
//! Chains are checked by webpki. Two things are added, as in Java: a certificate that stands in the trust store itself is
//! trusted as it is (self-signed ones that call themselves an authority), within its dates; and a certificate without
//! alternative names of hosts may name its host as common name. Names are never looked up. Source: `X509Util`,
//! `ZKTrustManager`, `ZKHostnameVerifier`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::certificate::Facts;
use crate::provider;

/// What is trusted.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
    listed: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    /// *Errors*: the certificate that cannot be read, and why.
    pub(crate) fn new(listed: Vec<CertificateDer<'static>>) -> Result<Trust, String> {
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        Ok(Trust { roots: Arc::new(roots), listed: listed.into() })
    }

    /// What the system trusts.
    pub(crate) fn of_system() -> Trust {
        let mut roots = RootCertStore::empty();
        // Those that cannot be read are somebody else's business.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Trust { roots: Arc::new(roots), listed: Arc::new([]) }
    }

    /// Whether this very certificate is in the store. *Errors*: it is, and it is not valid now.
    fn lists(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<bool, Error> {
        if !self.listed.iter().any(|listed| listed.as_ref() == certificate.as_ref()) {
            return Ok(false);
        }
        let facts = Facts::of(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match now_s {
            now_s if now_s < facts.not_before_s => Err(CertificateError::NotValidYet.into()),
            now_s if now_s > facts.not_after_s => Err(CertificateError::Expired.into()),
            _ => Ok(true),
        }
    }
}

/// Whether a certificate names this host: in its alternative names, or as common name if it has none of hosts.
///
/// # Errors
/// It does not, in words that say what it names.
pub fn check_name(certificate: &CertificateDer<'_>, host: &str) -> Result<(), String> {
    let name = ServerName::try_from(host).map_err(|_| format!("{host:?} is neither a name nor an address"))?;
    names_host(certificate, &name).map_err(|_| {
        let subject = Facts::of(certificate).map_or_else(|error| error, |facts| facts.subject);
        format!("the certificate of {subject:?} does not name {host}")
    })
}

fn names_host(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<(), Error> {
    let Err(error) = verify_server_name(&ParsedCertificate::try_from(certificate)?, host) else { return Ok(()) };
    let facts = Facts::of(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let common_name = facts.common_name.filter(|_| !facts.has_dns_names);
    let matches = common_name.is_some_and(|name| matches_common_name(&name, host));
    if matches { Ok(()) } else { Err(error) }
}

fn matches_common_name(common_name: &str, host: &ServerName<'_>) -> bool {
    let host = host.to_str();
    let host = host.trim_end_matches('.');
    if common_name.eq_ignore_ascii_case(host) {
        return true;
    }
    // A star stands for one label, the first.
    let wanted = common_name.strip_prefix("*.");
    let found = host.split_once('.').filter(|(first, _)| !first.is_empty());
    matches!((wanted, found), (Some(wanted), Some((_, rest))) if rest.contains('.') && wanted.eq_ignore_ascii_case(rest))
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// How a dialler judges a server.
#[derive(Debug)]
pub(crate) struct ServerJudge {
    pub(crate) trust: Trust,
    pub(crate) check_names: bool,
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.trust.lists(certificate, now)? {
            let parsed = ParsedCertificate::try_from(certificate)?;
            let algorithms = algorithms().all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.trust.roots, intermediates, now, algorithms)?;
        }
        if self.check_names {
            names_host(certificate, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// How a server judges a client.
#[derive(Debug)]
pub(crate) struct ClientJudge {
    trust: Trust,
    chains: Arc<dyn ClientCertVerifier>,
    mandatory: bool,
}

impl ClientJudge {
    /// *Errors*: nothing is trusted.
    pub(crate) fn new(trust: Trust, mandatory: bool) -> Result<ClientJudge, Error> {
        let chains = WebPkiClientVerifier::builder_with_provider(trust.roots.clone(), provider());
        let chains = chains.build().map_err(|error| Error::Other(OtherError(Arc::new(error))))?;
        Ok(ClientJudge { trust, chains, mandatory })
    }
}

impl ClientCertVerifier for ClientJudge {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trust.lists(certificate, now)? {
            return Ok(ClientCertVerified::assertion());
        }
        self.chains.verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_match_hosts() {
        let check = |common_name: &str, host: &str| {
            matches_common_name(common_name, &ServerName::try_from(host.to_owned()).unwrap())
        };
        assert!(check("zk1.example.com", "ZK1.example.com"));
        assert!(check("*.example.com", "zk1.example.com"));
        assert!(check("10.0.0.1", "10.0.0.1"));
        assert!(!check("*.example.com", "example.com"));
        assert!(!check("*.example.com", "a.b.example.com"));
        assert!(!check("*.com", "example.com"));
        assert!(!check("zk1", "zk2"));
    }
}
