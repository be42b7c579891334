//! Key stores and trust stores: files to keys and certificates.
//!
//! What a store is made of is found by its type (`….type`), else by the end of its name, as ZooKeeper does it
//! (`KeyStoreFileType`); a file whose first bytes say that it is of another type than its name is read as what it is, as
//! Java does with JKS and PKCS12.

mod ec;
mod jks;
mod pem;
mod pkcs12;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{StoreProblem, TlsError};

/// Bytes of a store's file; more is no store.
const FILE_LEN_MAX: u64 = 16 << 20;

/// A key and the certificates that speak for it, the key's own first.
#[derive(Debug)]
pub(crate) struct KeyChain {
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// A password that does not show up in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

/// A store as settings name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSpec {
    /// The settings' common beginning, as `ssl.keyStore`: for messages.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// `JKS`, `PEM`, `PKCS12`; empty: by the file's name.
    pub kind: String,
    /// Its password.
    pub password: Password,
    /// A file with the password; it wins.
    pub password_path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jks,
    Pem,
    Pkcs12,
}

/// First bytes of a JKS store, and of what older JDKs call JCEKS.
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JCEKS_MAGIC: [u8; 4] = [0xce, 0xce, 0xce, 0xce];
/// A DER sequence with a long length: how a PKCS12 store begins.
const DER_SEQUENCE: u8 = 0x30;

impl StoreSpec {
    /// Loads it as a key store.
    pub(crate) fn load_key(&self) -> Result<KeyChain, TlsError> {
        let load = || {
            let bytes = self.read()?;
            let password = self.password()?;
            match self.kind(&bytes)? {
                Kind::Jks => jks::key(&bytes, &password),
                Kind::Pem => pem::key(&bytes, &password),
                Kind::Pkcs12 => pkcs12::key(&bytes, &password),
            }
        };
        let KeyChain { key, chain } = load().map_err(|problem| self.error(problem))?;
        Ok(KeyChain { key: ec::completed(key, &chain), chain })
    }

    /// Loads it as a trust store; never empty.
    pub(crate) fn load_trust(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let load = || {
            let bytes = self.read()?;
            let password = self.password()?;
            let trusted = match self.kind(&bytes)? {
                Kind::Jks => jks::trusted(&bytes, &password),
                Kind::Pem => pem::certificates(&bytes),
                Kind::Pkcs12 => pkcs12::trusted(&bytes, &password),
            }?;
            if trusted.is_empty() { Err(StoreProblem::NothingTrusted) } else { Ok(trusted) }
        };
        load().map_err(|problem| self.error(problem))
    }

    /// The files it is made of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(self.path.as_path()), self.password_path.as_deref()].into_iter().flatten()
    }

    pub(crate) fn error(&self, problem: StoreProblem) -> TlsError {
        TlsError::Store { key: format!("{}.location", self.key), path: self.path.clone(), problem }
    }

    fn read(&self) -> Result<Vec<u8>, StoreProblem> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_LEN_MAX {
            return Err(StoreProblem::Malformed("key or trust", format!("it has more than {FILE_LEN_MAX} bytes")));
        }
        Ok(bytes)
    }

    // ZooKeeper: white space around the password in a file does not count (`SecretUtils`).
    fn password(&self) -> Result<Password, StoreProblem> {
        let Some(path) = &self.password_path else { return Ok(self.password.clone()) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            let text = format!("{}.passwordPath: {}: {error}", self.key, path.display());
            std::io::Error::new(error.kind(), text)
        })?;
        Ok(Password(text.trim().to_owned()))
    }

    fn kind(&self, bytes: &[u8]) -> Result<Kind, StoreProblem> {
        let named = self.named_kind()?;
        let looks = match bytes.first_chunk::<4>() {
            Some(&JKS_MAGIC) => Some(Kind::Jks),
            Some(&JCEKS_MAGIC) => return Err(StoreProblem::UnsupportedType("JCEKS".to_owned())),
            Some([DER_SEQUENCE, ..]) => Some(Kind::Pkcs12),
            Some(_) | None => None,
        };
        Ok(match (named, looks) {
            // Java's loader looks at the bytes, too: what keytool calls JKS is PKCS12 nowadays.
            (Kind::Jks, Some(Kind::Pkcs12)) => Kind::Pkcs12,
            (Kind::Pkcs12, Some(Kind::Jks)) => Kind::Jks,
            (named, _) => named,
        })
    }

    fn named_kind(&self) -> Result<Kind, StoreProblem> {
        let extension = self.path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let name = if self.kind.is_empty() { extension } else { self.kind.as_str() };
        match name.to_ascii_lowercase().as_str() {
            "jks" => Ok(Kind::Jks),
            "pem" => Ok(Kind::Pem),
            "p12" | "pfx" | "pkcs12" => Ok(Kind::Pkcs12),
            "bcfks" | "jceks" => Err(StoreProblem::UnsupportedType(name.to_ascii_uppercase())),
            _ => Err(StoreProblem::UnknownType(self.key.clone())),
        }
    }
}
