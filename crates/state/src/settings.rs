//! Switches that change the effect of a command. They travel inside each command, so that every
//! server applies it alike.
//!
//! The first eight are older than feature levels. Each further switch needs at least
//! [`Level::WIDE_SETTINGS`](crate::Level) and belongs to the level that introduces it: below that
//! level, commands are made without it.

/// A set of switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub u32);

impl Settings {
    /// `extendedTypesEnabled`: TTL znodes may be created.
    pub const EXTENDED_TYPES: Settings = Settings(1);
    /// `enforceQuota`: hard quotas are enforced.
    pub const ENFORCE_QUOTA: Settings = Settings(2);
    /// `skipACL=yes`: no ACL is checked.
    pub const SKIP_ACL: Settings = Settings(4);
    /// The x509 provider is registered: a secure port is configured.
    pub const X509: Settings = Settings(8);
    /// The sasl provider is registered.
    pub const SASL: Settings = Settings(16);
    /// `DigestAuthenticationProvider.enabled=false`: the digest provider is not registered.
    pub const NO_DIGEST: Settings = Settings(32);
    /// `reconfigEnabled`: clients may change the membership.
    pub const RECONFIG: Settings = Settings(64);
    /// The session is local: only the server that took the request knows it. It may do anything
    /// except own ephemerals.
    pub const LOCAL_SESSION: Settings = Settings(128);

    /// Returns the union of both sets.
    pub fn with(self, other: Settings) -> Settings {
        Settings(self.0 | other.0)
    }

    fn has(self, other: Settings) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether TTL znodes may be created.
    pub fn extended_types(self) -> bool {
        self.has(Settings::EXTENDED_TYPES)
    }

    /// Returns whether hard quotas are enforced.
    pub fn enforce_quota(self) -> bool {
        self.has(Settings::ENFORCE_QUOTA)
    }

    /// Returns whether ACL checks are skipped.
    pub fn skip_acl(self) -> bool {
        self.has(Settings::SKIP_ACL)
    }

    /// Returns whether the session is local, that is, not agreed on.
    pub fn local_session(self) -> bool {
        self.has(Settings::LOCAL_SESSION)
    }

    /// Returns whether clients may change the membership.
    pub fn reconfig_enabled(self) -> bool {
        self.has(Settings::RECONFIG)
    }

    /// Returns whether an authentication provider is registered for `scheme`.
    pub fn has_provider(self, scheme: &str) -> bool {
        match scheme {
            "ip" => true,
            "digest" => !self.has(Settings::NO_DIGEST),
            "x509" => self.has(Settings::X509),
            "sasl" => self.has(Settings::SASL),
            _ => false,
        }
    }
}
