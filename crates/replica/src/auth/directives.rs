//! The directives of a DIGEST-MD5 response: `key=value, key="value"`. Source: RFC 2831, 2.1.2; the
//! JDK's parser, which is more lenient about spaces and empty elements.

use super::digest_md5::Rejection;

/// Directives that are looked at; none may come twice. Others are skipped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) username: Option<Vec<u8>>,
    pub(super) realm: Option<Vec<u8>>,
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) cnonce: Option<Vec<u8>>,
    pub(super) nonce_count: Option<Vec<u8>>,
    pub(super) qop: Option<Vec<u8>>,
    pub(super) digest_uri: Option<Vec<u8>>,
    pub(super) response: Option<Vec<u8>>,
    pub(super) maxbuf: Option<Vec<u8>>,
    pub(super) charset: Option<Vec<u8>>,
    pub(super) cipher: Option<Vec<u8>>,
    pub(super) authzid: Option<Vec<u8>>,
    pub(super) auth_param: Option<Vec<u8>>,
}

impl Directives {
    fn place(&mut self, key: &[u8]) -> Option<&mut Option<Vec<u8>>> {
        let place = match key.to_ascii_lowercase().as_slice() {
            b"username" => &mut self.username,
            b"realm" => &mut self.realm,
            b"nonce" => &mut self.nonce,
            b"cnonce" => &mut self.cnonce,
            // ZooKeeper: the directive is called `nc`; the JDK looks for this name, so `nc` is
            // skipped.
            b"nonce-count" => &mut self.nonce_count,
            b"qop" => &mut self.qop,
            b"digest-uri" => &mut self.digest_uri,
            b"response" => &mut self.response,
            b"maxbuf" => &mut self.maxbuf,
            b"charset" => &mut self.charset,
            b"cipher" => &mut self.cipher,
            b"authzid" => &mut self.authzid,
            b"auth-param" => &mut self.auth_param,
            _ => return None,
        };
        Some(place)
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), Rejection> {
        match self.place(key) {
            Some(Some(_)) => Err(Rejection::Failed("a directive comes twice")),
            Some(place) => {
                *place = Some(value);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Parses a list of directives. *Errors*: the text is not such a list, or a directive comes twice.
pub(super) fn parse(text: &[u8]) -> Result<Directives, Rejection> {
    let mut directives = Directives::default();
    let mut rest = text.trim_ascii_start();
    while let Some(&first) = rest.first() {
        if first == b',' {
            rest = rest[1..].trim_ascii_start();
            continue;
        }
        let (key, behind) = key(rest)?;
        // The JDK: a last key without a value has an empty one.
        let (value, behind) = value(behind)?.unwrap_or_default();
        directives.put(key, value)?;
        rest = behind.trim_ascii_start();
    }
    Ok(directives)
}

/// Splits off a key, and returns it with the rest behind its `=`.
fn key(text: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let Some(end) = text.iter().position(|&byte| byte == b'=' || byte == b',' || is_space(byte)) else {
        return Ok((text, &[]));
    };
    let (key, behind) = text.split_at(end);
    let Some(behind) = behind.trim_ascii_start().strip_prefix(b"=") else {
        return Err(Rejection::Failed("a directive without a value"));
    };
    let behind = behind.trim_ascii_start();
    if key.is_empty() || behind.is_empty() {
        return Err(Rejection::Failed("a directive without a key or a value"));
    }
    Ok((key, behind))
}

/// A value, and the rest behind the separator that ends it.
type Value<'a> = (Vec<u8>, &'a [u8]);

/// Splits off a value; `None` if there is none.
fn value(text: &[u8]) -> Result<Option<Value<'_>>, Rejection> {
    let Some((&first, inner)) = text.split_first() else { return Ok(None) };
    let ends = |byte: u8| byte == b',' || is_space(byte);
    if first != b'"' {
        let end = text.iter().position(|&byte| ends(byte)).unwrap_or(text.len());
        return Ok(Some((text[..end].to_vec(), text.get(end + 1..).unwrap_or_default())));
    }
    let mut value = Vec::new();
    let mut bytes = inner.iter();
    loop {
        match bytes.next() {
            Some(b'\\') => value.push(*bytes.next().ok_or(Rejection::Failed("a quote without an end"))?),
            Some(b'"') => break,
            Some(&byte) => value.push(byte),
            None => return Err(Rejection::Failed("a quote without an end")),
        }
    }
    match bytes.next() {
        Some(&byte) if !ends(byte) => Err(Rejection::Failed("something behind a quote")),
        Some(_) | None => Ok(Some((value, bytes.as_slice()))),
    }
}

/// Returns whether `trim_ascii_start` would trim the byte.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, user: Option<&str>, realm: Option<&str>) {
        let found = parse(text.as_bytes());
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let expected = Directives { username: bytes(user), realm: bytes(realm), ..Directives::default() };
        assert_eq!(found, Ok(expected), "{text}");
    }

    #[test]
    fn lists() {
        check("", None, None);
        check("username=a,realm=\"b\"", Some("a"), Some("b"));
        check(" , username = \"a, \\\"b\\\\\" ,,realm=x y=z,", Some("a, \"b\\"), Some("x"));
        check("USERNAME=\"\",other=1", Some(""), None);
        check("username=a,realm", Some("a"), Some(""));
        for bad in
            ["username=a,username=b", "=a", "username ", "a b", "username=", "username=\"a", "username=\"a\"b", "a,b=c"]
        {
            let refused = parse(bad.as_bytes());
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
