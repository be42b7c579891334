//! Errors of stores and settings, for the operator who has to repair them: which key, which file, what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Errors that prevent TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A store cannot be used.
    #[error("{key}: {}: {problem}", .path.display())]
    Store {
        /// The setting that names the store, as `ssl.keyStore.location`.
        key: String,
        /// The file.
        path: PathBuf,
        /// The problem with the file.
        problem: StoreProblem,
    },
    /// A setting has a value that cannot be used.
    #[error("{key}: {reason}")]
    Setting {
        /// The setting.
        key: String,
        /// The reason, and values that would work.
        reason: String,
    },
    /// The key and the certificates do not match, or the library refuses them.
    #[error("{key}: the key and its certificates cannot be used: {source}")]
    Unusable {
        /// The setting that names them.
        key: String,
        /// The library's error.
        source: rustls::Error,
    },
}

/// Problems of a store's file.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StoreProblem {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("its type is not known: name the file *.pem, *.p12 or *.jks, or set {0}.type to PEM, PKCS12 or JKS")]
    UnknownType(String),
    #[error("stores of type {0} cannot be read here: convert it with `keytool -importkeystore -deststoretype PKCS12`")]
    UnsupportedType(String),
    #[error("wrong password, or the file is damaged")]
    Password,
    #[error("its key is encrypted; set the password")]
    PasswordMissing,
    #[error("it is not a {0} store: {1}")]
    Malformed(&'static str, String),
    #[error("it ends in the middle of a {0} store")]
    Truncated(&'static str),
    #[error("it holds no private key")]
    NoKey,
    #[error("it holds no certificate for the private key")]
    NoCertificate,
    #[error("it holds no trusted certificate")]
    NothingTrusted,
    #[error("its private key cannot be used ({0}): RSA from 2048 bits, EC (P-256, P-384) and Ed25519 can")]
    KeyKind(String),
    #[error("it holds a certificate that cannot be read: {0}")]
    Certificate(String),
}
