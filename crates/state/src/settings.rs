//! Switches that change what a command does. They travel inside each command, so that every server applies it alike.
//!
//! The first eight are older than feature levels. One beyond them needs at least [`Level::WIDE_SETTINGS`](crate::Level) and
//! belongs to the level that brings it: whoever makes a command leaves it out below that.

/// A set of switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub u32);

impl Settings {
    /// `extendedTypesEnabled`: TTL znodes.
    pub const EXTENDED_TYPES: Settings = Settings(1);
    /// `enforceQuota`: hard quotas refuse.
    pub const ENFORCE_QUOTA: Settings = Settings(2);
    /// `skipACL=yes`.
    pub const SKIP_ACL: Settings = Settings(4);
    /// The x509 provider is there: a secure port is configured.
    pub const X509: Settings = Settings(8);
    /// The sasl provider is registered.
    pub const SASL: Settings = Settings(16);
    /// `DigestAuthenticationProvider.enabled=false`.
    pub const NO_DIGEST: Settings = Settings(32);
    /// `reconfigEnabled`.
    pub const RECONFIG: Settings = Settings(64);
    /// Only the server that took the request knows its session: it may do anything but own ephemerals.
    pub const LOCAL_SESSION: Settings = Settings(128);

    /// Both sets.
    pub fn with(self, other: Settings) -> Settings {
        Settings(self.0 | other.0)
    }

    fn has(self, other: Settings) -> bool {
        self.0 & other.0 != 0
    }

    /// TTL znodes may be created.
    pub fn extended_types(self) -> bool {
        self.has(Settings::EXTENDED_TYPES)
    }

    /// Hard quotas refuse.
    pub fn enforce_quota(self) -> bool {
        self.has(Settings::ENFORCE_QUOTA)
    }

    /// No ACL is checked.
    pub fn skip_acl(self) -> bool {
        self.has(Settings::SKIP_ACL)
    }

    /// The session is not agreed on.
    pub fn local_session(self) -> bool {
        self.has(Settings::LOCAL_SESSION)
    }

    /// Membership may be changed by clients.
    pub fn reconfig_enabled(self) -> bool {
        self.has(Settings::RECONFIG)
    }

    /// Whether an authentication provider is registered for `scheme`.
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
