//! What the world around the pure core has to say about identities: JAAS files, and where randomness comes from.
//!
//! Source: `ServerCnxnFactory.configureSaslLogin`, `Login`.
//! Reading order: [`jaas`], [`sasl`].

mod jaas;
mod sasl;

use crate::config::Config;

pub use sasl::{SaslError, client_account};
pub(crate) use sasl::{load, server_user};

/// Reads what a server would read at its start: the users of SASL.
///
/// # Errors
/// Any [`SaslError`].
pub fn check(config: &Config) -> Result<(), SaslError> {
    load(&config.security).map(drop)
}
