//! Links with TLS, without it, and during the migration between the two.

use oxkeeper_tls::{LiveTls, Sides, StoreSpec, TlsSettings};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

/// Issues the TLS configuration of a server: a certificate for these names from a single authority.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { dir: tempfile::tempdir().unwrap(), issuer }
    }

    fn tls(&self, names: &[&str], dials: bool, accepts_plain: bool) -> Option<Arc<PeerTls>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let store = |name: &str, content: String| {
            let path = self.dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            Some(StoreSpec { key: name.to_owned(), path, ..StoreSpec::default() })
        };
        let settings = TlsSettings {
            prefix: "ssl.quorum.".to_owned(),
            key_store: store("key.pem", key.serialize_pem() + &certificate.pem()),
            trust_store: store("trust.pem", self.issuer.pem()),
            check_server_names: true,
            ..TlsSettings::default()
        };
        let live = LiveTls::load(settings, Sides::Both).unwrap();
        Some(Arc::new(PeerTls { live, dials, accepts_plain, checks_names: true }))
    }
}

/// Links servers 1 and 2. Returns them, and the state that server 1 receives from server 2.
fn meet(
    one: Option<Arc<PeerTls>>,
    two: Option<Arc<PeerTls>>,
    on_state: OnState,
) -> (Peers, Peers, io::Result<PeerStream>) {
    let (listeners, members) = ensemble(2);
    let mut started = listeners.into_iter().zip([one, two]).zip(1..).map(|((listener, tls), me)| {
        let config = PeersConfig { tls, ..config(me, &members) };
        Peers::start_on(vec![listener], config, on_state.clone()).unwrap()
    });
    let (one, two) = (started.next().unwrap(), started.next().unwrap());
    let answer = one.connector().connect_for_state(ServerId(2));
    (one, two, answer)
}

fn chatter() -> OnState {
    Arc::new(|mut stream, _| {
        // The receiver may have left.
        let _ = stream.write_all(&[7; 300_000]).and_then(|()| stream.flush());
    })
}

#[test]
fn frames_and_states_pass() {
    let authority = Authority::new();
    let tls = || authority.tls(&["127.0.0.1"], true, false);
    let (mut one, mut two, state) = meet(tls(), tls(), chatter());
    let mut received = Vec::new();
    state.unwrap().read_to_end(&mut received).unwrap();
    assert_eq!(received, vec![7; 300_000]);
    let ups = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| !seen.is_empty()));
    assert_eq!(ups, [[Seen::Up(2)], [Seen::Up(1)]]);
    let frames: Vec<Vec<u8>> = [0, 1, 70_000, 5, 9 << 20].iter().zip(1..).map(|(len, byte)| vec![byte; *len]).collect();
    for frame in &frames {
        one.send(ServerId(2), frame);
        two.send(ServerId(1), frame);
    }
    one.flush();
    two.flush();
    let seen = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| seen.len() >= frames.len()));
    for (seen, peer) in seen.iter().zip([2, 1]) {
        let expected: Vec<Seen> = frames.iter().map(|frame| Seen::Frame(peer, frame.clone())).collect();
        assert!(*seen == expected, "frames of {peer} are others, or in another order");
    }
}

#[test]
fn an_ensemble_moves_to_tls_one_by_one() {
    let authority = Authority::new();
    let tls = |dials, accepts_plain| authority.tls(&["127.0.0.1"], dials, accepts_plain);
    // Diallers with and without TLS, to a server that accepts both.
    for one in [None, tls(false, true), tls(true, true), tls(true, false)] {
        let (_one, _two, state) = meet(one, tls(true, true), chatter());
        state.unwrap();
    }
    // At the end of the migration, connections without TLS are refused.
    let (_one, _two, state) = meet(tls(false, true), tls(true, false), chatter());
    state.unwrap_err();
    // A server without TLS does not understand a peer that dials with it.
    let (_one, _two, state) = meet(tls(true, true), None, chatter());
    assert!(state.unwrap_err().to_string().contains("TLS"));
}

#[test]
fn certificates_speak_for_the_hosts_of_server_lines() {
    let authority = Authority::new();
    let right = || authority.tls(&["127.0.0.1"], true, false);
    let wrong = || authority.tls(&["elsewhere"], true, false);
    let (_one, _two, state) = meet(right(), wrong(), chatter());
    let error = state.unwrap_err().to_string();
    assert!(error.contains("TLS: ") && error.contains("certificate"), "{error}");
    let (_one, _two, state) = meet(wrong(), right(), chatter());
    let error = state.unwrap_err().to_string();
    assert!(error.contains("does not name 127.0.0.1: look at the server lines"), "{error}");
    let (_one, _two, state) = meet(Authority::new().tls(&["127.0.0.1"], true, false), right(), chatter());
    assert!(state.unwrap_err().to_string().contains("TLS: "));
}

/// The host of a server that is not a member yet is unknown. Once it is a member, its certificate
/// must name the host; otherwise both sides get an error, the dialling one and the dialled one.
#[test]
fn a_server_that_joined_later_is_whom_its_certificate_names() {
    let authority = Authority::new();
    for (name, host, stays) in [
        ("127.0.0.1", "127.0.0.1", true),
        ("localhost", "localhost", true),
        ("elsewhere", "127.0.0.1", false),
        ("127.0.0.1", "localhost", false),
    ] {
        let (listeners, mut members) = ensemble(2);
        members[1].host = host.to_owned();
        let both = |me, tls| PeersConfig { tls, open: true, ..config(me, &members) };
        let one = PeersConfig {
            members: members[..1].to_vec(),
            listen: HostPort { host: None, port: members[0].port },
            ..both(1, authority.tls(&["127.0.0.1"], true, false))
        };
        let two = PeersConfig { redial_max: Duration::from_millis(50), ..both(2, authority.tls(&[name], true, false)) };
        let mut started = listeners.into_iter().zip([one, two]);
        let mut start = || {
            let (listener, config) = started.next().unwrap();
            Peers::start_on(vec![listener], config, no_state()).unwrap()
        };
        let (mut one, mut two) = (start(), start());
        two.set_members(members.clone(), false);
        turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| !seen.is_empty()));
        one.set_members(members, true);
        one.wait(STEP);
        let mut seen = Vec::new();
        one.poll(&mut |event| seen.extend(Seen::of(event)));
        assert_eq!(seen, if stays { vec![] } else { vec![Seen::Down(2, false)] }, "{name} at {host}");
    }
}

#[test]
fn a_server_is_told_that_its_certificate_is_refused() {
    let authority = Authority::new();
    let (right, wrong) = (authority.tls(&["127.0.0.1"], true, false), authority.tls(&["elsewhere"], true, false));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let dialling = std::thread::spawn(move || right.unwrap().dial(&socket, "127.0.0.1", deadline).map(drop));
    let (accepted, _) = listener.accept().unwrap();
    let there = wrong.unwrap().accept(&accepted, deadline).map(drop).unwrap_err().to_string();
    let here = dialling.join().unwrap().unwrap_err().to_string();
    assert!(here.contains("127.0.0.1") && here.contains("elsewhere"), "{here}");
    assert!(there.contains("refuses this server's certificate"), "{there}");
}
