//! A connection under frames that no correct client sends: it never panics, and its output does not
//! depend on how the input is cut into pieces.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use oxkeeper_proto::op::CreateMode;
use oxkeeper_proto::records::{
    Acl, AddWatchRequest, AuthPacket, ConnectRequest, CreateRequest, DeleteRequest, Id, ReadRequest, RequestHeader,
    SetDataRequest, SetWatches, WatchesRequest,
};
use oxkeeper_proto::{Jute, OpCode, ServerId, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Applier, Clocks, Connection, ConnectionConfig, ConnectionId, Flow, Load, Proposals, SessionTable, Shared, Turn,
};
use oxkeeper_state::command::begin_batch;
use oxkeeper_state::{Batch, Settings, State};
use proptest::prelude::*;

/// Longest frame, bytes.
const FRAME_LEN_MAX: usize = 4096;

/// One server in one thread, with one client, its input and its output.
struct Server {
    shared: Shared,
    config: ConnectionConfig,
    connection: Connection,
    applier: Applier,
    stats: ServerStats,
    unread: Vec<u8>,
    sent: Vec<u8>,
    ended: bool,
}

impl Server {
    fn new() -> Server {
        let id = ConnectionId { thread: 0, generation: 0, place: 0 };
        let state = State::new(1);
        let sessions = SessionTable::new(ServerId(1), 0, &state, Clocks::new(1000, 0));
        let settings = Settings::EXTENDED_TYPES;
        let config = ConnectionConfig {
            frame_len_max: FRAME_LEN_MAX,
            session_timeout_min_ms: 1000,
            session_timeout_max_ms: 9000,
            settings,
            auth: AuthConfig::default(),
            is_word: |bytes| bytes == *b"ruok",
            distributed: false,
            local_sessions: oxkeeper_replica::LocalSessions::Off,
        };
        Server {
            shared: Shared::new(state, settings, sessions, 0),
            config,
            connection: Connection::new(id, "127.0.0.1"),
            applier: Applier::new(1),
            stats: ServerStats::default(),
            unread: Vec::new(),
            sent: Vec::new(),
            ended: false,
        }
    }

    /// Receives bytes and handles everything that can be handled.
    fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while !self.ended && self.turn() {}
        self.shared.watches.lock().check();
    }

    /// Runs one turn and applies its writes. Returns whether there may be more to do.
    fn turn(&mut self) -> bool {
        let mut proposals = Proposals::default();
        let mut turn = Turn {
            shared: &self.shared,
            config: &self.config,
            load: &Load::default(),
            now_ms: 0,
            proposals: &mut proposals,
            out: &mut self.sent,
            superseded: &mut Vec::new(),
            stats: &mut self.stats,
        };
        let (used, flow) = self.connection.handle(&self.unread, &mut turn);
        assert!(used <= self.unread.len());
        self.unread.drain(..used);
        self.ended = matches!(flow, Flow::End(_) | Flow::Word(_));
        let wrote = !proposals.is_empty();
        self.apply(proposals);
        wrote || flow == Flow::Flush
    }

    fn apply(&mut self, mut proposals: Proposals) {
        let mut entry = Vec::new();
        begin_batch(0, &mut entry);
        entry.append(&mut proposals.commands);
        let mut batch = Batch::decode(&entry).unwrap();
        self.applier.apply(&mut self.shared, &mut batch, &mut proposals.origins.drain(..), usize::MAX, 0).unwrap();
        let outbox = std::mem::take(&mut self.applier.outboxes[0]);
        for (delivery, bytes) in outbox.iter() {
            self.sent.extend_from_slice(bytes);
            self.ended |= self.connection.delivered(delivery, 0, &mut self.sent, &mut self.stats).is_err();
        }
    }
}

fn framed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_frame(&mut out, write);
    out
}

fn handshake() -> Vec<u8> {
    let (protocol_version, last_zxid_seen, timeout_ms, session_id, passwd) = (0, 0, 5000, 0, Some(&[0u8; 16][..]));
    framed(|out| ConnectRequest { protocol_version, last_zxid_seen, timeout_ms, session_id, passwd }.encode(out))
}

/// Generates a valid request of one of most kinds.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    let path = prop::sample::select(&["/", "/a", "/a/b", "/zookeeper", "", "a", "/a/"][..]);
    let ops = [
        OpCode::Create,
        OpCode::Delete,
        OpCode::SetData,
        OpCode::GetData,
        OpCode::Exists,
        OpCode::GetChildren2,
        OpCode::Ping,
        OpCode::Auth,
        OpCode::SetWatches,
        OpCode::AddWatch,
        OpCode::RemoveWatches,
        OpCode::WhoAmI,
        OpCode::CloseSession,
    ];
    (prop::sample::select(ops.to_vec()), path, 0..7i32, any::<i32>()).prop_map(|(op, path, mode, xid)| {
        framed(|out| {
            RequestHeader { xid, op: op.wire() }.encode(out);
            put_body(op, path, mode, out);
        })
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest have no body")]
fn put_body(op: OpCode, path: &'static str, number: i32, out: &mut Vec<u8>) {
    let paths = || Some(vec![Some(path.into())]);
    let path = Some(path.into());
    match op {
        OpCode::Create => {
            let id = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
            let flags = CreateMode::from_wire(number).unwrap_or(CreateMode::Persistent).wire();
            CreateRequest { path, data: Some(b"x"), acl: Some(vec![Acl { perms: 31, id }]), flags }.encode(out);
        }
        OpCode::Delete => DeleteRequest { path, version: -1 }.encode(out),
        OpCode::SetData => SetDataRequest { path, data: None, version: -1 }.encode(out),
        OpCode::GetData | OpCode::Exists | OpCode::GetChildren2 => ReadRequest { path, watch: number > 3 }.encode(out),
        OpCode::Auth => AuthPacket { auth_type: 0, scheme: Some("digest".into()), auth: Some(b"a:b") }.encode(out),
        OpCode::SetWatches => {
            let (data_watches, exist_watches, child_watches) = (paths(), paths(), paths());
            SetWatches { relative_zxid: 0, data_watches, exist_watches, child_watches }.encode(out);
        }
        OpCode::AddWatch => AddWatchRequest { path, mode: number % 2 }.encode(out),
        OpCode::RemoveWatches => WatchesRequest { path, watcher_type: number }.encode(out),
        _ => {}
    }
}

/// Generates a request with a byte changed, or cut short with a matching length, or random bytes
/// behind a known operation.
fn unsound() -> impl Strategy<Value = Vec<u8>> {
    let op = prop::sample::select(OpCode::ALL).prop_map(OpCode::wire);
    prop_oneof![
        (sound(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, to)| {
            let len = bytes.len();
            bytes[4 + at.index(len - 4)] = to;
            bytes
        }),
        (sound(), any::<prop::sample::Index>()).prop_map(|(bytes, at)| {
            let len = at.index(bytes.len() - 4);
            framed(|out| out.extend_from_slice(&bytes[4..4 + len]))
        }),
        (prop_oneof![op, any::<i32>()], prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(op, body)| {
            framed(|out| {
                RequestHeader { xid: 1, op }.encode(out);
                out.extend_from_slice(&body);
            })
        }),
    ]
}

/// Generates the input of a client: usually a handshake first.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec(prop_oneof![4 => sound(), 1 => unsound()], 0..12);
    (prop::bool::weighted(0.9), frames, prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(begins, frames, tail)| {
        let mut bytes = if begins { handshake() } else { Vec::new() };
        bytes.extend(frames.concat());
        bytes.extend(tail);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_a_connection_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), begins in any::<bool>()) {
        let mut server = Server::new();
        if begins {
            server.receive(&handshake());
        }
        server.receive(&bytes);
        server.connection.ended(&server.shared);
        server.shared.watches.lock().check();
    }

    #[test]
    fn input_in_pieces_gives_the_same_output(
        bytes in conversation(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let mut whole = Server::new();
        whole.receive(&bytes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut pieces = Server::new();
        let mut start = 0;
        for cut in cuts {
            pieces.receive(&bytes[start..cut]);
            start = cut;
        }
        prop_assert_eq!(&whole.sent, &pieces.sent);
        prop_assert_eq!(whole.ended, pieces.ended);
        prop_assert_eq!(whole.shared.state.zxid(), pieces.shared.state.zxid());
        prop_assert_eq!(whole.shared.watches.lock().counts(), pieces.shared.watches.lock().counts());
    }
}

#[test]
fn every_byte_boundary_is_the_same_boundary() {
    let mut bytes = handshake();
    for (op, path) in [(OpCode::Create, "/a"), (OpCode::Exists, "/a"), (OpCode::SetData, "/a"), (OpCode::WhoAmI, "/")] {
        bytes.extend(framed(|out| {
            RequestHeader { xid: 7, op: op.wire() }.encode(out);
            put_body(op, path, 4, out);
        }));
    }
    let mut whole = Server::new();
    whole.receive(&bytes);
    assert!(!whole.ended && whole.sent.len() > 200, "everything was answered");
    for cut in 0..=bytes.len() {
        let mut pieces = Server::new();
        pieces.receive(&bytes[..cut]);
        pieces.receive(&bytes[cut..]);
        assert_eq!(whole.sent, pieces.sent, "cut at {cut}");
    }
}
