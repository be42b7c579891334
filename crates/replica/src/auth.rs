//! Verification of credentials and the identities they prove: by packet, or in an exchange of SASL
//! tokens. Source: `DigestAuthenticationProvider`, `IPAuthenticationProvider`,
//! `ZooKeeperServer.processSasl`.
//!
//! * [`DigestAlgorithm`]: derives an identity from `user:password`.
//! * `digest_md5`, `directives`: one exchange of tokens.
//! * [`sasl`]: the users, and their identities.
//! * [`ensemble`]: names of ensembles, which prove nothing.

mod digest;
pub mod digest_md5;
mod directives;
pub mod ensemble;
pub mod sasl;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxkeeper_proto::Jute;
use oxkeeper_proto::records::Id;
use oxkeeper_state::hash_order::{Buckets, hash_code};
use oxkeeper_state::{Identities, Settings};

pub use digest::DigestAlgorithm;
pub use ensemble::EnsembleNames;
pub use sasl::Sasl;

/// Bytes of identities that one connection may have. They travel with each of its writes, so
/// without a limit a client could make commands that no log entry can hold.
pub const IDENTITIES_LEN_MAX: usize = 16 << 10;

/// Authentication settings of a server, for all its connections.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// The digest identity that also has the identity `super`.
    pub super_digest: Option<String>,
    /// Hash of credentials of scheme `digest`.
    pub digest: DigestAlgorithm,
    /// Schemes of which a client must have proved one before any request, unless empty.
    pub enforced_schemes: Vec<String>,
    /// SASL settings; `None` if this server does not speak SASL.
    pub sasl: Option<Arc<Sasl>>,
    /// Names for scheme `ensemble`; `None` if the scheme is unknown.
    pub ensemble: Option<EnsembleNames>,
}

impl AuthConfig {
    /// Returns whether one of the enforced schemes is SASL's.
    pub(crate) fn requires_sasl(&self) -> bool {
        self.enforced_schemes.iter().any(|scheme| scheme == "sasl")
    }
}

/// Adds an identity unless it is there already.
///
/// ZooKeeper: a connection's identities are a set, a `ConcurrentHashMap`; its order shows in
/// `whoAmI`, in ACLs that were requested with `auth`, and in the audit log.
pub fn add_identity(identities: &mut Vec<u8>, scheme: &str, id: &str) {
    let identity = Id { scheme: Some(scheme.into()), id: Some(id.into()) };
    let mut all: Vec<Id<'_>> = Identities(identities).iter().collect();
    if all.contains(&identity) {
        return;
    }
    all.push(identity);
    Buckets::of_concurrent(all.len()).arrange(&mut all, identity_hash);
    let mut arranged = Vec::with_capacity(identities.len() + 8 + scheme.len() + id.len());
    all.iter().for_each(|id| id.encode(&mut arranged));
    *identities = arranged;
}

/// Returns the hash of an identity. Source: `Id.hashCode`.
fn identity_hash(id: &Id<'_>) -> u32 {
    let texts = [id.scheme.as_deref(), id.id.as_deref()].map(Option::unwrap_or_default);
    let step = |hash: u32, text: &str| hash.wrapping_mul(37).wrapping_add(hash_code(text.as_bytes()));
    texts.into_iter().fold(17, step)
}

/// Returns the user name of an identity: for a digest without its hash, for a scheme without a
/// provider empty. Source: `AuthUtil.getUser`.
pub(crate) fn user_name(settings: Settings, id: &Id<'_>) -> String {
    let (scheme, id) = (id.scheme.as_deref().unwrap_or_default(), id.id.as_deref().unwrap_or_default());
    match scheme {
        "digest" => id.split(':').next().unwrap_or_default().to_owned(),
        scheme if settings.has_provider(scheme) => id.to_owned(),
        _ => String::new(),
    }
}

fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_a_set() {
        let mut identities = Vec::new();
        add_identity(&mut identities, "ip", "127.0.0.1");
        add_identity(&mut identities, "digest", "a:b");
        let len = identities.len();
        add_identity(&mut identities, "ip", "127.0.0.1");
        assert_eq!(identities.len(), len);
    }
}
