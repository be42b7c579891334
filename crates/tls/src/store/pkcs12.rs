//! Reads PKCS12 as keytool and openssl write it, with current and older ciphers.

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::{KeyChain, Password};
use crate::certificate::Facts;
use crate::error::StoreProblem;

pub(super) fn key(bytes: &[u8], password: &Password) -> Result<KeyChain, StoreProblem> {
    let archive = open(bytes, password)?;
    let key = archive.keys.first().ok_or(StoreProblem::NoKey)?;
    let id = key.local_key_id.as_ref().map(AsRef::as_ref);
    let all: Vec<_> = archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    let own = archive.certs.iter().position(|bag| id.is_some() && bag.local_key_id.as_deref() == id);
    // Without ids, the order is openssl's: the key's own certificate comes first.
    let own = own.or((id.is_none() && !all.is_empty()).then_some(0)).ok_or(StoreProblem::NoCertificate)?;
    let key = PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into();
    Ok(KeyChain { key, chain: chain(&all, own)? })
}

/// Returns the chain of the certificate at `own`, each certificate followed by its issuer's.
fn chain(all: &[CertificateDer<'static>], own: usize) -> Result<Vec<CertificateDer<'static>>, StoreProblem> {
    let facts: Vec<Facts> = all.iter().map(Facts::of).collect::<Result<_, _>>().map_err(StoreProblem::Certificate)?;
    let mut order = vec![own];
    while let Some(last) = order.last().copied() {
        let issuer = (0..all.len()).find(|at| facts[*at].subject_der == facts[last].issuer_der);
        match issuer {
            Some(issuer) if !order.contains(&issuer) => order.push(issuer),
            Some(_) | None => break,
        }
    }
    Ok(order.into_iter().map(|at| all[at].clone()).collect())
}

/// Returns the certificates that keytool marked as trusted; if none is marked, as in openssl's stores, those
/// that belong to no key.
pub(super) fn trusted(bytes: &[u8], password: &Password) -> Result<Vec<CertificateDer<'static>>, StoreProblem> {
    let archive = open(bytes, password)?;
    let marked = archive.certs.iter().any(|bag| bag.trusted);
    let wanted = archive.certs.iter().filter(|bag| if marked { bag.trusted } else { bag.local_key_id.is_none() });
    Ok(wanted.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may have more of them")]
fn open(bytes: &[u8], password: &Password) -> Result<Pkcs12Archive, StoreProblem> {
    if declared_len(bytes).is_some_and(|len| len > bytes.len()) {
        return Err(StoreProblem::Truncated("PKCS12"));
    }
    Pkcs12Archive::from_pkcs12(bytes, password.text()).map_err(|error| match error {
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => StoreProblem::Password,
        error => StoreProblem::Malformed("PKCS12", error.to_string()),
    })
}

/// Returns the length of the outermost DER value in bytes, according to its header.
fn declared_len(bytes: &[u8]) -> Option<usize> {
    let count = usize::from(*bytes.get(1)?).checked_sub(0x80).filter(|count| (1..=4).contains(count))?;
    let len = bytes.get(2..2 + count)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    Some(2 + count + len)
}
