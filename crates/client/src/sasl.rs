//! The client's side of a DIGEST-MD5 exchange. Source: RFC 2831, `ZooKeeperSaslClient`.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use md5::{Digest, Md5};
use oxkeeper_proto::ErrorCode;

use crate::{Client, Error};

/// ZooKeeper: the digest URI that every client sends, whichever server it talks to.
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// User and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// Password, which is never sent.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.username)
    }
}

impl Client {
    /// Authenticates us to the server and the server to us; returns false if the server has no SASL.
    ///
    /// *Errors*: `AuthFailed` if either proof fails, besides those of a call.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<bool, Error> {
        let refused = || Error::Server(ErrorCode::AuthFailed);
        let Some(challenge) = self.sasl(b"").await? else { return Ok(false) };
        let challenge = String::from_utf8(challenge).map_err(|_| refused())?;
        let nonce = directive(&challenge, "nonce").ok_or_else(refused)?;
        let realm = directive(&challenge, "realm").unwrap_or_default();
        let cnonce = cnonce();
        let proof = Proof { credentials, realm, nonce, cnonce: &cnonce };
        let token = self.sasl(proof.token().as_bytes()).await?.ok_or_else(refused)?;
        let expected = format!("rspauth={}", proof.response(""));
        if token == expected.as_bytes() { Ok(true) } else { Err(refused()) }
    }
}

/// Returns the value of `name` in `name="value",…`.
fn directive<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = challenge;
    while let Some((key, behind)) = rest.split_once('=') {
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => behind.split_at(behind.find(',').unwrap_or(behind.len())),
        };
        if key.trim_start_matches([',', ' ']) == name {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// Returns a nonce that is unique; it need not be unpredictable.
fn cnonce() -> String {
    (0..2).map(|part| format!("{:016x}", RandomState::new().hash_one(part))).collect()
}

struct Proof<'a> {
    credentials: &'a Credentials,
    realm: &'a str,
    nonce: &'a str,
    cnonce: &'a str,
}

impl Proof<'_> {
    fn token(&self) -> String {
        let escaped = self.credentials.username.replace('\\', "\\\\").replace('"', "\\\"");
        let Proof { realm, nonce, cnonce, .. } = self;
        format!(
            "charset=utf-8,username=\"{escaped}\",realm=\"{realm}\",nonce=\"{nonce}\",nc=00000001,cnonce=\"{cnonce}\",\
             digest-uri=\"{DIGEST_URI}\",maxbuf=65536,response={},qop=auth",
            self.response("AUTHENTICATE")
        )
    }

    /// Computes the response of RFC 2831, 2.1.2.1; with an empty `method`, the server's proof.
    fn response(&self, method: &str) -> String {
        let Credentials { username, password } = self.credentials;
        let who = [&latin1(username)[..], self.realm.as_bytes(), &latin1(password)].join(&b':');
        let mut a1 = Md5::new();
        a1.update(Md5::digest(who));
        a1.update(format!(":{}:{}", self.nonce, self.cnonce));
        let (a1, a2) = (hex(&a1.finalize()), hex(&Md5::digest(format!("{method}:{DIGEST_URI}"))));
        hex(&Md5::digest(format!("{a1}:{}:00000001:{}:auth:{a2}", self.nonce, self.cnonce)))
    }
}

/// Encodes text as RFC 2831 requires: in Latin-1 if possible, else in UTF-8.
fn latin1(text: &str) -> Vec<u8> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(|char| u8::try_from(u32::from(char))).collect();
    bytes.unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_of_a_challenge() {
        let challenge = "realm=\"zk,sasl\",nonce=\"a=b\",charset=utf-8,algorithm=md5-sess";
        assert_eq!(directive(challenge, "realm"), Some("zk,sasl"));
        assert_eq!(directive(challenge, "nonce"), Some("a=b"));
        assert_eq!(directive(challenge, "charset"), Some("utf-8"));
        assert_eq!(directive(challenge, "qop"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        let credentials = Credentials { username: "bob".to_owned(), password: "secret".to_owned() };
        assert_eq!(format!("{credentials:?}"), "Credentials(\"bob\")");
    }
}
