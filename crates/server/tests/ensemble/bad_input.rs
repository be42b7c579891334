//! Bad input at the peer port of a working ensemble: from strangers, members of other ensembles,
//! and malfunctioning members.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use oxkeeper_proto::op::CreateMode::{Persistent, PersistentSequential};

use crate::group::Group;
use crate::pure::voter_ping;
use crate::support::PATIENCE;

/// Maximum length of a frame, bytes.
const FRAME_LEN_MAX: u32 = 96 << 20;

/// The first message between two servers.
#[derive(Clone)]
struct Hello {
    from: u8,
    to: u8,
    ensemble: u64,
    members: Vec<u8>,
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let link = 1;
        let mut body = vec![0, 3, link, self.from, self.to];
        body.extend_from_slice(&self.ensemble.to_be_bytes());
        body.push(self.members.len() as u8);
        body.extend_from_slice(&self.members);
        // The sender knows the feature level that the others have agreed on.
        body.extend_from_slice(&[2, 4, 0, 0, 0, 1]);
        message(b"OXKH", &body)
    }
}

fn message(magic: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&magic[..], &3u16.to_be_bytes(), &(body.len() as u16).to_be_bytes(), body].concat()
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[6], head[7]]))];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn dial(peer: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(peer).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a greeting. Returns the link, or the reason for a refusal.
fn greet(peer: SocketAddr, hello: &Hello) -> Result<TcpStream, String> {
    let mut stream = dial(peer);
    stream.write_all(&hello.encode()).unwrap();
    match read_message(&mut stream).unwrap().split_first() {
        Some((0, _)) => {
            stream.write_all(&[1]).unwrap();
            Ok(stream)
        }
        Some((_, reason)) => Err(String::from_utf8(reason.to_vec()).unwrap()),
        None => panic!("an answer has a verdict"),
    }
}

/// Returns the greeting of member 1, which is absent, to server `to`.
fn member(to: u8) -> Hello {
    Hello { from: 1, to, ensemble: 0, members: vec![1, 2, 3] }
}

fn send(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    stream.write_all(&[&(frame.len() as u32).to_be_bytes()[..], frame].concat())
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Waits until the other end has closed; ignores what it sends before.
fn wait_closed(stream: &mut TcpStream, what: &str) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the link stays open: {what}"),
            Err(_) => return,
        }
    }
}

/// Checks that all servers work, have the same contents, and accept the writes made here.
fn assert_works(group: &Group, writes: usize) {
    group.wait_serving();
    for id in group.running_ids() {
        let mut client = group.client(id);
        for _ in 0..writes {
            client.create("/w-", b"", PersistentSequential).unwrap().unwrap();
        }
    }
    group.assert_equal();
}

/// Returns random bytes, the same on every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Strangers and members of other ensembles are told the reason and leave no trace; no connection
/// suffers.
#[test]
fn strangers_at_the_peers_port_change_nothing() {
    let group = Group::running(&[1, 2, 3], &[]);
    let mut client = group.client(group.follower());
    client.create("/a", b"", Persistent).unwrap().unwrap();
    let silent: Vec<TcpStream> = group.seats.iter().map(|seat| dial(seat.peer)).collect();
    for seat in &group.seats {
        for seed in 0..20 {
            let mut stream = dial(seat.peer);
            // The connection may already be closed.
            let _ = stream.write_all(&noise(seed, 1 + 997 * seed as usize));
            if seed % 2 == 0 {
                wait_closed(&mut stream, "noise");
            }
            client.set("/a", &[seed as u8]).unwrap().unwrap();
        }
        let half = member(seat.id).encode();
        dial(seat.peer).write_all(&half[..half.len() / 2]).unwrap();
    }

    let peer = group.seat(2).peer;
    let refused = |hello: Hello| greet(peer, &hello).expect_err("nobody we know");
    let wrong = |change: &dyn Fn(&mut Hello)| {
        let mut hello = member(2);
        change(&mut hello);
        refused(hello)
    };
    assert!(wrong(&|hello| hello.ensemble = 4711).contains("this server belongs to ensemble"));
    assert!(wrong(&|hello| hello.members = vec![1, 2, 3, 4]).contains("the server lines differ"));
    assert!(wrong(&|hello| hello.from = 7).contains("is not among the members here"));
    assert!(wrong(&|hello| hello.from = 2).contains("two servers have the same myid"));
    assert!(wrong(&|hello| hello.to = 3).contains("this is server 2, not 3"));
    assert!(wrong(&|hello| hello.from = 3).contains("server 2 dials server 3"));
    for _ in 0..20 {
        client.set("/a", b"on").unwrap().unwrap();
    }
    drop(silent);
    assert_works(&group, 5);
    group.end();
}

/// Encodes a ballot: number and process.
fn ballot(configuration: u32, number: u32, process: u64) -> Vec<u8> {
    [&configuration.to_be_bytes()[..], &number.to_be_bytes(), &[0; 4], &process.to_be_bytes()].concat()
}

/// Returns invalid frames, each with a name.
fn malformed() -> Vec<(String, Vec<u8>)> {
    let mut frames = vec![("an empty frame".to_owned(), Vec::new())];
    // Prefixes of the shortest frame of each kind, and frames that are one byte too long if their
    // kind has an end.
    for kind in [1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 32, 33, 34, 38, 39] {
        frames.push((format!("kind {kind} alone"), vec![kind]));
        frames.push((format!("kind {kind} cut short"), [&[kind][..], &[0; 3]].concat()));
    }
    for (kind, len) in
        [(1, 20), (2, 56), (6, 28), (7, 20), (8, 44), (16, 4), (32, 76), (33, 20), (36, 0), (37, 0), (38, 8)]
    {
        frames.push((format!("kind {kind} too long"), [&[kind][..], &vec![0; len + 1]].concat()));
    }
    for kind in [0, 9, 15, 18, 31, 45, 255] {
        frames.push((format!("unknown kind {kind}"), [&[kind][..], &[0; 40]].concat()));
    }
    for (name, ballot) in [
        ("another configuration's", ballot(2, 9, 1)),
        ("a stranger's", ballot(1, 9, 4)),
        ("the receiver's", ballot(1, 9, 2)),
        ("nobody's", vec![0; 20]),
        ("the last", ballot(1, u32::MAX, 1)),
    ] {
        frames.push((format!("prepare with {name} ballot"), [&[2][..], &ballot, &[0; 16], &ballot].concat()));
    }
    frames.push(("an index out of range".to_owned(), [&[8][..], &ballot(1, 9, 1), &[255; 8], &[0; 16]].concat()));
    frames.push(("half a session".to_owned(), [&[35][..], &[0; 12]].concat()));
    frames.push((
        "an entry that is cut short".to_owned(),
        [&[5][..], &ballot(1, 9, 1), &[0; 24], &[0, 0, 1, 0, 1]].concat(),
    ));
    frames
}

/// A greeted member that sends an invalid frame loses its link, each time, and there are no other
/// effects.
#[test]
fn malformed_frames_end_their_link_and_nothing_else() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    group.client(1).create("/a", b"", Persistent).unwrap().unwrap();
    group.stop(1);
    group.wait_serving();
    let mut client = group.client(3);
    let peer = group.seat(2).peer;
    for (name, frame) in malformed() {
        let mut stream = greet(peer, &member(2)).unwrap();
        send(&mut stream, &voter_ping()).unwrap();
        send(&mut stream, &frame).unwrap();
        wait_closed(&mut stream, &name);
        client.set("/a", name.as_bytes()).unwrap().unwrap();
    }
    let mut stream = greet(peer, &member(2)).unwrap();
    stream.write_all(&(FRAME_LEN_MAX + 1).to_be_bytes()).unwrap();
    wait_closed(&mut stream, "an oversize frame");
    group.start(1);
    assert_works(&group, 5);
    group.end();
}

/// A member replays to all servers what it was told: its peers accept it or end the link, and
/// continue to work when the real member is back.
#[test]
fn replayed_frames_do_no_lasting_harm() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    group.client(1).create("/a", b"", Persistent).unwrap().unwrap();
    group.stop(1);
    group.wait_serving();
    let mut client = group.client(2);
    let mut heard: Vec<Vec<u8>> = Vec::new();
    for to in [2, 3] {
        let mut stream = greet(group.seat(to).peer, &member(to)).unwrap();
        send(&mut stream, &voter_ping()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.set("/a", &[to]).unwrap().unwrap();
        while heard.len() < 40 * usize::from(to) {
            match receive(&mut stream) {
                Ok(frame) => heard.push(frame),
                Err(_) => break,
            }
        }
    }
    assert!(heard.len() > 4, "they talk to a member");
    for to in [2, 3] {
        let mut stream = greet(group.seat(to).peer, &member(to)).unwrap();
        send(&mut stream, &voter_ping()).unwrap();
        for frame in heard.iter().chain(&heard) {
            if send(&mut stream, frame).and_then(|()| send(&mut stream, frame)).is_err() {
                stream = greet(group.seat(to).peer, &member(to)).unwrap();
            }
        }
    }
    group.start(1);
    assert_works(&group, 20);
    group.end();
}

/// Accepts and greets a peer.
fn accept(listener: &TcpListener) -> (TcpStream, Vec<u8>) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = read_message(&mut stream).unwrap();
    stream.write_all(&message(b"OXKA", &[0])).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    (stream, hello)
}

/// A server that installs a state can be stopped even if the sender has fallen silent.
#[test]
fn a_server_that_waits_for_a_state_stops() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    let listener = TcpListener::bind(group.seat(2).peer).unwrap();
    group.start(1);
    let (mut link, hello) = accept(&listener);
    assert_eq!(hello[2], 1, "a link");
    // The answer to a blank server that wants to join.
    send(&mut link, &[&[38][..], &5u64.to_be_bytes()].concat()).unwrap();
    let (_state, hello) = accept(&listener);
    assert_eq!(hello[2], 2, "a state");
    std::thread::sleep(Duration::from_millis(100));
    group.stop(1);
}
