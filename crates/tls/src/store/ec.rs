//! Completes EC keys that Java wrote without the public half, which the library requires. The certificate has it.
//!
//! A key in PKCS8 is SEQUENCE { version, algorithm { OID, curve OID }, OCTET STRING }; the string is SEC1's
//! `SEQUENCE { 1, OCTET STRING secret, [0] curve OID, [1] BIT STRING public }`, the last two parts of which are
//! optional.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivateSec1KeyDer};
use x509_parser::der_parser::asn1_rs::{Class, Tag};
use x509_parser::der_parser::der::{DerObject, parse_der};
use x509_parser::prelude::{FromDer, X509Certificate};

const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
/// Curves that the library signs with, and the lengths of their secrets in bytes.
const CURVES: [(&str, usize); 2] = [("1.2.840.10045.3.1.7", 32), ("1.3.132.0.34", 48)];

/// Returns the key, with its public half added if that was missing.
pub(super) fn completed(key: PrivateKeyDer<'static>, chain: &[CertificateDer<'_>]) -> PrivateKeyDer<'static> {
    let PrivateKeyDer::Pkcs8(pkcs8) = &key else { return key };
    match chain.first().and_then(|certificate| sec1(pkcs8.secret_pkcs8_der(), certificate)) {
        Some(der) => PrivateSec1KeyDer::from(der).into(),
        None => key,
    }
}

/// Returns the completed key in SEC1; `None` if it is another kind of key, or complete.
fn sec1(pkcs8: &[u8], certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, key) = parse_der(pkcs8).ok()?;
    let [_, algorithm, inner, ..] = key.as_sequence().ok()?.as_slice() else { return None };
    let [kind, curve] = algorithm.as_sequence().ok()?.as_slice() else { return None };
    if kind.as_oid().ok()?.to_id_string() != EC_PUBLIC_KEY {
        return None;
    }
    let curve = curve.as_oid().ok()?;
    let (_, len) = CURVES.into_iter().find(|(name, _)| *name == curve.to_id_string())?;
    let (_, inner) = parse_der(inner.as_slice().ok()?).ok()?;
    let parts = inner.as_sequence().ok()?;
    let has_public =
        |part: &DerObject<'_>| part.header.class() == Class::ContextSpecific && part.header.tag() == Tag(1);
    if parts.iter().any(has_public) {
        return None;
    }
    let secret = parts.get(1)?.as_slice().ok()?;
    // Padded to the curve's length, because writers add or omit leading zeros.
    let significant: Vec<u8> = secret.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut padded = vec![0; len.checked_sub(significant.len())?];
    padded.extend(significant);
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut public = vec![0]; // no unused bits
    public.extend_from_slice(&certificate.public_key().subject_public_key.data);
    let curve = value(0x06, curve.as_bytes());
    let parts = [value(0x02, &[1]), value(0x04, &padded), value(0xa0, &curve), value(0xa1, &value(0x03, &public))];
    Some(value(0x30, &parts.concat()))
}

/// Encodes tag, length, content. Contents here are short.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).expect("keys of these curves are short");
    let mut der = if len < 0x80 { vec![tag, len] } else { vec![tag, 0x81, len] };
    der.extend_from_slice(content);
    der
}
