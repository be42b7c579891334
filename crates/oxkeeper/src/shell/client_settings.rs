//! What ZooKeeper's clients take from properties: `-D` words of CLIENT_JVMFLAGS, then `-client-configuration`. Source:
//! `ZKClientConfig`, `Login`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oxkeeper_client::Credentials;
use oxkeeper_server::client_account;
use oxkeeper_server::config::Properties;

/// Where the section of the JAAS file is named, and its usual name.
const SECTION_KEY: (&str, &str) = ("zookeeper.sasl.clientconfig", "Client");
const JAAS_KEY: &str = "java.security.auth.login.config";

/// What came of the properties.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientSettings {
    /// From the JAAS file.
    pub(super) credentials: Option<Credentials>,
}

impl ClientSettings {
    /// *Errors*: a file that cannot be read, or asks for what is not here.
    pub(super) fn load(file: Option<&Path>) -> Result<ClientSettings> {
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
        // What is said last counts.
        let value = |key: &str| {
            let found = properties.entries().iter().rev().find(|property| property.key == key);
            found.map(|property| property.value.as_str()).filter(|value| !value.is_empty())
        };
        // A session that should be secret must not silently be plain.
        if value("zookeeper.client.secure").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            bail!("zookeeper.client.secure: say --tls and its options instead, see oxkeeper shell --help");
        }
        let off = value("zookeeper.sasl.client").is_some_and(|value| value.eq_ignore_ascii_case("false"));
        let Some(file) = value(JAAS_KEY).filter(|_| !off) else { return Ok(ClientSettings::default()) };
        let section = value(SECTION_KEY.0).unwrap_or(SECTION_KEY.1);
        let account = client_account(file, section)?;
        let credentials = account.map(|(username, password)| Credentials { username, password });
        Ok(ClientSettings { credentials })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

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
