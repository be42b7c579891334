//! Reads Java's own key store, JKS, by hand: the crates for it bring writers, random numbers and little care.
//!
//! Big-endian: magic (u32), version (u32, 1 or 2), count (u32), entries; then SHA-1 over the password in
//! UTF-16, the words `Mighty Aphrodite` and all preceding bytes. An entry: tag (u32; 1 key, 2 certificate),
//! alias (modified UTF-8), creation time (u64); a key: its encrypted bytes (u32 length), count of
//! certificates (u32), certificates; a certificate: its type (version 2), its DER (u32 length). A key is
//! encrypted by XOR with a chain of SHA-1 over password and salt; its last 20 bytes are SHA-1 over password
//! and key. Source: the JDK's documented format (`JavaKeyStore`, `KeyProtector`).

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};

use super::{JKS_MAGIC, KeyChain, Password};
use crate::error::StoreProblem;

const TAG_KEY: u32 = 1;
const TAG_TRUSTED: u32 = 2;
const DIGEST_LEN: usize = 20;
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// Object identifier of the algorithm that encrypts keys.
const KEY_PROTECTOR: &str = "1.3.6.1.4.1.42.2.17.1.1";

enum Entry {
    Key { encrypted: Vec<u8>, chain: Vec<CertificateDer<'static>> },
    Trusted(CertificateDer<'static>),
}

pub(super) fn key(bytes: &[u8], password: &Password) -> Result<KeyChain, StoreProblem> {
    let secret = utf16(password);
    let key = entries(bytes, &secret)?.into_iter().find_map(|entry| match entry {
        Entry::Key { encrypted, chain } => Some((encrypted, chain)),
        Entry::Trusted(_) => None,
    });
    let (encrypted, chain) = key.ok_or(StoreProblem::NoKey)?;
    if chain.is_empty() {
        return Err(StoreProblem::NoCertificate);
    }
    let key = PrivatePkcs8KeyDer::from(decrypt(&encrypted, &secret)?).into();
    Ok(KeyChain { key, chain })
}

pub(super) fn trusted(bytes: &[u8], password: &Password) -> Result<Vec<CertificateDer<'static>>, StoreProblem> {
    let trusted = entries(bytes, &utf16(password))?.into_iter().filter_map(|entry| match entry {
        Entry::Trusted(certificate) => Some(certificate),
        Entry::Key { .. } => None,
    });
    Ok(trusted.collect())
}

fn utf16(password: &Password) -> Vec<u8> {
    password.text().encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn entries(bytes: &[u8], secret: &[u8]) -> Result<Vec<Entry>, StoreProblem> {
    let mut reader = Reader { rest: bytes };
    if reader.take(4)? != JKS_MAGIC {
        return Err(StoreProblem::Malformed("JKS", "its first bytes are others".to_owned()));
    }
    let version = reader.u32()?;
    if !(1..=2).contains(&version) {
        return Err(StoreProblem::Malformed("JKS", format!("version {version}")));
    }
    let count = reader.u32()?;
    let entries: Vec<Entry> = (0..count).map(|_| reader.entry(version)).collect::<Result<_, _>>()?;
    let signed = &bytes[..bytes.len() - reader.rest.len()];
    let digest = reader.take(DIGEST_LEN)?;
    // ZooKeeper: without a password Java does not check the digest.
    if !secret.is_empty()
        && Sha1::new().chain_update(secret).chain_update(WHITENER).chain_update(signed).finalize()[..] != *digest
    {
        return Err(StoreProblem::Password);
    }
    Ok(entries)
}

fn decrypt(encrypted: &[u8], secret: &[u8]) -> Result<Vec<u8>, StoreProblem> {
    let malformed = |reason: String| StoreProblem::Malformed("JKS", format!("its key: {reason}"));
    if secret.is_empty() {
        return Err(StoreProblem::PasswordMissing);
    }
    let bytes = protected_bytes(encrypted).map_err(malformed)?;
    let split = bytes.split_first_chunk::<DIGEST_LEN>();
    let split = split.and_then(|(salt, rest)| Some((salt, rest.split_last_chunk::<DIGEST_LEN>()?)));
    let (salt, (cipher, check)) = split.ok_or_else(|| malformed("it is too short".to_owned()))?;
    let mut plain = Vec::with_capacity(cipher.len());
    let mut pad = *salt;
    for chunk in cipher.chunks(DIGEST_LEN) {
        pad = Sha1::new().chain_update(secret).chain_update(pad).finalize().into();
        plain.extend(chunk.iter().zip(pad).map(|(byte, pad)| byte ^ pad));
    }
    let sum: [u8; DIGEST_LEN] = Sha1::new().chain_update(secret).chain_update(&plain).finalize().into();
    if sum == *check { Ok(plain) } else { Err(StoreProblem::Password) }
}

/// Returns the key protector's output without its wrapping: a sequence of an algorithm and an octet string.
fn protected_bytes(der: &[u8]) -> Result<&[u8], String> {
    // Parsed by hand: the algorithm has a parameter that the strict reader of encrypted keys rejects.
    let (sequence, _) = x509_parser::der_parser::parse_der(der)
        .map(|(rest, value)| (value, rest))
        .map_err(|error| error.to_string())?;
    let parts = sequence.as_sequence().map_err(|error| error.to_string())?;
    let [algorithm, octets] = parts.as_slice() else { return Err("it has not two parts".to_owned()) };
    let algorithm =
        algorithm.as_sequence().ok().and_then(|parts| parts.first()?.as_oid().ok().map(|oid| oid.to_id_string()));
    if algorithm.as_deref() != Some(KEY_PROTECTOR) {
        return Err(format!("it is encrypted with {}, not as in a JKS store", algorithm.unwrap_or_default()));
    }
    // Returns a slice of the input, which outlives the parsed value.
    let content = octets.as_slice().map_err(|error| error.to_string())?;
    let start = content.as_ptr() as usize - der.as_ptr() as usize;
    Ok(&der[start..start + content.len()])
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], StoreProblem> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(StoreProblem::Truncated("JKS"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, StoreProblem> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("4 bytes")))
    }

    fn long_bytes(&mut self) -> Result<&'a [u8], StoreProblem> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn skip_text(&mut self) -> Result<(), StoreProblem> {
        let len = u16::from_be_bytes(self.take(2)?.try_into().expect("2 bytes"));
        self.take(usize::from(len)).map(drop)
    }

    fn entry(&mut self, version: u32) -> Result<Entry, StoreProblem> {
        let tag = self.u32()?;
        self.skip_text()?;
        self.take(8)?;
        match tag {
            TAG_KEY => {
                let encrypted = self.long_bytes()?.to_vec();
                let count = self.u32()?;
                let chain = (0..count).map(|_| self.certificate(version)).collect::<Result<_, _>>()?;
                Ok(Entry::Key { encrypted, chain })
            }
            TAG_TRUSTED => Ok(Entry::Trusted(self.certificate(version)?)),
            other => Err(StoreProblem::Malformed("JKS", format!("an entry of kind {other}"))),
        }
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, StoreProblem> {
        if version == 2 {
            self.skip_text()?;
        }
        Ok(CertificateDer::from(self.long_bytes()?.to_vec()))
    }
}
