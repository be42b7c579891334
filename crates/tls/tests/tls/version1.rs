//! Certificates of version 1: the clients that are accepted with one, and those that are refused.
//!
//! Those in `weak` were made by openssl (`x509 -req`, 36,000 days, one key), because nothing here signs with
//! SHA-1, MD5 or short keys.

use std::sync::Arc;

use oxkeeper_tls::{LiveTls, ServerName, Session, SessionError, Sides, TlsSettings};
use rcgen::{CertificateParams, GeneralSubtree, IsCa, KeyPair, NameConstraints, SigningKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::der_parser::asn1_rs::{Any, FromDer};

use crate::sessions::Pair;
use crate::support::{Authority, Signed, pem, spec};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const BIT_STRING: u8 = 0x03;

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut der = vec![tag, 0x82, len[0], len[1]];
    der.extend_from_slice(content);
    match content.len() {
        0..0x80 => [&[tag, len[1]], content].concat(),
        0x80..0x100 => [&[tag, 0x81, len[1]], content].concat(),
        _ => der,
    }
}

/// Returns the elements of a sequence, each with its tag and length.
fn parts(sequence: &[u8]) -> Vec<&[u8]> {
    let (_, outer) = Any::from_der(sequence).unwrap();
    let (mut rest, mut found) = (outer.data, Vec::new());
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).unwrap();
        found.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    found
}

/// Returns the certificate without the parts that have these tags, signed again with this key.
fn without(certificate: &[u8], tags: &[u8], key: &KeyPair) -> Vec<u8> {
    let whole = parts(certificate);
    let kept: Vec<_> = parts(whole[0]).into_iter().filter(|part| !tags.contains(&part[0])).collect();
    signed(&element(SEQUENCE, &kept.concat()), whole[1], key)
}

fn signed(content: &[u8], algorithm: &[u8], key: &KeyPair) -> Vec<u8> {
    let mut signature = vec![0];
    signature.extend(key.sign(content).unwrap());
    element(SEQUENCE, &[content, algorithm, &element(BIT_STRING, &signature)].concat())
}

impl Signed {
    fn with_der(self, der: Vec<u8>) -> Signed {
        Signed { certificate_pem: pem("CERTIFICATE", &der), certificate_der: der, ..self }
    }

    fn version1(self, authority: &Authority) -> Signed {
        let der = without(&self.certificate_der, &[VERSION, EXTENSIONS], authority.key());
        self.with_der(der)
    }
}

fn holder(authority: &Authority, name: &str) -> Signed {
    authority.sign(name, &[], |_| {}).version1(authority)
}

/// Returns the result for a client with this certificate at a server that trusts the certificates in `trust`.
fn enter(client: &Signed, chain: &str, trust: &str) -> Result<String, String> {
    let authority = Authority::new();
    let server = authority.sign("server", &["localhost"], |_| {});
    let mut judge = authority.settings("server", &server);
    judge.trust_store = Some(spec("ssl.trustStore", &authority.write("whom.pem", trust), ""));
    let mut guest = authority.settings("client", &server);
    let own = client.key_pem.clone() + &client.certificate_pem + chain;
    guest.key_store = Some(spec("ssl.keyStore", &authority.write("guest.pem", own), ""));
    let mut pair = Pair::new(&guest, &judge, "localhost");
    pair.settle(9999).map_err(|error| error.to_string())?;
    Ok(oxkeeper_tls::Facts::of(pair.server.peer_certificate().unwrap()).unwrap().subject)
}

fn refused(client: &Signed, chain: &str, trust: &str, why: &str) {
    let error = enter(client, chain, trust).unwrap_err();
    assert!(error.ends_with(why), "{error}");
}

#[test]
fn both_sides_may_have_one() {
    let authority = Authority::new();
    let client = authority.settings("client", &holder(&authority, "client"));
    let server = authority.settings("server", &holder(&authority, "localhost"));
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let change = |settings: &TlsSettings| TlsSettings { protocols: protocols.to_owned(), ..settings.clone() };
        let mut pair = Pair::new(&change(&client), &change(&server), "localhost");
        pair.settle(9999).unwrap();
        let subject = oxkeeper_tls::Facts::of(pair.server.peer_certificate().unwrap()).unwrap().subject;
        assert_eq!(subject, "CN=client");
        // It has no names except the subject.
        let error = Pair::new(&change(&client), &change(&server), "elsewhere").settle(9999).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
    let listed = holder(&authority, "listed");
    assert_eq!(enter(&listed, "", &listed.certificate_pem), Ok("CN=listed".to_owned()));
}

#[test]
fn who_signed_it_counts() {
    let (authority, other) = (Authority::new(), Authority::new());
    refused(&holder(&other, "client"), "", &authority.trust_pem(), "BadSignature");
    let named = Authority::with(|params| params.distinguished_name = rcgen::DistinguishedName::new());
    refused(&holder(&named, "client"), "", &authority.trust_pem(), "UnknownIssuer");
    // Two authorities of the same name: either may have signed it.
    let both = other.trust_pem() + &authority.trust_pem();
    assert_eq!(enter(&holder(&authority, "client"), "", &both), Ok("CN=client".to_owned()));
    // A single bit of the signed part, or of the signature, is flipped.
    let client = holder(&authority, "client");
    for at in [20, client.certificate_der.len() - 3] {
        let mut der = client.certificate_der.clone();
        der[at] ^= 1;
        let error = enter_der(&client, der, &authority).unwrap_err();
        assert!(error.ends_with("BadSignature"), "{at}: {error}");
    }
}

#[test]
fn dates_count() {
    let authority = Authority::new();
    for (first, last, why) in [(2001, 2002, "expired"), (2200, 2201, "not valid yet")] {
        let client = authority.sign("client", &[], |params| {
            params.not_before = rcgen::date_time_ymd(first, 1, 1);
            params.not_after = rcgen::date_time_ymd(last, 1, 1);
        });
        let client = client.version1(&authority);
        let error = enter(&client, "", &authority.trust_pem()).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(enter(&client, "", &client.certificate_pem).is_err());
    }
}

/// The holder of such a certificate cannot make others.
#[test]
fn it_speaks_for_nobody_else() {
    let root = Authority::new();
    let middle = Authority::signed_by(&root);
    let as_version1 = pem("CERTIFICATE", &without(&middle.trust_der(), &[VERSION, EXTENSIONS], root.key()));
    let client = middle.sign("client", &[], |_| {});
    assert_eq!(enter(&client, &middle.trust_pem(), &root.trust_pem()), Ok("CN=client".to_owned()));
    assert!(enter(&client, &as_version1, &root.trust_pem()).is_err());
    refused(&holder(&middle, "client"), &as_version1, &root.trust_pem(), "UnknownIssuer");
}

#[test]
fn it_has_no_extensions() {
    let authority = Authority::new();
    let client = authority.sign("client", &["name"], |_| {});
    let der = without(&client.certificate_der, &[VERSION], authority.key());
    assert!(enter_der(&client, der, &authority).is_err());
    let client = authority.sign("client", &[], |_| {});
    let der = without(&client.certificate_der, &[EXTENSIONS], authority.key());
    enter_der(&client, der, &authority).unwrap();
}

fn enter_der(client: &Signed, der: Vec<u8>, authority: &Authority) -> Result<String, String> {
    // Our own client refuses to show such a certificate; another client may show it.
    let (key, chain) = (client.key_der.clone(), vec![CertificateDer::from(der)]);
    stranger(chain, key, authority).map_err(|error| error.to_string())
}

/// Dials as a client that shows any certificate and signs with any key.
fn stranger(chain: Vec<CertificateDer<'static>>, key: Vec<u8>, authority: &Authority) -> Result<String, SessionError> {
    let server =
        LiveTls::load(authority.settings("server", &authority.sign("server", &["localhost"], |_| {})), Sides::Server);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key).unwrap()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.trust_der().into()).unwrap();
    let shown = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = config.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    let mut to_server = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    let client = Session::dial(Arc::new(config), name, &mut to_server)?;
    let mut pair = Pair::of(client, Session::accept(server.unwrap().server())?, to_server);
    pair.settle(9999)?;
    Ok(oxkeeper_tls::Facts::of(pair.server.peer_certificate().unwrap()).unwrap().subject)
}

#[test]
fn its_key_must_be_there() {
    let authority = Authority::with(|_| {});
    let (alice, bob) = (holder(&authority, "alice"), holder(&authority, "bob"));
    let chain = vec![CertificateDer::from(alice.certificate_der.clone())];
    assert_eq!(stranger(chain.clone(), alice.key_der, &authority), Ok("CN=alice".to_owned()));
    assert!(stranger(chain, bob.key_der.clone(), &authority).unwrap_err().to_string().contains("BadSignature"));
    let mixed = Signed { certificate_pem: alice.certificate_pem, ..bob };
    let error = LiveTls::load(authority.settings("mixed", &mixed), Sides::Client).unwrap_err().to_string();
    assert!(error.starts_with("ssl.keyStore.location: the key and its certificates cannot be used"), "{error}");
}

#[test]
fn the_algorithm_is_signed_too() {
    let authority = Authority::new();
    let client = holder(&authority, "client");
    let whole = parts(&client.certificate_der);
    // ecdsa-with-SHA384 around a signed part that says ecdsa-with-SHA256.
    let other = element(SEQUENCE, &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]);
    let der = signed(whole[0], &other, authority.key());
    let error = enter_der(&client, der, &authority).unwrap_err();
    assert!(error.contains("BadEncoding"), "{error}");
}

#[test]
fn an_authority_that_constrains_names_vouches_for_none() {
    let constrained = Authority::with(|params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example.com".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    });
    refused(&holder(&constrained, "client"), "", &constrained.trust_pem(), "UnknownIssuer");
}

#[test]
fn weak_signatures_are_none() {
    let (ca, short_ca) = (include_str!("weak/ca2048.pem"), include_str!("weak/ca1024.pem"));
    let holder = |certificate: &str| Signed {
        key_pem: include_str!("weak/holder.key.pem").to_owned(),
        key_der: Vec::new(),
        certificate_pem: certificate.to_owned(),
        certificate_der: CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap().to_vec(),
    };
    assert_eq!(enter(&holder(include_str!("weak/sha256.pem")), "", ca), Ok("CN=localhost".to_owned()));
    refused(&holder(include_str!("weak/sha1.pem")), "", ca, "BadSignature");
    refused(&holder(include_str!("weak/md5.pem")), "", ca, "BadSignature");
    refused(&holder(include_str!("weak/short.pem")), "", short_ca, "BadSignature");
}

/// Holds for every version: a certificate that is trusted as it is cannot sign others, unless it says that it
/// is an authority.
#[test]
fn who_is_listed_signs_for_nobody() {
    let listed = |change: fn(&mut CertificateParams)| {
        let listed = Authority::with(change);
        let client = listed.sign("client", &[], |_| {});
        (enter(&client, "", &listed.trust_pem()), enter(&client.version1(&listed), "", &listed.trust_pem()))
    };
    let unknown = |(of_3, of_1): (Result<String, String>, Result<String, String>)| {
        assert!(of_3.unwrap_err().ends_with("UnknownIssuer"));
        assert!(of_1.unwrap_err().ends_with("UnknownIssuer"));
    };
    unknown(listed(|params| params.is_ca = IsCa::NoCa));
    unknown(listed(|params| params.is_ca = IsCa::ExplicitNoCa));
    unknown(listed(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature]));
    let trusted = listed(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]);
    assert_eq!(trusted, (Ok("CN=client".to_owned()), Ok("CN=client".to_owned())));
}

/// Certificates of version 1 cannot say whether they are an authority.
#[test]
fn of_version_1_who_signed_itself_is_an_authority() {
    let root = Authority::new();
    let middle = Authority::signed_by(&root);
    let old = |it: &Authority| pem("CERTIFICATE", &without(&it.trust_der(), &[VERSION, EXTENSIONS], root.key()));
    assert_eq!(enter(&holder(&root, "client"), "", &old(&root)), Ok("CN=client".to_owned()));
    refused(&holder(&middle, "client"), "", &old(&middle), "UnknownIssuer");
    refused(&middle.sign("client", &[], |_| {}), "", &old(&middle), "UnknownIssuer");
}
