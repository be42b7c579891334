//! Reads the SASL users from the configuration and the JAAS file.

use std::fs::File;
use std::io::{self, Read};

use oxkeeper_replica::auth::Sasl;
use oxkeeper_replica::auth::digest_md5::NONCE_LEN;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use thiserror::Error;
use tracing::warn;

use super::jaas::{self, JAAS_LEN_MAX, Module};
use crate::telemetry::audit::process_user;
use oxkeeper_config::Security;

/// Login module of DIGEST-MD5.
const DIGEST_MODULE: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";
/// Prefix of the options that define users.
const USER_PREFIX: &str = "user_";

/// Reason why the SASL users cannot be loaded.
#[derive(Debug, Error)]
pub enum SaslError {
    /// The file cannot be read.
    #[error("cannot read the JAAS file {path} (java.security.auth.login.config): {source}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// The error from the system.
        source: io::Error,
    },
    /// The file is not in JAAS syntax.
    #[error("JAAS file {path}, {problem}")]
    Syntax {
        /// Path of the file.
        path: String,
        /// The problem and its line.
        problem: String,
    },
    /// The section asks for a mechanism other than DIGEST-MD5.
    #[error(
        "JAAS file {path}, section {section}: oxkeeper does not support {class}{hint}; \
         use {DIGEST_MODULE}, with user_NAME=\"PASSWORD\" for each user"
    )]
    Module {
        /// Path of the file.
        path: String,
        /// Name of the section.
        section: String,
        /// The login module.
        class: String,
        /// The mechanism that the module implements.
        hint: &'static str,
    },
}

/// Returns the SASL users, or `None` if the configuration names no file with a section for servers.
pub(crate) fn load(security: &Security) -> Result<Option<Sasl>, SaslError> {
    let Some(path) = &security.jaas_file else { return Ok(None) };
    let path = file_path(path);
    let unreadable = |source| SaslError::Unreadable { path: path.to_owned(), source };
    let text = read(path).map_err(unreadable)?;
    let syntax = |problem: jaas::SyntaxError| SaslError::Syntax { path: path.to_owned(), problem: problem.to_string() };
    let sections = jaas::parse(&text).map_err(syntax)?;
    let section = security.sasl_section.as_str();
    let modules = sections.get(section).filter(|modules| !modules.is_empty());
    let Some(modules) = modules else {
        // ZooKeeper: logs nothing, and answers without SASL.
        warn!(file = path, section, "the JAAS file has no such section, so clients cannot use SASL");
        return Ok(None);
    };
    if let Some(module) = modules.iter().find(|module| module.class != DIGEST_MODULE) {
        let (path, section, class) = (path.to_owned(), section.to_owned(), module.class.clone());
        let hint = if class.ends_with("Krb5LoginModule") { ", nor Kerberos" } else { "" };
        return Err(SaslError::Module { path, section, class, hint });
    }
    Ok(Some(sasl(security, modules)))
}

/// Returns username and password from a client section of a JAAS file, or `None` if there is no
/// such section.
///
/// # Errors
/// Those of loading the users of a server.
pub fn client_account(path: &str, section: &str) -> Result<Option<(String, String)>, SaslError> {
    let path = file_path(path);
    let text = read(path).map_err(|source| SaslError::Unreadable { path: path.to_owned(), source })?;
    let syntax = |problem: jaas::SyntaxError| SaslError::Syntax { path: path.to_owned(), problem: problem.to_string() };
    let sections = jaas::parse(&text).map_err(syntax)?;
    let Some(module) = sections.get(section).and_then(|modules| modules.first()) else { return Ok(None) };
    if module.class != DIGEST_MODULE {
        let (path, section, class) = (path.to_owned(), section.to_owned(), module.class.clone());
        let hint = if class.ends_with("Krb5LoginModule") { ", nor Kerberos" } else { "" };
        return Err(SaslError::Module { path, section, class, hint });
    }
    let option = |name: &str| module.options.get(name).cloned().unwrap_or_default();
    Ok(Some((option("username"), option("password"))))
}

/// Returns the user that the server acts as: the `principal` of its JAAS section, or the user of
/// the process. Source: `Login.getUserName`.
pub(crate) fn server_user(security: &Security) -> String {
    let text = security.jaas_file.as_deref().and_then(|path| read(file_path(path)).ok());
    let sections = text.and_then(|text| jaas::parse(&text).ok()).unwrap_or_default();
    let first = sections.get(&security.sasl_section).and_then(|modules| modules.first());
    let principal = first.and_then(|module| module.options.get("principal")).filter(|name| !name.is_empty());
    principal.cloned().unwrap_or_else(process_user)
}

fn sasl(security: &Security, modules: &[Module]) -> Sasl {
    let options = modules.iter().flat_map(|module| &module.options);
    let user = |(key, value): (&String, &String)| Some((key.strip_prefix(USER_PREFIX)?.to_owned(), value.clone()));
    Sasl {
        accounts: options.filter_map(user).collect(),
        super_password: security.sasl_super_password.clone(),
        super_users: security.sasl_super_users.clone(),
        any_user: security.any_sasl_user.clone(),
        allow_failed: security.allow_sasl_failed_clients,
        remove_host: security.remove_host_from_principal,
        remove_realm: security.remove_realm_from_principal,
        entropy,
    }
}

/// The JDK: a leading `=` says that no other file applies; `file:` is a URL.
fn file_path(written: &str) -> &str {
    let path = written.strip_prefix('=').unwrap_or(written);
    let Some(path) = path.strip_prefix("file:") else { return path };
    path.strip_prefix("//").unwrap_or(path)
}

fn read(path: &str) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(JAAS_LEN_MAX as u64 + 1).read_to_end(&mut text)?;
    if text.len() > JAAS_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {JAAS_LEN_MAX} bytes")));
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Returns unpredictable bytes for nonces.
fn entropy() -> [u8; NONCE_LEN] {
    let mut bytes = [0; NONCE_LEN];
    let mut filled = 0;
    while filled < NONCE_LEN {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => panic!("the system has no randomness: {error}"),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Option<Sasl>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let jaas_file = Some(format!("=file://{}", file.path().display()));
        let security = Security { jaas_file, sasl_section: "Server".to_owned(), ..Security::default() };
        load(&security).map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_options_of_the_section() {
        let text = format!("Server {{ {DIGEST_MODULE} required user_a=\"b\" other=\"c\" user_=\"d\"; }};");
        let accounts = load_text(&text).unwrap().expect("there is a section").accounts;
        assert_eq!(accounts, [("".into(), "d".into()), ("a".into(), "b".into())].into());
        assert!(load_text("Client { a.B required; };").unwrap().is_none());
        assert!(load_text("Server {};").unwrap().is_none());
        assert!(load(&Security::default()).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let check = |text: &str, expected: &str| {
            let error = load_text(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("Server { com.sun.security.auth.module.Krb5LoginModule required; };", "nor Kerberos");
        check("Server { my.Module required; };", "oxkeeper does not support my.Module;");
        check("Server {", "line 1: expected the class");
        let missing = Security { jaas_file: Some("/nowhere/jaas.conf".to_owned()), ..Security::default() };
        let error = load(&missing).unwrap_err().to_string();
        assert!(error.contains("/nowhere/jaas.conf") && error.contains("java.security.auth.login.config"), "{error}");
    }

    #[test]
    fn entropy_differs() {
        assert_ne!(entropy(), entropy());
    }
}
