//! Certificates made during the test, and the files they are stored in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxkeeper_tls::{LiveTls, Password, Sides, StoreSpec, TlsSettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub(crate) const PASSWORD: &str = "pass word";

/// An authority, and the files with certificates that it signs.
pub(crate) struct Authority {
    pub(crate) dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A key and its certificates.
pub(crate) struct Signed {
    pub(crate) key_pem: String,
    pub(crate) key_der: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) certificate_der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        Authority::with(|_| {})
    }

    /// Makes an authority whose certificate `change` has modified.
    pub(crate) fn with(change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let issuer = CertifiedIssuer::self_signed(of_authority(change), KeyPair::generate().unwrap()).unwrap();
        Authority { dir: tempfile::tempdir().unwrap(), issuer }
    }

    /// Makes an authority whose certificate `other` signed.
    pub(crate) fn signed_by(other: &Authority) -> Authority {
        let params = of_authority(|params| params.distinguished_name.push(DnType::CommonName, "middle"));
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &other.issuer).unwrap();
        Authority { dir: tempfile::tempdir().unwrap(), issuer }
    }

    pub(crate) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    pub(crate) fn sign(
        &self,
        common_name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
        }
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn trust_pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn trust_der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// Returns settings with this certificate as our own, which trust the authority.
    pub(crate) fn settings(&self, name: &str, signed: &Signed) -> TlsSettings {
        let key = self.write(&format!("{name}.pem"), signed.key_pem.clone() + &signed.certificate_pem);
        let trust = self.write("trust.pem", self.trust_pem());
        TlsSettings {
            prefix: "ssl.".to_owned(),
            key_store: Some(spec("ssl.keyStore", &key, "")),
            trust_store: Some(spec("ssl.trustStore", &trust, "")),
            check_server_names: true,
            ..TlsSettings::default()
        }
    }
}

fn of_authority(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    change(&mut params);
    params
}

pub(crate) fn spec(key: &str, path: &Path, password: &str) -> StoreSpec {
    StoreSpec { key: key.to_owned(), path: path.to_owned(), password: Password::new(password), ..StoreSpec::default() }
}

/// Loads the store as a server's key store. Returns the error as text.
pub(crate) fn load_key(store: StoreSpec) -> Result<Arc<LiveTls>, String> {
    let settings = TlsSettings {
        prefix: "ssl.".to_owned(),
        key_store: Some(store),
        client_auth: oxkeeper_tls::ClientAuth::None,
        ..TlsSettings::default()
    };
    LiveTls::load(settings, Sides::Server).map_err(|error| error.to_string())
}

/// Loads the store as a client's trust store. Returns the error as text.
pub(crate) fn load_trust(store: StoreSpec) -> Result<Arc<LiveTls>, String> {
    let settings = TlsSettings { prefix: "ssl.".to_owned(), trust_store: Some(store), ..TlsSettings::default() };
    LiveTls::load(settings, Sides::Client).map_err(|error| error.to_string())
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    pkcs8::der::pem::encode_string(label, Default::default(), der).unwrap()
}
