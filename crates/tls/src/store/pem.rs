//! Reads PEM: certificates one after the other, and a key in any of its usual encodings. Source: `PemReader`,
//! which supports PKCS8 only.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{KeyChain, Password};
use crate::error::StoreProblem;

/// Maximal number of PBKDF2 rounds, the same as Java's. More would only keep a start, or a renewal, from completing.
const KDF_ITERATIONS_MAX: u32 = 5_000_000;
/// Maximal cost of scrypt: bytes of memory times parallel runs. openssl's own limit for one run is 32 MiB.
const KDF_BYTES_MAX: u64 = 256 << 20;

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

pub(super) fn key(bytes: &[u8], password: &Password) -> Result<KeyChain, StoreProblem> {
    let key = match encrypted_key(bytes)? {
        Some(der) => decrypt(&der, password)?,
        None => plain_key(bytes)?,
    };
    let chain = certificates(bytes)?;
    if chain.is_empty() { Err(StoreProblem::NoCertificate) } else { Ok(KeyChain { key, chain }) }
}

/// Returns all certificates, in order.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreProblem> {
    CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(problem)
}

fn plain_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, StoreProblem> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) if bytes.windows(20).any(|text| text == b"Proc-Type: 4,ENCRYPT") => {
            let how = "its key is encrypted the old way: convert it with `openssl pkcs8 -topk8`";
            Err(StoreProblem::Malformed("PEM", how.to_owned()))
        }
        Err(Error::NoItemsFound) => Err(StoreProblem::NoKey),
        Err(error) => Err(problem(error)),
    }
}

/// Returns the encrypted key as DER. The PEM reader of rustls does not know this section.
fn encrypted_key(bytes: &[u8]) -> Result<Option<Vec<u8>>, StoreProblem> {
    let text = String::from_utf8_lossy(bytes);
    let Some((_, rest)) = text.split_once(ENCRYPTED_BEGIN) else { return Ok(None) };
    let (base64, _) = rest.split_once(ENCRYPTED_END).ok_or(StoreProblem::Truncated("PEM"))?;
    // The same base64 under a section name that the reader knows.
    let renamed = format!("-----BEGIN PRIVATE KEY-----{base64}-----END PRIVATE KEY-----\n");
    let (_, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(renamed.as_bytes()).map_err(problem)?;
    Ok(Some(der))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may have more of them")]
fn decrypt(der: &[u8], password: &Password) -> Result<PrivateKeyDer<'static>, StoreProblem> {
    if password.text().is_empty() {
        return Err(StoreProblem::PasswordMissing);
    }
    let info = EncryptedPrivateKeyInfoRef::try_from(der);
    let info = info.map_err(|error| StoreProblem::Malformed("PEM", format!("its key: {error}")))?;
    if is_endless(&info.encryption_algorithm) {
        let limits = format!("{KDF_ITERATIONS_MAX} rounds of PBKDF2, {} MiB of scrypt", KDF_BYTES_MAX >> 20);
        return Err(StoreProblem::Malformed("PEM", format!("its key asks for more than {limits}")));
    }
    let document = info.decrypt(password.text()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            StoreProblem::Malformed("PEM", format!("its key is encrypted with {oid}, which is not known here"))
        }
        _ => StoreProblem::Password,
    })?;
    Ok(PrivatePkcs8KeyDer::from(document.as_bytes().to_vec()).into())
}

fn is_endless(scheme: &EncryptionScheme) -> bool {
    let Some(parameters) = scheme.pbes2() else { return false };
    match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count > KDF_ITERATIONS_MAX,
        Kdf::Scrypt(scrypt) => {
            let bytes = scrypt.cost_parameter.saturating_mul(128 * u64::from(scrypt.block_size));
            bytes.saturating_mul(u64::from(scrypt.parallelization)) > KDF_BYTES_MAX
        }
        // The library refuses unknown functions itself.
        _ => false,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may have more of them")]
fn problem(error: Error) -> StoreProblem {
    match error {
        Error::MissingSectionEnd { .. } => StoreProblem::Truncated("PEM"),
        error => StoreProblem::Malformed("PEM", error.to_string()),
    }
}
