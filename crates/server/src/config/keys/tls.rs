//! Keys of TLS: the two families `ssl.*` (clients) and `ssl.quorum.*` (servers among each other), which are alike.

use super::{Form, Key, Kind, fit, int, unused};
use crate::config::settings::Config;
use oxkeeper_tls::{ClientAuth, Password, StoreSpec};

const NO_REVERSE: &str = "a certificate is compared with the name or address at hand; none is looked up";

fn store(store: &mut Option<StoreSpec>) -> &mut StoreSpec {
    store.get_or_insert_with(StoreSpec::default)
}

/// ZooKeeper's own class for `ssl.authProvider`, by the name under which it registers.
const X509: &str = "x509";

fn has_foreign_ssl_provider(config: &Config) -> bool {
    config.security.client_tls.auth_provider != X509
}

/// The rows of one store of one family.
macro_rules! store {
    ($prefix:literal, $name:literal, $($store:ident).+, $what:literal) => {
        [
            Key::new(
                concat!($prefix, $name, ".location"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).path = v.into();
                    Ok(())
                }),
                concat!("File with ", $what),
            ),
            Key::new(
                concat!($prefix, $name, ".type"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).kind = v.to_owned();
                    Ok(())
                }),
                "PEM, PKCS12 or JKS",
            )
            .derived("the end of the file's name"),
            Key::new(
                concat!($prefix, $name, ".password"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).password = Password::new(v);
                    Ok(())
                }),
                "Its password",
            ),
            Key::new(
                concat!($prefix, $name, ".passwordPath"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).password_path = (!v.is_empty()).then(|| v.into());
                    Ok(())
                }),
                "A file with its password, which wins",
            ),
        ]
    };
}

/// The other rows of one family.
macro_rules! family {
    ($prefix:literal, $($tls:ident).+, $names:literal) => {
        [
            Key::new(
                concat!($prefix, "clientAuth"),
                Form::Property,
                Kind::Text(|d, v| {
                    let asked = ClientAuth::from_name(v).ok_or_else(|| format!("{v:?} is none of need, want, none"))?;
                    d.config.$($tls).+.settings.client_auth = asked;
                    Ok(())
                }),
                "Whether the side that dials must show a certificate: need, want, none",
            )
            .default("need"),
            Key::new(
                concat!($prefix, "enabledProtocols"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.settings.protocols = v.to_owned();
                    Ok(())
                }),
                "Versions that are spoken, separated by commas",
            )
            .derived("TLSv1.3,TLSv1.2"),
            Key::new(
                concat!($prefix, "protocol"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.settings.protocol = v.to_owned();
                    Ok(())
                }),
                "TLSv1.2: no later version; without effect beside enabledProtocols",
            ),
            Key::new(
                concat!($prefix, "ciphersuites"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.settings.ciphers = v.to_owned();
                    Ok(())
                }),
                "Ciphers that are spoken, by their Java names, separated by commas",
            )
            .derived("all this build has"),
            Key::new(
                concat!($prefix, "hostnameVerification"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.settings.check_server_names = v),
                "The names in certificates are compared with where one has dialled",
            )
            .default("true"),
            Key::new(
                concat!($prefix, "clientHostnameVerification"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.check_client_names = v),
                "The side that accepts compares them, too",
            )
            .default($names),
            Key::new(concat!($prefix, "allowReverseDnsLookup"), Form::Property, unused::FLAG, "Addresses are turned into names")
                .default($names)
                .ignored(NO_REVERSE),
            Key::new(
                concat!($prefix, "crl"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.revocation_lists = v),
                "Lists of revoked certificates are fetched and obeyed",
            )
            .default("false")
            .unserved(|c| c.$($tls).+.revocation_lists, "lists of revoked certificates"),
            Key::new(
                concat!($prefix, "ocsp"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.ocsp = v),
                "Issuers are asked whether they have revoked a certificate",
            )
            .default("false")
            .unserved(|c| c.$($tls).+.ocsp, "OCSP"),
            Key::new(
                concat!($prefix, "handshakeDetectionTimeoutMillis"),
                Form::Property,
                int(1, |d, v| d.config.$($tls).+.handshake_timeout_ms = fit(v)),
                "A handshake takes no longer",
            )
            .unit("ms")
            .default("5000"),
            Key::new(
                concat!($prefix, "context.supplier.class"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.supplier_class = Some(v.to_owned());
                    Ok(())
                }),
                "A Java class that makes the keys",
            )
            .unserved(|c| c.$($tls).+.supplier_class.is_some(), "a Java class for TLS"),
        ]
    };
}

const CLIENT_KEYS: [Key; 4] =
    store!("ssl.", "keyStore", security.client_tls.settings.key_store, "key and certificate for clients");
const CLIENT_TRUST: [Key; 4] = store!(
    "ssl.",
    "trustStore",
    security.client_tls.settings.trust_store,
    "what clients' certificates may be signed by"
);
const CLIENT: [Key; 11] = family!("ssl.", security.client_tls, "false");
const QUORUM_KEYS: [Key; 4] =
    store!("ssl.quorum.", "keyStore", ensemble.tls.settings.key_store, "key and certificate for other servers");
const QUORUM_TRUST: [Key; 4] = store!(
    "ssl.quorum.",
    "trustStore",
    ensemble.tls.settings.trust_store,
    "what servers' certificates may be signed by"
);
const QUORUM: [Key; 11] = family!("ssl.quorum.", ensemble.tls, "true");

const OTHERS: [Key; 9] = [
    Key::new(
        "client.portUnification",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.client_port_unification = v),
        "The plain client port also takes TLS",
    )
    .default("false"),
    // ZooKeeper: off unless asked for.
    Key::new(
        "client.certReload",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.client_tls.follow_files = v),
        "Key and trust stores for clients are read again when their files change",
    )
    .default("true"),
    Key::new(
        "ssl.authProvider",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.client_tls.auth_provider = v.to_owned();
            Ok(())
        }),
        "Who turns certificates into identities",
    )
    .default(X509)
    .unserved(has_foreign_ssl_provider, "another provider of identities than x509"),
    Key::new("ssl.sslProvider", Form::Property, unused::TEXT, "A library for Java")
        .default("JDK")
        .ignored("there is one library here"),
    Key::new("ssl.*", Form::Property, unused::FAMILY, "Anything else").ignored("no version reads it on a server"),
    Key::new("fips-mode", Form::Property, unused::FLAG, "Only algorithms of FIPS")
        .default("true")
        .ignored("the library here is not certified; ssl.ciphersuites chooses"),
    Key::new(
        "netty.server.outstandingHandshake.limit",
        Form::Property,
        int(-1, |d, v| d.config.security.client_tls.handshakes_max = u32::try_from(v).ok().filter(|max| *max > 0)),
        "Handshakes under way beyond which new TLS connections are closed; -1: none",
    )
    .default("-1"),
    Key::new("netty.*", Form::Property, unused::FAMILY, "Tuning of Netty").ignored("there is no Netty"),
    Key::new(
        "X509AuthenticationProvider.superUser",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.client_tls.super_user = Some(v.to_owned());
            Ok(())
        }),
        "Subject of a certificate whose owner may do everything",
    ),
];

/// Every row of these families.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    static ALL: [&[Key]; 7] = [&OTHERS, &CLIENT_KEYS, &CLIENT_TRUST, &CLIENT, &QUORUM_KEYS, &QUORUM_TRUST, &QUORUM];
    ALL.into_iter().flatten()
}
