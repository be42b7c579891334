//! What a start reads before it opens data and sockets: whatever makes the configuration unusable here and now.
//!
//! Invariant: `serve` and `config check` ask the same questions, these. What is not asked: whether ports are free, and
//! what is in the data directory.

use std::sync::Arc;

use oxkeeper_replica::auth::Sasl;

use super::error::StartError;
use crate::auth;
use crate::net::tls::{AdminTls, ClientTls};
use crate::peers::PeerTls;
use crate::telemetry::audit;
use oxkeeper_config::Config;

/// Asks everything that a start asks before it opens data and sockets; leaves nothing behind.
///
/// # Errors
/// What [`crate::Server::start`] would say.
pub fn check(config: &Config) -> Result<(), StartError> {
    refuse(config)?;
    Keys::load(config).map(drop)
}

/// What needs no answer from users and stores.
pub(crate) fn refuse(config: &Config) -> Result<(), StartError> {
    let unserved = config.unserved();
    if !unserved.is_empty() {
        return Err(StartError::Unserved(unserved));
    }
    audit::check(config).map_err(StartError::Audit)
}

/// The users of SASL, and the stores of TLS on each kind of connections.
pub(crate) struct Keys {
    pub(crate) sasl: Option<Arc<Sasl>>,
    pub(crate) clients: Option<Arc<ClientTls>>,
    pub(crate) peers: Option<Arc<PeerTls>>,
    pub(crate) admin: Option<AdminTls>,
}

impl Keys {
    pub(crate) fn load(config: &Config) -> Result<Keys, StartError> {
        Ok(Keys {
            sasl: auth::load(&config.security)?.map(Arc::new),
            clients: ClientTls::load(config)?,
            peers: PeerTls::load(config)?,
            admin: AdminTls::load(config)?,
        })
    }
}
