//! Keys of identities and ACLs.

use oxkeeper_replica::auth::DigestAlgorithm;

use super::{Form, Key, Kind, unused};
use crate::settings::{Config, ENSEMBLE_PROVIDER, SASL_PROVIDER};

/// Providers of schemes that are built in here.
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
    Key::security(
        "skipACL",
        Form::Property,
        Kind::Only("yes", |d, v| d.config.security.skip_acl = v),
        "With `yes`, the server does not check ACLs",
    )
    .default("no"),
    Key::security(
        "DigestAuthenticationProvider.superDigest",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.super_digest = Some(v.to_owned());
            Ok(())
        }),
        "The owner of this digest, super:<base64 of the digest of super:password>, may do everything",
    ),
    Key::security(
        "DigestAuthenticationProvider.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.digest_auth_enabled = v),
        "Clients may authenticate with the scheme digest",
    )
    .default("true"),
    Key::security(
        "DigestAuthenticationProvider.digestAlg",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.digest_algorithm = v.to_owned();
            Ok(())
        }),
        "ACL ids of the scheme digest use this algorithm, by its name in a JVM",
    )
    .default("SHA1")
    .unserved(
        |c| DigestAlgorithm::from_name(&c.security.digest_algorithm).is_none(),
        "a digest for ACL ids other than MD5, SHA1 and those of SHA-2",
    ),
    Key::security(
        "enableEagerACLCheck",
        Form::Property,
        unused::FLAG,
        "ZooKeeper's followers check ACLs before they forward a write",
    )
    .default("false")
    .ignored("ACLs are checked once, where a write is applied"),
    // Mandatory authentication
    Key::security(
        "enforce.auth.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.enforce_auth_enabled = v),
        "The server refuses clients that have no identity of enforce.auth.schemes",
    )
    .default("false"),
    Key::security(
        "enforce.auth.schemes",
        Form::Property,
        Kind::Text(|d, v| {
            let schemes = v.split(',').map(str::trim).filter(|scheme| !scheme.is_empty());
            d.config.security.enforce_auth_schemes = schemes.map(str::to_owned).collect();
            Ok(())
        }),
        "An identity of one of these schemes, separated by commas, satisfies enforce.auth.enabled",
    ),
    Key::security(
        "authProvider.*",
        Form::Property,
        Kind::Family(|d, suffix, class| {
            d.config.security.auth_providers.push((suffix.to_owned(), class.to_owned()));
            Ok(())
        }),
        "This Java class checks identities. The classes for digest, ensemble, ip, sasl and x509 are built in; \
         ensemble and sasl need their line",
    )
    .unserved(has_foreign_provider, "an authentication provider other than digest, ensemble, ip, sasl and x509"),
    Key::security(
        "ensembleAuthName",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.ensemble_names = Some(v.to_owned());
            Ok(())
        }),
        "The ensemble has these names, separated by commas: the server closes a client that sends another one with \
         the scheme ensemble. The key needs \
         authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
    ),
    Key::security(
        "IPAuthenticationProvider.usexforwardedfor",
        Form::Property,
        unused::FLAG,
        "ZooKeeper's admin server takes a client's address from the header X-Forwarded-For",
    )
    .default("false")
    .ignored("the admin server takes the address of the connection")
    .missed("true"),
    // SASL
    Key::security(
        "sessionRequireClientSASLAuth",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.require_client_sasl = v),
        "The server refuses clients that do not authenticate with SASL",
    )
    .default("false"),
    Key::security(
        "allowSaslFailedClients",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.allow_sasl_failed_clients = v),
        "A client whose SASL authentication fails stays connected, unless SASL is required",
    )
    .default("false"),
    Key::security(
        "superUser*",
        Form::Property,
        Kind::Family(|d, suffix, user| {
            // ZooKeeper: the key is superUser, or superUser.anything.
            if suffix.is_empty() || suffix.starts_with('.') {
                d.config.security.sasl_super_users.push(user.to_owned());
            }
            Ok(())
        }),
        "This SASL user may do everything: superUser, or superUser.1, superUser.2, and so on",
    ),
    Key::security(
        "letAnySaslUserDoX",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.any_sasl_user = Some(v.to_owned());
            Ok(())
        }),
        "An ACL entry for this SASL user holds for every SASL user",
    ),
    Key::security(
        "SASLAuthenticationProvider.superPassword",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.sasl_super_password = Some(v.to_owned());
            Ok(())
        }),
        "The SASL user super has this password instead of the one in the JAAS file",
    ),
    Key::security(
        "sasl.serverconfig",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.sasl_section = v.to_owned();
            Ok(())
        }),
        "This section of the JAAS file has the users",
    )
    .default("Server"),
    Key::security("sasl.*", Form::Property, unused::FAMILY, "ZooKeeper's clients use these sections of the JAAS file")
        .ignored("a server is not a client of another ensemble"),
    Key::security(
        "kerberos.removeHostFromPrincipal",
        Form::Property,
        Kind::Only("true", |d, v| d.config.security.remove_host_from_principal = v),
        "The SASL user name/host@ is name@ in ACLs",
    )
    .default("false"),
    Key::security(
        "kerberos.removeRealmFromPrincipal",
        Form::Property,
        Kind::Only("true", |d, v| d.config.security.remove_realm_from_principal = v),
        "The SASL user name@ is name in ACLs",
    )
    .default("false"),
    Key::security("kerberos.*", Form::Property, unused::FAMILY, "ZooKeeper changes Kerberos names by these keys")
        .ignored("oxkeeper does not support Kerberos"),
    Key::security(
        "security.auth_to_local",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.auth_to_local = v.to_owned();
            Ok(())
        }),
        "These rules turn Kerberos names into users",
    )
    .default("DEFAULT")
    .unserved(|c| c.security.auth_to_local.trim() != "DEFAULT", "rules for Kerberos names"),
    Key::security(
        "requireKerberosConfig",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.require_kerberos_config = v),
        "The server starts only with Kerberos",
    )
    .default("false")
    .unserved(|c| c.security.require_kerberos_config, "Kerberos"),
    Key::security(
        "java.security.auth.login.config",
        Form::BareProperty,
        Kind::Text(|d, v| {
            d.config.security.jaas_file = Some(v.to_owned());
            Ok(())
        }),
        "This JAAS file has the users of SASL DIGEST-MD5, in its section Server",
    ),
    Key::security(
        "java.security.krb5.conf",
        Form::BareProperty,
        unused::TEXT,
        "ZooKeeper reads its Kerberos settings from this file",
    )
    .ignored("oxkeeper does not support Kerberos"),
];
