//! The server's side of one DIGEST-MD5 exchange: challenge, response, `rspauth`. Bytes in, bytes out.
//!
//! Owns the nonce that it sent. Invariant: an exchange is judged once; every token after the
//! verdict is refused. Source: RFC 2831, and, where that leaves a choice, the behaviour of the
//! JDK's server, which ZooKeeper uses.

use md5::{Digest, Md5};
use oxkeeper_proto::java;

use super::directives::{Directives, parse};
use super::sasl::Sasl;

/// Bytes of entropy in a nonce.
pub const NONCE_LEN: usize = 30;
/// Largest length of a client's token, bytes; longer ones are refused.
const RESPONSE_LEN_MAX: usize = 4096;
/// Realm and host. ZooKeeper: its server and every client use this literal.
const REALM: &str = "zk-sasl-md5";
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// State of an exchange.
#[derive(Debug, Default)]
pub(crate) enum DigestMd5 {
    /// No token has come.
    #[default]
    Fresh,
    /// The client has been sent this nonce, in base64.
    Challenged(String),
    /// The exchange is judged. ZooKeeper: there is one exchange per connection, and nothing may
    /// follow it.
    Over,
}

/// Answer to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A challenge to prove knowledge of the password.
    Challenge(Vec<u8>),
    /// The client knows the password, and so does this server. `user` is the proved name.
    Proved { token: Vec<u8>, user: String },
}

/// Reason why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The exchange has failed.
    Failed(&'static str),
    /// The client is not this user.
    Refused { user: String, reason: &'static str },
    /// ZooKeeper: an unexpected exception, which costs the connection without an answer.
    Malformed,
}

impl DigestMd5 {
    /// Takes the next step of the exchange. `entropy` is used if a challenge is made.
    pub(crate) fn evaluate(
        &mut self,
        token: &[u8],
        sasl: &Sasl,
        entropy: impl FnOnce() -> [u8; NONCE_LEN],
    ) -> Result<Answer, Rejection> {
        if token.len() > RESPONSE_LEN_MAX {
            return Err(Rejection::Failed("the token is too long"));
        }
        match std::mem::replace(self, DigestMd5::Over) {
            DigestMd5::Fresh => {
                let nonce = super::encode_base64(&entropy());
                let challenge = format!("realm=\"{REALM}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
                *self = DigestMd5::Challenged(nonce);
                Ok(Answer::Challenge(challenge.into_bytes()))
            }
            DigestMd5::Challenged(nonce) => judge(&parse(token)?, &nonce, sasl),
            DigestMd5::Over => Err(Rejection::Failed("the exchange is over")),
        }
    }
}

/// Judges a response. The checks and their order are the JDK's: an invalid number costs the
/// connection, but only if it is looked at.
fn judge(response: &Directives, nonce: &str, sasl: &Sasl) -> Result<Answer, Rejection> {
    let refuse = |reason| Err(Rejection::Failed(reason));
    if response.charset.as_ref().is_some_and(|charset| charset != b"utf-8") {
        return refuse("another charset than utf-8");
    }
    number(response.maxbuf.as_deref(), 10)?;
    let Some(user) = response.username.as_deref().map(java::text) else {
        return refuse("no username");
    };
    if response.realm.as_deref() != Some(REALM.as_bytes()) {
        return refuse("another realm");
    }
    if response.nonce.as_deref() != Some(nonce.as_bytes()) {
        return refuse("another nonce");
    }
    let Some(cnonce) = &response.cnonce else { return refuse("no cnonce") };
    if number(response.nonce_count.as_deref(), 16)?.is_some_and(|count| count != 1) {
        return refuse("another nonce count");
    }
    if response.qop.as_ref().is_some_and(|qop| qop != b"auth") {
        return refuse("another qop than auth");
    }
    let uri = response.digest_uri.as_deref().map(java::text).unwrap_or_default();
    if !uri.eq_ignore_ascii_case(DIGEST_URI) {
        return refuse("another digest-uri");
    }
    let Some(given) = &response.response else { return refuse("no response") };
    let refuse_user = |reason| Err(Rejection::Refused { user: user.clone().into_owned(), reason });
    let Some(password) = sasl.password(&user) else { return refuse_user("no such user") };
    let secrets = Secrets { user: &user, password, nonce, cnonce, authzid: response.authzid.as_deref() };
    if !equal(given, secrets.response("AUTHENTICATE", &uri).as_bytes()) {
        return refuse_user("wrong password");
    }
    let token = format!("rspauth={}", secrets.response("", &uri)).into_bytes();
    Ok(Answer::Proved { token, user: user.into_owned() })
}

/// Parses a number. ZooKeeper: an invalid number causes an exception in the JVM.
fn number(text: Option<&[u8]>, radix: u32) -> Result<Option<i32>, Rejection> {
    let parsed = text.map(|text| i32::from_str_radix(&String::from_utf8_lossy(text), radix));
    parsed.transpose().map_err(|_| Rejection::Malformed)
}

/// Compares in constant time for texts of the same length.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// Inputs of a response other than the URI.
struct Secrets<'a> {
    user: &'a str,
    password: &'a str,
    nonce: &'a str,
    cnonce: &'a [u8],
    authzid: Option<&'a [u8]>,
}

impl Secrets<'_> {
    /// Returns the `response-value` of RFC 2831, 2.1.2.1; with an empty `method`, the value of
    /// `rspauth`.
    fn response(&self, method: &str, uri: &str) -> String {
        let Secrets { nonce, cnonce, .. } = self;
        let who = [&latin1(self.user)[..], REALM.as_bytes(), &latin1(self.password)].join(&b':');
        let mut a1 = Md5::new();
        a1.update(Md5::digest(who));
        for part in [nonce.as_bytes(), cnonce].into_iter().chain(self.authzid) {
            a1.update(b":");
            a1.update(part);
        }
        let a1 = hex(&a1.finalize());
        let a2 = hex(&Md5::digest(format!("{method}:{uri}")));
        let parts = [a1.as_bytes(), nonce.as_bytes(), b"00000001", cnonce, b"auth", a2.as_bytes()];
        hex(&Md5::digest(parts.join(&b':')))
    }
}

/// Encodes the text in Latin-1 if that can hold it, else in UTF-8.
fn latin1(text: &str) -> Vec<u8> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    bytes.unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl() -> Sasl {
        let account = |name: &str, password: &str| (name.to_owned(), password.to_owned());
        let accounts = [account("bob", "bobpw"), account("jürgen", "größe"), account("super", "old")];
        Sasl { accounts: accounts.into(), super_password: Some("new".to_owned()), ..Sasl::default() }
    }

    /// Challenges a client, whose answer `respond` makes from the nonce.
    fn exchange(respond: impl FnOnce(&str) -> String) -> Result<Answer, Rejection> {
        let mut exchange = DigestMd5::default();
        let challenge = exchange.evaluate(b"", &sasl(), || [7; NONCE_LEN]).unwrap();
        let nonce = super::super::encode_base64(&[7; NONCE_LEN]);
        let expected = format!("realm=\"zk-sasl-md5\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
        assert_eq!(challenge, Answer::Challenge(expected.into_bytes()));
        let answer = exchange.evaluate(respond(&nonce).as_bytes(), &sasl(), || unreachable!("there is a challenge"));
        let again = exchange.evaluate(b"", &sasl(), || unreachable!("there is a verdict"));
        assert_eq!(again, Err(Rejection::Failed("the exchange is over")));
        answer
    }

    fn response(nonce: &str, user: &str, password: &str) -> String {
        let secrets = Secrets { user, password, nonce, cnonce: b"abc", authzid: None };
        let response = secrets.response("AUTHENTICATE", DIGEST_URI);
        format!(
            "charset=utf-8,username=\"{user}\",realm=\"{REALM}\",nonce=\"{nonce}\",nc=00000001,cnonce=\"abc\",\
             digest-uri=\"{DIGEST_URI}\",maxbuf=65536,response={response},qop=auth"
        )
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 2831, 4, with its own host: the formula is the same.
        let a1 = |who: &str| {
            let mut a1 = Md5::new();
            a1.update(Md5::digest(who));
            a1.update(":OA6MG9tEQGm2hh:OA6MHXh6VqTrRk");
            hex(&a1.finalize())
        };
        let a2 = hex(&Md5::digest("AUTHENTICATE:imap/elwood.innosoft.com"));
        let kd = format!("{}:OA6MG9tEQGm2hh:00000001:OA6MHXh6VqTrRk:auth:{a2}", a1("chris:elwood.innosoft.com:secret"));
        assert_eq!(hex(&Md5::digest(kd)), "d388dad90d4bbd760a152321f2143af7");
    }

    #[test]
    fn a_password_is_proved_by_both_sides() {
        for (user, password) in [("bob", "bobpw"), ("jürgen", "größe"), ("super", "new")] {
            let Ok(Answer::Proved { token, user: proved }) = exchange(|nonce| response(nonce, user, password)) else {
                panic!("{user} knows the password")
            };
            assert_eq!(proved, user);
            assert!(token.starts_with(b"rspauth=") && token.len() == 8 + 32, "{token:?}");
        }
    }

    #[test]
    fn whoever_does_not_know_it_fails() {
        let check = |respond: &dyn Fn(&str) -> String, expected| assert_eq!(exchange(respond), Err(expected));
        let failed = Rejection::Failed;
        let refused = |user: &str, reason| Rejection::Refused { user: user.to_owned(), reason };
        check(&|nonce| response(nonce, "bob", "wrong"), refused("bob", "wrong password"));
        check(&|nonce| response(nonce, "eve", "bobpw"), refused("eve", "no such user"));
        check(&|nonce| response(nonce, "super", "old"), refused("super", "wrong password"));
        check(&|_| response("other", "bob", "bobpw"), failed("another nonce"));
        let changed =
            |from: &'static str, to: &'static str| move |nonce: &str| response(nonce, "bob", "bobpw").replace(from, to);
        check(&changed("qop=auth", "qop=auth-int"), failed("another qop than auth"));
        check(&changed("realm=\"zk-sasl-md5\"", "realm=\"x\""), failed("another realm"));
        check(&changed("digest-uri=\"zookeeper/", "digest-uri=\"kafka/"), failed("another digest-uri"));
        check(&changed("charset=utf-8", "charset=UTF-8"), failed("another charset than utf-8"));
        check(&changed("cnonce=\"abc\",", ""), failed("no cnonce"));
        check(&changed("username=\"bob\"", "authzid=\"bob\""), failed("no username"));
        check(&changed("qop=auth", "nonce-count=2"), failed("another nonce count"));
        check(&changed("qop=auth", "nonce-count=x"), Rejection::Malformed);
        check(&changed("maxbuf=65536", "maxbuf=x"), Rejection::Malformed);
        check(&|_| "x".repeat(RESPONSE_LEN_MAX), failed("no username"));
        let mut long = DigestMd5::Fresh;
        let refused = long.evaluate(&[b'x'; RESPONSE_LEN_MAX + 1], &sasl(), || [0; NONCE_LEN]);
        assert_eq!(refused, Err(failed("the token is too long")));
    }
}
