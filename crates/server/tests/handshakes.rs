//! Endless TLS handshakes: each is cut off in time, there are never more than allowed, and nobody
//! else waits.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use oxkeeper_server::Server;

mod support;

use support::{PATIENCE, in_time, start_in_memory};

/// Maximum duration of a handshake, ms.
const LIMIT_MS: u64 = 1_500;
/// Head of a record with a ClientHello of 512 bytes, and its first byte.
const BEGIN: [u8; 6] = [0x16, 3, 1, 2, 0, 1];

struct Place {
    server: Server,
    _dir: tempfile::TempDir,
}

/// Starts a server with one port for both TLS and plain connections.
fn start(handshakes_max: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let store = dir.path().join("server.pem");
    std::fs::write(&store, made.signing_key.serialize_pem() + &made.cert.pem()).unwrap();
    let limit = LIMIT_MS.to_string();
    let keys = [
        ("client.portUnification", "true"),
        ("ssl.keyStore.location", store.to_str().unwrap()),
        ("ssl.clientAuth", "none"),
        ("4lw.commands.whitelist", "*"),
        ("ssl.handshakeDetectionTimeoutMillis", &limit),
        ("netty.server.outstandingHandshake.limit", handshakes_max),
    ];
    Place { server: start_in_memory(1, &keys), _dir: dir }
}

fn dial(place: &Place, begin: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(place.server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(begin).unwrap();
    socket
}

/// Returns whether a plain request is answered.
fn is_served(place: &Place) -> bool {
    let mut answer = String::new();
    dial(place, b"srvr").read_to_string(&mut answer).unwrap();
    answer.contains("Mode: standalone")
}

/// Reads until the server closes, and returns the duration.
fn closed_after(socket: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    begin.elapsed()
}

#[test]
fn connections_without_tls_are_counted() {
    let place = start("-1");
    let _secure = dial(&place, &BEGIN);
    assert!(is_served(&place));
    let mut answer = String::new();
    dial(&place, b"mntr").read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nzk_non_mtls_local_conn_count\t2\n"), "{answer}");
    assert!(answer.contains("\nzk_non_mtls_remote_conn_count\t0\n"), "{answer}");
}

#[test]
fn one_that_does_not_end_is_given_up() {
    let place = start("-1");
    let begin = Instant::now();
    let mut silent = dial(&place, &BEGIN);
    let mut slow = dial(&place, &BEGIN);
    assert!(is_served(&place));
    // An occasional byte is not progress. Writing after the end fails sooner or later.
    while slow.write_all(&[0]).is_ok() {
        assert!(begin.elapsed() < PATIENCE, "it goes on");
        sleep(Duration::from_millis(20));
    }
    assert!(begin.elapsed() >= Duration::from_millis(LIMIT_MS / 2), "{:?}", begin.elapsed());
    closed_after(&mut silent);
    assert!(is_served(&place));
}

#[test]
fn there_are_not_more_than_allowed() {
    let place = start("3");
    let mut waiting: Vec<TcpStream> = Vec::new();
    in_time("the one too many", Duration::from_millis(LIMIT_MS / 2), || {
        waiting.iter_mut().for_each(|socket| _ = closed_after(socket));
        waiting = (0..3).map(|_| dial(&place, &BEGIN)).collect();
        // Connections are processed in order, so the earlier ones are in.
        assert!(is_served(&place));
        closed_after(&mut dial(&place, &BEGIN))
    });
    assert!(is_served(&place));
    waiting.iter_mut().for_each(|socket| _ = closed_after(socket));
    // There is room again.
    let begin = Instant::now();
    closed_after(&mut dial(&place, &BEGIN));
    assert!(begin.elapsed() >= Duration::from_millis(LIMIT_MS / 2));
}
