//! Every kind of store, intact and damaged. (compat-tests/tls tests the stores that keytool and openssl write today.)

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, LocalKeyId, PrivateKey, PrivateKeyChain,
};
use pkcs8::PrivateKeyInfoRef;
use proptest::prelude::*;

use crate::support::{Authority, PASSWORD, load_key, load_trust, spec};

fn subject(loaded: Result<std::sync::Arc<oxkeeper_tls::LiveTls>, String>) -> String {
    loaded.unwrap().own().unwrap().subject
}

#[test]
fn pem_key_stores() {
    let authority = Authority::new();
    let signed = authority.sign("pem", &[], |_| {});
    let whole = authority.write("a.pem", signed.certificate_pem.clone() + &signed.key_pem);
    assert_eq!(subject(load_key(spec("ssl.keyStore", &whole, ""))), "CN=pem");
    let only_key = authority.write("b.pem", &signed.key_pem);
    assert!(load_key(spec("ssl.keyStore", &only_key, "")).unwrap_err().contains("no certificate for the private key"));
    let no_key = authority.write("c.pem", &signed.certificate_pem);
    let error = load_key(spec("ssl.keyStore", &no_key, "")).unwrap_err();
    assert!(error.starts_with("ssl.keyStore.location: ") && error.ends_with("it holds no private key"), "{error}");
    let cut = authority.write("d.pem", &(signed.certificate_pem + &signed.key_pem)[..200]);
    assert!(load_key(spec("ssl.keyStore", &cut, "")).is_err());
    let other = authority.sign("other", &[], |_| {});
    let mixed = authority.write("e.pem", other.certificate_pem + &signed.key_pem);
    assert!(load_key(spec("ssl.keyStore", &mixed, "")).unwrap_err().contains("cannot be used"));
    let unknown = authority.write("f.store", "");
    assert!(load_key(spec("ssl.keyStore", &unknown, "")).unwrap_err().contains("ssl.keyStore.type"));
}

#[test]
fn pem_keys_under_a_password() {
    let authority = Authority::new();
    let signed = authority.sign("locked", &[], |_| {});
    let key = PrivateKeyInfoRef::try_from(signed.key_der.as_slice()).unwrap();
    let params =
        pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2048, b"salt salt", [7; 16]).unwrap();
    let locked = key.encrypt_with_params(params, PASSWORD).unwrap();
    let pem = locked.to_pem("ENCRYPTED PRIVATE KEY", Default::default()).unwrap();
    let file = authority.write("locked.pem", signed.certificate_pem + &pem);
    assert_eq!(subject(load_key(spec("ssl.keyStore", &file, PASSWORD))), "CN=locked");
    assert!(load_key(spec("ssl.keyStore", &file, "wrong")).unwrap_err().contains("wrong password"));
    assert!(load_key(spec("ssl.keyStore", &file, "")).unwrap_err().contains("set the password"));
    let mut from_file = spec("ssl.keyStore", &file, "wrong");
    from_file.password_path = Some(authority.write("password", format!("{PASSWORD}\n")));
    assert_eq!(subject(load_key(from_file.clone())), "CN=locked");
    from_file.password_path = Some("/nowhere".into());
    assert!(load_key(from_file).unwrap_err().contains("ssl.keyStore.passwordPath"));
}

/// Keys crafted to keep a server from starting, or from renewing its certificate.
#[test]
fn keys_that_take_for_ever() {
    let authority = Authority::new();
    let signed = authority.sign("locked", &[], |_| {});
    let key = PrivateKeyInfoRef::try_from(signed.key_der.as_slice()).unwrap();
    let load = |asked: &[u8], endless: &[u8], params: pkcs8::pkcs5::pbes2::Parameters| {
        let locked = key.encrypt_with_params(params, PASSWORD).unwrap();
        let mut der = locked.as_bytes().to_vec();
        let at = der.windows(asked.len()).position(|part| part == asked).unwrap();
        der[at..at + asked.len()].copy_from_slice(endless);
        let text = signed.certificate_pem.clone() + &crate::support::pem("ENCRYPTED PRIVATE KEY", &der);
        load_key(spec("ssl.keyStore", &authority.write("endless.pem", text), PASSWORD)).unwrap_err()
    };
    let pbkdf2 = pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(0x1_0001, b"salt salt", [7; 16]);
    let error = load(&[2, 3, 1, 0, 1], &[2, 3, 0x7f, 0xff, 0xff], pbkdf2.unwrap());
    assert!(error.contains("more than 5000000 rounds"), "{error}");
    let cost = pkcs8::pkcs5::scrypt::Params::new(14, 8, 1).unwrap();
    let scrypt = pkcs8::pkcs5::pbes2::Parameters::generate_scrypt_aes256cbc(cost, b"salt salt", [7; 16]);
    let error = load(&[2, 1, 8, 2, 1, 1], &[2, 1, 0x7f, 2, 1, 0x7f], scrypt.unwrap());
    assert!(error.contains("256 MiB of scrypt"), "{error}");
}

#[test]
fn pkcs12_stores_old_and_new() {
    let authority = Authority::new();
    let signed = authority.sign("p12", &[], |_| {});
    let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
    let chain = PrivateKeyChain::new(
        LocalKeyId::from("id"),
        PrivateKey::from_der(&signed.key_der).unwrap(),
        [certificate(&signed.certificate_der), certificate(&authority.trust_der())],
    );
    let mut keys = KeyStore::new();
    keys.add_entry("key", KeyStoreEntry::PrivateKeyChain(chain));
    let mut trust = KeyStore::new();
    trust.add_entry("authority", KeyStoreEntry::Certificate(certificate(&authority.trust_der())));
    let ciphers = [
        EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
        EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
        EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc,
    ];
    for cipher in ciphers {
        let file = authority.write("k.p12", keys.writer(PASSWORD).encryption_algorithm(cipher).write().unwrap());
        assert_eq!(subject(load_key(spec("ssl.keyStore", &file, PASSWORD))), "CN=p12");
        assert!(load_key(spec("ssl.keyStore", &file, "wrong")).unwrap_err().contains("wrong password"));
        let file = authority.write("t.p12", trust.writer(PASSWORD).encryption_algorithm(cipher).write().unwrap());
        load_trust(spec("ssl.trustStore", &file, PASSWORD)).unwrap();
        assert!(load_key(spec("ssl.keyStore", &file, PASSWORD)).unwrap_err().contains("no private key"));
    }
    let bytes = keys.writer(PASSWORD).write().unwrap();
    let cut = authority.write("cut.p12", &bytes[..bytes.len() / 2]);
    assert!(load_key(spec("ssl.keyStore", &cut, PASSWORD)).unwrap_err().contains("ends in the middle"));
    let misnamed = authority.write("k.jks", bytes);
    assert_eq!(subject(load_key(spec("ssl.keyStore", &misnamed, PASSWORD))), "CN=p12");
}

#[test]
fn jks_stores() {
    let authority = Authority::new();
    let keys = from_base64(JKS_KEYS);
    let trust = from_base64(JKS_TRUST);
    let file = authority.write("k.jks", &keys);
    assert_eq!(subject(load_key(spec("ssl.keyStore", &file, "changeit"))), "CN=jks,O=test");
    assert!(load_key(spec("ssl.keyStore", &file, "wrong")).unwrap_err().contains("wrong password"));
    assert!(load_trust(spec("ssl.trustStore", &file, "changeit")).unwrap_err().contains("no trusted certificate"));
    let file = authority.write("t.jks", &trust);
    load_trust(spec("ssl.trustStore", &file, "changeit")).unwrap();
    load_trust(spec("ssl.trustStore", &file, "")).unwrap();
    assert!(load_key(spec("ssl.keyStore", &file, "changeit")).unwrap_err().contains("no private key"));
    for len in [0, 3, 11, 40, trust.len() - 1] {
        let cut = authority.write("cut.jks", &trust[..len]);
        assert!(load_trust(spec("ssl.trustStore", &cut, "")).unwrap_err().contains("ends in the middle"), "{len}");
    }
    let mut touched = keys;
    touched[60] ^= 1;
    let file = authority.write("touched.jks", touched);
    assert!(load_key(spec("ssl.keyStore", &file, "changeit")).is_err());
}

fn from_base64(text: &str) -> Vec<u8> {
    let pem = format!("-----BEGIN X-----\n{text}\n-----END X-----\n");
    pkcs8::der::pem::decode_vec(pem.as_bytes()).unwrap().1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_panics(mut bytes: Vec<u8>, at in 0_usize..1000, magic in 0..4) {
        let authority = tempfile::tempdir().unwrap();
        if magic == 1 {
            bytes.splice(0..0, [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1]);
        } else if magic == 2 {
            bytes = from_base64(JKS_KEYS);
            let at = at % bytes.len();
            bytes[at] ^= 0x55;
        }
        for name in ["a.jks", "a.p12", "a.pem"] {
            let file = authority.path().join(name);
            std::fs::write(&file, &bytes).unwrap();
            let _ = (load_key(spec("k", &file, "p")), load_trust(spec("t", &file, "")));
        }
    }
}

/// Made by `keytool -genkeypair -keyalg EC -groupname secp256r1 -dname CN=jks,O=test -storetype JKS
/// -storepass changeit`.
const JKS_KEYS: &str = "/u3+7QAAAAIAAAABAAAAAQACemsAAAGiCTM+sQAAAH8wfTAOBgorBgEEASoCEQEB\n\
BQAEa171WOvA2OVTMBvYMzvd0FJXHmZC6iOHXP4RdiuiwwV8dNE8sDn+gi+Vs9Xo\n\
4eIHvxuStk/0z8e6tQosoWD4pXOSCznzk8TOE9JJtiqYT+7Vu8k32b+OPqZxQz1D\n\
nDDAc0yU4PGTTqyNVYi6AAAAAQAFWC41MDkAAAFVMIIBUTCB+aADAgECAghzyoL7\n\
xq381TAKBggqhkjOPQQDAjAdMQ0wCwYDVQQKEwR0ZXN0MQwwCgYDVQQDEwNqa3Mw\n\
IBcNMjYxMTIzMTYxODAyWhgPMjEyNjEwMzAxNjE4MDJaMB0xDTALBgNVBAoTBHRl\n\
c3QxDDAKBgNVBAMTA2prczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAzDCP1J\n\
94hBT/xCc5Fi/Kwe6d5dsM3q+TxQhy8XZlYMPFy6sTD8DlpY2siq2rcHsUJ5PogV\n\
ivYmDXAD3MID40qjITAfMB0GA1UdDgQWBBQfS0FV0ED5vWFY5ilDweV8HtqJSzAK\n\
BggqhkjOPQQDAgNHADBEAiAywbJMZ1YgKxcqGwrmgKbZK/innc8i+S2NbEka5MI2\n\
LgIgCIk5N7YnJaUL+AVq2bGH1YehkZf41eCfl+jsq4591LZGaP03g3Bd2+bMgg0N\n\
fTeicI7XfA==";
/// The certificate of `JKS`, imported by `keytool -importcert`.
const JKS_TRUST: &str = "/u3+7QAAAAIAAAABAAAAAgACemsAAAGiCTNA6wAFWC41MDkAAAFVMIIBUTCB+aAD\n\
AgECAghzyoL7xq381TAKBggqhkjOPQQDAjAdMQ0wCwYDVQQKEwR0ZXN0MQwwCgYD\n\
VQQDEwNqa3MwIBcNMjYxMTIzMTYxODAyWhgPMjEyNjEwMzAxNjE4MDJaMB0xDTAL\n\
BgNVBAoTBHRlc3QxDDAKBgNVBAMTA2prczBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
A0IABAzDCP1J94hBT/xCc5Fi/Kwe6d5dsM3q+TxQhy8XZlYMPFy6sTD8DlpY2siq\n\
2rcHsUJ5PogVivYmDXAD3MID40qjITAfMB0GA1UdDgQWBBQfS0FV0ED5vWFY5ilD\n\
weV8HtqJSzAKBggqhkjOPQQDAgNHADBEAiAywbJMZ1YgKxcqGwrmgKbZK/innc8i\n\
+S2NbEka5MI2LgIgCIk5N7YnJaUL+AVq2bGH1YehkZf41eCfl+jsq4591Lb+5sNy\n\
ctQr0jsh7p8PJ/vCMgXTbQ==";
