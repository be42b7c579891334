//! X.509 certificates of version 1, which have no extensions and which webpki does not read. `openssl x509
//! -req` without an extensions file made them until openssl 3.4, and Java accepts them.
//!
//! They are valid for their holder only, never as an authority: such a certificate is trusted if an authority
//! in the trust store itself has signed it, with the algorithms and the keys that webpki accepts, and within
//! its dates. The properties that webpki checks in extensions (usage, names, whether it is an authority) do
//! not exist here; an authority that constrains names vouches for no such certificate. Source: RFC 5280
//! section 6.1; Java's `PKIXValidator`, `ConstraintsChecker`.

use std::time::Duration;

use rustls::pki_types::{
    AlgorithmIdentifier as AlgorithmId, CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use x509_parser::der_parser::asn1_rs::ToDer;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use crate::algorithms;

/// A parsed certificate of version 1.
pub(crate) struct Version1<'a>(X509Certificate<'a>);

impl<'a> Version1<'a> {
    /// Parses a certificate; `None` if it has another version or is malformed.
    pub(crate) fn read(der: &'a CertificateDer<'_>) -> Option<Version1<'a>> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        let bare = parsed.extensions().is_empty() && parsed.issuer_uid.is_none() && parsed.subject_uid.is_none();
        (rest.is_empty() && parsed.version() == X509Version::V1 && bare).then_some(Version1(parsed))
    }

    /// Checks that one of these authorities has signed it and that it is valid now. *Errors*: the most
    /// informative of the reasons.
    pub(crate) fn check(&self, authorities: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        check_dates(&self.0, now)?;
        // The signed part must name the algorithm of the signature.
        if self.0.signature_algorithm != self.0.tbs_certificate.signature {
            return Err(CertificateError::BadEncoding.into());
        }
        let mut found = CertificateError::UnknownIssuer;
        for authority in authorities {
            let Ok((_, authority)) = X509Certificate::from_der(authority) else { continue };
            if authority.subject().as_raw() != self.0.issuer().as_raw() || constrains_names(&authority) {
                continue;
            }
            if self.is_signed_with(authority.public_key()) {
                return Ok(());
            }
            found = CertificateError::BadSignature;
        }
        Err(found.into())
    }

    /// Returns its public key, encoded as in the certificate.
    pub(crate) fn public_key(&self) -> SubjectPublicKeyInfoDer<'static> {
        self.0.public_key().raw.to_vec().into()
    }

    /// Checks a signature of a TLS 1.2 handshake made with its key.
    pub(crate) fn check_tls12(&self, message: &[u8], signed: &DigitallySignedStruct) -> Result<(), Error> {
        let schemes = algorithms();
        let known = schemes.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let fits = verifies(candidates.iter().copied(), self.0.public_key(), message, signed.signature());
        if fits { Ok(()) } else { Err(CertificateError::BadSignature.into()) }
    }

    fn is_signed_with(&self, key: &SubjectPublicKeyInfo<'_>) -> bool {
        let Some(wanted) = inner(&self.0.signature_algorithm) else { return false };
        let candidates = algorithms().all.iter().filter(|algorithm| is(algorithm.signature_alg_id(), &wanted)).copied();
        let signature = &self.0.signature_value;
        // A signature is a whole number of bytes.
        signature.unused_bits == 0 && verifies(candidates, key, self.0.tbs_certificate.as_ref(), &signature.data)
    }
}

/// Checks that a certificate is valid now.
pub(crate) fn check_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let moment = |time: ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    let [not_before, not_after] = [certificate.validity().not_before, certificate.validity().not_after]
        .map(|time| UnixTime::since_unix_epoch(moment(time)));
    match now {
        time if time < not_before => Err(CertificateError::NotValidYetContext { time, not_before }),
        time if time > not_after => Err(CertificateError::ExpiredContext { time, not_after }),
        _ => Ok(()),
    }
}

fn constrains_names(authority: &X509Certificate<'_>) -> bool {
    !matches!(authority.name_constraints(), Ok(None))
}

/// Returns whether one of these algorithms, among those that suit the key, verifies the signature of the message.
fn verifies(
    candidates: impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm>,
    key: &SubjectPublicKeyInfo<'_>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let Some(kind) = inner(&key.algorithm) else { return false };
    let bits = &key.subject_public_key;
    let mut fitting = candidates.filter(|algorithm| is(algorithm.public_key_alg_id(), &kind));
    bits.unused_bits == 0 && fitting.any(|algorithm| algorithm.verify_signature(&bits.data, message, signature).is_ok())
}

fn is(algorithm: AlgorithmId, wanted: &[u8]) -> bool {
    algorithm.as_ref() == wanted
}

/// Returns an algorithm as rustls identifies it: the DER of its identifier and its parameters, without the
/// enclosing sequence.
fn inner(algorithm: &AlgorithmIdentifier<'_>) -> Option<Vec<u8>> {
    let mut der = algorithm.algorithm.to_der_vec().ok()?;
    if let Some(parameters) = &algorithm.parameters {
        der.extend(parameters.to_der_vec().ok()?);
    }
    Some(der)
}
