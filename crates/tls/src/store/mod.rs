//! Loads key stores and trust stores from files.
//!
//! The type of a store is its `….type` setting, else the extension of the file's name, as in ZooKeeper
//! (`KeyStoreFileType`). If the first bytes of a file show that JKS and PKCS12 were mixed up, the file's
//! actual type is used, as in Java.

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

/// Maximal length of a store's file, bytes.
const FILE_LEN_MAX: u64 = 16 << 20;

/// A key and its certificate chain, the key's own certificate first.
#[derive(Debug)]
pub(crate) struct KeyChain {
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// A password that `Debug` does not show, so that it does not get into logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps `text`.
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

/// A store as settings describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSpec {
    /// Common prefix of the settings, as `ssl.keyStore`, for messages.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// `JKS`, `PEM`, `PKCS12`; empty: the type in the file's name.
    pub kind: String,
    /// The password.
    pub password: Password,
    /// A file with the password, which takes precedence over `password`.
    pub password_path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jks,
    Pem,
    Pkcs12,
}

/// First bytes of a JKS store, and of a JCEKS store of older JDKs.
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JCEKS_MAGIC: [u8; 4] = [0xce, 0xce, 0xce, 0xce];
/// First byte of a PKCS12 store: a DER sequence.
const DER_SEQUENCE: u8 = 0x30;

impl StoreSpec {
    /// Loads the store as a key store.
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

    /// Loads the store as a trust store, which is never empty.
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

    /// Returns the store's files.
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

    // ZooKeeper: white space around the password in a file is ignored (`SecretUtils`).
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
            // Java's loader looks at the bytes, too: a file that keytool calls JKS is PKCS12 nowadays.
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
