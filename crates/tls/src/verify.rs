//! Verifiers that rustls calls for the peer: its certificate, its name, its signatures in a handshake.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::algorithms;
use crate::names::names_host;
use crate::trust::{Role, Trust};
use crate::version1::Version1;

fn check_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    match Version1::read(certificate) {
        Some(version1) => version1.check_tls12(message, signed).map(|()| HandshakeSignatureValid::assertion()),
        None => verify_tls12_signature(message, certificate, signed, &algorithms()),
    }
}

fn check_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    match Version1::read(certificate) {
        Some(version1) => verify_tls13_signature_with_raw_key(message, &version1.public_key(), signed, &algorithms()),
        None => verify_tls13_signature(message, certificate, signed, &algorithms()),
    }
}

/// Methods that both of rustls's traits require with the same signatures.
macro_rules! checks_of_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            check_tls12(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            check_tls13(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

/// A dialler's verifier of servers.
#[derive(Debug)]
pub(crate) struct ServerJudge {
    pub(crate) trust: Trust,
    pub(crate) check_names: bool,
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trust.check(certificate, intermediates, Role::Server, now)?;
        if self.check_names {
            names_host(certificate, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    checks_of_signatures!();
}

/// A server's verifier of clients.
#[derive(Debug)]
pub(crate) struct ClientJudge {
    trust: Trust,
    mandatory: bool,
    subjects: Vec<DistinguishedName>,
}

impl ClientJudge {
    pub(crate) fn new(trust: Trust, mandatory: bool) -> ClientJudge {
        let subjects = trust.subjects();
        ClientJudge { trust, mandatory, subjects }
    }
}

impl ClientCertVerifier for ClientJudge {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.check(certificate, intermediates, Role::Client, now).map(|()| ClientCertVerified::assertion())
    }

    checks_of_signatures!();
}
