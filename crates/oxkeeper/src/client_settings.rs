//! Reads the settings of ZooKeeper's clients from properties: `-D` words of CLIENT_JVMFLAGS, then
//! `-client-configuration`. Source: `ZKClientConfig`, `ClientX509Util`, `Login`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oxkeeper_client::Credentials;
use oxkeeper_config::{Config, Properties, Source};
use oxkeeper_server::client_account;
use oxkeeper_tls::TlsSettings;

/// Property that names the section of the JAAS file, and the default section.
const SECTION_KEY: (&str, &str) = ("zookeeper.sasl.clientconfig", "Client");
const JAAS_KEY: &str = "java.security.auth.login.config";
const SECURE_KEY: &str = "zookeeper.client.secure";
/// Prefix of the TLS settings; the rest of their names is as in zoo.cfg.
const TLS_PREFIX: &str = "zookeeper.ssl.";

/// Settings read from the properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSettings {
    /// Credentials in the JAAS file.
    pub(crate) credentials: Option<Credentials>,
    /// Whether the properties ask for TLS.
    pub(crate) secure: bool,
    /// TLS settings, used if the properties or the command line ask for TLS.
    pub(crate) tls: TlsSettings,
}

impl ClientSettings {
    /// Loads the properties. *Errors*: a file cannot be read, or asks for a feature that is not supported.
    pub(crate) fn load(file: Option<&Path>) -> Result<ClientSettings> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let flags = format!("{} {}", variable("CLIENT_JVMFLAGS"), variable("JVMFLAGS"));
        let mut properties = Properties::from_jvm_flags(&flags);
        if let Some(file) = file {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let read = Properties::from_file_bytes(&bytes);
            let read = read.map_err(|wrong| anyhow!("{}:{}: {}", file.display(), wrong.line, wrong.message))?;
            properties.extend(read);
        }
        ClientSettings::from_properties(&properties)
    }

    fn from_properties(properties: &Properties) -> Result<ClientSettings> {
        // The last value counts.
        let value = |key: &str| {
            let found = properties.entries().iter().rev().find(|property| property.key == key);
            found.map(|property| property.value.as_str()).filter(|value| !value.is_empty())
        };
        // ZooKeeper: its client uses TLS only over ClientCnxnSocketNetty; over its default socket the connection is
        // silently plain.
        let secure = value(SECURE_KEY).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let tls = tls(properties)?;
        let off = value("zookeeper.sasl.client").is_some_and(|value| value.eq_ignore_ascii_case("false"));
        let Some(file) = value(JAAS_KEY).filter(|_| !off) else {
            return Ok(ClientSettings { credentials: None, secure, tls });
        };
        let section = value(SECTION_KEY.0).unwrap_or(SECTION_KEY.1);
        let account = client_account(file, section)?;
        let credentials = account.map(|(username, password)| Credentials { username, password });
        Ok(ClientSettings { credentials, secure, tls })
    }
}

/// Reads the TLS settings with the parser of a server's configuration, because the keys are the same.
fn tls(properties: &Properties) -> Result<TlsSettings> {
    let mut ours = Properties::default();
    for property in properties.entries().iter().filter(|property| property.key.starts_with(TLS_PREFIX)) {
        ours.push(Source::JvmFlags, &property.key, &property.value);
    }
    let config = Config::standalone(ours)?;
    if let Some(unserved) = config.unserved().first() {
        bail!("{unserved}");
    }
    let mut settings = config.security.client_tls.settings;
    TLS_PREFIX.clone_into(&mut settings.prefix);
    for store in [&mut settings.key_store, &mut settings.trust_store].into_iter().flatten() {
        store.key = format!("zookeeper.{}", store.key);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn from_flags(flags: &str) -> Result<ClientSettings, String> {
        ClientSettings::from_properties(&Properties::from_jvm_flags(flags)).map_err(|error| error.to_string())
    }

    #[test]
    fn stores_of_tls() {
        let flags = "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty \
            -Dzookeeper.client.secure=true -Dzookeeper.ssl.trustStore.location=/trust.p12 \
            -Dzookeeper.ssl.keyStore.location=/a.jks -Dzookeeper.ssl.keyStore.location=/b.jks \
            -Dzookeeper.ssl.hostnameVerification=false";
        let settings = from_flags(flags).expect("good");
        assert!(settings.secure && !settings.tls.check_server_names);
        let keys = settings.tls.key_store.expect("named");
        assert_eq!((keys.key.as_str(), keys.path.to_str()), ("zookeeper.ssl.keyStore", Some("/b.jks")));
        assert_eq!(settings.tls.trust_store.expect("named").path.to_str(), Some("/trust.p12"));
        let plain = from_flags("-Dzookeeper.client.secure=no").expect("good");
        assert!(!plain.secure && plain.tls.check_server_names && plain.tls.trust_store.is_none());
        let error = from_flags("-Dzookeeper.ssl.crl=true").expect_err("not here");
        assert!(error.contains("ssl.crl"), "{error}");
    }

    #[test]
    fn the_account_of_a_jaas_file() {
        let mut jaas = tempfile::NamedTempFile::new().expect("a file");
        let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
        write!(jaas, "Client {{ {module} username=\"bob\" password=\"pw\"; }};").expect("written");
        let load = |more: &str| {
            let flags = format!("-D{JAAS_KEY}={} {more}", jaas.path().display());
            ClientSettings::from_properties(&Properties::from_jvm_flags(&flags)).expect("good").credentials
        };
        let bob = Credentials { username: "bob".to_owned(), password: "pw".to_owned() };
        assert_eq!(load(""), Some(bob));
        assert_eq!(load("-Dzookeeper.sasl.client=false"), None);
        assert_eq!(load("-Dzookeeper.sasl.clientconfig=Other"), None);
    }
}
