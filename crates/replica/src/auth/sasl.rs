//! The SASL users, and their identities. Source: `SaslServerCallbackHandler`, `KerberosName`,
//! `ZooKeeperServer.isSaslSuperUser`, `SASLAuthenticationProvider`.

use std::collections::BTreeMap;
use std::fmt;

use super::digest_md5::NONCE_LEN;

/// SASL settings of a server, for all its connections.
#[derive(Clone)]
pub struct Sasl {
    /// Users and their passwords.
    pub accounts: BTreeMap<String, String>,
    /// Password that replaces that of user `super`.
    pub super_password: Option<String>,
    /// Users that may do everything.
    pub super_users: Vec<String>,
    /// SASL user whose ACL entries apply to every client that has authenticated with SASL.
    pub any_user: Option<String>,
    /// Whether connections continue after a failure.
    pub allow_failed: bool,
    /// Whether `name/host@realm` loses the host.
    pub remove_host: bool,
    /// Whether `name@realm` loses the realm.
    pub remove_realm: bool,
    /// Source of nonces: a replica has no randomness of its own.
    pub entropy: fn() -> [u8; NONCE_LEN],
}

impl Default for Sasl {
    fn default() -> Sasl {
        Sasl {
            accounts: BTreeMap::new(),
            super_password: None,
            super_users: Vec::new(),
            any_user: None,
            allow_failed: false,
            remove_host: false,
            remove_realm: false,
            entropy: || [0; NONCE_LEN],
        }
    }
}

/// Omits the passwords: the output may end up in a log.
impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("users", &self.accounts.keys()).finish_non_exhaustive()
    }
}

impl Sasl {
    /// Returns a user's password. ZooKeeper: the super password counts only if there is an account
    /// `super`.
    pub(crate) fn password(&self, user: &str) -> Option<&str> {
        let own = self.accounts.get(user)?;
        let other = self.super_password.as_ref().filter(|_| user == "super");
        Some(other.unwrap_or(own))
    }

    /// Returns the identity of a user who has proved the password; `None` if the name is not a
    /// Kerberos name.
    ///
    /// ZooKeeper: only the empty realm is the default one. For any other no rule applies, and the
    /// identity is then the one that the client requests with `authzid`; here it is the name that
    /// was proved.
    pub(crate) fn identity(&self, user: &str) -> Option<String> {
        let Some((principal, realm)) = user.split_once('@') else { return Some(user.to_owned()) };
        let (name, host) = match principal.split_once('/') {
            Some((name, host)) => (name, Some(host)),
            None => (principal, None),
        };
        if realm.contains(['/', '@']) || host.is_some_and(|host| host.contains('/')) {
            return None;
        }
        if !realm.is_empty() {
            return Some(user.to_owned());
        }
        let host = host.filter(|_| !self.remove_host).map(|host| format!("/{host}")).unwrap_or_default();
        let realm = if self.remove_realm { "" } else { "@" };
        Some(format!("{name}{host}{realm}"))
    }

    /// Returns whether an identity may do everything.
    pub(crate) fn is_super(&self, identity: &str) -> bool {
        !identity.is_empty() && self.super_users.iter().any(|user| user == identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_kerberos_names() {
        let check = |user: &str, removed: bool, expected: Option<&str>| {
            let sasl = Sasl { remove_host: removed, remove_realm: removed, ..Sasl::default() };
            assert_eq!(sasl.identity(user).as_deref(), expected, "{user}");
        };
        check("bob", false, Some("bob"));
        check("bob/host", true, Some("bob/host"));
        check("bob/host@", false, Some("bob/host@"));
        check("bob/host@", true, Some("bob"));
        check("bob@", true, Some("bob"));
        check("bob@REALM", true, Some("bob@REALM"));
        check("bob@A@B", false, None);
        check("a/b/c@", false, None);
        check("a@b/c", false, None);
    }

    #[test]
    fn passwords_are_not_shown() {
        let sasl = Sasl { accounts: [("bob".to_owned(), "secret".to_owned())].into(), ..Sasl::default() };
        assert!(!format!("{sasl:?}").contains("secret"));
    }
}
