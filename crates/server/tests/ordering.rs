//! Order of replies and events for a client, across threads and connections, under maximum write
//! load.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;

use oxkeeper_proto::op::CreateMode::Persistent;
use oxkeeper_proto::op::{AddWatchMode, EventType};
use oxkeeper_proto::records::{AddWatchRequest, GetDataResponse};
use oxkeeper_proto::{Jute, OpCode};
use support::raw::{Raw, Reply, create_request, read_request, set_request};
use support::{LONG_MS, Stop, start_in_memory};

/// Number of threads that own connections.
const IO_THREADS: usize = 3;
const WATCHERS: usize = 9;
/// Number of reads per watcher.
const READS: usize = 1_500;
const PATHS: usize = 4;

fn data_of(reply: Reply) -> (u64, i64) {
    let body = reply.result().unwrap();
    let GetDataResponse { data, stat } = GetDataResponse::from_bytes(&body).unwrap();
    let bytes = data.unwrap();
    (u64::from_be_bytes(bytes.try_into().unwrap()), stat.mzxid)
}

/// Sets the paths to increasing numbers, a few at once, until told to stop.
fn write(mut client: Raw, stop: &Stop) {
    for round in 1u64.. {
        if stop.is_told() {
            return;
        }
        let mut frames = Vec::new();
        let mut last = 0;
        for path in 0..PATHS {
            let (xid, frame) =
                client.request(OpCode::SetData, &set_request(&format!("/p{path}"), &round.to_be_bytes()));
            frames.extend(frame);
            last = xid;
        }
        client.stream.write_all(&frames).unwrap();
        while client.receive().unwrap().xid != last {}
    }
}

/// Reads one path with a one-shot watch, `depth` reads at once, and checks every frame: data newer
/// than the state at which a watch was registered must not be seen before the watch's event, and an
/// event must be for a change later than the read that registered its watch.
fn watch_one_shot(server: SocketAddr, path: &str, depth: usize) -> usize {
    let mut client = Raw::connect(server, LONG_MS).unwrap();
    // The zxid of the data for which the current watch was registered.
    let mut standing: Option<i64> = None;
    let (mut sent, mut answered, mut events, mut seen) = (0, 0, 0, 0);
    while answered < READS {
        while sent < answered + depth {
            client.send(OpCode::GetData, &read_request(path, true)).unwrap();
            sent += 1;
        }
        let reply = client.receive().unwrap();
        if let Some((kind, of)) = reply.event() {
            assert_eq!((kind, &*of), (EventType::NodeDataChanged.wire(), path));
            let on = standing.take().expect("an event without a watch: it came twice, or before the registering reply");
            assert!(reply.zxid > on, "an event of what the read had seen already");
            events += 1;
            continue;
        }
        let (_, mzxid) = data_of(reply);
        assert!(mzxid >= seen, "data goes back");
        assert!(standing.is_none_or(|on| on == mzxid), "new data without the event of the standing watch");
        standing = Some(mzxid);
        seen = mzxid;
        answered += 1;
    }
    events
}

/// Watches every path with a recursive watch: all events arrive, in order of their zxids, each
/// before any read that shows its change or a later one.
fn watch_recursively(mut client: Raw) -> usize {
    let everything = AddWatchRequest { path: Some("/".into()), mode: AddWatchMode::PersistentRecursive.wire() };
    let xid = client.send(OpCode::AddWatch, &everything).unwrap();
    // Only changes after the reply count; earlier ones precede the registration.
    assert_eq!(client.receive().unwrap().xid, xid, "no event in front of the reply that registers the watch");
    let (mut told, mut events) = (0, 0);
    for read in 0..READS {
        let xid = client.send(OpCode::GetData, &read_request(&format!("/p{}", read % PATHS), false)).unwrap();
        loop {
            let reply = client.receive().unwrap();
            if reply.event().is_some() {
                assert!(reply.zxid > told, "an event twice or out of order");
                told = reply.zxid;
                events += 1;
                continue;
            }
            assert_eq!(reply.xid, xid);
            // The reply's zxid is the last one applied. Every write here is a change watched by
            // this connection.
            assert!(events == 0 || reply.zxid == told, "the reply is at {:x}, the last event at {told:x}", reply.zxid);
            assert!(data_of(reply).1 <= told || events == 0);
            break;
        }
    }
    events
}

#[test]
fn an_event_comes_before_anything_that_shows_its_change() {
    let server = start_in_memory(IO_THREADS, &[]);
    let address = server.address();
    let mut client = Raw::connect(address, LONG_MS).unwrap();
    for path in 0..PATHS {
        client.create(&format!("/p{path}"), &0u64.to_be_bytes(), Persistent).unwrap().unwrap();
    }
    let stop = Stop::default();
    thread::scope(|scope| {
        let stop = &stop;
        let done = stop.when_done();
        for _ in 0..2 {
            let client = Raw::connect(address, LONG_MS).unwrap();
            scope.spawn(move || write(client, stop));
        }
        let one_shot =
            |number: usize| move || watch_one_shot(address, &format!("/p{}", number % PATHS), 1 + number % 4);
        let watchers: Vec<_> = (0..WATCHERS).map(|number| scope.spawn(one_shot(number))).collect();
        let events: usize = watchers.into_iter().map(|watcher| watcher.join().unwrap()).sum();
        drop(done);
        assert!(events > WATCHERS * 20, "only {events} events: nothing was tested");
    });
    server.stop();
}

#[test]
fn a_recursive_watcher_hears_of_every_change_before_it_reads_it() {
    let server = start_in_memory(IO_THREADS, &[]);
    let address = server.address();
    let mut client = Raw::connect(address, LONG_MS).unwrap();
    for path in 0..PATHS {
        client.create(&format!("/p{path}"), &0u64.to_be_bytes(), Persistent).unwrap().unwrap();
    }
    let stop = Stop::default();
    // Sessions use zxids, too: all of them exist before the first watch.
    let clients: Vec<_> = (0..3).map(|_| Raw::connect(address, LONG_MS).unwrap()).collect();
    let writer = Raw::connect(address, LONG_MS).unwrap();
    thread::scope(|scope| {
        let stop = &stop;
        let done = stop.when_done();
        let watchers: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || watch_recursively(client))).collect();
        scope.spawn(move || write(writer, stop));
        let events: usize = watchers.into_iter().map(|watcher| watcher.join().unwrap()).sum();
        drop(done);
        assert!(events > 300, "only {events} events: nothing was tested");
    });
    server.stop();
}

/// Pipelines writes and reads of them on one connection, while others do the same on other threads.
fn read_own_writes(server: SocketAddr, number: usize) {
    let mut client = Raw::connect(server, LONG_MS).unwrap();
    let path = format!("/own{number}");
    client.create(&path, &0u64.to_be_bytes(), Persistent).unwrap().unwrap();
    let mut zxid = 0;
    for round in 0..300u64 {
        let value = |step: u64| (round * 3 + step).to_be_bytes();
        let mut frames = Vec::new();
        let mut expected = Vec::new();
        for step in 0..3 {
            let (written, frame) = client.request(OpCode::SetData, &set_request(&path, &value(step)));
            frames.extend(frame);
            let (read, frame) = client.request(OpCode::GetData, &read_request(&path, false));
            frames.extend(frame);
            expected.extend([(written, None), (read, Some(u64::from_be_bytes(value(step))))]);
        }
        // Sent in two parts, split at a varying position, so that frames are split.
        let (first, second) = frames.split_at(frames.len() * (round as usize % 7) / 7);
        client.stream.write_all(first).unwrap();
        client.stream.write_all(second).unwrap();
        for (xid, value) in expected {
            let reply = client.receive().unwrap();
            assert_eq!(reply.xid, xid, "replies leave in request order");
            assert!(reply.zxid >= zxid, "zxids go back");
            zxid = reply.zxid;
            if let Some(value) = value {
                assert_eq!(
                    data_of(reply).0,
                    value,
                    "a read shows its own connection's writes so far, and no later one"
                );
            }
        }
    }
}

#[test]
fn a_pipelined_read_shows_the_writes_in_front_of_it_and_no_other() {
    let server = start_in_memory(IO_THREADS, &[]);
    let address = server.address();
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || read_own_writes(address, number));
        }
    });
    server.stop();
}

#[test]
fn connections_of_one_batch_get_sessions_of_their_own() {
    let server = start_in_memory(IO_THREADS, &[]);
    let address = server.address();
    let connect = |_| thread::spawn(move || Raw::connect(address, LONG_MS).unwrap().session);
    let threads: Vec<_> = (0..40).map(connect).collect();
    let sessions: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(sessions.iter().map(|session| session.id).collect::<HashSet<_>>().len(), 40);
    assert!(sessions.iter().all(|session| session.id != 0 && session.password != [0; 16]));
    server.stop();
}

#[test]
fn a_created_child_is_announced_in_front_of_the_creators_own_reply() {
    let server = start_in_memory(1, &[]);
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    let watch = client.send(OpCode::GetChildren, &read_request("/", true)).unwrap();
    let create = client.send(OpCode::Create, &create_request("/child", b"", Persistent)).unwrap();
    assert_eq!(client.receive().unwrap().xid, watch);
    assert_eq!(client.receive().unwrap().event(), Some((EventType::NodeChildrenChanged.wire(), "/".to_owned())));
    assert_eq!(client.receive().unwrap().xid, create);
    server.stop();
}
