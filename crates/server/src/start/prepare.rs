//! Checks and loads everything that can make the configuration unusable on this machine, before a
//! start opens data and sockets.
//!
//! Invariant: `serve` and `config check` make the same checks, these. Not checked: whether ports
//! are free, and the contents of the data directory.

use std::sync::Arc;

use oxkeeper_replica::auth::Sasl;

use super::error::StartError;
use crate::auth;
use crate::net::tls::{AdminTls, ClientTls};
use crate::peers::PeerTls;
use crate::telemetry::audit;
use oxkeeper_config::Config;

/// Makes every check that a start makes before it opens data and sockets. Leaves nothing behind.
///
/// # Errors
/// Any error that [`crate::Server::start`] would return for the same reason.
pub fn check(config: &Config) -> Result<(), StartError> {
    refuse(config)?;
    Keys::load(config).map(drop)
}

/// Makes the checks that need neither SASL users nor TLS stores.
pub(crate) fn refuse(config: &Config) -> Result<(), StartError> {
    let unserved = config.unserved();
    if !unserved.is_empty() {
        return Err(StartError::Unserved(unserved));
    }
    audit::check(config).map_err(StartError::Audit)
}

/// SASL users, and the TLS stores for each kind of connection.
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
