//! The simulated server: production parts, put together as `oxkeeper-server` does, with its threads taken apart into
//! turns that the seed puts in order.
//!
//! Here are the threads that own connections. A turn mirrors one wake-up of a client's task (`io.rs`): whatever waits
//! in the thread's mailbox is written in front of the replies of this turn. The engine's turns are in `engine.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_proto::records::RequestHeader;
use oxkeeper_proto::{Jute, OpCode, SessionId, frame};
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Clocks, Connection, ConnectionConfig, ConnectionId, Delivery, DeliveryKind, End, Flow, Outbox, Proposals,
    SessionTable, Shared, Turn, Writer,
};
use oxkeeper_server::RecoveryError;
use oxkeeper_server::recovery::{Recovered, Replay, StoreOptions, recover_with};
use oxkeeper_state::Settings;
use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{DirLock, Disk, Log, LogOptions, StoreError, Tree, TreeOptions};

use crate::check::Checks;
use crate::checkpoint::Progress;
use crate::engine::Engine;
use crate::link::{LinkId, Network, Read};
use crate::options::{Bug, Options};
use crate::random::Random;

/// Where the simulated server keeps its data.
pub const DATA_DIR: &str = "/data";
/// Where its log is.
pub const LOG_DIR: &str = "/data/log";
/// How long an ending connection may take to accept its last bytes, ms.
const FAREWELL_MS: u64 = 5_000;
/// How long a connection may take to say who it is, ms.
const SILENT_MS: u64 = 10_000;

/// What is around the server while it has its turn.
pub struct Around<'a> {
    /// Monotonic, ms.
    pub now_ms: u64,
    /// Unix, ms.
    pub wall_ms: i64,
    /// Of the run.
    pub random: &'a mut Random,
    /// Links to clients.
    pub network: &'a mut Network,
    /// Of the run.
    pub checks: &'a mut Checks,
    /// Of the run.
    pub options: &'a Options,
    /// The moment of a planned crash has passed: nothing after it has happened.
    pub crashed: bool,
    /// The operation of the disk in which the machine stops.
    pub crash_at: Option<u64>,
    /// The server's.
    pub disk: &'a FakeDisk,
}

impl Around<'_> {
    /// Called after whatever may have touched the disk; says whether the planned crash came in between.
    pub fn check_crash(&mut self) -> bool {
        self.crashed |= self.crash_at.is_some_and(|operation| self.disk.operations() > operation);
        self.crashed
    }
}

/// One accepted client.
#[derive(Debug)]
struct Seat {
    connection: Connection,
    link: LinkId,
    opened_ms: u64,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    blocked: bool,
    touched: bool,
    /// Since when it is to end.
    end_ms: Option<u64>,
}

impl Seat {
    fn wants_input(&self) -> bool {
        !self.blocked && self.unsent.is_empty() && self.end_ms.is_none()
    }

    fn end(&mut self, now_ms: u64) {
        self.end_ms.get_or_insert(now_ms);
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// What connections and the engine share.
    pub shared: Shared,
    pub(crate) writer: Writer,
    pub(crate) log: Log,
    pub(crate) tree: Rc<Tree>,
    pub(crate) progress: Progress,
    pub(crate) engine: Engine,
    /// Waiting for the engine.
    pub(crate) waiting: Proposals,
    mailboxes: Vec<Outbox>,
    /// Connections each thread is to end because their sessions have moved.
    superseded: Vec<Vec<ConnectionId>>,
    seats: BTreeMap<ConnectionId, Seat>,
    free: Vec<ConnectionId>,
    places: u32,
    next_thread: usize,
    config: ConnectionConfig,
    stats: ServerStats,
    _locks: Vec<DirLock>,
}

impl Server {
    /// Starts on a disk. `None`: there is no room to start.
    pub fn start(around: &mut Around<'_>) -> Option<Server> {
        let options = around.options;
        let store = StoreOptions {
            log: LogOptions { segment_len: options.segment_len, ..LogOptions::default() },
            tree: TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() },
        };
        let disk: Arc<dyn Disk> = Arc::new(around.disk.clone());
        let seed = around.random.any();
        let dir = Path::new(DATA_DIR);
        if options.bug == Bug::LoseLastEntry {
            lose_last_entry(&disk, &store.log, around);
        }
        let recovered = match recover_with(&disk, dir, dir, seed, &store, Replay::All) {
            Ok(recovered) => recovered,
            Err(RecoveryError::Store(StoreError::Full { .. })) => return None,
            Err(problem) => panic!("recovery: {problem}"),
        };
        Some(Server::assemble(recovered, around))
    }

    fn assemble(recovered: Recovered, around: &mut Around<'_>) -> Server {
        let Recovered { state, log, tree, applied, checkpointed, tail_len: _, locks, .. } = recovered;
        let (options, now_ms) = (around.options, around.now_ms);
        let sessions = SessionTable::new(1, around.wall_ms, &state, Clocks::new(options.tick_ms, now_ms));
        let threads = options.threads as usize;
        let settings = Settings::default();
        Server {
            shared: Shared::new(state, settings, sessions, now_ms),
            writer: Writer::new(threads),
            log,
            tree: Rc::new(tree),
            progress: Progress::new(applied, checkpointed),
            engine: Engine::new(now_ms),
            waiting: Proposals::default(),
            mailboxes: (0..threads).map(|_| Outbox::default()).collect(),
            superseded: vec![Vec::new(); threads],
            seats: BTreeMap::new(),
            free: Vec::new(),
            places: 0,
            next_thread: 0,
            config: config(options, settings),
            stats: ServerStats::default(),
            _locks: locks,
        }
    }

    /// Accepts a client.
    pub fn accept(&mut self, link: LinkId, now_ms: u64) {
        self.next_thread = (self.next_thread + 1) % self.mailboxes.len();
        let thread = self.next_thread as u16;
        let free = self.free.iter().position(|id| id.thread == thread);
        let id = free.map_or_else(
            || {
                self.places += 1;
                ConnectionId { thread, generation: 0, place: self.places }
            },
            |index| {
                let id = self.free.swap_remove(index);
                ConnectionId { generation: id.generation.wrapping_add(1), ..id }
            },
        );
        let seat = Seat {
            connection: Connection::new(id, "127.0.0.1"),
            link,
            opened_ms: now_ms,
            unread: Vec::new(),
            unsent: Vec::new(),
            blocked: false,
            touched: false,
            end_ms: None,
        };
        self.seats.insert(id, seat);
    }

    /// Links of all connections.
    pub fn links(&self) -> Vec<LinkId> {
        self.seats.values().map(|seat| seat.link).collect()
    }

    /// Whether nothing waits anywhere.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle() && self.waiting.is_empty() && self.mailboxes.iter().all(Outbox::is_empty)
    }

    /// The turn of some connection, or of some thread's mailbox.
    pub fn io_turn(&mut self, around: &mut Around<'_>) {
        if around.random.once_in(4) || self.seats.is_empty() {
            let thread = around.random.place(self.mailboxes.len());
            return self.mailbox_turn(thread, around);
        }
        let place = around.random.place(self.seats.len());
        let id = *self.seats.keys().nth(place).expect("it is below the length");
        self.client_turn(id, around);
    }

    /// What a thread does when it is woken: orders, deliveries, and the connections they have reached.
    fn mailbox_turn(&mut self, thread: usize, around: &mut Around<'_>) {
        for id in std::mem::take(&mut self.superseded[thread]) {
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.end(around.now_ms);
            }
        }
        self.collect(thread, around);
        let mut touched = Vec::new();
        for (id, seat) in &mut self.seats {
            if usize::from(id.thread) == thread && std::mem::take(&mut seat.touched) {
                touched.push(*id);
            }
        }
        touched.into_iter().for_each(|id| self.go_on(id, around));
        self.sweep(thread, around);
    }

    /// Writes what is unsent and handles what was held back.
    fn go_on(&mut self, id: ConnectionId, around: &mut Around<'_>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        around.network.write_down(seat.link, &mut seat.unsent, around.now_ms, around.random);
        if seat.unsent.is_empty() {
            seat.blocked = false;
            self.handle_unread(id, around);
        }
    }

    /// One wake-up of a client's task.
    fn client_turn(&mut self, id: ConnectionId, around: &mut Around<'_>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if !seat.unsent.is_empty() {
            around.network.write_down(seat.link, &mut seat.unsent, around.now_ms, around.random);
            if seat.unsent.is_empty() {
                self.handle_unread(id, around);
            }
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        // A write that waits fails when the client is gone; one that does not is lost without a word.
        let is_over = if seat.unsent.is_empty() {
            seat.end_ms.is_some()
        } else {
            around.network.link(seat.link).down.has_ended()
        };
        if is_over {
            return self.bid_farewell(id, around);
        }
        if !seat.wants_input() {
            return;
        }
        match around.network.link(seat.link).up.read(around.now_ms, around.random) {
            Read::Nothing => {}
            Read::End => self.bid_farewell(id, around),
            Read::Bytes(bytes) => {
                seat.unread.extend_from_slice(&bytes);
                self.handle_unread(id, around);
            }
        }
    }

    fn handle_unread(&mut self, id: ConnectionId, around: &mut Around<'_>) {
        loop {
            let Some(seat) = self.seats.get(&id) else { return };
            if seat.unread.is_empty() || seat.end_ms.is_some() {
                return;
            }
            let flow = self.handle(id, around);
            let Some(seat) = self.seats.get_mut(&id) else { return };
            around.network.write_down(seat.link, &mut seat.unsent, around.now_ms, around.random);
            seat.blocked = flow == Flow::Blocked;
            match flow {
                Flow::More | Flow::Blocked => {}
                Flow::Flush if seat.unsent.is_empty() => continue,
                Flow::Flush => {}
                Flow::Word(word) => panic!("nobody sends {word:?}"),
                Flow::End(end) => {
                    check_end(&end, around);
                    seat.end(around.now_ms);
                }
            }
            return;
        }
    }

    /// The part of a turn under the lock.
    fn handle(&mut self, id: ConnectionId, around: &mut Around<'_>) -> Flow {
        if around.options.bug != Bug::TurnBeforeMailbox {
            // Whatever this turn can see, its events come first.
            self.collect(usize::from(id.thread), around);
        }
        let Some(seat) = self.seats.get_mut(&id) else { return Flow::More };
        if seat.end_ms.is_some() {
            return Flow::More;
        }
        let was_open = seat.connection.is_open();
        let mut superseded = Vec::new();
        let mut turn = Turn {
            shared: &self.shared,
            config: &self.config,
            now_ms: around.now_ms,
            proposals: &mut self.waiting,
            out: &mut seat.unsent,
            superseded: &mut superseded,
            stats: &mut self.stats,
        };
        let (used, flow) = seat.connection.handle(&seat.unread, &mut turn);
        let used: Vec<u8> = seat.unread.drain(..used).collect();
        // what comes with the end of a connection is thrown away unheard
        if !matches!(flow, Flow::End(_)) {
            note_heard(&seat.connection, was_open, &used, around);
        }
        for old in superseded {
            self.superseded[usize::from(old.thread)].push(old);
        }
        flow
    }

    /// Takes deliveries out of a mailbox and puts their bytes to what their connections have unsent.
    fn collect(&mut self, thread: usize, around: &mut Around<'_>) {
        let outbox = std::mem::take(&mut self.mailboxes[thread]);
        for (delivery, bytes) in outbox.iter() {
            self.deliver(delivery, bytes, around);
        }
    }

    fn deliver(&mut self, delivery: Delivery, bytes: &[u8], around: &mut Around<'_>) {
        let Some(seat) = self.seats.get_mut(&delivery.connection) else { return };
        if seat.end_ms.is_some() {
            return;
        }
        seat.unsent.extend_from_slice(bytes);
        if around.options.bug == Bug::FlippedBit && around.random.once_in(100) {
            seat.unsent.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
        }
        let (unsent, stats) = (&mut seat.unsent, &mut self.stats);
        if let Err(end) = seat.connection.delivered(delivery, around.now_ms, unsent, stats) {
            check_end(&end, around);
            seat.end(around.now_ms);
        }
        seat.touched = true;
    }

    /// Puts what the writer has to say into the mailboxes; the state is still locked.
    pub(crate) fn fill_mailboxes(&mut self, around: &Around<'_>) {
        for (outbox, mailbox) in self.writer.outboxes.iter_mut().zip(&mut self.mailboxes) {
            if around.options.bug == Bug::EventsAfterReplies {
                *outbox = sorted(outbox, |kind| u64::from(kind == DeliveryKind::Event));
            } else if around.options.bug == Bug::RepliesSwapped {
                *outbox = sorted(outbox, |kind| u64::MAX - reply_zxid(kind));
            }
            outbox.append_to(mailbox);
        }
    }

    fn sweep(&mut self, thread: usize, around: &mut Around<'_>) {
        let now_ms = around.now_ms;
        for (id, seat) in &mut self.seats {
            if usize::from(id.thread) == thread {
                if !seat.connection.has_begun() && now_ms > seat.opened_ms + SILENT_MS {
                    seat.end(now_ms);
                }
                if seat.end_ms.is_some_and(|since_ms| now_ms > since_ms + FAREWELL_MS) {
                    seat.unsent.clear();
                }
            }
        }
    }

    fn bid_farewell(&mut self, id: ConnectionId, around: &mut Around<'_>) {
        let Some(seat) = self.seats.remove(&id) else { return };
        let session = seat.connection.session();
        if around.options.bug == Bug::WatchesStay {
            self.shared.sessions.get_mut().let_go(session, id);
        } else {
            seat.connection.ended(&self.shared);
        }
        if around.options.bug == Bug::CloseWithConnection {
            self.engine.unclosed.push(session);
        }
        let link = around.network.link(seat.link);
        link.down.end(around.now_ms);
        link.up.end(around.now_ms);
        self.free.push(id);
    }
}

/// Nothing else may end a connection of these clients.
fn check_end(end: &End, around: &Around<'_>) {
    if let End::SessionInvalid(session) = end {
        return around.checks.sessions.check_over(session.0);
    }
    let expected = matches!(end, End::SessionClosed | End::Disconnected);
    assert!(expected, "the server ends a connection: {end}");
}

/// Tells the checkers which sessions a turn has heard from.
fn note_heard(connection: &Connection, was_open: bool, used: &[u8], around: &mut Around<'_>) {
    let (sessions, session) = (&mut around.checks.sessions, connection.session());
    if !was_open && connection.is_open() {
        sessions.attached(session.0, connection.timeout_ms(), around.now_ms);
    }
    if session == SessionId::NONE || !was_open {
        return;
    }
    let mut rest = used;
    while let Ok(Some((body, behind))) = frame::split_frame(rest, usize::MAX) {
        let header = RequestHeader::from_bytes(body).expect("clients send sound headers");
        sessions.heard(session.0, around.now_ms);
        if header.op == OpCode::CloseSession.wire() {
            sessions.closing(session.0);
        }
        rest = behind;
    }
}

fn config(options: &Options, settings: Settings) -> ConnectionConfig {
    ConnectionConfig {
        frame_len_max: frame::FRAME_LEN_MAX,
        session_timeout_min_ms: 2 * options.tick_ms as i32,
        session_timeout_max_ms: 20 * options.tick_ms as i32,
        settings,
        super_digest: None,
        enforced_schemes: Vec::new(),
        is_word: |_| false,
        distributed: false,
    }
}

/// A bug: deliveries in another order.
fn sorted(outbox: &Outbox, key: impl Fn(DeliveryKind) -> u64) -> Outbox {
    let mut deliveries: Vec<_> = outbox.iter().collect();
    deliveries.sort_by_key(|(delivery, _)| key(delivery.kind));
    let mut sorted = Outbox::default();
    for (delivery, bytes) in deliveries {
        sorted.push(delivery.connection, delivery.kind, |out| out.extend_from_slice(bytes));
    }
    sorted
}

fn reply_zxid(kind: DeliveryKind) -> u64 {
    if let DeliveryKind::Reply(answered) = kind { answered.zxid as u64 } else { u64::MAX }
}

/// A bug: a log that forgets.
fn lose_last_entry(disk: &Arc<dyn Disk>, options: &LogOptions, around: &Around<'_>) {
    let Ok(mut log) = Log::open(disk.clone(), Path::new(LOG_DIR), options) else { return };
    if around.checks.durable.count() > 0 && log.next_index() > log.first_index() {
        let last = log.next_index() - 1;
        if log.truncate(last).is_ok() {
            let _ = log.sync();
        }
    }
}
