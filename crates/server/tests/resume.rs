//! Requests sent over one connection of a session precede those sent over the next, and are
//! executed even if their client is gone.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_proto::records::{AuthPacket, ConnectResponse, PathRecord};
use oxkeeper_proto::{Jute, Reader};
use oxkeeper_server::{Server, StartOptions};
use oxkeeper_store::fake::FakeDisk;
use support::gate::{Gate, GatedDisk};
use support::raw::{Raw, Session, create_request, dial, handshake, read_request, set_request};
use support::{LONG_MS, config, fake_dir, until};

/// Time for the server to read what was sent. If it is too short, a test checks less, but does not
/// fail.
const TAKEN_IN: Duration = Duration::from_millis(50);

fn start() -> (Server, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let disk = GatedDisk { inner: Arc::new(FakeDisk::new()), gate: gate.clone() };
    let options = StartOptions { in_memory: false, io_threads: 3 };
    let config = config(fake_dir(), &[("4lw.commands.whitelist", "cons")]);
    (Server::start_on(config, options, Arc::new(disk)).unwrap(), gate)
}

/// Opens a connection that asks for `session` and sends requests at once, without waiting for a
/// reply.
fn come_back(server: SocketAddr, session: Session, path: &str) -> Raw {
    let mut raw = Raw::unconnected(dial(server).unwrap());
    let mut bytes = handshake(LONG_MS, session);
    bytes.extend(raw.request(OpCode::Sync, &PathRecord { path: Some(path.into()) }).1);
    bytes.extend(raw.request(OpCode::Exists, &read_request(path, false)).1);
    raw.stream.write_all(&bytes).unwrap();
    raw
}

#[test]
fn a_session_that_comes_back_sees_what_it_had_under_way() {
    let (server, gate) = start();
    // The connections of a session are on different threads, and on the same one.
    for round in 0..6 {
        let path = format!("/r{round}");
        let mut first = Raw::connect(server.address(), LONG_MS).unwrap();
        let closed = gate.close();
        first.send(OpCode::Create, &create_request(&path, b"", Persistent)).unwrap();
        gate.wait_for_victim();
        let session = first.session;
        // Some sessions have returned before, and some first connections are gone already.
        let seconds = match round {
            0..2 => vec![come_back(server.address(), session, &path)],
            2..4 => (0..3).map(|_| come_back(server.address(), session, &path)).collect(),
            _ => {
                drop(first);
                thread::sleep(TAKEN_IN);
                vec![come_back(server.address(), session, &path)]
            }
        };
        thread::sleep(TAKEN_IN);
        drop(closed);
        let mut last = None;
        for mut second in seconds {
            // Only the last of several connections that the server has met continues.
            let Ok(frame) = second.frame() else { continue };
            let id = ConnectResponse::decode(&mut Reader::new(&frame)).unwrap().session_id;
            assert_eq!(id, session.id);
            last = second.reply_to(1).and_then(|_| second.reply_to(2)).ok().or(last);
        }
        assert_eq!(last.unwrap().err, 0, "round {round}: {path} was created before");
    }
    server.stop();
}

/// Covers requests that have arrived and that their connection's thread has not read.
/// (Occasionally, the kernel delivers the first ones later.)
#[test]
fn a_session_that_comes_back_sees_what_has_only_arrived() {
    let server = support::start_in_memory(3, &[]);
    let (rounds, mut seen) = (200, 0);
    for round in 0..rounds {
        let path = format!("/u{round}");
        let mut first = Raw::connect(server.address(), LONG_MS).unwrap();
        let mut second = Raw::unconnected(dial(server.address()).unwrap());
        let mut bytes = handshake(LONG_MS, first.session);
        bytes.extend(second.request(OpCode::Exists, &read_request(&path, false)).1);
        let create = first.request(OpCode::Create, &create_request(&path, b"", Persistent)).1;
        first.stream.write_all(&create).unwrap();
        second.stream.write_all(&bytes).unwrap();
        second.frame().unwrap();
        seen += usize::from(second.reply_to(1).unwrap().err == 0);
    }
    assert!(seen >= rounds * 9 / 10, "{seen} of {rounds}");
    server.stop();
}

#[test]
fn what_waits_behind_a_read_comes_before_what_the_next_connection_sends() {
    let (server, gate) = start();
    for round in 0..6 {
        let (path, behind) = (format!("/w{round}"), format!("/w{round}/b"));
        let mut first = Raw::connect(server.address(), LONG_MS).unwrap();
        let auth = AuthPacket { auth_type: 0, scheme: Some("digest".into()), auth: Some(b"a:b") };
        let frames = [
            first.request(OpCode::Create, &create_request(&path, b"", Persistent)).1,
            // This request changes the connection, so the write after it waits.
            first.request(OpCode::Auth, &auth).1,
            first.request(OpCode::Create, &create_request(&behind, b"", Persistent)).1,
        ];
        let closed = gate.close();
        first.stream.write_all(&frames.concat()).unwrap();
        gate.wait_for_victim();
        let mut second = come_back(server.address(), first.session, &behind);
        thread::sleep(TAKEN_IN);
        drop(closed);
        second.frame().unwrap();
        second.reply_to(1).unwrap();
        assert_eq!(second.reply_to(2).unwrap().err, 0, "round {round}: {behind} was created before");
    }
    server.stop();
}

/// Returns whether the server knows which session a connection wants.
fn is_met(server: SocketAddr, raw: &Raw, session: Session) -> bool {
    let (mut stream, mut connections) = (dial(server).unwrap(), String::new());
    stream.write_all(b"cons").unwrap();
    stream.read_to_string(&mut connections).unwrap();
    let (peer, sid) = (format!(":{}[", raw.stream.local_addr().unwrap().port()), format!("sid=0x{:x},", session.id));
    connections.lines().any(|line| line.contains(&peer) && line.contains(&sid))
}

#[test]
fn of_several_connections_that_wait_for_a_session_the_newest_has_it() {
    let (server, gate) = start();
    for round in 0..30 {
        let path = format!("/n{round}");
        let mut first = Raw::connect(server.address(), LONG_MS).unwrap();
        let closed = gate.close();
        first.send(OpCode::Create, &create_request(&path, b"", Persistent)).unwrap();
        gate.wait_for_victim();
        let mut waiting: Vec<Raw> = Vec::new();
        for _ in 0..3 {
            waiting.push(come_back(server.address(), first.session, &path));
            until("it is met", || is_met(server.address(), waiting.last().unwrap(), first.session));
        }
        drop(closed);
        let mut newest = waiting.pop().unwrap();
        let frame = newest.frame().unwrap();
        assert_eq!(ConnectResponse::decode(&mut Reader::new(&frame)).unwrap().session_id, first.session.id);
        assert_eq!((newest.reply_to(1).unwrap().err, newest.reply_to(2).unwrap().err), (0, 0));
        waiting.iter_mut().for_each(Raw::wait_closed);
        newest.ping().unwrap();
    }
    server.stop();
}

/// Number of requests that fit into a packet. When a client leaves, its system discards what is
/// unsent.
const AT_ONCE: usize = 50;

/// Sends many writes, each followed by a read, and a closeSession, without waiting for any reply.
fn send_and_close(client: &mut Raw, path: &str, pairs: usize) {
    // The client never reads this reply, so its system sends a reset when it leaves.
    client.send(OpCode::Exists, &read_request(path, false)).unwrap();
    thread::sleep(TAKEN_IN);
    let mut bytes = client.request(OpCode::Create, &create_request(&format!("{path}/e"), b"", Ephemeral)).1;
    for pair in 0..pairs {
        bytes.extend(client.request(OpCode::SetData, &set_request(path, b"x")).1);
        bytes.extend(client.request(OpCode::GetData, &read_request(path, false)).1);
        if pair == pairs / 2 {
            let auth = AuthPacket { auth_type: 0, scheme: Some("digest".into()), auth: Some(b"a:b") };
            bytes.extend(client.request(OpCode::Auth, &auth).1);
        }
    }
    bytes.extend(client.request_with(OpCode::CloseSession, |_| {}).1);
    client.stream.write_all(&bytes).unwrap();
}

#[test]
fn what_was_sent_before_a_client_left_is_carried_out() {
    let (server, gate) = start();
    let mut here = Vec::new();
    let mut witness = Raw::connect(server.address(), LONG_MS).unwrap();
    for (round, pairs) in [1, 5, 50, 500, 5_000].into_iter().enumerate() {
        let path = format!("/c{round}");
        witness.create(&path, b"", Persistent).unwrap().unwrap();
        // When it leaves, its first write is on its way to the disk and everything after it is
        // waiting.
        let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
        let closed = gate.close();
        send_and_close(&mut client, &path, pairs);
        gate.wait_for_victim();
        if pairs <= AT_ONCE {
            drop(client);
        } else {
            client.stream.shutdown(Shutdown::Write).unwrap();
            here.push(client);
        }
        thread::sleep(TAKEN_IN);
        drop(closed);
        until(&format!("the last of {pairs} writes is done"), || {
            witness.exists(&path).unwrap().version == pairs as i32
        });
        until("the session is closed", || witness.exists(&format!("{path}/e")).is_none());
    }
    server.stop();
}

/// More than may wait for the engine at once: the rest is held back in favour of other clients.
#[test]
fn what_was_held_back_when_a_client_left_is_carried_out() {
    let (server, gate) = start();
    let mut witness = Raw::connect(server.address(), LONG_MS).unwrap();
    witness.create("/h", b"", Persistent).unwrap().unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    let closed = gate.close();
    let data = vec![1; 1_000_000];
    let frames: Vec<u8> = (0..20).flat_map(|_| client.request(OpCode::SetData, &set_request("/h", &data)).1).collect();
    client.stream.write_all(&frames).unwrap();
    gate.wait_for_victim();
    client.stream.shutdown(Shutdown::Write).unwrap();
    thread::sleep(TAKEN_IN);
    drop(closed);
    until("all writes are done", || witness.exists("/h").unwrap().version == 20);
    server.stop();
}
