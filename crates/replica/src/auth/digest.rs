//! The identity derived from `user:password`, with the configured digest. Source:
//! `DigestAuthenticationProvider`.

use md5::Md5;
use oxkeeper_proto::java;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

/// Hash algorithm for credentials of scheme `digest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// 128 bits.
    Md5,
    /// ZooKeeper's default.
    #[default]
    Sha1,
    /// 224 bits.
    Sha224,
    /// 256 bits.
    Sha256,
    /// 384 bits.
    Sha384,
    /// 512 bits.
    Sha512,
    /// SHA-512, cut to 224 bits.
    Sha512To224,
    /// SHA-512, cut to 256 bits.
    Sha512To256,
}

impl DigestAlgorithm {
    /// Returns the algorithm with this JVM name, ignoring case; `None` if it is unknown.
    pub fn from_name(name: &str) -> Option<DigestAlgorithm> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MD5" => DigestAlgorithm::Md5,
            "SHA" | "SHA1" | "SHA-1" => DigestAlgorithm::Sha1,
            "SHA-224" => DigestAlgorithm::Sha224,
            "SHA-256" => DigestAlgorithm::Sha256,
            "SHA-384" => DigestAlgorithm::Sha384,
            "SHA-512" => DigestAlgorithm::Sha512,
            "SHA-512/224" => DigestAlgorithm::Sha512To224,
            "SHA-512/256" => DigestAlgorithm::Sha512To256,
            _ => return None,
        })
    }

    /// Returns the identity of `user:password`: `user:base64(digest(user:password))`.
    pub fn identity(self, credentials: &[u8]) -> String {
        let text = java::text(credentials);
        let user = text.split(':').next().unwrap_or_default();
        let digest = match self {
            DigestAlgorithm::Md5 => Md5::digest(&*text).to_vec(),
            DigestAlgorithm::Sha1 => Sha1::digest(&*text).to_vec(),
            DigestAlgorithm::Sha224 => Sha224::digest(&*text).to_vec(),
            DigestAlgorithm::Sha256 => Sha256::digest(&*text).to_vec(),
            DigestAlgorithm::Sha384 => Sha384::digest(&*text).to_vec(),
            DigestAlgorithm::Sha512 => Sha512::digest(&*text).to_vec(),
            DigestAlgorithm::Sha512To224 => Sha512_224::digest(&*text).to_vec(),
            DigestAlgorithm::Sha512To256 => Sha512_256::digest(&*text).to_vec(),
        };
        format!("{user}:{}", super::encode_base64(&digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_references() {
        let check = |name, credentials: &[u8], expected| {
            let algorithm = DigestAlgorithm::from_name(name).expect(name);
            assert_eq!(algorithm.identity(credentials), expected, "{name}");
        };
        // ZooKeeper: a CESU-8 surrogate becomes one U+FFFD.
        check("SHA1", b"\xed\xa0\xbd\xed\xb8\x80:pw", "\u{fffd}\u{fffd}:F2E4i782FsuPaGBSfsCS6MLGvYM=");
        check("SHA1", b"user1:12345", "user1:+owfoSBn/am19roBPzR1/MfCblE=");
        check("sha-1", b"super:admin", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        check("MD5", b"bob:pw", "bob:mFIN705h49CRioANaL/new==");
        check("SHA-256", b"bob:pw", "bob:lXdkgIa9O1CDDWAryQ0pe9wUYi2LkG6M7Uocn/Vyn2g=");
        check(
            "SHA-512",
            b"bob:pw",
            "bob:jQFpfQMlS0Fkelz3cdxBlcfmOOApGvKAjybCSpc/oHQD7ouOUKaAFXPlHr/2XpjmwJ0yssqB0Mh7gRRVqmyALQ==",
        );
        assert_eq!(DigestAlgorithm::from_name("SHA3-256"), None);
    }
}
