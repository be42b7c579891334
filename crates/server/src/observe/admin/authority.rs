//! Authorization to snapshot or replace all data: requires all permissions in the root's ACL.
//!
//! This module also limits the rate. Invariant: only requests that pass here have any effect.
//! Source: `Commands#handleAuthentication`, `#handleAuthorization`, `DigestAuthenticationProvider`,
//! `RateLimiter`.

use std::net::IpAddr;

use hyper::StatusCode;
use oxkeeper_proto::op::perms;
use oxkeeper_replica::auth::{AuthConfig, add_identity};
use oxkeeper_state::{AclList, Caller, Identities, Settings};
use parking_lot::Mutex;

/// Refusal of a request: the status, and ZooKeeper's text.
pub(super) type Refusal = (StatusCode, &'static str);

const NO_HEADER: Refusal = (StatusCode::UNAUTHORIZED, "Auth info is missing for the command");
const NOT_AUTHENTICATED: Refusal = (StatusCode::UNAUTHORIZED, "Not authenticated");
const NOT_AUTHORIZED: Refusal = (StatusCode::FORBIDDEN, "Not authorized");

/// The server's rules for identities.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) settings: Settings,
    pub(crate) auth: AuthConfig,
}

/// Authorizes a request. `header` is its `Authorization` header: a scheme, and usually credentials.
/// `acl` is the root's ACL.
pub(super) fn authorize(header: Option<&str>, peer: IpAddr, rules: &Rules, acl: &AclList) -> Result<(), Refusal> {
    let identities = authenticate(header.ok_or(NO_HEADER)?, peer, rules).ok_or(NOT_AUTHENTICATED)?;
    let caller = Caller { identities: Identities(&identities), settings: rules.settings };
    let every = [perms::READ, perms::WRITE, perms::CREATE, perms::DELETE, perms::ADMIN];
    every.into_iter().try_for_each(|perm| caller.check(acl, perm)).map_err(|_no_auth| NOT_AUTHORIZED)
}

/// Returns the identities that the header proves.
// ZooKeeper: any user and password prove a digest identity, known or not.
fn authenticate(header: &str, peer: IpAddr, rules: &Rules) -> Option<Vec<u8>> {
    let words: Vec<&str> = header.split(' ').collect();
    let mut identities = Vec::new();
    match *words.as_slice() {
        ["digest", credentials] if rules.settings.has_provider("digest") => {
            let digest = rules.auth.digest.identity(credentials.as_bytes());
            if rules.auth.super_digest.as_deref() == Some(&*digest) {
                add_identity(&mut identities, "super", "");
            }
            add_identity(&mut identities, "digest", &digest);
        }
        ["ip"] | ["ip", _] => add_identity(&mut identities, "ip", &peer.to_canonical().to_string()),
        // ZooKeeper: `x509` takes the identity from the certificate of an HTTPS client, if clients
        // of ZooKeeper may use theirs, too.
        _ => return None,
    }
    Some(identities)
}

/// Allows an action once per interval.
#[derive(Debug)]
pub(super) struct Limiter {
    interval_us: u64,
    last_us: Mutex<Option<u64>>,
}

impl Limiter {
    pub(super) fn new(interval_us: u64) -> Limiter {
        Limiter { interval_us, last_us: Mutex::default() }
    }

    /// Allows the action now, or returns an error.
    ///
    /// # Errors
    /// The time to wait, µs.
    pub(super) fn allow(&self, now_us: u64) -> Result<(), u64> {
        let mut last_us = self.last_us.lock();
        let wait_us = last_us.map_or(0, |last_us| (last_us + self.interval_us).saturating_sub(now_us));
        if wait_us > 0 {
            return Err(wait_us);
        }
        *last_us = Some(now_us);
        Ok(())
    }

    /// Forgets the last permission, because the action did not take place.
    pub(super) fn forget(&self) {
        *self.last_us.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use oxkeeper_proto::records::{Acl, Id};
    use oxkeeper_state::acl::world;

    use super::*;

    fn rules(settings: Settings) -> Rules {
        let super_digest = Some("super:xQJmxLMiHGwaqBvst5y6rkB6HQs=".to_owned());
        Rules { settings, auth: AuthConfig { super_digest, ..AuthConfig::default() } }
    }

    fn outcome(header: Option<&str>, settings: Settings) -> Result<(), Refusal> {
        authorize(header, Ipv4Addr::LOCALHOST.into(), &rules(settings), &world(perms::ALL))
    }

    /// Recorded from 3.9.5 with the initial ACL of the root.
    #[test]
    fn the_header_is_read_as_the_reference_reads_it() {
        let ok = Ok(());
        let cases = [
            (None, Err(NO_HEADER)),
            (Some("digest super:admin"), ok),
            (Some("digest"), Err(NOT_AUTHENTICATED)),
            (Some("digest a"), ok),
            (Some("digest a b"), Err(NOT_AUTHENTICATED)),
            (Some("digest bob:pw"), ok),
            (Some("foo bar"), Err(NOT_AUTHENTICATED)),
            (Some("world anyone"), Err(NOT_AUTHENTICATED)),
            (Some("x509"), Err(NOT_AUTHENTICATED)),
            (Some("ip"), ok),
            (Some("ip x"), ok),
        ];
        for (header, expected) in cases {
            assert_eq!(outcome(header, Settings::default()), expected, "{header:?}");
        }
        assert_eq!(outcome(Some("digest super:admin"), Settings::NO_DIGEST), Err(NOT_AUTHENTICATED));
    }

    #[test]
    fn the_root_says_who_may() {
        let cases: [(&str, Result<(), Refusal>); 4] = [
            ("digest bob:pw", Err(NOT_AUTHORIZED)),
            ("digest alice:pw", Ok(())),
            ("digest super:admin", Ok(())),
            ("ip", Err(NOT_AUTHORIZED)),
        ];
        let alice = rules(Settings::default()).auth.digest.identity(b"alice:pw");
        let id = Id { scheme: Some("digest".into()), id: Some(alice.into()) };
        let acl = vec![Acl { perms: perms::ALL, id }];
        for (header, expected) in cases {
            let outcome = authorize(Some(header), Ipv4Addr::LOCALHOST.into(), &rules(Settings::default()), &acl);
            assert_eq!(outcome, expected, "{header}");
        }
        let readable =
            authorize(Some("ip"), Ipv4Addr::LOCALHOST.into(), &rules(Settings::default()), &world(perms::READ));
        assert_eq!(readable, Err(NOT_AUTHORIZED));
    }

    #[test]
    fn one_in_an_interval() {
        let limiter = Limiter::new(300);
        let allowed: Vec<bool> = [0, 100, 299, 300, 301, 600].map(|now_us| limiter.allow(now_us).is_ok()).to_vec();
        assert_eq!(allowed, [true, false, false, true, false, true]);
        let open = Limiter::new(0);
        assert!(open.allow(5).is_ok() && open.allow(5).is_ok());
    }
}
