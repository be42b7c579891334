//! Keys of identities and ACLs.

use oxkeeper_replica::auth::DigestAlgorithm;

use super::{Form, Key, Kind, unused};
use crate::config::settings::{Config, ENSEMBLE_PROVIDER, SASL_PROVIDER};

/// Providers that need no class of their own here.
const BUILT_IN_PROVIDERS: [&str; 5] = [
    "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
    "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
    ENSEMBLE_PROVIDER,
    SASL_PROVIDER,
];

fn has_foreign_provider(config: &Config) -> bool {
    config.security.auth_providers.iter().any(|(_, class)| !BUILT_IN_PROVIDERS.contains(&class.as_str()))
}

pub(super) const KEYS: &[Key] = &[
    // ACLs and digest
    Key::new(
        "skipACL",
        Form::Property,
        Kind::Only("yes", |d, v| d.config.security.skip_acl = v),
        "ACLs are not looked at",
    )
    .default("no"),
    Key::new(
        "DigestAuthenticationProvider.superDigest",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.super_digest = Some(v.to_owned());
            Ok(())
        }),
        "super:<base64 of the digest of super:password>: who may do everything (no default)",
    ),
    Key::new(
        "DigestAuthenticationProvider.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.digest_auth_enabled = v),
        "Clients may authenticate with the digest scheme",
    )
    .default("true"),
    Key::new(
        "DigestAuthenticationProvider.digestAlg",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.digest_algorithm = v.to_owned();
            Ok(())
        }),
        "Digest of ACL ids, by its name in a JVM",
    )
    .default("SHA1")
    .unserved(
        |c| DigestAlgorithm::from_name(&c.security.digest_algorithm).is_none(),
        "another digest for ACL ids than MD5, SHA1 and those of SHA-2",
    ),
    Key::new("enableEagerACLCheck", Form::Property, unused::FLAG, "Followers check ACLs before they forward a write")
        .default("false")
        .ignored("ACLs are checked once, where writes are applied"),
    // Mandatory authentication
    Key::new(
        "enforce.auth.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.enforce_auth_enabled = v),
        "Connections without an identity of enforce.auth.schemes are refused",
    )
    .default("false"),
    Key::new(
        "enforce.auth.schemes",
        Form::Property,
        Kind::Text(|d, v| {
            let schemes = v.split(',').map(str::trim).filter(|scheme| !scheme.is_empty());
            d.config.security.enforce_auth_schemes = schemes.map(str::to_owned).collect();
            Ok(())
        }),
        "Schemes that satisfy enforce.auth.enabled, separated by commas",
    ),
    Key::new(
        "authProvider.*",
        Form::Property,
        Kind::Family(|d, suffix, class| {
            d.config.security.auth_providers.push((suffix.to_owned(), class.to_owned()));
            Ok(())
        }),
        "A Java class that checks identities; those of digest, ensemble, ip, sasl and x509 are built in, and ensemble and sasl need their line",
    )
    .unserved(has_foreign_provider, "an authentication provider other than digest, ensemble, ip, sasl and x509"),
    Key::new(
        "ensembleAuthName",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.ensemble_names = Some(v.to_owned());
            Ok(())
        }),
        "Names of this ensemble, separated by commas: a client that sends another one with scheme ensemble is closed; it needs \
         authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
    ),
    Key::new("IPAuthenticationProvider.usexforwardedfor", Form::Property, unused::FLAG, "Trust an HTTP header")
        .default("false")
        .ignored("there is no admin server"),
    // SASL
    Key::new(
        "sessionRequireClientSASLAuth",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.require_client_sasl = v),
        "Connections without SASL are refused",
    )
    .default("false"),
    Key::new(
        "allowSaslFailedClients",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.allow_sasl_failed_clients = v),
        "Clients stay connected when SASL fails, unless it is required",
    )
    .default("false"),
    Key::new(
        "superUser*",
        Form::Property,
        Kind::Family(|d, suffix, user| {
            // ZooKeeper: superUser, or superUser.anything.
            if suffix.is_empty() || suffix.starts_with('.') {
                d.config.security.sasl_super_users.push(user.to_owned());
            }
            Ok(())
        }),
        "A SASL user who may do everything: superUser, or superUser.1, superUser.2, …",
    ),
    Key::new(
        "letAnySaslUserDoX",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.any_sasl_user = Some(v.to_owned());
            Ok(())
        }),
        "What an ACL grants this SASL user, it grants every SASL user",
    ),
    Key::new(
        "SASLAuthenticationProvider.superPassword",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.sasl_super_password = Some(v.to_owned());
            Ok(())
        }),
        "Password of SASL user super, instead of the one in the JAAS file",
    ),
    Key::new(
        "sasl.serverconfig",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.sasl_section = v.to_owned();
            Ok(())
        }),
        "Section of the JAAS file that has the users",
    )
    .default("Server"),
    Key::new("sasl.*", Form::Property, unused::FAMILY, "JAAS sections of clients")
        .ignored("this server is nobody's client"),
    Key::new(
        "kerberos.removeHostFromPrincipal",
        Form::Property,
        Kind::Only("true", |d, v| d.config.security.remove_host_from_principal = v),
        "A SASL user name/host@ is name@ in ACLs",
    )
    .default("false"),
    Key::new(
        "kerberos.removeRealmFromPrincipal",
        Form::Property,
        Kind::Only("true", |d, v| d.config.security.remove_realm_from_principal = v),
        "A SASL user name@ is name in ACLs",
    )
    .default("false"),
    Key::new("kerberos.*", Form::Property, unused::FAMILY, "Kerberos names").ignored("there is no Kerberos"),
    Key::new(
        "security.auth_to_local",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.auth_to_local = v.to_owned();
            Ok(())
        }),
        "Kerberos name rules",
    )
    .default("DEFAULT")
    .unserved(|c| c.security.auth_to_local.trim() != "DEFAULT", "rules for Kerberos names"),
    Key::new(
        "requireKerberosConfig",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.require_kerberos_config = v),
        "Start only with Kerberos",
    )
    .default("false")
    .unserved(|c| c.security.require_kerberos_config, "Kerberos"),
    Key::new(
        "java.security.auth.login.config",
        Form::BareProperty,
        Kind::Text(|d, v| {
            d.config.security.jaas_file = Some(v.to_owned());
            Ok(())
        }),
        "The JAAS file: its section Server has the users of SASL DIGEST-MD5",
    ),
    Key::new("java.security.krb5.conf", Form::BareProperty, unused::TEXT, "The Kerberos file")
        .ignored("there is no Kerberos"),
];
