//! Measures the cost of a znode: memory for a million znodes with 100 bytes of data, and processor
//! time to create, set and delete them.
//!
//! `cargo run --release -p oxkeeper-state --example znode_memory`

use std::fs;
use std::time::Duration;

use oxkeeper_proto::records::{Acl, CreateRequest, DeleteRequest, Id, SetDataRequest};
use oxkeeper_proto::{Jute, OpCode, SessionId};
use oxkeeper_state::{Command, Identities, Settings, State};

/// Number of znodes, a thousand below each parent.
const COUNT: usize = 1_000_000;
const SESSION: SessionId = SessionId(0x100_0000_0000_0001);

fn main() {
    let mut state = State::new(1);
    apply(&mut state, OpCode::CreateSession, &6000i32.to_be_bytes());
    for parent in 0..COUNT / 1000 {
        apply(&mut state, OpCode::Create, &create(&format!("/parent-{parent:04}"), &[]));
    }
    let data = [b'x'; 100];
    let before = resident();
    let time = timed(&mut state, OpCode::Create, |path| create(path, &data));
    println!("create {:>5} ns   {} B resident a znode", nanos(time), (resident() - before) / COUNT);
    let data = [b'y'; 100];
    let set = |path: &str| encoded(SetDataRequest { path: Some(path.into()), data: Some(&data), version: -1 });
    println!("set    {:>5} ns", nanos(timed(&mut state, OpCode::SetData, set)));
    let longer = [b'z'; 120];
    let set = |path: &str| encoded(SetDataRequest { path: Some(path.into()), data: Some(&longer), version: -1 });
    println!("set    {:>5} ns   to another length", nanos(timed(&mut state, OpCode::SetData, set)));
    let delete = |path: &str| encoded(DeleteRequest { path: Some(path.into()), version: -1 });
    println!("delete {:>5} ns", nanos(timed(&mut state, OpCode::Delete, delete)));
}

/// Applies one request to each znode; bodies are made outside the measured time.
fn timed(state: &mut State, op: OpCode, body: impl Fn(&str) -> Vec<u8>) -> Duration {
    let mut time = Duration::ZERO;
    for parent in 0..COUNT / 1000 {
        let bodies: Vec<Vec<u8>> = (0..1000).map(|child| body(&path(parent, child))).collect();
        let start = processor_time();
        bodies.iter().for_each(|body| apply(state, op, body));
        time += processor_time() - start;
    }
    time
}

fn path(parent: usize, child: usize) -> String {
    format!("/parent-{parent:04}/child-{child:04}")
}

fn create(path: &str, data: &[u8]) -> Vec<u8> {
    let open = Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } };
    encoded(CreateRequest { path: Some(path.into()), data: Some(data), acl: Some(vec![open]), flags: 0 })
}

fn encoded<'a>(record: impl Jute<'a>) -> Vec<u8> {
    let mut body = Vec::new();
    record.encode(&mut body);
    body
}

fn apply(state: &mut State, op: OpCode, body: &[u8]) {
    let (settings, identities) = (Settings::default(), Identities::default());
    let command = Command { from: None, session: SESSION, xid: 1, op, settings, identities, body };
    let mut reply = Vec::with_capacity(128);
    state.apply(&command, 1_700_000_000_000, &mut reply, &mut ()).expect("the request is valid");
}

fn nanos(time: Duration) -> u128 {
    time.as_nanos() / COUNT as u128
}

/// Returns the processor time of this thread. Unlike wall-clock time, it hardly depends on other
/// programs. Linux only.
fn processor_time() -> Duration {
    let status = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = status.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number first"))
}

/// Returns the resident memory of this process, bytes. Linux only.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every kernel has it");
    let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB");
    kib * 1024
}
