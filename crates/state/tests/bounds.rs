//! The largest requests that a frame can hold take time proportional to their length.
//!
//! The limits are about twenty times what a debug build needs; they exclude time that is quadratic
//! in the length of the request.

use std::fs;

use oxkeeper_proto::multi::MULTI_END;
use oxkeeper_proto::records::{Acl, CheckVersionRequest, CreateRequest, Id, MultiHeader, SetDataRequest};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, SessionId};
use oxkeeper_state::{Command, Identities, Settings, State};

const SESSION: SessionId = SessionId(0x100_0000_0000_0001);
/// Length of the longest frame, bytes.
const FRAME: usize = (1 << 20) - 1;

fn state() -> State {
    let mut state = State::new(1);
    apply(&mut state, OpCode::CreateSession, &6000i32.to_be_bytes()).expect("a session");
    state
}

fn apply(state: &mut State, op: OpCode, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    apply_as(state, op, body, &[])
}

fn apply_as(state: &mut State, op: OpCode, body: &[u8], identities: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    let (settings, identities) = (Settings::default(), Identities(identities));
    let mut reply = Vec::new();
    let command = Command { from: None, session: SESSION, xid: 1, op, settings, identities, body };
    state.apply(&command, 1, &mut reply, &mut ()).map(|()| reply)
}

fn bytes<'a>(record: impl Jute<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

fn entry<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Acl<'a> {
    Acl { perms, id: Id { scheme: Some(scheme.into()), id: Some(id.into()) } }
}

fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    let acl = Some(vec![entry(31, "world", "anyone")]);
    bytes(CreateRequest { path: Some(path.into()), data: Some(data), acl, flags })
}

fn multi(op: OpCode, bodies: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for body in bodies {
        MultiHeader { op: op.wire(), done: false, err: -1 }.encode(&mut out);
        out.extend(body);
    }
    MULTI_END.encode(&mut out);
    out
}

/// Runs `work` and fails if this thread needed more than `limit_ms` of processor time for it.
fn within<T>(limit_ms: u64, work: impl FnOnce() -> T) -> T {
    let start = processor_time_ms();
    let result = work();
    let took = processor_time_ms() - start;
    assert!(took <= limit_ms, "{took} ms of processor time, {limit_ms} allowed");
    result
}

fn processor_time_ms() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos: u64 = status.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number first");
    nanos / 1_000_000
}

#[test]
fn an_acl_of_a_whole_frame() {
    let mut state = state();
    let acl: Vec<Acl<'_>> = (0..FRAME as i32 / 24).map(|perms| entry(perms, "world", "anyone")).collect();
    let body = bytes(CreateRequest { path: Some("/a".into()), data: None, acl: Some(acl), flags: 0 });
    within(4_000, || apply(&mut state, OpCode::Create, &body)).expect("it is valid");
}

#[test]
fn an_acl_that_expands_without_end_is_refused() {
    let mut state = state();
    let identities: Vec<u8> =
        (0..500).flat_map(|user| bytes(entry(0, "digest", &format!("user{user}:x")).id)).collect();
    let acl: Vec<Acl<'_>> = (0..40_000).map(|perms| entry(perms, "auth", "")).collect();
    let body = bytes(CreateRequest { path: Some("/a".into()), data: None, acl: Some(acl), flags: 0 });
    let result = within(4_000, || apply_as(&mut state, OpCode::Create, &body, &identities));
    assert_eq!(result, Err(ErrorCode::InvalidAcl));
}

#[test]
fn a_multi_of_a_whole_frame() {
    let mut state = state();
    let body = multi(OpCode::Create, (0..FRAME / 60).map(|name| create(&format!("/{name:06}"), b"", 0)));
    within(4_000, || apply(&mut state, OpCode::Multi, &body)).expect("it is well-formed");
    assert_eq!(state.tree().len(), FRAME / 60 + 4);
    // All but the last succeed, and are then undone.
    let digest = state.tree().digest();
    let sets = (0..20_000).map(|turn| {
        let path = if turn == 19_999 { "/none" } else { "/000001" };
        bytes(SetDataRequest { path: Some(path.into()), data: Some(b"x"), version: -1 })
    });
    within(4_000, || apply(&mut state, OpCode::Multi, &multi(OpCode::SetData, sets))).expect("it is well-formed");
    assert_eq!(state.tree().digest(), digest);
    let checks = (0..40_000).map(|_| bytes(CheckVersionRequest { path: Some("/".into()), version: -1 }));
    within(4_000, || apply(&mut state, OpCode::Multi, &multi(OpCode::Check, checks))).expect("it is well-formed");
    state.check();
}

/// Each child changes its parent's versions, which must not cost a scan of the parent's data.
#[test]
fn children_of_a_large_znode() {
    let mut state = state();
    let large = vec![b'x'; FRAME - 1000];
    apply(&mut state, OpCode::Create, &create("/large", &large, 0)).expect("it is new");
    within(4_000, || {
        for child in 0..20_000 {
            apply(&mut state, OpCode::Create, &create(&format!("/large/{child}"), b"", 1)).expect("it is new");
        }
    });
    within(4_000, || apply(&mut state, OpCode::CloseSession, &[])).expect("it was open");
    assert_eq!(state.tree().len(), 5);
    state.check();
}

#[test]
fn a_session_of_a_hundred_thousand_ephemerals() {
    let mut state = state();
    apply(&mut state, OpCode::Create, &create("/p", b"", 0)).expect("it is new");
    for child in 0..100_000 {
        apply(&mut state, OpCode::Create, &create(&format!("/p/{child}"), b"", 1)).expect("it is new");
    }
    within(8_000, || apply(&mut state, OpCode::CloseSession, &[])).expect("it was open");
    assert_eq!((state.tree().len(), state.ephemerals_count()), (5, 0));
}

#[test]
fn names_and_paths_of_a_whole_frame() {
    let mut state = state();
    let name = format!("/{}", "n".repeat(FRAME - 100));
    within(1_000, || apply(&mut state, OpCode::Create, &create(&name, b"", 2))).expect("it is new");
    let components = "/c".repeat(FRAME / 2 - 50);
    let result = within(2_000, || apply(&mut state, OpCode::Create, &create(&components, b"", 0)));
    assert_eq!(result, Err(ErrorCode::NoNode));
    state.check();
}

/// Nothing recurses, and the cost of an operation is proportional to the length of its path.
#[test]
fn a_deep_tree() {
    let mut state = state();
    let mut path = String::new();
    for _ in 0..2_000 {
        path.push_str("/d");
        apply(&mut state, OpCode::Create, &create(&path, b"", 0)).expect("it is new");
    }
    let set = bytes(SetDataRequest { path: Some(path.as_str().into()), data: Some(b"x"), version: -1 });
    within(1_000, || (0..20).for_each(|_| drop(apply(&mut state, OpCode::SetData, &set).expect("it exists"))));
    let caller = oxkeeper_state::Caller { identities: Identities(&[]), settings: Settings::default() };
    assert_eq!(state.all_children_number("/d", &caller), Ok(1_999));
    state.check();
}
