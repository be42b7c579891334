//! Two sessions without a socket between them.

use oxkeeper_tls::{ClientAuth, LiveTls, ServerName, Session, Sides, TlsSettings, check_name};
use proptest::prelude::*;

use crate::support::{Authority, spec};

pub(crate) struct Pair {
    pub(crate) client: Session,
    pub(crate) server: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    heard_by_server: Vec<u8>,
    heard_by_client: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(client: &TlsSettings, server: &TlsSettings, host: &str) -> Pair {
        let client = LiveTls::load(client.clone(), Sides::Client).unwrap();
        let server = LiveTls::load(server.clone(), Sides::Server).unwrap();
        let mut to_server = Vec::new();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let client = Session::dial(client.client(), host, &mut to_server).unwrap();
        Pair::of(client, Session::accept(server.server()).unwrap(), to_server)
    }

    pub(crate) fn of(client: Session, server: Session, to_server: Vec<u8>) -> Pair {
        let (heard_by_server, heard_by_client) = (Vec::new(), Vec::new());
        Pair { client, server, to_server, to_client: Vec::new(), heard_by_server, heard_by_client }
    }

    /// Carries bytes both ways, in pieces of `piece` bytes, until none are left.
    pub(crate) fn settle(&mut self, piece: usize) -> Result<(), oxkeeper_tls::SessionError> {
        let mut result = Ok(());
        while result.is_ok() && !(self.to_server.is_empty() && self.to_client.is_empty()) {
            for part in std::mem::take(&mut self.to_server).chunks_mut(piece) {
                result = result.and(self.server.receive(part, &mut self.heard_by_server, &mut self.to_client));
            }
            for part in std::mem::take(&mut self.to_client).chunks_mut(piece) {
                result = result.and(self.client.receive(part, &mut self.heard_by_client, &mut self.to_server));
            }
        }
        result
    }
}

fn settings(authority: &Authority, protocols: &str) -> (TlsSettings, TlsSettings) {
    let change = |settings: TlsSettings| TlsSettings { protocols: protocols.to_owned(), ..settings };
    let server = authority.sign("server", &["localhost", "127.0.0.1"], |_| {});
    let client = authority.sign("client", &[], |_| {});
    (change(authority.settings("client", &client)), change(authority.settings("server", &server)))
}

#[test]
fn data_goes_both_ways_in_any_pieces() {
    let authority = Authority::new();
    for protocols in ["TLSv1.3", "TLSv1.2", ""] {
        let (client, server) = settings(&authority, protocols);
        for (piece, host) in [(1, "localhost"), (7, "127.0.0.1"), (100_000, "localhost")] {
            let mut pair = Pair::new(&client, &server, host);
            assert!(pair.server.encrypt(b"too early", &mut Vec::new()).is_err());
            pair.settle(piece).unwrap();
            assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
            let subject = oxkeeper_tls::Facts::of(pair.server.peer_certificate().unwrap()).unwrap().subject;
            assert_eq!(subject, "CN=client");
            let long: Vec<u8> = (0..50_000_u32).map(|at| at as u8).collect();
            pair.client.encrypt(&long, &mut pair.to_server).unwrap();
            let mut out = b"already sealed".to_vec();
            out.extend_from_slice(b"reply");
            pair.server.seal(&mut out, 14, &mut Vec::new()).unwrap();
            assert_eq!(&out[..14], b"already sealed");
            pair.to_client.extend_from_slice(&out[14..]);
            pair.settle(piece).unwrap();
            assert_eq!((pair.heard_by_server.len(), &pair.heard_by_server), (long.len(), &long));
            assert_eq!(pair.heard_by_client, b"reply");
            pair.client.close(&mut pair.to_server);
            pair.client.close(&mut pair.to_server);
            pair.settle(piece).unwrap();
            assert!(pair.server.is_peer_closed());
        }
    }
}

#[test]
fn who_is_not_trusted_is_told() {
    let authority = Authority::new();
    let (client, server) = settings(&authority, "");
    let stranger = Authority::new();
    let (foreign_client, foreign_server) = settings(&stranger, "");
    // The client accepts only the right server: by authority and by name.
    assert!(Pair::new(&client, &foreign_server, "localhost").settle(9999).is_err());
    assert!(Pair::new(&client, &server, "elsewhere").settle(9999).is_err());
    let careless = TlsSettings { check_server_names: false, ..client.clone() };
    assert!(Pair::new(&careless, &server, "elsewhere").settle(9999).is_ok());
    // The server accepts only the right clients.
    let mut foreign = foreign_client.clone();
    foreign.trust_store = client.trust_store.clone();
    assert!(Pair::new(&foreign, &server, "localhost").settle(9999).is_err());
    let anonymous = TlsSettings { key_store: None, ..client.clone() };
    let mut pair = Pair::new(&anonymous, &server, "localhost");
    assert!(pair.settle(9999).is_err());
    let wants = TlsSettings { client_auth: ClientAuth::Want, ..server.clone() };
    let mut pair = Pair::new(&anonymous, &wants, "localhost");
    pair.settle(9999).unwrap();
    assert!(pair.server.peer_certificate().is_none());
    assert!(Pair::new(&foreign, &wants, "localhost").settle(9999).is_err());
    let indifferent = TlsSettings { client_auth: ClientAuth::None, trust_store: None, ..server };
    let mut pair = Pair::new(&client, &indifferent, "localhost");
    pair.settle(9999).unwrap();
    assert!(pair.server.peer_certificate().is_none());
}

#[test]
fn dates_count() {
    let authority = Authority::new();
    let (client, _) = settings(&authority, "");
    for self_listed in [false, true] {
        let old = authority.sign("old", &["localhost"], |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        });
        let mut client = client.clone();
        if self_listed {
            let trust = authority.write("listed.pem", &old.certificate_pem);
            client.trust_store = Some(spec("ssl.trustStore", &trust, ""));
        }
        let server = authority.settings("old", &old);
        let error = Pair::new(&client, &server, "localhost").settle(9999).unwrap_err();
        assert!(error.to_string().contains("xpired"), "{error}");
    }
}

/// A self-signed certificate as `openssl req -x509` makes it and Java trusts it.
#[test]
fn a_listed_certificate_is_trusted_whatever_it_calls_itself() {
    let authority = Authority::new();
    let listed = authority.sign("own", &["localhost"], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let mut both = authority.settings("own", &listed);
    let trust = authority.write("own-trust.pem", &listed.certificate_pem);
    both.trust_store = Some(spec("ssl.trustStore", &trust, ""));
    Pair::new(&both, &both, "localhost").settle(9999).unwrap();
}

#[test]
fn names_of_hosts() {
    let authority = Authority::new();
    let check = |common_name: &str, names: &[&str], host: &str| {
        let signed = authority.sign(common_name, names, |_| {});
        check_name(&signed.certificate_der.into(), host)
    };
    check("x", &["zk1", "10.1.2.3"], "zk1").unwrap();
    check("x", &["zk1", "10.1.2.3"], "10.1.2.3").unwrap();
    check("zk1", &[], "zk1").unwrap();
    check("zk2", &["10.1.2.3"], "zk2").unwrap();
    assert_eq!(check("zk1", &["zk2"], "zk1").unwrap_err(), "the certificate of \"CN=zk1\" does not name zk1");
    assert!(check("x", &["zk1"], "not a name").unwrap_err().contains("neither a name nor an address"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, begins: bool, flip in 0_usize..100_000) {
        let authority = Authority::new();
        let (client, server) = settings(&authority, "");
        let mut pair = Pair::new(&client, &server, "localhost");
        if begins {
            let at = flip % pair.to_server.len();
            pair.to_server[at] ^= 1;
            let _ = pair.settle(777);
        }
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let mut bytes = bytes;
        let _ = pair.server.receive(&mut bytes, &mut plain, &mut out);
        let _ = pair.server.receive(&mut bytes, &mut plain, &mut out);
        pair.server.close(&mut out);
        prop_assert!(plain.is_empty());
    }
}
