//! Identities outside the pure core: JAAS files and the source of randomness.
//!
//! Source: `ServerCnxnFactory.configureSaslLogin`, `Login`.
//! Reading order: [`jaas`], [`sasl`].

mod jaas;
mod sasl;

pub use sasl::{SaslError, client_account};
pub(crate) use sasl::{load, server_user};
