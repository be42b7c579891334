//! Checks whether a certificate names a host.
//!
//! The name must be among the alternative names. If the certificate has no alternative names of hosts, the
//! common name counts, as with Java's clients. Names are never looked up. Source: `ZKHostnameVerifier`.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};

use crate::certificate::Facts;
use crate::version1::Version1;

/// Checks that a certificate names this host: in its alternative names, or as common name if it has no
/// alternative names of hosts.
///
/// # Errors
/// The certificate does not name the host; the message lists the names that it has.
pub fn check_name(certificate: &CertificateDer<'_>, host: &str) -> Result<(), String> {
    let name = ServerName::try_from(host).map_err(|_| format!("{host:?} is neither a name nor an address"))?;
    names_host(certificate, &name).map_err(|_| {
        let subject = Facts::of(certificate).map_or_else(|error| error, |facts| facts.subject);
        format!("the certificate of {subject:?} does not name {host}")
    })
}

pub(crate) fn names_host(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<(), Error> {
    let Err(error) = has_alternative_name(certificate, host) else { return Ok(()) };
    let facts = Facts::of(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let common_name = facts.common_name.filter(|_| !facts.has_dns_names);
    let matches = common_name.is_some_and(|name| matches_common_name(&name, host));
    if matches { Ok(()) } else { Err(error) }
}

fn has_alternative_name(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<(), Error> {
    match Version1::read(certificate) {
        Some(_) => {
            Err(CertificateError::NotValidForNameContext { expected: host.to_owned(), presented: vec![] }.into())
        }
        None => verify_server_name(&ParsedCertificate::try_from(certificate)?, host),
    }
}

fn matches_common_name(common_name: &str, host: &ServerName<'_>) -> bool {
    let host = host.to_str();
    let host = host.trim_end_matches('.');
    if common_name.eq_ignore_ascii_case(host) {
        return true;
    }
    // A star stands for exactly one label, the first.
    let wanted = common_name.strip_prefix("*.");
    let found = host.split_once('.').filter(|(first, _)| !first.is_empty());
    matches!((wanted, found), (Some(wanted), Some((_, rest))) if rest.contains('.') && wanted.eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_match_hosts() {
        let check = |common_name: &str, host: &str| {
            matches_common_name(common_name, &ServerName::try_from(host.to_owned()).unwrap())
        };
        assert!(check("zk1.example.com", "ZK1.example.com"));
        assert!(check("*.example.com", "zk1.example.com"));
        assert!(check("10.0.0.1", "10.0.0.1"));
        assert!(!check("*.example.com", "example.com"));
        assert!(!check("*.example.com", "a.b.example.com"));
        assert!(!check("*.com", "example.com"));
        assert!(!check("zk1", "zk2"));
    }
}
