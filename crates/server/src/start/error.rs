//! Errors of a server start.

use std::io;

use oxkeeper_durable::RecoveryError;
use oxkeeper_tls::TlsError;
use thiserror::Error;

use crate::auth::SaslError;
use crate::io::listening::ListenError;
use crate::observe::admin::{Busy, Port};

/// Reason why a server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The SASL users cannot be loaded.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// The audit log cannot be written.
    #[error("cannot write the audit log (oxkeeper.audit.file): {0}")]
    Audit(io::Error),
    /// The TLS key or trust stores cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Clients cannot be accepted.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The configuration asks for something this version does not support.
    #[error("{}", .0.join("\n"))]
    Unserved(Vec<String>),
    /// The data belongs to another kind of server.
    #[error("{dir} cannot be used: {reason}")]
    OtherData {
        /// The data directory.
        dir: String,
        /// The reason.
        reason: String,
    },
    /// The admin or metrics port cannot be bound.
    #[error("cannot listen on {address} for {what} ({key}): {source}")]
    Admin {
        /// The address to bind.
        address: String,
        /// The purpose of the port.
        what: &'static str,
        /// The configuration key to change.
        key: &'static str,
        /// The error from the system.
        source: io::Error,
    },
    /// The peer port cannot be bound.
    #[error("cannot start as a member of the ensemble: {0}")]
    Ensemble(io::Error),
    /// The system cannot create a thread or a runtime.
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
