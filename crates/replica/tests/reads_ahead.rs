//! Writes behind a waiting read are proposed, and the read sees what it would have seen had its
//! client waited.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use oxkeeper_proto::op::XID_PING;
use oxkeeper_proto::records::{
    AddWatchRequest, AuthPacket, ConnectRequest, GetDataResponse, ReadRequest, ReplyHeader, RequestHeader,
    SetDataRequest, WatcherEvent,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, ServerId, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Applier, Clocks, Connection, ConnectionConfig, ConnectionId, DeliveryKind, Flow, Load, LocalSessions, Origin,
    Proposals, SessionTable, Shared, Turn,
};
use oxkeeper_state::command::{batch_extent, begin_batch};
use oxkeeper_state::{Batch, Command, Identities, Settings, State};

/// One server with one client, whose writes the test applies explicitly.
struct Server {
    shared: Shared,
    config: ConnectionConfig,
    connection: Connection,
    applier: Applier,
    stats: ServerStats,
    proposals: Proposals,
    unread: Vec<u8>,
    sent: Vec<u8>,
    flow: Flow,
}

impl Server {
    fn new() -> Server {
        let state = State::new(1);
        let sessions = SessionTable::new(ServerId(1), 0, &state, Clocks::new(1000, 0));
        let config = ConnectionConfig {
            frame_len_max: 1 << 20,
            session_timeout_min_ms: 1000,
            session_timeout_max_ms: 9000,
            settings: Settings::default(),
            auth: AuthConfig::default(),
            is_word: |_| false,
            distributed: false,
            local_sessions: LocalSessions::Off,
        };
        let id = ConnectionId { thread: 0, generation: 0, place: 0 };
        let mut server = Server {
            shared: Shared::new(state, Settings::default(), sessions, 0),
            config,
            connection: Connection::new(id, "127.0.0.1"),
            applier: Applier::new(1),
            stats: ServerStats::default(),
            proposals: Proposals::default(),
            unread: Vec::new(),
            sent: Vec::new(),
            flow: Flow::More,
        };
        let (protocol_version, last_zxid_seen, timeout_ms, session_id, passwd) = (0, 0, 5000, 0, Some(&[0u8; 16][..]));
        let request = ConnectRequest { protocol_version, last_zxid_seen, timeout_ms, session_id, passwd };
        server.receive(&framed(|out| request.encode(out)));
        server.apply();
        server.sent.clear();
        server
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let mut turn = Turn {
            shared: &self.shared,
            config: &self.config,
            load: &Load::default(),
            now_ms: 0,
            proposals: &mut self.proposals,
            out: &mut self.sent,
            superseded: &mut Vec::new(),
            stats: &mut self.stats,
        };
        let (used, flow) = self.connection.handle(&self.unread, &mut turn);
        self.unread.drain(..used);
        self.flow = flow;
    }

    fn entry(&mut self) -> Vec<u8> {
        let mut entry = Vec::new();
        begin_batch(0, &mut entry);
        entry.append(&mut self.proposals.commands);
        entry
    }

    /// Applies the proposals, then lets the connection continue.
    fn apply(&mut self) {
        let entry = self.entry();
        let mut batch = Batch::decode(&entry).unwrap();
        let mut origins = self.proposals.origins.drain(..);
        self.applier.apply(&mut self.shared, &mut batch, &mut origins, usize::MAX, 0).unwrap();
        assert!(origins.next().is_none());
        drop(origins);
        self.deliver();
    }

    /// Refuses the proposals: the disk is full.
    fn refuse(&mut self) {
        let entry = self.entry();
        let origins = self.proposals.origins.drain(..);
        self.applier.refuse(&self.shared, Batch::decode(&entry).unwrap(), origins).unwrap();
        self.deliver();
    }

    fn deliver(&mut self) {
        let outbox = std::mem::take(&mut self.applier.outboxes[0]);
        for (delivery, bytes) in outbox.iter() {
            self.sent.extend_from_slice(bytes);
            self.connection.delivered(delivery, 0, &mut self.sent, &mut self.stats).unwrap();
        }
        self.receive(&[]);
    }

    /// Takes the answers since the last call: xid, and the data or the error, or the path of an
    /// event.
    fn answers(&mut self) -> Vec<(i32, String)> {
        let sent = std::mem::take(&mut self.sent);
        let (mut rest, mut answers) = (sent.as_slice(), Vec::new());
        while let Some((body, behind)) = frame::split_frame(rest, usize::MAX).unwrap() {
            let mut reader = Reader::new(body);
            let ReplyHeader { xid, err, .. } = ReplyHeader::decode(&mut reader).unwrap();
            let told = match xid {
                -1 => WatcherEvent::from_bytes(reader.rest()).unwrap().path.unwrap().into_owned(),
                _ if err != 0 => err.to_string(),
                _ => GetDataResponse::from_bytes(reader.rest()).map_or_else(
                    |_| String::new(),
                    |answer| String::from_utf8(answer.data.unwrap_or_default().to_vec()).unwrap(),
                ),
            };
            answers.push((xid, told));
            rest = behind;
        }
        answers
    }

    fn proposed(&self) -> usize {
        self.proposals.origins.len()
    }
}

fn framed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_frame(&mut out, write);
    out
}

fn request<'a>(xid: i32, op: OpCode, record: &impl Jute<'a>) -> Vec<u8> {
    framed(|out| {
        RequestHeader { xid, op: op.wire() }.encode(out);
        record.encode(out);
    })
}

fn set(xid: i32, data: &str) -> Vec<u8> {
    request(xid, OpCode::SetData, &SetDataRequest { path: Some("/".into()), data: Some(data.as_bytes()), version: -1 })
}

fn get(xid: i32) -> Vec<u8> {
    request(xid, OpCode::GetData, &ReadRequest { path: Some("/".into()), watch: false })
}

fn watch(xid: i32) -> Vec<u8> {
    request(xid, OpCode::AddWatch, &AddWatchRequest { path: Some("/".into()), mode: 0 })
}

fn ping() -> Vec<u8> {
    framed(|out| RequestHeader { xid: XID_PING, op: OpCode::Ping.wire() }.encode(out))
}

fn told(answers: &[(i32, &str)]) -> Vec<(i32, String)> {
    answers.iter().map(|&(xid, told)| (xid, told.to_owned())).collect()
}

#[test]
fn every_write_is_proposed_and_every_read_sees_the_write_before_it() {
    let mut server = Server::new();
    let frames = [set(1, "a"), get(2), ping(), set(3, "b"), set(4, "c"), get(5), set(6, "d"), get(7)];
    server.receive(&frames.concat());
    assert_eq!((server.proposed(), server.flow.clone()), (4, Flow::Blocked), "the last read waits alone");
    assert_eq!(server.unread, get(7));
    assert_eq!(server.answers(), []);
    server.apply();
    let expected = [(1, ""), (2, "a"), (XID_PING, ""), (3, ""), (4, ""), (5, "c"), (6, ""), (7, "d")];
    assert_eq!(server.answers(), told(&expected));
    assert_eq!((server.flow.clone(), server.connection.in_flight()), (Flow::More, 0));
    assert_eq!((server.stats.reads.tally.count, server.stats.updates.tally.count), (4, 5));
    assert_eq!(server.stats.received, 9);
}

#[test]
fn pieces_are_the_same_as_the_whole() {
    let bytes = [set(1, "a"), get(2), set(3, "b"), get(4), set(5, "c"), get(6)].concat();
    for cut in 0..=bytes.len() {
        let mut server = Server::new();
        server.receive(&bytes[..cut]);
        server.receive(&bytes[cut..]);
        assert_eq!(server.proposed(), 3, "cut at {cut}");
        server.apply();
        assert_eq!(server.answers(), told(&[(1, ""), (2, "a"), (3, ""), (4, "b"), (5, ""), (6, "c")]), "cut at {cut}");
    }
}

#[test]
fn a_read_that_no_write_took_along_is_forgotten_when_it_is_answered() {
    let mut server = Server::new();
    server.receive(&[set(1, "a"), get(2), get(3)].concat());
    server.apply();
    server.receive(&[set(4, "b"), get(5), set(6, "c"), get(7)].concat());
    assert_eq!(server.proposed(), 2);
    server.apply();
    let expected = [(1, ""), (2, "a"), (3, "a"), (4, ""), (5, "b"), (6, ""), (7, "c")];
    assert_eq!(server.answers(), told(&expected));
}

#[test]
fn a_watch_between_two_writes_tells_of_the_second() {
    let mut server = Server::new();
    server.receive(&[set(1, "a"), watch(2), set(3, "b"), get(4)].concat());
    server.apply();
    assert_eq!(server.answers(), told(&[(1, ""), (2, ""), (-1, "/"), (3, ""), (4, "b")]));
}

#[test]
fn what_changes_the_connection_holds_up_everything_behind_it() {
    let auth = AuthPacket { auth_type: 0, scheme: Some("digest".into()), auth: Some(b"a:b") };
    let mut server = Server::new();
    server.receive(&[set(1, "a"), get(2), request(3, OpCode::Auth, &auth), set(4, "b"), get(5)].concat());
    assert_eq!((server.proposed(), server.flow.clone()), (1, Flow::Blocked));
    server.apply();
    assert_eq!(server.answers(), told(&[(1, ""), (2, "a"), (3, "")]));
    assert_eq!(server.proposed(), 1);
    server.apply();
    assert_eq!(server.answers(), told(&[(4, ""), (5, "b")]));
}

#[test]
fn nonsense_behind_a_read_is_met_in_its_turn() {
    let unknown = framed(|out| RequestHeader { xid: 3, op: 999 }.encode(out));
    for nonsense in [unknown, vec![0xff; 8], framed(|out| out.push(1))] {
        let mut server = Server::new();
        server.receive(&[set(1, "a"), get(2), nonsense, set(4, "b")].concat());
        assert_eq!((server.proposed(), server.flow.clone()), (1, Flow::Blocked));
        server.apply();
        assert_eq!(server.answers()[..2], told(&[(1, ""), (2, "a")]));
        assert!(matches!(server.flow, Flow::End(_)) && server.proposed() == 0);
    }
}

#[test]
fn a_full_disk_answers_reads_in_their_turn() {
    let mut server = Server::new();
    server.receive(&[set(1, "a"), get(2), set(3, "b"), get(4)].concat());
    server.refuse();
    let refused = ErrorCode::SystemError.wire().to_string();
    assert_eq!(server.answers(), told(&[(1, &refused), (2, ""), (3, &refused), (4, "")]));
}

#[test]
fn long_answers_are_waited_for() {
    let mut server = Server::new();
    let data = "x".repeat(200 << 10);
    server.receive(&set(1, &data));
    server.apply();
    server.receive(&set(2, &data));
    let pairs: Vec<u8> = (0..20).flat_map(|pair| [get(10 + 2 * pair), set(11 + 2 * pair, "y")].concat()).collect();
    server.receive(&pairs);
    let proposed = server.proposed();
    assert!((2..10).contains(&proposed), "{proposed}: 1 MiB of answers at once, about");
    while server.proposed() > 0 {
        server.apply();
    }
    let xids: Vec<i32> = server.answers().into_iter().map(|(xid, _)| xid).collect();
    assert_eq!(xids, [1, 2].into_iter().chain(10..50).collect::<Vec<_>>());
}

/// The same holds if the answer is still short when its length is estimated: the write in flight
/// makes it long.
#[test]
fn answers_that_become_long_are_waited_for() {
    let mut server = Server::new();
    let data = "x".repeat(200 << 10);
    let mut bytes = set(1, &data);
    (0..50).for_each(|read| bytes.extend(get(10 + read)));
    bytes.extend(set(2, "y"));
    server.receive(&bytes);
    assert_eq!((server.proposed(), server.flow.clone()), (1, Flow::Blocked), "10 MiB of answers");
    let mut xids: Vec<i32> = Vec::new();
    while server.proposed() > 0 || server.flow == Flow::Flush {
        server.apply();
        xids.extend(server.answers().into_iter().map(|(xid, _)| xid));
    }
    assert_eq!(xids, [1].into_iter().chain(10..60).chain([2]).collect::<Vec<_>>());
}

/// Another client's write may still make them long: then the connection ends, like that of a client
/// that reads nothing.
#[test]
fn answers_that_others_make_long_are_not_all_given() {
    let mut server = Server::new();
    let mut bytes = set(1, "a");
    (0..2_000).for_each(|read| bytes.extend(get(10 + read)));
    bytes.extend(set(2, "y"));
    server.receive(&bytes);
    assert_eq!(server.proposed(), 2);
    let (mut other, mut entry) = (Vec::new(), Vec::new());
    let data = "x".repeat(200 << 10);
    let mut body = Vec::new();
    SetDataRequest { path: Some("/".into()), data: Some(data.as_bytes()), version: -1 }.encode(&mut body);
    let (settings, identities) = (Settings::default(), Identities::default());
    let session = server.connection.session();
    Command { from: None, session, xid: 0, op: OpCode::SetData, settings, identities, body: &body }.encode(&mut other);
    let first = batch_extent(&server.proposals.commands, 1).0;
    begin_batch(0, &mut entry);
    let (mine, rest) = server.proposals.commands.split_at(first);
    entry.extend([mine, &other, rest].concat());
    let mut origins = std::mem::take(&mut server.proposals.origins);
    origins.insert(1, Origin::own(0));
    let mut batch = Batch::decode(&entry).unwrap();
    server.applier.apply(&mut server.shared, &mut batch, &mut origins.into_iter(), usize::MAX, 0).unwrap();
    let outbox = &server.applier.outboxes[0];
    assert!(outbox.bytes.len() < 40 << 20, "{} of 400 MB", outbox.bytes.len());
    let kinds: Vec<_> = outbox.iter().map(|(delivery, _)| delivery.kind).collect();
    assert!(kinds.contains(&DeliveryKind::Overlong));
    assert!(matches!(kinds.last(), Some(DeliveryKind::Reply(_))), "what was written is written");
}

#[test]
fn a_connection_that_has_ended_leaves_no_watch() {
    let mut server = Server::new();
    server.receive(&[set(1, "a"), watch(2), set(3, "b")].concat());
    assert!(server.connection.must_settle(&server.config), "whoever takes the session over waits for both writes");
    server.connection.ended(&server.shared);
    let entry = server.entry();
    let mut batch = Batch::decode(&entry).unwrap();
    let mut origins = server.proposals.origins.drain(..);
    server.applier.apply(&mut server.shared, &mut batch, &mut origins, usize::MAX, 0).unwrap();
    server.shared.watches.lock().check();
    assert_eq!(server.shared.watches.lock().counts(), oxkeeper_replica::Watches::new(Settings::default(), 1).counts());
}
