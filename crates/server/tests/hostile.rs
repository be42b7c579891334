//! Bad and greedy clients: each costs at most its own connection, memory stays bounded, other
//! clients do not notice, and the log says who was cut off and why.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use oxkeeper_proto::frame::put_frame;
use oxkeeper_proto::multi::{MultiOp, encode_multi};
use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent};
use oxkeeper_proto::op::{AddWatchMode, XID_AUTH};
use oxkeeper_proto::records::{AddWatchRequest, AuthPacket, DeleteRequest, RequestHeader};
use oxkeeper_proto::{ErrorCode, Jute, OpCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::process::Process;
use support::raw::{Raw, Session, create_request, dial, handshake, read_request, set_request};
use support::{LONG_MS, PATIENCE, until};

const MIB: u64 = 1 << 20;
const LINES: &str = "tickTime=2000\nmaxSessionTimeout=120000\nmaxClientCnxns=0";

/// Waits until the server closes.
fn wait_closed(mut stream: &TcpStream) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server does not close"),
            Err(_) => return,
        }
    }
}

fn peer(stream: &TcpStream) -> String {
    format!("127.0.0.1:{}", stream.local_addr().unwrap().port())
}

fn request(op: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, |out| {
        RequestHeader { xid: 1, op }.encode(out);
        out.extend_from_slice(body);
    });
    out
}

#[test]
fn bad_frames_cost_their_connection_and_nothing_else() {
    let server = Process::start(LINES, "");
    let mut witness = Raw::connect(server.address, LONG_MS).unwrap();
    let first: [(&[u8], &str); 5] = [
        (&[0xff, 0xff, 0xff, 0xff], "frame length -1 is out of range"),
        (&[0x7f, 0xff, 0xff, 0xff], "frame length 2147483647 is out of range"),
        (&[0, 0x10, 0, 0], "frame length 1048576 is out of range"),
        (&[0, 0, 0, 3, 1, 2, 3], "the connect request is malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP client on the port for ZooKeeper clients"),
    ];
    for (bytes, reason) in first {
        let mut stream = dial(server.address).unwrap();
        stream.write_all(bytes).unwrap();
        wait_closed(&stream);
        server.until_logged(&[&peer(&stream), reason]);
    }
    let unknown = request(77, b"");
    let internal = request(OpCode::CreateSession.wire(), &[0, 0, 0, 1]);
    let auth = request(OpCode::Auth.wire(), &[1]);
    let behind: [(&[u8], &str); 6] = [
        (&[0x80, 0, 0, 0], "frame length -2147483648 is out of range"),
        (&[0, 0, 0, 2, 0, 0], "a request header is malformed"),
        (&unknown, "operation 77 does not exist"),
        (&internal, "operation -10 does not exist"),
        (&request(13, b""), "operation 13 does not exist"),
        (&auth, "an auth packet is malformed"),
    ];
    for (bytes, reason) in behind {
        let mut client = Raw::connect(server.address, LONG_MS).unwrap();
        client.stream.write_all(bytes).unwrap();
        client.wait_closed();
        server.until_logged(&[&peer(&client.stream), reason]);
    }
    // Sends half of a frame, then the end.
    let mut client = Raw::connect(server.address, LONG_MS).unwrap();
    client.stream.write_all(&[0, 0, 1, 0, 9]).unwrap();
    drop(client);
    assert_eq!(witness.ping().unwrap().err, 0);
}

#[test]
fn null_and_odd_paths_are_errors_of_their_requests() {
    let server = Process::start(LINES, "");
    let mut client = Raw::connect(server.address, LONG_MS).unwrap();
    let null = [0xff; 4];
    let ops = OpCode::ALL.iter().map(|op| op.wire()).filter(|op| (1..=107).contains(op));
    for op in ops.filter(|op| ![11, 13, 20, 100, 102, 107].contains(op)) {
        for body in [&null[..], &[], &[0, 0, 0, 9, b'/'], &[0x7f; 40]] {
            client.stream.write_all(&request(op, body)).unwrap();
            let reply = client.reply_to(1).unwrap();
            // For sync and getEphemerals, a null path is valid. An empty multi is valid, too.
            assert!(reply.err < 0 || [9, 14, 22, 103].contains(&op), "operation {op} takes {body:?}");
        }
    }
    let deep = "/x".repeat(100_000);
    for path in ["", "a", "/a/", "//", "/a//b", "/\0", "/..", "/a/./b", "/\u{1}", &deep] {
        let refused = client.create(path, b"", Persistent).unwrap().unwrap_err();
        assert!(matches!(refused, ErrorCode::BadArguments | ErrorCode::NoNode), "{refused:?}");
        // ZooKeeper: the empty path is the root, too.
        assert!(client.get(path).is_err() || path.is_empty());
        assert!(client.delete(path).unwrap().is_err());
    }
    assert_eq!(client.ping().unwrap().err, 0);
}

#[test]
fn identities_without_number_are_refused() {
    let server = Process::start(LINES, "");
    let mut client = Raw::connect(server.address, LONG_MS).unwrap();
    let (before, _) = server.memory();
    for number in 0..40 {
        let credentials = format!("{number}{}:password", "x".repeat(900_000));
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            RequestHeader { xid: XID_AUTH, op: OpCode::Auth.wire() }.encode(out);
            AuthPacket { auth_type: 0, scheme: Some("digest".into()), auth: Some(credentials.as_bytes()) }.encode(out);
        });
        let set = client.request(OpCode::SetData, &set_request("/none", b"")).1;
        if client.stream.write_all(&frame).and_then(|()| client.stream.write_all(&set)).is_err() {
            break;
        }
    }
    client.wait_closed();
    server.until_logged(&[&peer(&client.stream), "authentication with scheme \"digest\" failed"]);
    assert!(server.memory().1 < before + 100 * MIB);
    Raw::connect(server.address, LONG_MS).unwrap();
}

#[test]
fn a_multi_read_of_more_than_a_reply_may_have_is_refused() {
    let server = Process::start(LINES, "");
    let mut client = Raw::connect(server.address, LONG_MS).unwrap();
    client.create("/a", &vec![1; 1_000_000], Persistent).unwrap().unwrap();
    let (before, _) = server.memory();
    let ops: Vec<_> = (0..40_000).map(|_| MultiOp::GetData(read_request("/a", false))).collect();
    let (xid, frame) = client.request_with(OpCode::MultiRead, |out| encode_multi(&ops, out));
    client.stream.write_all(&frame).unwrap();
    assert_eq!(client.reply_to(xid).unwrap().err, ErrorCode::SystemError.wire());
    let (_, peak) = server.memory();
    assert!(peak < before + 200 * MIB, "{} MiB", peak / MIB);
}

/// Length of the path whose events nobody reads, bytes.
const NAME_LEN: usize = 50_000;

#[test]
fn a_client_that_reads_no_events_is_cut_off() {
    let server = Process::start(LINES, "");
    let mut writer = Raw::connect(server.address, LONG_MS).unwrap();
    let path = format!("/{}", "e".repeat(NAME_LEN));
    writer.create(&path, b"", Persistent).unwrap().unwrap();
    let mut deaf = Raw::connect(server.address, LONG_MS).unwrap();
    let everything = AddWatchRequest { path: Some("/".into()), mode: AddWatchMode::PersistentRecursive.wire() };
    deaf.call(OpCode::AddWatch, &everything).unwrap().result().unwrap();
    let (before, _) = server.memory();
    // These make 100 MB of events, which do not delay the replies to the writer.
    for _ in 0..100_000_000 / NAME_LEN {
        writer.set(&path, b"").unwrap().unwrap();
    }
    server.until_logged(&[&peer(&deaf.stream), "bytes unread"]);
    let (_, peak) = server.memory();
    assert!(peak < before + 150 * MIB, "{} MiB", peak / MIB);
}

#[test]
fn a_client_that_pipelines_large_reads_and_reads_nothing_waits() {
    let server = Process::start(LINES, "");
    let mut witness = Raw::connect(server.address, LONG_MS).unwrap();
    witness.create("/large", &vec![1; 1_000_000], Persistent).unwrap().unwrap();
    let mut greedy = Raw::connect(server.address, LONG_MS).unwrap();
    let (before, _) = server.memory();
    let mut frames = Vec::new();
    for _ in 0..200 {
        frames.extend(greedy.request(OpCode::GetData, &read_request("/large", false)).1);
    }
    greedy.stream.write_all(&frames).unwrap();
    for _ in 0..20 {
        // Nobody waits for a client that reads nothing.
        witness.ping().unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    let (_, peak) = server.memory();
    assert!(peak < before + 30 * MIB, "{} MiB", peak / MIB);
    for xid in 1..=200 {
        assert_eq!(greedy.reply_to(xid).unwrap().body.len(), 4 + 1_000_000 + 68);
    }
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let server = Process::start(LINES, "-Dzookeeper.nio.sessionlessCnxnTimeout=1000");
    let mut slow = dial(server.address).unwrap();
    let silent = dial(server.address).unwrap();
    for byte in handshake(LONG_MS, Session::default()) {
        if slow.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    wait_closed(&slow);
    wait_closed(&silent);
    for stream in [&slow, &silent] {
        server.until_logged(&[&peer(stream), "did not start a session in time"]);
    }
}

fn creates(count: usize) -> Vec<MultiOp<'static>> {
    let create = |number| {
        let mut request = create_request("", b"", Persistent);
        request.path = Some(format!("/many/{number:06}").into());
        MultiOp::Create(OpCode::Create, request)
    };
    (0..count).map(create).collect()
}

#[test]
fn a_multi_of_100_000_operations_needs_a_larger_frame_and_then_works() {
    const COUNT: usize = 100_000;
    let server = Process::start(LINES, "-Djute.maxbuffer=16000000");
    let strict = Process::start(LINES, "");
    let mut client = Raw::connect(server.address, LONG_MS).unwrap();
    client.create("/many", b"", Persistent).unwrap().unwrap();
    let (xid, frame) = client.request_with(OpCode::Multi, |out| encode_multi(&creates(COUNT), out));
    let mut refused = Raw::connect(strict.address, LONG_MS).unwrap();
    let _ = refused.stream.write_all(&frame);
    refused.wait_closed();
    strict.until_logged(&[&peer(&refused.stream), "frame length", "is out of range"]);

    let mut reader = Raw::connect(server.address, LONG_MS).unwrap();
    client.stream.write_all(&frame).unwrap();
    assert_eq!(client.reply_to(xid).unwrap().err, 0);
    assert_eq!(reader.children("/many").len(), COUNT);
    let deletes: Vec<_> = (0..COUNT)
        .map(|number| MultiOp::Delete(DeleteRequest { path: Some(format!("/many/{number:06}").into()), version: -1 }))
        .collect();
    let (xid, frame) = client.request_with(OpCode::Multi, |out| encode_multi(&deletes, out));
    client.stream.write_all(&frame).unwrap();
    assert_eq!(client.reply_to(xid).unwrap().err, 0);
    assert_eq!(reader.children("/many").len(), 0);
}

#[test]
fn a_frame_no_log_entry_can_hold_is_refused() {
    let server = Process::start(LINES, "-Djute.maxbuffer=100000000");
    let mut client = Raw::connect(server.address, LONG_MS).unwrap();
    client.create("/a", b"", Persistent).unwrap().unwrap();
    let data = vec![7; 17 << 20];
    let frame = client.request(OpCode::SetData, &set_request("/a", &data)).1;
    let _ = client.stream.write_all(&frame);
    client.wait_closed();
    server.until_logged(&[&peer(&client.stream), "frame length", "is out of range"]);
    Raw::connect(server.address, LONG_MS).unwrap();
}

/// Connects until the server refuses. Returns the accepted clients.
fn crowd(server: SocketAddr, allowed: usize) -> Vec<Raw> {
    let inside: Vec<_> = (0..allowed).map(|_| Raw::connect(server, LONG_MS).unwrap()).collect();
    for _ in 0..3 {
        Raw::connect(server, LONG_MS).expect_err("one too many");
    }
    inside
}

/// Checks that a refused client reads an end of stream. A reset would look like a server crash. The
/// reset follows the end, and may come before the connection is fully established.
fn turned_away(server: SocketAddr) {
    match TcpStream::connect(server) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0);
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}"),
    }
}

#[test]
fn limits_on_connections_hold_and_are_given_back() {
    for (line, reason) in [("maxClientCnxns=3", "maxClientCnxns=3"), ("maxClientCnxns=0\nmaxCnxns=3", "maxCnxns=3")] {
        let server = Process::start(line, "");
        let mut inside = crowd(server.address, 3);
        server.until_logged(&["refused", reason]);
        for _ in 0..20 {
            turned_away(server.address);
        }
        inside.pop();
        until("a place is free", || Raw::connect(server.address, LONG_MS).is_ok());
        inside.into_iter().for_each(|mut client| assert_eq!(client.ping().unwrap().err, 0));
    }
}

#[test]
fn a_burst_of_connections_is_served() {
    // Each connection needs a file on both sides: use as many as the system allows.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let open_files = limit.maximum.map_or(usize::MAX, |files| files as usize);
    let count = 10_000.min(open_files.saturating_sub(200));
    assert!(count >= 1_000, "{count} connections are no burst");
    let server = Process::start(LINES, "");
    let (before, _) = server.memory();
    let streams: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = dial(server.address).unwrap();
            stream.write_all(&handshake(LONG_MS, Session::default())).unwrap();
            stream
        })
        .collect();
    for mut stream in &streams {
        let mut answer = [0; 41];
        stream.read_exact(&mut answer).unwrap();
        assert!(i64::from_be_bytes(answer[12..20].try_into().unwrap()) != 0, "a session");
    }
    let (now, _) = server.memory();
    assert!(now - before < (count as u64) * (8 << 10) + 20 * MIB, "{} bytes each", (now - before) / count as u64);
}

#[test]
fn sessions_without_number_expire() {
    const COUNT: usize = 2_000;
    let server = Process::start("tickTime=100\nmaxClientCnxns=0", "");
    for number in 0..COUNT {
        let mut client = Raw::connect(server.address, 200).unwrap();
        if number % 100 == 0 {
            client.create(&format!("/e{number}"), b"", Ephemeral).unwrap().unwrap();
        }
    }
    let mut client = Raw::connect(server.address, 2000).unwrap();
    until("all have expired", || client.children("/") == ["zookeeper"]);
}
