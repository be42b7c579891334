//! Sessions on several servers: they begin, move and end through the log, and every server handles
//! its connections correctly when it applies what was agreed on.
//!
//! There are two servers with their connections; the test decides what they agree on.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use oxkeeper_proto::records::{
    Acl, ConnectRequest, ConnectResponse, CreateRequest, Id, PathRecord, ReadRequest, ReplyHeader, RequestHeader,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, ServerId, SessionId, Zxid, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Applier, Clocks, Connection, ConnectionConfig, ConnectionId, End, Flow, Load, Origin, Proposals, Serving,
    SessionTable, Shared, Takeover, Turn,
};
use oxkeeper_state::command::{batch_extent, begin_agreed, put_section};
use oxkeeper_state::{BallotId, Batch, Command, Epoch, Identities, Settings, State, session};

const BALLOT: BallotId = BallotId([7; 20]);
const TICK_MS: u64 = 100;
/// Timeout that clients request.
const TIMEOUT_MS: i32 = 1000;

/// A connection and the output that its client has received.
struct Client {
    connection: Connection,
    got: Vec<u8>,
    end: Option<End>,
}

struct Server {
    id: ServerId,
    shared: Shared,
    config: ConnectionConfig,
    applier: Applier,
    clients: BTreeMap<ConnectionId, Client>,
    proposals: Proposals,
    /// Number of its next command.
    seq: u64,
    superseded: Vec<Takeover>,
    stats: ServerStats,
}

impl Server {
    fn new(id: u8) -> Server {
        let mut state = State::new(1);
        state.begin_epoch(&Epoch { ballot: BALLOT, time_ms: 0, ensemble: 1, config_version: 0, config: b"" }, &mut ());
        let sessions = SessionTable::new(ServerId(id), 0, &state, Clocks::new(TICK_MS, 0));
        let config = ConnectionConfig {
            frame_len_max: 4096,
            session_timeout_min_ms: 200,
            session_timeout_max_ms: 9000,
            settings: Settings::default(),
            auth: AuthConfig::default(),
            is_word: |_| false,
            distributed: true,
            local_sessions: oxkeeper_replica::LocalSessions::Off,
        };
        let mut applier = Applier::new(1);
        applier.me = Some((ServerId(id), 1));
        Server {
            id: ServerId(id),
            shared: Shared::new(state, Settings::default(), sessions, 0),
            config,
            applier,
            clients: BTreeMap::new(),
            proposals: Proposals::default(),
            seq: 1,
            superseded: Vec::new(),
            stats: ServerStats::default(),
        }
    }

    /// Opens a connection that asks for a new session, or for an existing one. Returns it with the
    /// outcome of its handshake.
    fn connect(&mut self, session: SessionId, password: [u8; 16], now_ms: u64) -> (ConnectionId, Flow) {
        let id = ConnectionId { thread: 0, generation: 0, place: self.clients.len() as u32 };
        let connection = Connection::new(id, "127.0.0.1");
        self.clients.insert(id, Client { connection, got: Vec::new(), end: None });
        let (session_id, passwd) = (session.0, Some(&password[..]));
        let request =
            ConnectRequest { protocol_version: 0, last_zxid_seen: 0, timeout_ms: TIMEOUT_MS, session_id, passwd };
        let flow = self.receive(id, now_ms, |out| request.encode(out));
        (id, flow)
    }

    fn begin(&mut self, now_ms: u64) -> ConnectionId {
        self.connect(SessionId::NONE, [0; 16], now_ms).0
    }

    fn resume(&mut self, session: SessionId, now_ms: u64) -> ConnectionId {
        let (id, flow) = self.connect(session, session::password(session), now_ms);
        assert_eq!(flow, Flow::Blocked, "whether the session exists is not decided here");
        id
    }

    fn ask<'a>(&mut self, id: ConnectionId, op: OpCode, body: &impl Jute<'a>, now_ms: u64) -> Flow {
        self.receive(id, now_ms, |out| {
            RequestHeader { xid: 5, op: op.wire() }.encode(out);
            body.encode(out);
        })
    }

    fn create(&mut self, id: ConnectionId, path: &str, now_ms: u64) -> Flow {
        let acl = Some(vec![Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }]);
        let request = CreateRequest { path: Some(path.into()), data: None, acl, flags: 0 };
        self.ask(id, OpCode::Create, &request, now_ms)
    }

    fn receive(&mut self, id: ConnectionId, now_ms: u64, write: impl FnOnce(&mut Vec<u8>)) -> Flow {
        let mut input = Vec::new();
        frame::put_frame(&mut input, write);
        self.handle(id, now_ms, &input)
    }

    /// Ends a connection, and lets the connections that waited for that continue.
    fn hang_up(&mut self, id: ConnectionId, now_ms: u64) {
        self.clients[&id].connection.ended(&self.shared);
        for Takeover { holder, successor } in std::mem::take(&mut self.superseded) {
            assert_eq!(holder, id);
            let successor = successor.unwrap();
            self.clients.get_mut(&successor).unwrap().connection.clear();
            self.handle(successor, now_ms, &[]);
        }
    }

    fn handle(&mut self, id: ConnectionId, now_ms: u64, input: &[u8]) -> Flow {
        let client = self.clients.get_mut(&id).unwrap();
        let mut turn = Turn {
            shared: &self.shared,
            config: &self.config,
            load: &Load::default(),
            now_ms,
            proposals: &mut self.proposals,
            out: &mut client.got,
            superseded: &mut self.superseded,
            stats: &mut self.stats,
        };
        let (_, flow) = client.connection.handle(input, &mut turn);
        if let Flow::End(end) = &flow {
            client.end = Some(end.clone());
        }
        flow
    }

    /// Returns its clients' proposals as a section, with their origins.
    fn section(&mut self) -> (Vec<u8>, Vec<Origin>) {
        let Proposals { commands, origins } = std::mem::take(&mut self.proposals);
        let mut section = Vec::new();
        put_section(self.id, 1, self.seq, &commands, &mut section);
        self.seq += batch_extent(&commands, usize::MAX).1 as u64;
        (section, origins)
    }

    /// Applies an entry, `limit` commands at a time. Returns whether all of `origins` were needed.
    fn apply(&mut self, entry: &[u8], origins: &[Origin], limit: usize, now_ms: u64) -> bool {
        let mut batch = Batch::decode(entry).unwrap();
        let mut origins = origins.iter().cloned();
        while self.applier.apply(&mut self.shared, &mut batch, &mut origins, limit, now_ms).unwrap() == limit {}
        let outbox = std::mem::take(&mut self.applier.outboxes[0]);
        for (delivery, bytes) in outbox.iter() {
            let client = self.clients.get_mut(&delivery.connection).unwrap();
            client.got.extend_from_slice(bytes);
            let delivered = client.connection.delivered(delivery, now_ms, &mut client.got, &mut self.stats);
            client.end = client.end.take().or(delivered.err());
        }
        origins.next().is_none()
    }

    fn session(&self, id: ConnectionId) -> SessionId {
        self.clients[&id].connection.session()
    }

    fn holder(&self, session: SessionId) -> Option<ConnectionId> {
        self.shared.sessions.lock().holder(session)
    }

    fn end(&self, id: ConnectionId) -> Option<End> {
        self.clients[&id].end.clone()
    }

    /// Returns the next frame that its client has received.
    fn frame(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let got = &mut self.clients.get_mut(&id).unwrap().got;
        let (frame, behind) = frame::split_frame(got, usize::MAX).unwrap()?;
        let (frame, behind) = (frame.to_vec(), behind.to_vec());
        *got = behind;
        Some(frame)
    }

    /// Returns the timeout and session in the handshake's answer.
    fn handshake(&mut self, id: ConnectionId) -> Option<(i32, i64)> {
        let frame = self.frame(id)?;
        let answer = ConnectResponse::from_bytes(&frame).unwrap();
        let right = answer.session_id == 0 || answer.passwd == Some(&session::password(SessionId(answer.session_id)));
        assert!(right, "a password comes with a session");
        Some((answer.timeout_ms, answer.session_id))
    }

    /// Returns the zxid and error of the next reply.
    fn reply(&mut self, id: ConnectionId) -> Option<(i64, i32)> {
        let header = ReplyHeader::from_bytes(&self.frame(id)?).unwrap();
        Some((header.zxid, header.err))
    }
}

/// Returns an entry of these sections.
fn entry(ballot: BallotId, sections: &[&[u8]]) -> Vec<u8> {
    let mut entry = Vec::new();
    begin_agreed(ballot, 0, &mut entry);
    sections.iter().for_each(|section| entry.extend_from_slice(section));
    entry
}

/// Servers 1 and 2.
struct Pair([Server; 2]);

impl Pair {
    fn new() -> Pair {
        Pair([Server::new(1), Server::new(2)])
    }

    /// Lets both servers agree on their proposals, the first server's in front.
    fn agree(&mut self, now_ms: u64) {
        let sections = self.0.each_mut().map(Server::section);
        let entry = entry(BALLOT, &sections.each_ref().map(|(section, _)| section.as_slice()));
        for (server, (_, origins)) in self.0.iter_mut().zip(&sections) {
            assert!(server.apply(&entry, origins, 1, now_ms), "every origin finds its command");
        }
        let zxids = self.0.each_ref().map(|server| server.shared.state.zxid());
        assert_eq!(zxids[0], zxids[1]);
    }

    /// Lets both servers agree on the leader's own command to close a session.
    fn close(&mut self, session: SessionId, now_ms: u64) {
        self.close_expired(session, &[], now_ms);
    }

    /// Does the same with what the leader knew of the session.
    fn close_expired(&mut self, session: SessionId, known: &[u8], now_ms: u64) {
        let (mut commands, mut section) = (Vec::new(), Vec::new());
        let (settings, identities) = (Settings::default(), Identities::default());
        let command =
            Command { from: None, session, xid: 0, op: OpCode::CloseSession, settings, identities, body: known };
        command.encode(&mut commands);
        put_section(ServerId(0), 0, 0, &commands, &mut section);
        for server in &mut self.0 {
            server.apply(&entry(BALLOT, &[&section]), &[], 9, now_ms);
        }
    }

    /// Returns servers with a session that began at server 1.
    fn with_session() -> (Pair, ConnectionId, SessionId) {
        let mut pair = Pair::new();
        let client = pair.0[0].begin(0);
        pair.agree(0);
        let session = pair.0[0].session(client);
        assert_eq!(pair.0[0].handshake(client), Some((TIMEOUT_MS, session.0)));
        (pair, client, session)
    }

    fn owner(&self, session: SessionId) -> [Option<u8>; 2] {
        self.0.each_ref().map(|server| server.shared.state.sessions().get(session).map(|session| session.owner.0))
    }
}

fn zxid(counter: u32) -> i64 {
    Zxid::new(1, counter).0
}

const MOVED: Option<End> = Some(End::Disconnected);

#[test]
fn a_session_is_known_everywhere_and_held_where_it_began() {
    let (pair, client, session) = Pair::with_session();
    assert_eq!(pair.owner(session), [Some(1); 2]);
    assert_eq!(pair.0.each_ref().map(|server| server.holder(session)), [Some(client), None]);
    let deadlines = pair.0.each_ref().map(|server| server.shared.sessions.lock().clocks.deadlines());
    assert_eq!(deadlines[0].values().flatten().collect::<Vec<_>>(), [&session]);
    assert_eq!(deadlines[0], deadlines[1]);
}

#[test]
fn each_origin_is_answered_at_its_own_server() {
    let (mut pair, first, _) = Pair::with_session();
    let second = pair.0[1].begin(0);
    pair.agree(0);
    assert!(pair.0[1].handshake(second).is_some());
    let [one, two] = &mut pair.0;
    one.create(first, "/a", 1);
    two.create(second, "/b", 1);
    two.create(second, "/a", 1);
    pair.agree(1);
    let [one, two] = &mut pair.0;
    assert_eq!((one.reply(first), one.reply(first)), (Some((zxid(3), 0)), None));
    let exists = ErrorCode::NodeExists.wire();
    assert_eq!((two.reply(second), two.reply(second)), (Some((zxid(4), 0)), Some((zxid(5), exists))));
}

/// A new leader receives commands again that the former one may have put into the log already, in
/// full or in part.
#[test]
fn what_comes_twice_is_applied_and_answered_once() {
    let (mut pair, client, _) = Pair::with_session();
    let server = &mut pair.0[0];
    server.create(client, "/a", 1);
    let (first, first_origins) = server.section();
    server.create(client, "/b", 1);
    let (second, second_origins) = server.section();
    let origins = [first_origins, second_origins].concat();
    // The second comes too early, then both, and the first once more.
    assert!(!server.apply(&entry(BALLOT, &[&second]), &origins, 9, 2));
    assert_eq!(server.reply(client), None);
    assert!(server.apply(&entry(BALLOT, &[&first, &first, &second, &first]), &origins, 1, 2));
    assert_eq!((server.reply(client), server.reply(client)), (Some((zxid(2), 0)), Some((zxid(3), 0))));
    assert_eq!((server.reply(client), server.shared.state.last_admitted(ServerId(1))), (None, Some((1, 3))));
}

#[test]
fn a_former_boot_of_this_server_is_not_this_one() {
    let mut pair = Pair::new();
    let server = &mut pair.0[0];
    server.applier.me = Some((ServerId(1), 2));
    server.begin(0);
    // The boot number in this section is 1.
    let (section, origins) = server.section();
    assert!(!server.apply(&entry(BALLOT, &[&section]), &origins, 9, 0), "nobody here asked for it");
    assert_eq!(server.shared.state.sessions().len(), 1);
}

#[test]
fn a_batch_of_a_former_leader_does_nothing() {
    let mut pair = Pair::new();
    let server = &mut pair.0[0];
    server.begin(0);
    let (section, origins) = server.section();
    let before = server.shared.state.zxid();
    assert!(!server.apply(&entry(BallotId([6; 20]), &[&section]), &origins, 9, 0));
    assert_eq!((server.shared.state.zxid(), server.shared.state.last_admitted(ServerId(1))), (before, None));
    assert!(server.apply(&entry(BALLOT, &[&section]), &origins, 9, 0), "it comes again");
    assert_eq!(server.shared.state.sessions().len(), 1);
}

#[test]
fn a_session_moves_to_another_server() {
    let (mut pair, old, session) = Pair::with_session();
    // The session was heard from, so that its connection is attached to its clock.
    pair.0[0].ask(old, OpCode::Ping, &0, 1);
    assert!(pair.0[0].reply(old).is_some());
    // This is under way through the old server when the session moves.
    pair.0[0].create(old, "/before", 2);
    let new = pair.0[1].resume(session, 2);
    pair.agree(3);
    assert_eq!(pair.0[0].reply(old), Some((zxid(2), 0)));
    assert_eq!(pair.0[1].handshake(new), Some((TIMEOUT_MS, session.0)));
    assert_eq!(pair.owner(session), [Some(2); 2]);
    assert_eq!(pair.0.each_ref().map(|server| server.holder(session)), [None, Some(new)]);
    assert_eq!((pair.0[0].end(old), pair.0[1].end(new)), (MOVED, None));
    // Requests that the old connection has not handled yet take no effect.
    assert_eq!(pair.0[0].create(old, "/late", 4), Flow::End(End::Disconnected));
    assert!(pair.0[0].proposals.is_empty());
    // The old connection's end does not affect the new one.
    let [one, two] = &mut pair.0;
    one.clients[&old].connection.ended(&one.shared);
    two.create(new, "/after", 5);
    pair.agree(5);
    assert_eq!(pair.0[1].reply(new), Some((zxid(3), 0)), "resuming took no zxid");
}

#[test]
fn a_late_write_through_the_old_server_fails_and_disconnects() {
    for op in [OpCode::Create, OpCode::CloseSession, OpCode::Sync] {
        let (mut pair, old, session) = Pair::with_session();
        let new = pair.0[1].resume(session, 1);
        let (moves, origins) = pair.0[1].section();
        if op == OpCode::Create {
            pair.0[0].create(old, "/late", 1);
        } else {
            pair.0[0].ask(old, op, &PathRecord { path: Some("/".into()) }, 1);
        }
        let (late, late_origins) = pair.0[0].section();
        let entry = entry(BALLOT, &[&moves, &late]);
        assert!(pair.0[0].apply(&entry, &late_origins, 1, 2) && pair.0[1].apply(&entry, &origins, 1, 2));
        assert_eq!((pair.0[0].end(old), pair.0[0].reply(old)), (MOVED, None), "{op:?}: no answer");
        let taken = u32::from(op != OpCode::Sync);
        assert_eq!(pair.0[0].shared.state.zxid(), Zxid::new(1, 1 + taken), "{op:?}");
        assert_eq!((pair.owner(session), pair.0[1].end(new)), ([Some(2); 2], None), "{op:?}");
        // The session continues until it expires, even on a server that thought it was closing.
        let mut sessions = pair.0[0].shared.sessions.lock();
        sessions.clocks.restart(2);
        let looks = (0..15).flat_map(|look| sessions.clocks.tick(2 + look * TICK_MS)).collect::<Vec<_>>();
        assert_eq!(looks, [session], "{op:?}");
    }
}

#[test]
fn a_session_resumed_at_the_same_server_leaves_its_older_connection() {
    let (mut pair, old, session) = Pair::with_session();
    pair.0[0].ask(old, OpCode::Ping, &0, 1);
    pair.0[0].reply(old);
    let new = pair.0[0].resume(session, 2);
    assert_eq!(pair.0[0].superseded, [Takeover { holder: old, successor: Some(new) }], "the older one ends first");
    // A request that had arrived there is ordered before the session continues here.
    assert_eq!(pair.0[0].create(old, "/before", 2), Flow::More);
    assert!(!pair.0[0].clients[&old].connection.must_settle(&pair.0[0].config), "the log orders it");
    pair.0[0].hang_up(old, 2);
    assert_eq!(pair.0[0].proposals.origins.len(), 2);
    assert_eq!(pair.0[0].handshake(new), None, "not agreed on yet");
    assert_eq!(pair.0[0].create(old, "/late", 4), Flow::End(End::Disconnected));
    pair.agree(3);
    assert!(matches!(pair.0[0].reply(old), Some((_, 0))), "nobody hears it");
    assert_eq!(pair.0[0].handshake(new), Some((TIMEOUT_MS, session.0)));
    assert_eq!((pair.0[0].end(new), pair.0[0].holder(session)), (None, Some(new)));
    assert_eq!(pair.0[0].create(new, "/a", 4), Flow::More);
    pair.agree(4);
    assert!(matches!(pair.0[0].reply(new), Some((_, 0))));
    assert_eq!(pair.owner(session), [Some(1); 2]);
}

/// The server closed every client while its engine stood still, or the client broke TLS: the log
/// does not show that.
#[test]
fn a_connection_that_ended_before_it_got_its_session_holds_up_nobody() {
    let (mut pair, old, session) = Pair::with_session();
    pair.0[0].hang_up(old, 1);
    let gone = pair.0[0].resume(session, 1);
    pair.0[0].clients[&gone].connection.ended(&pair.0[0].shared);
    pair.agree(2);
    let new = pair.0[0].resume(session, 3);
    assert_eq!(pair.0[0].superseded, [Takeover { holder: gone, successor: Some(new) }]);
    // Its thread reports at once that it has ended.
    pair.0[0].superseded.clear();
    pair.0[0].clients.get_mut(&new).unwrap().connection.clear();
    pair.0[0].handle(new, 3, &[]);
    assert_eq!(pair.0[0].superseded, [], "there is nobody left to wait for");
    pair.agree(4);
    assert_eq!((pair.0[0].handshake(new), pair.0[0].holder(session)), (Some((TIMEOUT_MS, session.0)), Some(new)));
}

#[test]
fn of_two_that_resume_at_once_the_later_has_it() {
    let (mut pair, _, session) = Pair::with_session();
    let first = pair.0[1].resume(session, 1);
    let second = pair.0[1].resume(session, 1);
    pair.agree(2);
    assert!(pair.0[1].handshake(first).is_some() && pair.0[1].handshake(second).is_some());
    assert_eq!((pair.0[1].end(first), pair.0[1].end(second), pair.0[1].holder(session)), (MOVED, None, Some(second)));
}

#[test]
fn a_session_that_is_gone_is_refused_when_that_is_agreed_on() {
    let (mut pair, old, session) = Pair::with_session();
    pair.close(session, 1);
    assert_eq!((pair.0[0].end(old), pair.0[0].holder(session)), (MOVED, None), "the leader ended it");
    let new = pair.0[1].resume(session, 2);
    assert_eq!(pair.0[1].handshake(new), None);
    pair.agree(2);
    assert_eq!(pair.0[1].handshake(new), Some((0, 0)));
    assert_eq!(pair.0[1].end(new), Some(End::SessionExpired(session)));
    let client = &pair.0[1].clients[&new].connection;
    assert_eq!((client.in_flight(), client.session(), pair.0[1].holder(session)), (0, SessionId::NONE, None));
    assert_eq!(pair.0[1].shared.state.zxid(), Zxid::new(1, 2));
}

/// The server that the client comes to may not know of the session yet.
#[test]
fn a_server_that_lags_behind_resumes_what_it_does_not_know_yet() {
    let mut pair = Pair::new();
    let old = pair.0[0].begin(0);
    let (begins, origins) = pair.0[0].section();
    assert!(pair.0[0].apply(&entry(BALLOT, &[&begins]), &origins, 9, 0));
    let session = pair.0[0].session(old);
    let new = pair.0[1].resume(session, 1);
    assert!(pair.0[1].apply(&entry(BALLOT, &[&begins]), &[], 9, 1), "nobody here asked for it");
    pair.agree(2);
    assert_eq!((pair.0[1].handshake(new), pair.0[0].end(old)), (Some((TIMEOUT_MS, session.0)), MOVED));
}

#[test]
fn a_wrong_password_is_refused_at_once() {
    let (mut pair, old, session) = Pair::with_session();
    let (new, flow) = pair.0[0].connect(session, [1; 16], 1);
    assert_eq!(flow, Flow::End(End::WrongPassword(session)));
    assert_eq!(pair.0[0].handshake(new), Some((0, 0)));
    assert!(pair.0[0].proposals.is_empty());
    assert_eq!(pair.0[0].superseded, [Takeover { holder: old, successor: None }], "as ZooKeeper does");
}

#[test]
fn a_client_that_knows_more_is_sent_elsewhere() {
    let (mut pair, _, session) = Pair::with_session();
    let id = ConnectionId { thread: 0, generation: 0, place: 9 };
    let client = Client { connection: Connection::new(id, "127.0.0.1"), got: Vec::new(), end: None };
    pair.0[1].clients.insert(id, client);
    let (timeout_ms, session_id, last_zxid_seen) = (TIMEOUT_MS, session.0, zxid(9));
    let passwd = session::password(session);
    let request =
        ConnectRequest { protocol_version: 0, last_zxid_seen, timeout_ms, session_id, passwd: Some(&passwd[..]) };
    let flow = pair.0[1].receive(id, 1, |out| request.encode(out));
    assert_eq!(flow, Flow::End(End::ZxidAhead { client: zxid(9), server: zxid(1) }));
}

#[test]
fn a_sync_is_agreed_on_and_reads_wait_behind_it() {
    let (mut pair, client, _) = Pair::with_session();
    let path = || PathRecord { path: Some("/".into()) };
    assert_eq!(pair.0[0].ask(client, OpCode::Sync, &path(), 1), Flow::More);
    assert_eq!(pair.0[0].proposals.origins.len(), 1);
    let read = ReadRequest { path: Some("/".into()), watch: false };
    assert_eq!(pair.0[0].ask(client, OpCode::GetData, &read, 1), Flow::Blocked);
    assert_eq!(pair.0[0].frame(client), None);
    pair.agree(2);
    let mut expected = Vec::new();
    ReplyHeader { xid: 5, zxid: zxid(1), err: 0 }.encode(&mut expected);
    path().encode(&mut expected);
    assert_eq!(pair.0[0].frame(client), Some(expected));
    assert_eq!(pair.0[0].ask(client, OpCode::GetData, &read, 3), Flow::More);
    assert_eq!(pair.0[0].reply(client), Some((zxid(1), 0)));
}

#[test]
fn a_server_that_does_not_serve_begins_nothing() {
    let (mut pair, _, session) = Pair::with_session();
    pair.0[1].shared.serve(Serving::No, 1);
    let connects = pair.0[1].stats.connects;
    for (session, password) in [(SessionId::NONE, [0; 16]), (session, session::password(session))] {
        let (client, flow) = pair.0[1].connect(session, password, 1);
        assert_eq!((flow, pair.0[1].frame(client)), (Flow::End(End::NotServing), None));
    }
    assert!(pair.0[1].proposals.is_empty());
    assert_eq!(pair.0[1].stats.connects, connects);
}

#[test]
fn clients_cannot_ask_for_what_only_servers_may() {
    let (mut pair, client, _) = Pair::with_session();
    let flow = pair.0[0].ask(client, OpCode::ResumeSession, &TIMEOUT_MS, 1);
    assert_eq!(flow, Flow::End(End::UnknownOperation(OpCode::ResumeSession.wire())));
    assert_eq!(pair.0[0].reply(client), Some((-1, ErrorCode::Unimplemented.wire())));
}

/// The disk is full: the client tries another server.
#[test]
fn a_resumption_that_cannot_be_agreed_on_costs_the_connection() {
    let (mut pair, _, session) = Pair::with_session();
    let new = pair.0[1].resume(session, 1);
    let (section, origins) = pair.0[1].section();
    let refused = entry(BALLOT, &[&section]);
    let server = &mut pair.0[1];
    server.applier.refuse(&server.shared, Batch::decode(&refused).unwrap(), origins.into_iter()).unwrap();
    let kinds: Vec<_> = pair.0[1].applier.outboxes[0].iter().map(|(delivery, _)| delivery).collect();
    assert_eq!(kinds.len(), 1);
    assert_eq!((kinds[0].connection, kinds[0].kind), (new, oxkeeper_replica::DeliveryKind::Unanswered));
}

#[test]
fn the_leader_is_told_whom_this_server_has_heard_from() {
    let (mut pair, client, session) = Pair::with_session();
    let touched = |server: &mut Server| server.shared.sessions.get_mut().take_touched();
    assert_eq!(touched(&mut pair.0[0]), [], "it has only begun");
    pair.0[0].ask(client, OpCode::Ping, &0, 10);
    assert_eq!((touched(&mut pair.0[0]), touched(&mut pair.0[0])), (vec![session], vec![]));
    // Heard by a thread whose time is slightly behind that of the last report.
    pair.0[0].ask(client, OpCode::Ping, &0, 11);
    assert_eq!(touched(&mut pair.0[1]), [], "the other server's client");
    assert_eq!(touched(&mut pair.0[0]), [session]);
    // The last time it was heard counts even if the connection has ended since.
    pair.0[0].ask(client, OpCode::Ping, &0, 12);
    pair.0[0].clients[&client].connection.ended(&pair.0[0].shared);
    assert_eq!((touched(&mut pair.0[0]), touched(&mut pair.0[0])), (vec![session], vec![]));
    // This does not hold for a session that has ended.
    pair.0[0].resume(session, 13);
    pair.agree(13);
    let holder = pair.0[0].holder(session).unwrap();
    pair.0[0].ask(holder, OpCode::Ping, &0, 14);
    pair.0[0].clients[&holder].connection.ended(&pair.0[0].shared);
    pair.close(session, 15);
    assert_eq!(touched(&mut pair.0[0]), []);
}

/// The client of a resumption is here, however long agreement takes.
#[test]
fn a_client_that_comes_back_is_heard_before_that_is_agreed_on() {
    for place in 0..2 {
        let (mut pair, old, session) = Pair::with_session();
        pair.0[0].clients[&old].connection.ended(&pair.0[0].shared);
        pair.0[place].resume(session, 900);
        let touched = pair.0[place].shared.sessions.get_mut().take_touched();
        assert_eq!(touched, [session], "so the leader is told");
        let clocks = &mut pair.0[place].shared.sessions.get_mut().clocks;
        assert!((0..38).all(|look| clocks.tick(50 * look).is_empty()), "server {place} as the leader");
    }
}

/// A client without the session's password does not renew it.
#[test]
fn a_refused_client_keeps_no_session_alive() {
    let (mut pair, old, session) = Pair::with_session();
    pair.0[0].clients[&old].connection.ended(&pair.0[0].shared);
    pair.0[1].connect(session, [0; 16], 900);
    assert_eq!(pair.0[1].shared.sessions.get_mut().take_touched(), []);
}

/// The client is told that it is connected, so it is: what ended the session was found earlier.
#[test]
fn a_session_that_is_resumed_while_it_expires_goes_on() {
    let (mut pair, old, session) = Pair::with_session();
    pair.0[0].clients[&old].connection.ended(&pair.0[0].shared);
    let new = pair.0[1].resume(session, 1_000);
    let known = pair.0[0].shared.state.expiry(session);
    pair.agree(1_200);
    assert_eq!(pair.0[1].handshake(new), Some((TIMEOUT_MS, session.0)));
    pair.close_expired(session, &known, 1_200);
    assert_eq!((pair.0[1].end(new), pair.0[1].holder(session)), (None, Some(new)));
    pair.0[1].create(new, "/a", 1_201);
    pair.agree(1_201);
    assert_eq!(pair.0[1].reply(new).map(|(_, err)| err), Some(0));
    // Its clock runs: it expires later, unless it is heard.
    let known = pair.0[0].shared.state.expiry(session);
    let expired = (25..50).flat_map(|look| pair.0[0].shared.sessions.get_mut().clocks.tick(50 * look)).count();
    assert_eq!(expired, 1);
    pair.close_expired(session, &known, 2_400);
    assert_eq!((pair.0[1].end(new), pair.0[1].holder(session)), (MOVED, None));
}
