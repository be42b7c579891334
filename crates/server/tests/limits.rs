//! Limits on requests in flight, and the log of slow requests.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::Persistent;
use support::raw::{Raw, create_request, dial, set_request};
use support::{LONG_MS, start_in_memory};

/// Number of consecutive writes per client.
const WRITES: usize = 300;

/// Returns a metric from `mntr`.
fn metric(server: SocketAddr, name: &str) -> f64 {
    let mut stream = dial(server).unwrap();
    stream.write_all(b"mntr").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    line.unwrap_or_else(|| panic!("{name} in {answer}")).parse().unwrap()
}

#[test]
fn everything_is_done_in_order_however_little_may_be_under_way() {
    for key in ["request_throttle_max_requests", "globalOutstandingLimit"] {
        let server = start_in_memory(3, &[(key, "1"), ("4lw.commands.whitelist", "*")]);
        let address = server.address();
        let mut clients: Vec<Raw> = (0..6).map(|_| Raw::connect(address, LONG_MS).unwrap()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let path = format!("/n{number}");
            client.stream.write_all(&client_writes(&path)).unwrap();
        }
        for client in &mut clients {
            for xid in 1..=WRITES as i32 {
                assert_eq!(client.receive().unwrap().xid, xid, "{key}");
            }
        }
        let waited = metric(address, "zk_request_throttle_wait_count");
        assert_eq!(waited > 0.0, key != "globalOutstandingLimit", "{key}: {waited}");
        drop(clients);
        server.stop();
    }

    /// Returns a create and sets of one znode, with xids from 1.
    fn client_writes(path: &str) -> Vec<u8> {
        let mut frames = Vec::new();
        for xid in 1..=WRITES as i32 {
            oxkeeper_proto::frame::put_frame(&mut frames, |out| {
                use oxkeeper_proto::Jute;
                use oxkeeper_proto::records::RequestHeader;
                let op = if xid == 1 { OpCode::Create } else { OpCode::SetData };
                RequestHeader { xid, op: op.wire() }.encode(out);
                match xid {
                    1 => create_request(path, b"", Persistent).encode(out),
                    _ => set_request(path, b"x").encode(out),
                }
            });
        }
        frames
    }
}

#[test]
fn a_large_request_closes_its_connection_when_there_is_no_room() {
    let keys = [("largeRequestThreshold", "1000"), ("largeRequestMaxBytes", "5000"), ("4lw.commands.whitelist", "*")];
    let server = start_in_memory(1, &keys);
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create("/n", b"", Persistent).unwrap().unwrap();
    for _ in 0..20 {
        client.set("/n", &[0; 3000]).unwrap().unwrap();
    }
    let (_, frame) = client.request(OpCode::SetData, &set_request("/n", &[0; 5000]));
    // The length alone suffices for the refusal.
    client.stream.write_all(&frame[..4]).unwrap();
    client.wait_closed();
    let mut other = Raw::connect(server.address(), LONG_MS).unwrap();
    other.set("/n", &[0; 900]).unwrap().unwrap();
    assert_eq!(metric(server.address(), "zk_large_requests_rejected"), 1.0);
    drop((client, other));
    server.stop();
}

#[test]
fn sessions_begin_only_as_fast_as_tokens_come() {
    let keys = [
        ("connection_throttle_tokens", "2"),
        ("connection_throttle_fill_time", "3600000"),
        ("4lw.commands.whitelist", "*"),
    ];
    let server = start_in_memory(2, &keys);
    let connect = || Raw::connect(server.address(), LONG_MS);
    let (first, second) = (connect().unwrap(), connect().unwrap());
    let refused = connect().expect_err("there are two tokens");
    assert!(matches!(refused.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{refused}");
    assert_eq!(metric(server.address(), "zk_connection_rejected"), 1.0);
    assert_eq!(metric(server.address(), "zk_max_connection_token_deficit"), 2.0);
    drop((first, second));
    server.stop();
}

#[test]
fn slow_writes_are_told_with_where_the_time_went() {
    let server = support::process::Process::start("oxkeeper.slowRequestMs=1", "");
    let mut clients: Vec<Raw> = (0..4).map(|_| Raw::connect(server.address, LONG_MS).unwrap()).collect();
    clients[0].create("/slow", b"", Persistent).unwrap().unwrap();
    // Only a long queue is that slow here.
    for client in &mut clients {
        let mut frames = Vec::new();
        for _ in 0..20 {
            frames.extend(client.request(OpCode::SetData, &set_request("/slow", &[0; 100_000])).1);
        }
        let mut stream = client.stream.try_clone().unwrap();
        std::thread::spawn(move || stream.write_all(&frames));
    }
    server.until_logged(&["slow request", "op=SetData", "path=\"/slow\"", "client=\"127.0.0.1\"", "queue_ms="]);
}
