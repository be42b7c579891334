//! The settings `ssl.*`: stores, versions, ciphers, and whether clients must show a certificate.
//!
//! Ciphers and versions have their Java names. Those that this library does not support are left out with a
//! warning; if none remain, that is an error. Source: `X509Util`, `SSLContextAndOptions`.

use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

use crate::error::TlsError;
use crate::provider;
use crate::store::StoreSpec;

/// Whether a server asks its clients for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// The server does not ask.
    None,
    /// The server asks; a client may have none, but one that is shown must be trusted.
    Want,
    /// The server requires a trusted certificate.
    #[default]
    Need,
}

impl ClientAuth {
    /// Parses the name used in a configuration, in any case; an empty name is the default.
    pub fn from_name(name: &str) -> Option<ClientAuth> {
        match name.to_ascii_lowercase().as_str() {
            "none" => Some(ClientAuth::None),
            "want" => Some(ClientAuth::Want),
            "need" | "" => Some(ClientAuth::Need),
            _ => None,
        }
    }
}

/// One family of settings: `ssl.*`, or `ssl.quorum.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The common prefix of the settings, as `ssl.`, for messages.
    pub prefix: String,
    /// Our key and certificates.
    pub key_store: Option<StoreSpec>,
    /// The certificates that we trust.
    pub trust_store: Option<StoreSpec>,
    /// `…protocol`: the highest version allowed; empty: the newest.
    pub protocol: String,
    /// `…enabledProtocols`, separated by commas; empty: 1.2 and 1.3.
    pub protocols: String,
    /// `…ciphersuites`, separated by commas; empty: all of them.
    pub ciphers: String,
    /// Whether a server asks its clients for certificates.
    pub client_auth: ClientAuth,
    /// Whether a dialler checks the names in the server's certificate.
    pub check_server_names: bool,
}

/// Versions and cipher suites that both sides of a connection may use.
pub(crate) struct Speech {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) suites: Vec<SupportedCipherSuite>,
    /// Configured names that are not supported here.
    pub(crate) left_out: Vec<String>,
}

impl TlsSettings {
    fn setting(&self, name: &str, reason: String) -> TlsError {
        TlsError::Setting { key: format!("{}{name}", self.prefix), reason }
    }

    pub(crate) fn speech(&self) -> Result<Speech, TlsError> {
        let mut left_out = Vec::new();
        let versions = self.versions(&mut left_out)?;
        let suites = self.suites(&mut left_out)?;
        let spoken = |version: &&SupportedProtocolVersion| suites.iter().any(|suite| suite.version() == *version);
        let versions: Vec<_> = versions.into_iter().filter(spoken).collect();
        if versions.is_empty() {
            let reason = "none of them belongs to an enabled protocol".to_owned();
            return Err(self.setting("ciphersuites", reason));
        }
        Ok(Speech { versions, suites, left_out })
    }

    fn versions(&self, left_out: &mut Vec<String>) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let (key, names) = match (self.protocols.trim(), self.protocol.trim()) {
            ("", "") | ("", "TLS" | "TLSv1.3") => return Ok(vec![&rustls::version::TLS13, &rustls::version::TLS12]),
            ("", one) => ("protocol", one),
            (list, _) => ("enabledProtocols", list),
        };
        let mut versions = Vec::new();
        for name in items(names) {
            match name {
                "TLSv1.3" => versions.push(&rustls::version::TLS13),
                "TLSv1.2" => versions.push(&rustls::version::TLS12),
                other => left_out.push(other.to_owned()),
            }
        }
        if versions.is_empty() {
            return Err(self.setting(key, format!("{names:?} has neither TLSv1.2 nor TLSv1.3, which are spoken here")));
        }
        Ok(versions)
    }

    fn suites(&self, left_out: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, TlsError> {
        let all = provider().cipher_suites.clone();
        if self.ciphers.trim().is_empty() {
            return Ok(all);
        }
        let mut suites = Vec::new();
        for name in items(&self.ciphers) {
            match all.iter().find(|suite| java_name(**suite) == name) {
                Some(suite) => suites.push(*suite),
                None => left_out.push(name.to_owned()),
            }
        }
        if suites.is_empty() {
            let known: Vec<String> = all.iter().map(|suite| java_name(*suite)).collect();
            return Err(self.setting("ciphersuites", format!("none of these is spoken here; {} are", known.join(", "))));
        }
        Ok(suites)
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Returns Java's name for a cipher suite.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library may have more of them")]
fn java_name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match suite.version().version {
        ProtocolVersion::TLSv1_3 => name.replacen("TLS13_", "TLS_", 1),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(protocol: &str, protocols: &str, ciphers: &str) -> Result<(usize, usize, Vec<String>), String> {
        let settings = TlsSettings {
            prefix: "ssl.".to_owned(),
            protocol: protocol.to_owned(),
            protocols: protocols.to_owned(),
            ciphers: ciphers.to_owned(),
            ..TlsSettings::default()
        };
        let speech = settings.speech().map_err(|error| error.to_string())?;
        Ok((speech.versions.len(), speech.suites.len(), speech.left_out))
    }

    #[test]
    fn versions_and_ciphers_have_java_names() {
        assert_eq!(speech("", "", ""), Ok((2, 9, vec![])));
        assert_eq!(speech("TLSv1.2", "", ""), Ok((1, 9, vec![])));
        assert_eq!(speech("TLSv1.2", "TLSv1.3", "").unwrap().0, 1);
        let old = "TLSv1.1, TLSv1.2";
        assert_eq!(speech("", old, ""), Ok((1, 9, vec!["TLSv1.1".to_owned()])));
        let mixed = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA,TLS_AES_256_GCM_SHA384";
        assert_eq!(speech("", "", mixed), Ok((2, 2, vec!["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()])));
        assert!(speech("", "TLSv1", "").unwrap_err().contains("ssl.enabledProtocols"));
        assert!(speech("", "", "TLS_NONE").unwrap_err().contains("TLS_AES_256_GCM_SHA384"));
        assert!(speech("", "TLSv1.3", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").is_err());
    }

    #[test]
    fn client_auth_is_need_unless_said() {
        assert_eq!(ClientAuth::from_name(""), Some(ClientAuth::Need));
        assert_eq!(ClientAuth::from_name("WANT"), Some(ClientAuth::Want));
        assert_eq!(ClientAuth::from_name("maybe"), None);
    }
}
