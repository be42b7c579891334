//! Counters of a connection and of the server after a conversation with one client.

use oxkeeper_proto::records::{ConnectRequest, DeleteRequest, ReadRequest, ReplyHeader, RequestHeader, SetWatches};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, ServerId, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::load::LoadLimits;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Applier, Clocks, Connection, ConnectionConfig, ConnectionId, Load, Proposals, SessionTable, Shared, Turn,
};
use oxkeeper_state::command::begin_batch;
use oxkeeper_state::{Batch, Settings, State};

/// A server, one client, and the thread's counters.
struct Conversation {
    shared: Shared,
    config: ConnectionConfig,
    connection: Connection,
    applier: Applier,
    proposals: Proposals,
    stats: ServerStats,
    load: Load,
    unread: Vec<u8>,
    replies: Vec<u8>,
}

impl Conversation {
    /// Begins a conversation whose session is created between 0 ms and 1 ms.
    fn begin() -> Conversation {
        let id = ConnectionId { thread: 0, generation: 0, place: 0 };
        let state = State::new(1);
        let sessions = SessionTable::new(ServerId(1), 0, &state, Clocks::new(1000, 0));
        let mut conversation = Conversation {
            shared: Shared::new(state, Settings::default(), sessions, 0),
            config: ConnectionConfig {
                frame_len_max: 1000,
                session_timeout_min_ms: 1000,
                session_timeout_max_ms: 9000,
                settings: Settings::default(),
                auth: AuthConfig::default(),
                is_word: |_| false,
                distributed: false,
                local_sessions: oxkeeper_replica::LocalSessions::Off,
            },
            connection: Connection::new(id, "127.0.0.1"),
            applier: Applier::new(1),
            proposals: Proposals::default(),
            stats: ServerStats::default(),
            load: Load::default(),
            unread: Vec::new(),
            replies: Vec::new(),
        };
        let request =
            ConnectRequest { protocol_version: 0, last_zxid_seen: 0, timeout_ms: 0, session_id: 0, passwd: None };
        frame::put_frame(&mut conversation.unread, |out| request.encode(out));
        conversation.handle(0);
        conversation.settle(1);
        conversation
    }

    fn ask<'a>(&mut self, op: OpCode, body: &impl Jute<'a>) {
        frame::put_frame(&mut self.unread, |out| {
            RequestHeader { xid: 1, op: op.wire() }.encode(out);
            body.encode(out);
        });
    }

    /// Handles unread input on the client's thread.
    fn handle(&mut self, now_ms: u64) {
        let mut turn = Turn {
            shared: &self.shared,
            config: &self.config,
            load: &self.load,
            now_ms,
            proposals: &mut self.proposals,
            out: &mut self.replies,
            superseded: &mut Vec::new(),
            stats: &mut self.stats,
        };
        let (used, _) = self.connection.handle(&self.unread, &mut turn);
        self.unread.drain(..used);
    }

    /// Applies everything proposed, and delivers the answers.
    fn settle(&mut self, now_ms: u64) {
        let mut entry = Vec::new();
        begin_batch(0, &mut entry);
        entry.append(&mut self.proposals.commands);
        let mut batch = Batch::decode(&entry).expect("just packed");
        let mut origins = self.proposals.origins.drain(..);
        self.applier.apply(&mut self.shared, &mut batch, &mut origins, 100, now_ms).expect("just packed");
        for (delivery, _) in self.applier.outboxes[0].iter() {
            let delivered = self.connection.delivered(delivery, now_ms, &mut Vec::new(), &mut self.stats);
            delivered.expect("nobody ends it");
        }
        self.applier.outboxes[0].clear(0);
    }
}

fn root(watch: bool) -> ReadRequest<'static> {
    ReadRequest { path: Some("/".into()), watch }
}

#[test]
fn a_conversation_is_counted_for_the_connection_and_the_server() {
    let mut all = Conversation::begin();
    let handshake_len = all.stats.received_bytes;
    all.ask(OpCode::GetChildren, &root(true));
    all.ask(OpCode::Delete, &DeleteRequest { path: Some("/none".into()), version: -1 });
    all.handle(5);
    all.settle(12);
    let stats = &all.stats;
    assert_eq!((stats.connects, stats.received, stats.sent), (1, 3, 3));
    assert_eq!(stats.received_bytes - handshake_len, (4 + 8 + 5 + 1) + (4 + 8 + 9 + 4));
    // The reply to getChildren has a header, a count and the name `zookeeper`; the one to a failed
    // delete has a header only.
    assert_eq!(stats.reply_bytes, (16 + 4 + 13) + 16);
    assert_eq!((stats.responses.tally.max, stats.responses.last(), stats.event_bytes), (33, 16, 0));
    assert_eq!((stats.reads.tally.sum, stats.updates.tally.sum), (0, 1 + 7), "creating the session took 1 ms");
    let mine = &mut all.connection.stats;
    assert_eq!((mine.received, mine.sent, mine.latency), (3, 3, stats.latency()));
    mine.reset();
    assert_eq!((mine.received, all.stats.received), (0, 3), "crst is not srst");
}

#[test]
fn a_read_behind_a_write_waits_for_it() {
    let mut all = Conversation::begin();
    all.ask(OpCode::Delete, &DeleteRequest { path: Some("/none".into()), version: -1 });
    all.ask(OpCode::Exists, &root(false));
    all.handle(10);
    all.settle(30);
    all.handle(30);
    assert_eq!((all.stats.updates.tally.max, all.stats.reads.tally.max), (20, 20));
    all.ask(OpCode::Exists, &root(false));
    all.handle(40);
    assert_eq!((all.stats.reads.tally.count, all.stats.reads.tally.sum), (2, 20), "the wait is over");
    all.connection.hold(41);
    all.ask(OpCode::Exists, &root(false));
    all.handle(44);
    assert_eq!(all.stats.reads.tally.sum, 23, "too much was proposed for a while");
}

#[test]
fn events_are_counted_also_those_that_setwatches_catches_up_on() {
    let mut all = Conversation::begin();
    let paths = || Some(vec![Some("/none".into()), Some("/zookeeper".into())]);
    let request =
        SetWatches { relative_zxid: 0, data_watches: paths(), exist_watches: paths(), child_watches: paths() };
    all.ask(OpCode::SetWatches, &request);
    all.handle(1);
    // Deleted twice, created once; the znode of the system is as old as the state.
    let event_len = |path: &str| (16 + 4 + 4 + 4 + path.len()) as u64;
    assert_eq!(all.stats.event_bytes, 2 * event_len("/none") + event_len("/zookeeper"));
    assert_eq!(all.stats.sent, 1 + 3 + 1);
}

/// Checks the errors that a delete, a ping and a read get which arrive at 5 ms, while the server
/// has as much under way as it may, until `now_ms`.
fn check_throttled(now_ms: u64, expected: &[i32]) -> Conversation {
    let mut all = Conversation::begin();
    let limits = LoadLimits { requests_max: Some(1), wait_max_ms: Some(10), ..LoadLimits::default() };
    all.load = Load::new(limits, None);
    all.load.begin(None);
    all.replies.clear();
    all.ask(OpCode::Delete, &DeleteRequest { path: Some("/none".into()), version: -1 });
    all.ask(OpCode::Ping, &0);
    all.ask(OpCode::Exists, &root(false));
    all.handle(5);
    assert_eq!((all.replies.len(), all.connection.in_flight()), (0, 0), "it waits");
    all.load.finish(1, 0);
    all.handle(now_ms);
    let mut errors = Vec::new();
    let mut rest = all.replies.as_slice();
    while let Ok(Some((body, behind))) = frame::split_frame(rest, 1000) {
        errors.push(ReplyHeader::decode(&mut Reader::new(body)).expect("a reply has a header").err);
        rest = behind;
    }
    assert_eq!(errors, expected);
    all
}

#[test]
fn a_request_that_waited_too_long_for_others_is_refused() {
    let refused = ErrorCode::ThrottledOp.wire();
    let late = check_throttled(16, &[refused, 0, refused]);
    assert_eq!((late.stats.throttled, late.stats.throttled_ms.tally.max), (2, 11));
    let in_time = check_throttled(15, &[]);
    assert_eq!((in_time.stats.throttled, in_time.connection.in_flight()), (0, 1), "reads wait for their writes");
}

#[test]
fn a_slow_write_is_remembered_with_its_names() {
    let mut all = Conversation::begin();
    all.applier.slow_after_ms = Some(7);
    for (asked_ms, applied_ms) in [(10, 16), (20, 27)] {
        all.ask(OpCode::Delete, &DeleteRequest { path: Some("/none".into()), version: -1 });
        all.handle(asked_ms);
        all.settle(applied_ms);
    }
    let [slow] = all.applier.slow.as_slice() else { panic!("{:?}", all.applier.slow) };
    assert_eq!(
        (slow.op, slow.path.as_str(), slow.address.as_str(), slow.received_ms),
        (OpCode::Delete, "/none", "127.0.0.1", 20)
    );
}
