//! Recognition of X.509 names as Java reads them. Ids of scheme `x509` must be such names.
//!
//! Commas or semicolons separate parts, and `+` separates the attributes of one part. An attribute
//! is a word or an object identifier, `=`, and a value: plain with backslashes, in quotes, or `#`
//! and hexadecimal digits. Source: `X500Principal`, `AVA`.

use oxkeeper_proto::java;

/// The attribute keywords that Java knows.
const KEYWORDS: [&str; 20] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
];
const SERIAL: &str = "SERIALNUMBER";

/// Returns whether Java accepts a text as a name. The empty text is a name.
pub(crate) fn is_x500_name(text: &str) -> bool {
    let mut rest = text;
    if rest.is_empty() {
        return true;
    }
    loop {
        match attribute(rest) {
            None => return false,
            Some("") => return true,
            Some(behind) => rest = &behind[1..],
        }
    }
}

/// Reads one attribute and returns the text after it, which begins with a separator unless it is
/// empty.
fn attribute(text: &str) -> Option<&str> {
    let (word, value) = text.split_once('=')?;
    if !is_attribute_type(java::trim(word)) {
        return None;
    }
    let value = value.trim_start_matches([' ', '\n']);
    let behind = match value.as_bytes().first() {
        Some(b'#') => hexadecimal(&value[1..])?,
        Some(b'"') => quoted(&value[1..])?,
        Some(_) | None => return plain(value),
    };
    let behind = behind.trim_start_matches([' ', '\n']);
    (behind.is_empty() || is_separator(behind.chars().next()?)).then_some(behind)
}

fn is_attribute_type(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    let number = upper.strip_prefix("OID.").unwrap_or(&upper);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    KEYWORDS.contains(&upper.as_str()) || upper == SERIAL || number.contains('.') && number.split('.').all(is_number)
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ';' | '+')
}

fn hexadecimal(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    (end > 0 && end % 2 == 0).then(|| &text[end..])
}

fn quoted(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        match rest.chars().next()? {
            '"' => return Some(&rest[1..]),
            '\\' => rest = escape(rest)?,
            c => rest = &rest[c.len_utf8()..],
        }
    }
}

fn plain(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest)?,
            '<' | '>' | '"' => return None,
            c if is_separator(c) => break,
            c => &rest[c.len_utf8()..],
        };
    }
    Some(rest)
}

/// Skips a backslash and the text it escapes: two hexadecimal digits, or one special character.
fn escape(text: &str) -> Option<&str> {
    let behind = &text[1..];
    let next = behind.chars().next()?;
    if behind.len() >= 2 && behind.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit) {
        return Some(&behind[2..]);
    }
    ",=+<>#;\"\\ \n".contains(next).then(|| &behind[1..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of these were checked against `new X500Principal(…)` of Java 17.
    #[test]
    fn names_are_those_that_java_takes() {
        let names = [
            "",
            "CN=a,O=b",
            " CN = a , O=b",
            "CN=a;O=b",
            "cn=a",
            "2.5.4.3=a",
            "OID.2.5.4.3=a",
            "CN=\"a,b\"",
            "CN=a+OU=b",
            "CN=#0c0161",
            "EMAILADDRESS=a@b",
            "1.2.840.113549.1.9.1=#160161",
            "T=x",
            "CN=a=b",
            "SERIALNUMBER=1",
            "CN=a\\,b",
            "CN=",
        ];
        names.iter().for_each(|name| assert!(is_x500_name(name), "{name:?}"));
        let others = ["X=a", "CN", "CN=a,", "CN=#zz", "CN=a,,O=b", "=a", "anyone", "foo:bar"];
        others.iter().for_each(|other| assert!(!is_x500_name(other), "{other:?}"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(CN|=|,|\\+|\"|\\\\|#|0a|é| |;){0,12}") {
            let _ = is_x500_name(&text);
        }
    }
}
