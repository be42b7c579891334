//! A stop does not cost any client the reply to a request that the server has received.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::Persistent;
use oxkeeper_store::fake::FakeDisk;
use support::raw::{Raw, dial, read_request, set_request};
use support::{LONG_MS, in_time, start_in_memory, start_on};

/// Number of requests sent by each client before the stop.
const REQUESTS: usize = 200;
/// Shorter than the time a stop waits for clients that always have a request pending.
const SOON: Duration = Duration::from_millis(900);

/// Checks that the stream ends in order: a reset could destroy replies.
fn check_ends(client: &mut Raw) {
    let error = client.receive().expect_err("nothing more comes");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}

#[test]
fn what_was_asked_is_answered_and_the_idle_go_at_once() {
    in_time("a stop that nobody has to be waited for at", SOON, || {
        let server = start_on(&FakeDisk::new()).unwrap();
        let mut writer = Raw::connect(server.address(), LONG_MS).unwrap();
        let mut idle = Raw::connect(server.address(), LONG_MS).unwrap();
        let fresh = dial(server.address()).unwrap();
        writer.create("/n", b"", Persistent).unwrap().unwrap();
        let mut frames = Vec::new();
        for _ in 0..REQUESTS {
            frames.extend(writer.request(OpCode::SetData, &set_request("/n", &[7; 100])).1);
            frames.extend(writer.request(OpCode::GetData, &read_request("/n", false)).1);
        }
        writer.stream.write_all(&frames).unwrap();

        let started = Instant::now();
        let stopping = std::thread::spawn(move || server.stop());
        for _ in 0..2 * REQUESTS {
            writer.receive().unwrap().result().unwrap();
        }
        check_ends(&mut writer);
        check_ends(&mut idle);
        assert_eq!((&fresh).read(&mut [0]).unwrap(), 0, "who has not said anything hears it, too");
        drop((writer, idle, fresh));
        stopping.join().unwrap();
        started.elapsed()
    });
}

#[test]
fn nobody_keeps_the_server_from_stopping() {
    let server = start_in_memory(2, &[]);
    let mut half = Raw::connect(server.address(), LONG_MS).unwrap();
    half.create("/n", b"", Persistent).unwrap().unwrap();
    let (_, frame) = half.request(OpCode::SetData, &set_request("/n", b"never"));
    half.stream.write_all(&frame[..frame.len() - 1]).unwrap();
    let mut busy = Raw::connect(server.address(), LONG_MS).unwrap();
    // This client always has a request pending, the first one since before the stop.
    let mut asked = [busy.send(OpCode::GetData, &read_request("/n", false)).unwrap()].to_vec();
    let stopping = std::thread::spawn(move || server.stop());
    let mut answered = 0;
    let error = loop {
        match busy.receive() {
            Ok(reply) => assert_eq!(reply.xid, asked[answered], "in order"),
            Err(error) => break error,
        }
        answered += 1;
        match busy.send(OpCode::GetData, &read_request("/n", false)) {
            Ok(xid) => asked.push(xid),
            Err(error) => break error,
        }
    };
    assert!(answered > 0, "{error}");
    drop(busy);
    stopping.join().unwrap();
    half.wait_closed();
}
