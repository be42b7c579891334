//! Keys of TLS: the two similar families `ssl.*` (for clients) and `ssl.quorum.*` (between servers).

use super::{Form, Key, Kind, fit, int, unused};
use crate::settings::Config;
use oxkeeper_tls::{ClientAuth, Password, StoreSpec};

const NO_REVERSE: &str = "a certificate is compared with the name or address at hand; no name is looked up";

fn store(store: &mut Option<StoreSpec>) -> &mut StoreSpec {
    store.get_or_insert_with(StoreSpec::default)
}

/// Registered name of ZooKeeper's own class for `ssl.authProvider`.
const X509: &str = "x509";

fn has_foreign_ssl_provider(config: &Config) -> bool {
    config.security.client_tls.auth_provider != X509
}

/// Makes the rows of one store of one family.
macro_rules! store {
    ($prefix:literal, $name:literal, $($store:ident).+, $what:literal) => {
        [
            Key::security(
                concat!($prefix, $name, ".location"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).path = v.into();
                    Ok(())
                }),
                concat!("This file has ", $what),
            ),
            Key::security(
                concat!($prefix, $name, ".type"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).kind = v.to_owned();
                    Ok(())
                }),
                "The file has this type: PEM, PKCS12 or JKS",
            )
            .derived("by the end of the file's name"),
            Key::security(
                concat!($prefix, $name, ".password"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).password = Password::new(v);
                    Ok(())
                }),
                "This password opens the file",
            ),
            Key::security(
                concat!($prefix, $name, ".passwordPath"),
                Form::Property,
                Kind::Text(|d, v| {
                    store(&mut d.config.$($store).+).password_path = (!v.is_empty()).then(|| v.into());
                    Ok(())
                }),
                "This file has the password, which overrides the key password; white space around it does not count",
            ),
        ]
    };
}

/// Makes the other rows of one family.
macro_rules! family {
    ($prefix:literal, $($tls:ident).+, $names:literal) => {
        [
            Key::security(
                concat!($prefix, "clientAuth"),
                Form::Property,
                Kind::Text(|d, v| {
                    let asked = ClientAuth::from_name(v).ok_or_else(|| format!("{v:?} must be need, want or none"))?;
                    d.config.$($tls).+.settings.client_auth = asked;
                    Ok(())
                }),
                "The side that accepts a connection demands a certificate (need), asks for one (want), or does not \
                 (none)",
            )
            .default("need"),
            Key::security(
                concat!($prefix, "enabledProtocols"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.settings.protocols = v.to_owned();
                    Ok(())
                }),
                "Connections use one of these versions, separated by commas",
            )
            .derived("TLSv1.3,TLSv1.2"),
            Key::security(
                concat!($prefix, "protocol"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.settings.protocol = v.to_owned();
                    Ok(())
                }),
                "Connections use no version later than this one; TLSv1.2 is the only value with an effect. \
                 enabledProtocols overrides the key",
            ),
            Key::security(
                concat!($prefix, "ciphersuites"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.settings.ciphers = v.to_owned();
                    Ok(())
                }),
                "Connections use one of these ciphers, by their Java names, separated by commas",
            )
            .derived("all that oxkeeper has"),
            Key::security(
                concat!($prefix, "hostnameVerification"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.settings.check_server_names = v),
                "The side that connects compares the names in the certificate with the host it connects to",
            )
            .default("true"),
            Key::security(
                concat!($prefix, "clientHostnameVerification"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.check_client_names = v),
                "The side that accepts a connection compares the names with the address of the other side",
            )
            .default($names),
            Key::security(concat!($prefix, "allowReverseDnsLookup"), Form::Property, unused::FLAG, "ZooKeeper looks up the names of addresses")
                .default($names)
                .ignored(NO_REVERSE),
            Key::security(
                concat!($prefix, "crl"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.revocation_lists = v),
                "The server fetches lists of revoked certificates and refuses those",
            )
            .default("false")
            .unserved(|c| c.$($tls).+.revocation_lists, "lists of revoked certificates"),
            Key::security(
                concat!($prefix, "ocsp"),
                Form::Property,
                Kind::Flag(|d, v| d.config.$($tls).+.ocsp = v),
                "The server asks issuers by OCSP whether a certificate is revoked",
            )
            .default("false")
            .unserved(|c| c.$($tls).+.ocsp, "OCSP"),
            Key::security(
                concat!($prefix, "handshakeDetectionTimeoutMillis"),
                Form::Property,
                int(1, |d, v| d.config.$($tls).+.handshake_timeout_ms = fit(v)),
                "A handshake may take this long",
            )
            .unit("ms")
            .default("5000"),
            Key::security(
                concat!($prefix, "context.supplier.class"),
                Form::Property,
                Kind::Text(|d, v| {
                    d.config.$($tls).+.supplier_class = Some(v.to_owned());
                    Ok(())
                }),
                "This Java class supplies the keys",
            )
            .unserved(|c| c.$($tls).+.supplier_class.is_some(), "Java classes for TLS"),
        ]
    };
}

const CLIENT_KEYS: [Key; 4] =
    store!("ssl.", "keyStore", security.client_tls.settings.key_store, "the key and the certificate that clients see");
const CLIENT_TRUST: [Key; 4] = store!(
    "ssl.",
    "trustStore",
    security.client_tls.settings.trust_store,
    "the certificates that may sign those of clients"
);
const CLIENT: [Key; 11] = family!("ssl.", security.client_tls, "false");
const QUORUM_KEYS: [Key; 4] = store!(
    "ssl.quorum.",
    "keyStore",
    ensemble.tls.settings.key_store,
    "the key and the certificate that other servers see"
);
const QUORUM_TRUST: [Key; 4] = store!(
    "ssl.quorum.",
    "trustStore",
    ensemble.tls.settings.trust_store,
    "the certificates that may sign those of other servers"
);
const QUORUM: [Key; 11] = family!("ssl.quorum.", ensemble.tls, "true");

const OTHERS: [Key; 9] = [
    Key::security(
        "client.portUnification",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.client_port_unification = v),
        "The clientPort also accepts TLS",
    )
    .default("false"),
    // ZooKeeper: off by default.
    Key::security(
        "client.certReload",
        Form::Property,
        Kind::Flag(|d, v| d.config.security.client_tls.follow_files = v),
        "The server reads the key and trust stores for clients again when their files change",
    )
    .default("true"),
    Key::security(
        "ssl.authProvider",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.client_tls.auth_provider = v.to_owned();
            Ok(())
        }),
        "This provider turns certificates of clients into identities",
    )
    .default(X509)
    .unserved(has_foreign_ssl_provider, "a provider of identities other than x509"),
    Key::security("ssl.sslProvider", Form::Property, unused::TEXT, "ZooKeeper uses this TLS library for Java")
        .default("JDK")
        .ignored("oxkeeper has one TLS library"),
    Key::security("ssl.*", Form::Property, unused::FAMILY, "ZooKeeper's servers have no other keys with this prefix")
        .ignored("no version reads it on a server"),
    Key::security("fips-mode", Form::Property, unused::FLAG, "ZooKeeper uses only algorithms of FIPS 140")
        .default("true")
        .ignored("the TLS library is not certified; ssl.ciphersuites chooses ciphers")
        .missed("true"),
    Key::security(
        "netty.server.outstandingHandshake.limit",
        Form::Property,
        int(-1, |d, v| d.config.security.client_tls.handshakes_max = u32::try_from(v).ok().filter(|max| *max > 0)),
        "The server closes a new TLS connection while this many handshakes are in process; -1 sets no limit",
    )
    .default("-1"),
    Key::security("netty.*", Form::Property, unused::FAMILY, "ZooKeeper passes these keys to Netty")
        .ignored("there is no Netty"),
    Key::security(
        "X509AuthenticationProvider.superUser",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.security.client_tls.super_user = Some(v.to_owned());
            Ok(())
        }),
        "A client whose certificate has this subject may do everything",
    ),
];

/// Returns all rows of these families.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    static ALL: [&[Key]; 7] = [&OTHERS, &CLIENT_KEYS, &CLIENT_TRUST, &CLIENT, &QUORUM_KEYS, &QUORUM_TRUST, &QUORUM];
    ALL.into_iter().flatten()
}
