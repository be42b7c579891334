//! State kept and lost across a restart, after a clean stop and after a kill.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::{Duration, Instant};

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::CreateMode::{Ephemeral, Persistent, PersistentSequential};
use oxkeeper_server::Server;
use oxkeeper_store::fake::FakeDisk;
use support::raw::{Raw, Session, read_request};
use support::{LONG_MS, PATIENCE, TICK_MS, start_on, until};

#[derive(Clone, Copy, Debug)]
enum Ending {
    Stopped,
    Killed,
}

/// Ends the server in the given way and starts the next one on its disk.
fn restart(server: Server, disk: &mut FakeDisk, ending: Ending) -> Server {
    match ending {
        Ending::Stopped => server.stop(),
        Ending::Killed => {
            let killed = disk.kill();
            server.stop();
            *disk = killed;
        }
    }
    start_on(disk).unwrap()
}

fn check_restart(ending: Ending) {
    let mut disk = FakeDisk::new();
    let server = start_on(&disk).unwrap();
    let mut client = Raw::connect(server.address(), LONG_MS).unwrap();
    client.create("/kept", b"", Persistent).unwrap().unwrap();
    client.create("/kept/e", b"", Ephemeral).unwrap().unwrap();
    assert_eq!(client.create("/kept/s-", b"", PersistentSequential).unwrap().unwrap(), "/kept/s-0000000001");
    let mut closed = Raw::connect(server.address(), LONG_MS).unwrap();
    closed.create("/closed", b"", Ephemeral).unwrap().unwrap();
    let zxid = close(&mut closed);
    client.call(OpCode::GetData, &read_request("/kept", true)).unwrap();

    let server = restart(server, &mut disk, ending);
    client.wait_closed();
    assert_eq!(Raw::open(server.address(), LONG_MS, closed.session).unwrap().session, Session::default());
    let forged = Session { password: [7; 16], ..client.session };
    assert_eq!(Raw::open(server.address(), LONG_MS, forged).unwrap().session, Session::default());

    let mut resumed = Raw::open(server.address(), LONG_MS, client.session).unwrap();
    assert_eq!(resumed.session, client.session, "{ending:?}");
    assert_eq!(resumed.exists("/kept/e").unwrap().ephemeral_owner, client.session.id);
    assert_eq!(resumed.exists("/closed"), None);
    let sequential = resumed.create("/kept/s-", b"", PersistentSequential).unwrap().unwrap();
    assert_eq!(sequential, "/kept/s-0000000002", "sequence numbers go on");
    assert!(resumed.ping().unwrap().zxid > zxid, "zxids go on");

    let mut other = Raw::connect(server.address(), LONG_MS).unwrap();
    assert!(other.session.id > client.session.id.max(closed.session.id), "session ids do not repeat");
    other.set("/kept", b"new").unwrap().unwrap();
    // The reply is the next frame, so the watch is gone.
    let read = resumed.send(OpCode::GetData, &read_request("/kept", false)).unwrap();
    assert_eq!(resumed.receive().unwrap().xid, read, "watches belong to connections");
    server.stop();
}

/// Closes the session. Returns the zxid of the reply.
fn close(client: &mut Raw) -> i64 {
    let (xid, frame) = client.request_with(OpCode::CloseSession, |_| {});
    std::io::Write::write_all(&mut client.stream, &frame).unwrap();
    let reply = client.reply_to(xid).unwrap();
    assert_eq!(reply.err, 0);
    client.wait_closed();
    reply.zxid
}

#[test]
fn a_stopped_server_goes_on_where_it_stopped() {
    check_restart(Ending::Stopped);
}

#[test]
fn a_killed_server_goes_on_where_it_was_killed() {
    check_restart(Ending::Killed);
}

/// Returns how long a session survives a restart after most of its timeout had passed without
/// contact.
fn outlives_restart_ms(timeout_ms: u64) -> u64 {
    let mut disk = FakeDisk::new();
    let server = start_on(&disk).unwrap();
    let mut owner = Raw::connect(server.address(), timeout_ms as i32).unwrap();
    owner.create("/e", b"", Ephemeral).unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(timeout_ms / 2));
    let before = Instant::now();
    let server = restart(server, &mut disk, Ending::Killed);
    let mut observer = Raw::connect(server.address(), LONG_MS).unwrap();
    until("the session expires", || observer.exists("/e").is_none());
    server.stop();
    before.elapsed().as_millis() as u64
}

#[test]
fn after_a_restart_a_session_has_its_full_timeout_and_no_more() {
    let (timeout_ms, deadline) = (20 * TICK_MS as u64, Instant::now() + PATIENCE);
    // On a stalled machine, the session may expire before the restart.
    while outlives_restart_ms(timeout_ms) < timeout_ms {
        assert!(Instant::now() < deadline, "it expires before {timeout_ms} ms, each time");
    }
}
