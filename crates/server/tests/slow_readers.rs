//! Clients that send more than they read: they are answered in the end, and live as long as they
//! show signs of life.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::Persistent;
use oxkeeper_proto::op::XID_PING;
use oxkeeper_server::Server;
use socket2::SockRef;
use support::raw::{Raw, create_request, dial, read_request};
use support::{LONG_MS, PATIENCE, start_in_memory, until};

fn start() -> Server {
    start_in_memory(2, &[("4lw.commands.whitelist", "*")])
}

fn ask(server: SocketAddr, word: &str) -> String {
    let mut stream = dial(server).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the expiry of a session from `dump`, to the second.
fn expires(server: SocketAddr, session: i64) -> String {
    let dump = ask(server, "dump");
    let mut at = "";
    for line in dump.lines() {
        if line.contains(" expire at ") {
            at = line.split(" expire at ").nth(1).unwrap();
        } else if line.trim() == format!("0x{session:x}") {
            return at.to_owned();
        }
    }
    panic!("{session:x} is not in {dump}")
}

#[test]
fn everything_is_answered_although_it_is_asked_before_anything_is_read() {
    let server = start();
    let path = format!("/{}", "n".repeat(200));
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create(&path, b"some data", Persistent).unwrap().unwrap();
    client.stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // These are 14 MB of requests, more than the buffers of two sockets hold.
    let xids: Vec<i32> = (0..60).flat_map(|_| ask_often(&mut client, &path, 1_000)).collect();
    for xid in xids {
        assert_eq!(client.receive().unwrap().xid, xid);
    }
    server.stop();
}

fn ask_often(client: &mut Raw, path: &str, times: usize) -> Vec<i32> {
    let requests: Vec<_> = (0..times).map(|_| client.request(OpCode::GetData, &read_request(path, false))).collect();
    let (xids, frames): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
    client.stream.write_all(&frames.concat()).unwrap();
    xids
}

/// Two checks by the server of what its clients have taken. If it is too short, a test checks less,
/// but does not fail.
const SETTLED: Duration = Duration::from_millis(2_500);

#[test]
fn pings_count_while_replies_wait_to_be_read() {
    let server = start();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create("/large", &vec![1; 1_000_000], Persistent).unwrap().unwrap();
    let xids = ask_often(&mut client, "/large", 60);
    // The server cannot send it all. The part for which the systems have room is sent soon, and
    // counts as progress, too.
    thread::sleep(SETTLED);
    let id = client.session.id;
    let first = expires(server.address(), id);
    let ping = client.request_with(OpCode::Ping, |_| {}).1;
    let mut pings = 0;
    until("a ping renews the session", || {
        client.stream.write_all(&ping).unwrap();
        pings += 1;
        expires(server.address(), id) != first
    });
    for xid in xids {
        assert_eq!(client.receive().unwrap().xid, xid);
    }
    (0..pings).for_each(|_| assert_eq!(client.receive().unwrap().xid, XID_PING));
    server.stop();
}

#[test]
fn a_client_that_takes_what_it_is_owed_is_there_although_it_says_nothing() {
    let server = start();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    // The system buffers little for the client, so the server sees it take each reply.
    SockRef::from(&client.stream).set_recv_buffer_size(SIP_LEN).unwrap();
    client.create("/large", &vec![1; 1_000_000], Persistent).unwrap().unwrap();
    let mut xids = ask_often(&mut client, "/large", 60).into_iter();
    let id = client.session.id;
    let mut take_one = || assert_eq!(client.receive().unwrap().xid, xids.next().expect("no reply renews the session"));
    // The server has read every request before the tenth reply is taken.
    (0..10).for_each(|_| take_one());
    let first = expires(server.address(), id);
    // The pace is slower than the ticks to which a session's expiry is rounded.
    while expires(server.address(), id) == first {
        take_one();
        thread::sleep(PACE);
    }
    drop(client);
    server.stop();
}

/// Time between a client's reads of replies.
const PACE: Duration = Duration::from_millis(200);

#[test]
fn what_a_client_sent_is_carried_out_although_it_has_left_and_reads_nothing() {
    let server = start();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create("/large", &vec![1; 1_000_000], Persistent).unwrap().unwrap();
    ask_often(&mut client, "/large", 60);
    client.send(OpCode::Create, &create_request("/last", b"", Persistent)).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut witness = Raw::connect(server.address(), LONG_MS).unwrap();
    until("the last of it is done", || witness.exists("/last").is_some());
    server.stop();
}

/// Returns the number of requests that the server has received.
fn received(server: SocketAddr) -> usize {
    let srvr = ask(server, "srvr");
    srvr.lines().find_map(|line| line.strip_prefix("Received: ")).unwrap().parse().unwrap()
}

#[test]
fn what_a_client_sent_that_has_left_does_not_keep_others_waiting() {
    let server = start_in_memory(1, &[("4lw.commands.whitelist", "*")]);
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create("/large", &vec![1; 1_000_000], Persistent).unwrap().unwrap();
    // All of it is in the server's memory; the count stays the same once the server stops reading
    // the socket.
    let before = received(server.address());
    let sent = 200 * ask_often(&mut client, "/large", 2_000).len();
    (1..200).for_each(|_| drop(ask_often(&mut client, "/large", 2_000)));
    drop(client);
    let after = received(server.address());
    assert!(after - before < sent / 2, "{after} of {sent} were answered to nobody, and everybody waited");
    server.stop();
}

/// Bytes that a slow client reads at once.
const SIP_LEN: usize = 32 << 10;
/// Time of slow reading, longer than the limit for a client that reads nothing.
const SLOW: Duration = Duration::from_secs(7);

#[test]
fn a_long_answer_to_a_word_reaches_whoever_reads_slowly() {
    let server = start();
    let mut watcher = Raw::connect(server.address(), LONG_MS).unwrap();
    let name = "w".repeat(300);
    let requests: Vec<_> = (0..40_000)
        .map(|number| watcher.request(OpCode::Exists, &read_request(&format!("/{name}{number}"), true)))
        .collect();
    for some in requests.chunks(1_000) {
        let frames: Vec<u8> = some.iter().flat_map(|(_, frame)| frame.clone()).collect();
        watcher.stream.write_all(&frames).unwrap();
        some.iter().for_each(|(xid, _)| drop(watcher.reply_to(*xid).unwrap()));
    }
    let whole = ask(server.address(), "wchp");
    assert!(whole.len() > 12 << 20);
    let mut slow: TcpStream = dial(server.address()).unwrap();
    SockRef::from(&slow).set_recv_buffer_size(SIP_LEN).unwrap();
    slow.write_all(b"wchp\n").unwrap();
    let (start, mut answer, mut sip) = (Instant::now(), Vec::new(), vec![0; SIP_LEN]);
    while start.elapsed() < SLOW {
        let count = slow.read(&mut sip).unwrap();
        answer.extend_from_slice(&sip[..count]);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(answer.len() < whole.len(), "it was slow");
    slow.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), whole.len());
    server.stop();
}
