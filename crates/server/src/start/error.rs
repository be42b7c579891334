//! Why a server does not start.

use std::io;

use oxkeeper_durable::RecoveryError;
use oxkeeper_tls::TlsError;
use thiserror::Error;

use crate::auth::SaslError;
use crate::io::listening::ListenError;
use crate::observe::admin::{Busy, Port};

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The users of SASL cannot be had.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// The audit log cannot be written.
    #[error("cannot write the audit log (oxkeeper.audit.file): {0}")]
    Audit(io::Error),
    /// The key or trust stores of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Clients cannot be accepted.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The configuration asks for what this version does not do.
    #[error("{}", .0.join("\n"))]
    Unserved(Vec<String>),
    /// The data is not of this kind of server.
    #[error("{dir} cannot be used: {reason}")]
    OtherData {
        /// The data directory.
        dir: String,
        /// Why not.
        reason: String,
    },
    /// A port for administrators or metrics cannot be had.
    #[error("cannot listen on {address} for {what} ({key}): {source}")]
    Admin {
        /// What was tried.
        address: String,
        /// For whom.
        what: &'static str,
        /// The key to change.
        key: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The peers' port cannot be had.
    #[error("cannot start as a member of the ensemble: {0}")]
    Ensemble(io::Error),
    /// The system refuses a thread or a runtime.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl From<Busy> for StartError {
    fn from(busy: Busy) -> StartError {
        let Busy { port, address, source } = busy;
        let (what, key) = match port {
            Port::Admin => ("administrators", "admin.serverPort"),
            Port::Metrics => ("metrics", "metricsProvider.httpPort"),
        };
        StartError::Admin { address, what, key, source }
    }
}
