//! Read-only mode: a server without its ensemble serves clients that only read, in sessions that no
//! other server knows.
//!
//! Follows the observed behaviour of Apache ZooKeeper 3.9.5 with local sessions enabled.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use oxkeeper_proto::records::{
    ConnectRequest, ConnectResponse, PathRecord, ReadRequest, ReplyHeader, RequestHeader, SetDataRequest,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, ServerId, SessionId, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Clocks, Connection, ConnectionConfig, ConnectionId, End, Flow, Load, Proposals, Serving, SessionTable, Shared,
    Takeover, Turn,
};
use oxkeeper_state::{Command, Identities, Settings, State, session};

const TICK_MS: u64 = 100;
const TIMEOUT_MS: i32 = 1000;
/// A session that the whole ensemble knows.
const AGREED: SessionId = SessionId(7);

/// A server in read-only mode.
struct Server {
    shared: Shared,
    config: ConnectionConfig,
    proposals: Proposals,
    superseded: Vec<Takeover>,
    stats: ServerStats,
    count: u32,
}

/// The answer to a handshake.
#[derive(Debug, PartialEq)]
struct Answer {
    timeout_ms: i32,
    session: SessionId,
    read_only: Option<bool>,
}

impl Server {
    fn new() -> Server {
        let mut state = State::new(1);
        let (settings, identities) = (Settings::default(), Identities::default());
        let body = &TIMEOUT_MS.to_be_bytes();
        let begin =
            Command { from: None, session: AGREED, xid: 0, op: OpCode::CreateSession, settings, identities, body };
        state.apply(&begin, 0, &mut Vec::new(), &mut ()).unwrap();
        let sessions = SessionTable::new(ServerId(1), 5000, &state, Clocks::new(TICK_MS, 0));
        let config = ConnectionConfig {
            frame_len_max: 4096,
            session_timeout_min_ms: 200,
            session_timeout_max_ms: 9000,
            settings,
            auth: AuthConfig::default(),
            is_word: |_| false,
            distributed: true,
            local_sessions: oxkeeper_replica::LocalSessions::Off,
        };
        let mut shared = Shared::new(state, settings, sessions, 0);
        shared.serve(Serving::ReadOnly, 0);
        let (proposals, stats) = (Proposals::default(), ServerStats::default());
        Server { shared, config, proposals, superseded: Vec::new(), stats, count: 0 }
    }

    fn zxid(&self) -> i64 {
        self.shared.state.zxid().0
    }

    /// Receives one frame, and returns the answer to it.
    fn receive(
        &mut self,
        connection: &mut Connection,
        now_ms: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (Flow, Option<Vec<u8>>) {
        let mut input = Vec::new();
        frame::put_frame(&mut input, write);
        self.handle(connection, now_ms, &input)
    }

    /// Runs a turn of a connection, and returns its output.
    fn handle(&mut self, connection: &mut Connection, now_ms: u64, input: &[u8]) -> (Flow, Option<Vec<u8>>) {
        let mut out = Vec::new();
        let mut turn = Turn {
            shared: &self.shared,
            config: &self.config,
            load: &Load::default(),
            now_ms,
            proposals: &mut self.proposals,
            out: &mut out,
            superseded: &mut self.superseded,
            stats: &mut self.stats,
        };
        let (_, flow) = connection.handle(input, &mut turn);
        let answer = frame::split_frame(&out, usize::MAX).unwrap().map(|(body, rest)| {
            assert!(rest.is_empty(), "one answer");
            body.to_vec()
        });
        (flow, answer)
    }

    /// Performs a handshake; `read_only` is the byte that not every client sends.
    fn connect(
        &mut self,
        read_only: Option<bool>,
        (session, password): (SessionId, [u8; 16]),
        last_zxid_seen: i64,
        now_ms: u64,
    ) -> (Connection, Flow, Option<Answer>) {
        self.count += 1;
        let id = ConnectionId { thread: 0, generation: 0, place: self.count };
        let mut connection = Connection::new(id, "127.0.0.1");
        let (session_id, passwd, timeout_ms) = (session.0, Some(&password[..]), TIMEOUT_MS);
        let request = ConnectRequest { protocol_version: 0, last_zxid_seen, timeout_ms, session_id, passwd };
        let (flow, answer) = self.receive(&mut connection, now_ms, |out| {
            request.encode(out);
            read_only.iter().for_each(|byte| byte.encode(out));
        });
        (connection, flow, answer.map(handshake_answer))
    }

    fn begin(&mut self, now_ms: u64) -> Connection {
        let (connection, flow, answer) = self.connect(Some(true), (SessionId::NONE, [0; 16]), 0, now_ms);
        assert_eq!(flow, Flow::More);
        let expected = Answer { timeout_ms: TIMEOUT_MS, session: connection.session(), read_only: Some(true) };
        assert_eq!(answer, Some(expected));
        connection
    }

    /// Resumes a session with the right password.
    fn resume(&mut self, session: SessionId, now_ms: u64) -> (Connection, Flow, Option<Answer>) {
        self.connect(Some(true), (session, session::password(session)), 0, now_ms)
    }

    fn ask<'a>(
        &mut self,
        connection: &mut Connection,
        op: OpCode,
        body: &impl Jute<'a>,
        now_ms: u64,
    ) -> (Flow, Option<(i64, i32, usize)>) {
        let (flow, answer) = self.receive(connection, now_ms, |out| {
            RequestHeader { xid: 5, op: op.wire() }.encode(out);
            body.encode(out);
        });
        let told = |bytes: Vec<u8>| {
            let mut reader = Reader::new(&bytes);
            let header = ReplyHeader::decode(&mut reader).unwrap();
            (header.zxid, header.err, reader.rest().len())
        };
        (flow, answer.map(told))
    }
}

fn handshake_answer(bytes: Vec<u8>) -> Answer {
    let mut reader = Reader::new(&bytes);
    let ConnectResponse { timeout_ms, session_id, .. } = ConnectResponse::decode(&mut reader).unwrap();
    Answer { timeout_ms, session: SessionId(session_id), read_only: bool::decode(&mut reader).ok() }
}

const REFUSED: Answer = Answer { timeout_ms: 0, session: SessionId::NONE, read_only: Some(true) };

#[test]
fn only_those_who_ask_for_it_are_let_in() {
    let mut server = Server::new();
    for byte in [None, Some(false)] {
        let (_, flow, answer) = server.connect(byte, (SessionId::NONE, [0; 16]), 0, 1);
        assert_eq!((flow, answer), (Flow::End(End::ServesReadOnly), None), "{byte:?}");
    }
    let server_zxid = server.zxid();
    let (_, flow, answer) = server.connect(Some(true), (SessionId::NONE, [0; 16]), server_zxid + 1, 1);
    let ahead = End::ZxidAhead { client: server_zxid + 1, server: server_zxid };
    assert_eq!((flow, answer), (Flow::End(ahead), None));
    let session = server.begin(1).session();
    assert!(session != SessionId::NONE && server.shared.state.sessions().get(session).is_none());
    assert!(server.proposals.is_empty(), "nothing is proposed");
}

#[test]
fn a_session_of_the_ensemble_goes_on_only_where_the_ensemble_is() {
    let mut server = Server::new();
    for password in [session::password(AGREED), [0; 16]] {
        let (_, flow, answer) = server.connect(Some(true), (AGREED, password), 0, 1);
        assert_eq!((flow, answer), (Flow::End(End::SessionOfEnsemble(AGREED)), None));
    }
    let unknown = SessionId(8);
    let (_, flow, answer) = server.resume(unknown, 1);
    assert_eq!((flow, answer), (Flow::End(End::SessionExpired(unknown)), Some(REFUSED)));
}

#[test]
fn reads_are_answered_and_writes_refused() {
    let mut server = Server::new();
    let mut client = server.begin(1);
    let zxid = server.zxid();
    let refused = Some((zxid, ErrorCode::NotReadOnly.wire(), 0));
    let path = || PathRecord { path: Some("/".into()) };
    let write = SetDataRequest { path: Some("/".into()), data: None, version: -1 };
    assert_eq!(server.ask(&mut client, OpCode::SetData, &write, 2), (Flow::More, refused));
    // They are refused before their content is looked at.
    let writes = [
        OpCode::Sync,
        OpCode::Create,
        OpCode::Create2,
        OpCode::CreateContainer,
        OpCode::CreateTtl,
        OpCode::Delete,
        OpCode::SetAcl,
        OpCode::Multi,
        OpCode::Reconfig,
    ];
    for op in writes {
        assert_eq!(server.ask(&mut client, op, &path(), 2), (Flow::More, refused), "{op:?}");
    }
    let read = ReadRequest { path: Some("/".into()), watch: true };
    for op in [OpCode::GetData, OpCode::Exists, OpCode::GetChildren2] {
        let (flow, answer) = server.ask(&mut client, op, &read, 2);
        assert!(flow == Flow::More && answer.is_some_and(|(at, err, len)| (at, err) == (zxid, 0) && len > 0), "{op:?}");
    }
    assert_eq!(server.ask(&mut client, OpCode::Ping, &0, 2), (Flow::More, Some((zxid, 0, 0))));
    assert_eq!(server.shared.watches.lock().counts().total, 2, "one for the data, one for the children");
    assert!(server.proposals.is_empty());
    // ZooKeeper: outside a multi, check is not an operation here either.
    let (flow, answer) = server.ask(&mut client, OpCode::Check, &path(), 3);
    assert_eq!(flow, Flow::End(End::UnknownOperation(OpCode::Check.wire())));
    assert_eq!(answer, Some((-1, ErrorCode::Unimplemented.wire(), 0)));
}

#[test]
fn a_session_of_read_only_mode_can_be_resumed_until_it_is_closed() {
    let mut server = Server::new();
    let mut first = server.begin(1);
    let session = first.session();
    let (mut second, flow, answer) = server.resume(session, 2);
    assert_eq!((flow, answer), (Flow::Blocked, None), "the older connection must end first");
    let id = |place| ConnectionId { thread: 0, generation: 0, place };
    assert_eq!(server.superseded, [Takeover { holder: id(1), successor: Some(id(2)) }]);
    let (flow, answer) = server.ask(&mut first, OpCode::Ping, &0, 3);
    assert_eq!((flow, answer.is_some()), (Flow::More, true), "what had arrived there comes first");
    first.ended(&server.shared);
    assert!(!second.is_cleared());
    second.clear();
    assert!(second.is_cleared());
    let (flow, answer) = server.handle(&mut second, 3, &[]);
    assert_eq!((flow, answer.map(|bytes| handshake_answer(bytes).session)), (Flow::More, Some(session)));
    let (flow, answer) = server.ask(&mut second, OpCode::CloseSession, &0, 4);
    assert_eq!((flow, answer), (Flow::End(End::SessionClosed), Some((server.zxid(), 0, 0))));
    let (_, flow, answer) = server.resume(session, 5);
    assert_eq!((flow, answer), (Flow::End(End::SessionExpired(session)), Some(REFUSED)));
    let wrong = (server.begin(6).session(), [0; 16]);
    server.superseded.clear();
    let (_, flow, answer) = server.connect(Some(true), wrong, 0, 7);
    assert_eq!((flow, answer), (Flow::End(End::WrongPassword(wrong.0)), Some(REFUSED)));
    assert_eq!(server.superseded, [Takeover { holder: id(4), successor: None }], "as in ZooKeeper");
}

#[test]
fn it_expires_when_its_client_is_not_heard() {
    let mut server = Server::new();
    let mut heard = server.begin(0);
    let silent = server.begin(0);
    let mut now_ms = 0;
    let expired = loop {
        now_ms += TICK_MS / 2;
        server.ask(&mut heard, OpCode::Ping, &0, now_ms);
        let expired = server.shared.sessions.get_mut().expire_local(now_ms);
        if !expired.is_empty() {
            break expired;
        }
    };
    let holder = ConnectionId { thread: 0, generation: 0, place: 2 };
    assert_eq!(expired, [(silent.session(), Some(holder))]);
    assert!((1000..=1200).contains(&now_ms), "{now_ms}");
    let session = silent.session();
    assert_eq!(server.resume(session, now_ms).1, Flow::End(End::SessionExpired(session)));
}

#[test]
fn nothing_of_it_outlives_the_mode() {
    for next in [Serving::No, Serving::Yes] {
        let mut server = Server::new();
        let mut client = server.begin(1);
        server.shared.serve(next, 2);
        assert!(server.shared.sessions.get_mut().local.is_empty());
        let (flow, answer) = server.ask(&mut client, OpCode::Ping, &0, 3);
        assert_eq!((flow, answer), (Flow::End(End::NotServing), None), "{next:?}");
        client.ended(&server.shared);
        assert_eq!(server.shared.sessions.get_mut().holder(client.session()), None);
        // The same holds if the mode begins anew.
        server.shared.serve(Serving::ReadOnly, 4);
        assert_eq!(server.resume(client.session(), 5).1, Flow::End(End::SessionExpired(client.session())));
    }
}

/// Tests the time between the start of the mode and the moment at which the connection's thread
/// learns of it.
#[test]
fn a_connection_of_the_ensemble_is_not_served_in_it() {
    let mut server = Server::new();
    let client = server.begin(1);
    server.shared.serve(Serving::Yes, 2);
    let (mut other, flow, _) = server.resume(AGREED, 3);
    assert_eq!(flow, Flow::Blocked, "that is agreed on");
    server.shared.serve(Serving::ReadOnly, 4);
    let answered = oxkeeper_replica::delivery::Answered { op: OpCode::ResumeSession, xid: 0, zxid: 1, received_ms: 3 };
    let kind = oxkeeper_replica::DeliveryKind::SessionOpened(answered);
    let delivery =
        oxkeeper_replica::Delivery { connection: ConnectionId { thread: 0, generation: 0, place: 2 }, len: 0, kind };
    let mut out = Vec::new();
    other.delivered(delivery, 4, &mut out, &mut server.stats).unwrap();
    assert_eq!(out.last(), Some(&0), "not read-only");
    assert_eq!(server.ask(&mut other, OpCode::Ping, &0, 5), (Flow::End(End::NotServing), None));
    assert!(client.is_local() && !other.is_local());
}
