//! What the world around the pure core has to say about identities: JAAS files, and where randomness comes from.
//!
//! Source: `ServerCnxnFactory.configureSaslLogin`, `Login`.
//! Reading order: [`jaas`], [`sasl`].

mod jaas;
mod sasl;

pub use sasl::{SaslError, client_account};
pub(crate) use sasl::{load, server_user};
