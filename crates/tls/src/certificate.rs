//! Reads a certificate: its subject as ZooKeeper spells it, its dates, whether it has alternative names of hosts.
//!
//! [`Facts`] are for people and for identities; `verify` decides whether a certificate is trusted.

use rustls::pki_types::CertificateDer;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

/// Facts read from one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The subject as `X500Principal.getName()` spells it, which is the id in an ACL of scheme `x509`.
    pub subject: String,
    /// First second of its validity, Unix time.
    pub not_before_s: i64,
    /// Last second of its validity, Unix time.
    pub not_after_s: i64,
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// Whether it has alternative names of hosts; the common name does not count as a host name then.
    pub has_dns_names: bool,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
}

impl Facts {
    /// Reads a certificate. *Errors*: the defect of the certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let has_dns_names = names
            .is_some_and(|names| names.value.general_names.iter().any(|name| matches!(name, GeneralName::DNSName(_))));
        let common_name = parsed.subject().iter_common_name().last().and_then(|name| name.as_str().ok());
        Ok(Facts {
            subject: java_name(parsed.subject()),
            not_before_s: parsed.validity().not_before.timestamp(),
            not_after_s: parsed.validity().not_after.timestamp(),
            common_name: common_name.map(str::to_owned),
            has_dns_names,
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
        })
    }
}

/// Spells a name as Java's `X500Principal.getName()` does, which follows RFC 2253: last part first.
fn java_name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter().map(|part| part.iter().map(java_attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// Returns RFC 2253's keyword for an attribute.
fn keyword(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

fn java_attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    match keyword(&oid) {
        Some(keyword) if is_text(value.tag()) => format!("{keyword}={}", escaped(&String::from_utf8_lossy(value.data))),
        keyword => format!("{}=#{}", keyword.unwrap_or(&oid), hex(value.tag(), value.data)),
    }
}

/// Returns whether Java takes the attribute for text. ZooKeeper: Java reads all of these as UTF-8, whatever
/// their encoding.
fn is_text(tag: Tag) -> bool {
    [Tag::Utf8String, Tag::PrintableString, Tag::T61String, Tag::Ia5String, Tag::GeneralString, Tag::BmpString]
        .contains(&tag)
}

/// Puts a backslash before special characters and before white space at either end; NUL becomes two digits.
fn escaped(text: &str) -> String {
    let is_blank = |c: char| c == ' ' || c == '\r';
    let mut units: Vec<String> = Vec::new();
    for c in text.chars() {
        match c {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => units.push(format!("\\{c}")),
            '\0' => units.push("\\00".to_owned()),
            c => units.push(c.to_string()),
        }
    }
    let blank = |unit: &String| unit.chars().all(is_blank);
    let lead = units.iter().take_while(|unit| blank(unit)).count();
    let trail = units.len() - units.iter().rev().take_while(|unit| blank(unit)).count();
    let at_either_end = |at: usize| at < lead || at >= trail;
    units
        .iter()
        .enumerate()
        .map(|(at, unit)| if at_either_end(at) { format!("\\{unit}") } else { unit.clone() })
        .collect()
}

/// Returns tag, length and content in hexadecimal digits.
fn hex(tag: Tag, content: &[u8]) -> String {
    let mut der = vec![u8::try_from(tag.0).unwrap_or(0)];
    let len = content.len().to_be_bytes();
    let significant: Vec<u8> = len.iter().copied().skip_while(|byte| *byte == 0).collect();
    match content.len() {
        0..0x80 => der.push(content.len() as u8),
        _ => {
            der.push(0x80 | significant.len() as u8);
            der.extend(significant);
        }
    }
    der.extend_from_slice(content);
    der.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in DER, and the strings that Java 17 returns for them (`new X500Principal(der).getName()`).
    const JAVA: &[(&str, &str)] = &[
        ("3000", ""),
        ("300d310b300906035504030c026162", "CN=ab"),
        ("300d310b3009060355040313026162", "CN=ab"),
        ("300d310b3009060355040314026162", "CN=ab"),
        ("300d310b300906035504031a026162", "CN=#1a026162"),
        ("30133111300f06035504031c080000006100000062", "CN=#1c080000006100000062"),
        ("300f310d300b06035504031e0400610062", "CN=\\00a\\00b"),
        ("300d310b3009060355040302026162", "CN=#02026162"),
        ("300b3109300706035504030c00", "CN="),
        ("300e310c300a06035504030c03207820", "CN=\\ x\\ "),
        ("300d310b300906035504030c022378", "CN=\\#x"),
        ("301c311a301806035504030c11612c622b6322645c653c663e673b683d69", "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h\\=i"),
        ("300d310b300906035504030c020d78", "CN=\\\rx"),
        ("3010310e300c06035504030c05c3a9e6bca2", "CN=é漢"),
        ("300e310c300a06035504030c03610062", "CN=a\\00b"),
        ("300e310c300a06035504030c0361ff62", "CN=a\u{fffd}b"),
        ("300d310b300906035504080c025879", "ST=Xy"),
        ("301431123010060a0992268993f22c64011916025879", "DC=Xy"),
        ("30133111300f06092a864886f70d01090116025879", "1.2.840.113549.1.9.1=#16025879"),
        ("300d310b300906035504050c025879", "2.5.4.5=#0c025879"),
        (
            "302f310b300906035504061302444531143008060355040b0c0175300806035504030c016e310a300806035504030c017a",
            "CN=z,OU=u+CN=n,C=DE",
        ),
        ("30163114300806035504030c016e3008060355040b0c0175", "CN=n+OU=u"),
    ];

    #[test]
    fn names_are_spelled_as_java_does() {
        for (der, expected) in JAVA {
            let bytes: Vec<u8> =
                (0..der.len()).step_by(2).map(|at| u8::from_str_radix(&der[at..at + 2], 16).unwrap()).collect();
            let (_, name) = X509Name::from_der(&bytes).unwrap();
            assert_eq!(&java_name(&name), expected, "{der}");
        }
    }
}
