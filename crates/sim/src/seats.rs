//! Connections of a simulated server: production ones, with the threads that own them taken apart into turns that the
//! seed puts in order.
//!
//! A turn mirrors one wake-up of a client's task (`oxkeeper-server`'s `io.rs`): whatever waits in the thread's mailbox is
//! written in front of the replies of this turn.

use std::collections::BTreeMap;

use oxkeeper_proto::records::RequestHeader;
use oxkeeper_proto::{ErrorCode, Jute, OpCode, SessionId, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Connection, ConnectionConfig, ConnectionId, Delivery, DeliveryKind, End, Flow, Load, LocalSessions, Outbox,
    Proposals, Serving, Shared, Takeover, Turn, Writer,
};
use oxkeeper_state::Settings;

use crate::link::{LinkId, Network, Read};
use crate::options::Bug;
use crate::random::Random;

/// How long an ending connection may take to accept its last bytes, ms.
const FAREWELL_MS: u64 = 5_000;
/// Bytes of a client's input that may wait.
const UNREAD_LEN_MAX: usize = 64 << 10;
/// How long a connection may take to say who it is, ms.
const SILENT_MS: u64 = 10_000;

/// Sees what connections take in.
pub trait Witness {
    /// A connection has a session now.
    fn attached(&mut self, session: i64, timeout_ms: i32, now_ms: u64);
    /// A connection has a session now that only its server knows.
    fn attached_local(&mut self, _session: i64, _timeout_ms: i32, _now_ms: u64) {}
    /// Such a session is about to be known to all.
    fn upgraded(&mut self, _session: i64) {}
    /// A connection has taken in a request.
    fn heard(&mut self, session: i64, now_ms: u64);
    /// It was closeSession.
    fn closing(&mut self, session: i64);
    /// The server ends a connection.
    fn ends(&mut self, end: &End);
}

/// What is around connections while they have a turn.
pub struct Hall<'a> {
    /// What they share with the engine.
    pub shared: &'a Shared,
    /// True time, ms.
    pub now_ms: u64,
    /// What the server's monotonic clock shows, ms.
    pub host_ms: u64,
    /// Of the run.
    pub random: &'a mut Random,
    /// Links to clients.
    pub network: &'a mut Network,
    /// Of the run.
    pub witness: &'a mut dyn Witness,
    /// What is wrong on purpose.
    pub bug: Bug,
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
    /// Its client sends nothing more.
    input_ended: bool,
    /// Its client takes nothing more.
    deaf: bool,
    /// Since when it is to end.
    end_ms: Option<u64>,
    /// Its link is closed; it only waits for answers to its writes.
    closed: bool,
    /// There will be none.
    abandoned: bool,
    /// The connection that waits for its end: the last of those that asked for its session.
    successor: Option<ConnectionId>,
}

impl Seat {
    fn wants_input(&self) -> bool {
        self.end_ms.is_none() && !self.input_ended && self.unread.len() < UNREAD_LEN_MAX
    }

    fn end(&mut self, now_ms: u64) {
        self.end_ms.get_or_insert(now_ms);
    }
}

/// All connections of a server.
#[derive(Debug)]
pub struct Seats {
    /// Waiting for the engine.
    pub waiting: Proposals,
    /// A bug: sessions whose connections are gone.
    pub unclosed: Vec<SessionId>,
    mailboxes: Vec<Outbox>,
    /// Connections each thread is to end because their sessions have moved.
    superseded: Vec<Vec<Takeover>>,
    /// Connections each thread is to go on with: those that had their sessions have ended.
    cleared: Vec<Vec<ConnectionId>>,
    seats: BTreeMap<ConnectionId, Seat>,
    free: Vec<ConnectionId>,
    places: u32,
    next_thread: usize,
    config: ConnectionConfig,
    stats: ServerStats,
}

impl Seats {
    /// None yet. Session timeouts are in `tick_ms`.
    pub fn new(
        threads: usize,
        tick_ms: u64,
        settings: Settings,
        distributed: bool,
        local_sessions: LocalSessions,
    ) -> Seats {
        Seats {
            waiting: Proposals::default(),
            unclosed: Vec::new(),
            mailboxes: (0..threads).map(|_| Outbox::default()).collect(),
            superseded: vec![Vec::new(); threads],
            cleared: vec![Vec::new(); threads],
            seats: BTreeMap::new(),
            free: Vec::new(),
            places: 0,
            next_thread: 0,
            config: config(tick_ms, settings, distributed, local_sessions),
            stats: ServerStats::default(),
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
            input_ended: false,
            deaf: false,
            end_ms: None,
            closed: false,
            abandoned: false,
            successor: None,
        };
        self.seats.insert(id, seat);
    }

    /// Links of all connections.
    pub fn links(&self) -> Vec<LinkId> {
        self.seats.values().map(|seat| seat.link).collect()
    }

    /// How a connection stands, for a message.
    pub fn describe(&self, link: LinkId) -> String {
        let seat = self.seats.values().find(|seat| seat.link == link);
        seat.map_or("no seat".to_owned(), |seat| {
            let Seat { unread, unsent, blocked, end_ms, connection, closed, .. } = seat;
            let (in_flight, open) = (connection.in_flight(), connection.is_open());
            format!(
                "unread {}, unsent {}, blocked {blocked}, end {end_ms:?}, closed {closed}, in flight {in_flight}, \
                 open {open}, local {}",
                unread.len(),
                unsent.len(),
                connection.is_local()
            )
        })
    }

    /// Whether nothing waits anywhere.
    pub fn is_idle(&self) -> bool {
        let orders = || self.superseded.iter().all(Vec::is_empty) && self.cleared.iter().all(Vec::is_empty);
        self.waiting.is_empty() && self.mailboxes.iter().all(Outbox::is_empty) && orders()
    }

    /// The server serves others from now on: whoever has a session of the former kind, or wants one, is closed.
    pub fn end_sessions(&mut self, read_only: bool, now_ms: u64) {
        let is_of_kind = |seat: &&mut Seat| seat.connection.has_begun() && seat.connection.is_read_only() == read_only;
        for seat in self.seats.values_mut().filter(is_of_kind) {
            seat.end(now_ms);
            seat.abandoned = true;
            // Its task is woken: it need not wait for answers any more.
            seat.touched |= seat.closed;
        }
    }

    /// A connection is to end: its thread learns of it with its next turn.
    pub fn end_soon(&mut self, takeover: Takeover) {
        self.superseded[usize::from(takeover.holder.thread)].push(takeover);
    }

    /// When a connection has something to read.
    pub fn due_ms(&self, network: &mut Network) -> Option<u64> {
        let seats = self.seats.values().filter(|seat| seat.wants_input());
        seats.filter_map(|seat| network.link(seat.link).up.due_ms()).min()
    }

    /// Everyone has a turn, in an order that the seed chooses.
    pub fn all_turns(&mut self, hall: &mut Hall<'_>) {
        let threads = self.mailboxes.len();
        let first = hall.random.place(threads);
        let early = hall.random.once_in(2);
        if early {
            (0..threads).for_each(|thread| self.mailbox_turn((first + thread) % threads, hall));
        }
        let mut ids: Vec<_> = self.seats.keys().copied().collect();
        if !ids.is_empty() {
            let first = hall.random.place(ids.len());
            ids.rotate_left(first);
        }
        for id in ids {
            self.client_turn(id, hall);
            if self.seats.get(&id).is_some_and(|seat| seat.end_ms.is_some()) {
                self.client_turn(id, hall);
            }
        }
        if !early {
            (0..threads).for_each(|thread| self.mailbox_turn((first + thread) % threads, hall));
        }
    }

    /// The turn of some connection, or of some thread's mailbox.
    pub fn io_turn(&mut self, hall: &mut Hall<'_>) {
        if hall.random.once_in(4) || self.seats.is_empty() {
            let thread = hall.random.place(self.mailboxes.len());
            return self.mailbox_turn(thread, hall);
        }
        let place = hall.random.place(self.seats.len());
        let id = *self.seats.keys().nth(place).expect("it is below the length");
        self.client_turn(id, hall);
    }

    /// What a thread does when it is woken: orders, deliveries, and the connections they have reached.
    fn mailbox_turn(&mut self, thread: usize, hall: &mut Hall<'_>) {
        self.collect(thread, hall);
        for takeover in std::mem::take(&mut self.superseded[thread]) {
            self.supersede(takeover, hall);
        }
        for id in std::mem::take(&mut self.cleared[thread]) {
            if let Some(seat) = self.seats.get_mut(&id) {
                seat.connection.clear();
                self.go_on(id, hall);
            }
        }
        let mut touched = Vec::new();
        for (id, seat) in &mut self.seats {
            if usize::from(id.thread) == thread && std::mem::take(&mut seat.touched) {
                touched.push(*id);
            }
        }
        touched.into_iter().for_each(|id| self.go_on(id, hall));
        self.sweep(thread, hall);
    }

    /// Ends a connection whose session is wanted elsewhere. What has arrived from its client comes first.
    fn supersede(&mut self, Takeover { holder, successor }: Takeover, hall: &mut Hall<'_>) {
        if !self.seats.contains_key(&holder) {
            return successor.into_iter().for_each(|id| self.cleared[usize::from(id.thread)].push(id));
        }
        while successor.is_some()
            && let Some(seat) = self.seats.get_mut(&holder).filter(|seat| seat.wants_input())
            && let Read::Bytes(bytes) = hall.network.link(seat.link).up.read(hall.now_ms, hall.random)
        {
            self.receive(holder, &bytes, hall);
        }
        let seat = self.seats.get_mut(&holder).expect("it was there");
        if let Some(former) = successor.and_then(|successor| seat.successor.replace(successor)) {
            self.superseded[usize::from(former.thread)].push(Takeover { holder: former, successor: None });
        }
        if successor.is_some() {
            seat.input_ended = true;
            seat.deaf = true;
        } else {
            seat.end(hall.host_ms);
            seat.unsent.clear();
        }
    }

    /// Writes what is unsent and handles what was held back.
    fn go_on(&mut self, id: ConnectionId, hall: &mut Hall<'_>) {
        self.flush(id, hall);
        self.handle_unread(id, hall);
        self.settle(id, hall);
    }

    fn flush(&mut self, id: ConnectionId, hall: &mut Hall<'_>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        // A write that waits fails when the client is gone; one that does not is lost without a word.
        seat.deaf |= !seat.unsent.is_empty() && hall.network.link(seat.link).down.has_ended();
        if seat.deaf || seat.closed {
            seat.unsent.clear();
        } else {
            hall.network.write_down(seat.link, &mut seat.unsent, hall.now_ms, hall.random);
        }
    }

    /// One wake-up of a client's task.
    fn client_turn(&mut self, id: ConnectionId, hall: &mut Hall<'_>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.closed {
            return;
        }
        if !seat.unsent.is_empty() {
            self.flush(id, hall);
            self.handle_unread(id, hall);
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let is_over = seat.end_ms.is_some() || seat.input_ended && !seat.blocked;
        if is_over && seat.unsent.is_empty() {
            return self.bid_farewell(id, hall);
        }
        if !seat.wants_input() {
            return;
        }
        match hall.network.link(seat.link).up.read(hall.now_ms, hall.random) {
            Read::Nothing => {}
            Read::End => seat.input_ended = true,
            Read::Bytes(bytes) => self.receive(id, &bytes, hall),
        }
    }

    /// Bytes have come from a client.
    fn receive(&mut self, id: ConnectionId, bytes: &[u8], hall: &mut Hall<'_>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.unread.extend_from_slice(bytes);
        self.handle_unread(id, hall);
        let Some(seat) = self.seats.get(&id) else { return };
        if !seat.unread.is_empty() && seat.connection.renew(hall.host_ms) {
            hall.witness.heard(seat.connection.session().0, hall.now_ms);
        }
    }

    fn handle_unread(&mut self, id: ConnectionId, hall: &mut Hall<'_>) {
        loop {
            let Some(seat) = self.seats.get_mut(&id) else { return };
            if !seat.unsent.is_empty() || seat.end_ms.is_some() {
                return;
            }
            seat.blocked = false;
            if seat.unread.is_empty() && !seat.connection.is_cleared() {
                return;
            }
            let flow = self.handle(id, hall);
            self.flush(id, hall);
            let Some(seat) = self.seats.get_mut(&id) else { return };
            seat.blocked = matches!(flow, Flow::Blocked | Flow::Flush);
            match flow {
                Flow::More | Flow::Blocked => {}
                Flow::Flush if seat.unsent.is_empty() => continue,
                Flow::Flush => {}
                Flow::Throttled => unreachable!("there is no limit"),
                Flow::Word(word) => panic!("nobody sends {word:?}"),
                Flow::End(end) => {
                    hall.witness.ends(&end);
                    seat.end(hall.host_ms);
                }
            }
            return;
        }
    }

    /// The part of a turn under the lock.
    fn handle(&mut self, id: ConnectionId, hall: &mut Hall<'_>) -> Flow {
        if hall.bug != Bug::TurnBeforeMailbox {
            // Whatever this turn can see, its events come first.
            self.collect(usize::from(id.thread), hall);
        }
        let Some(seat) = self.seats.get_mut(&id) else { return Flow::More };
        if seat.end_ms.is_some() {
            return Flow::More;
        }
        let (was_open, had_begun) = (seat.connection.is_open(), seat.connection.has_begun());
        let (was_local, unsent_len) = (seat.connection.is_local(), seat.unsent.len());
        let mut superseded = Vec::new();
        let mut turn = Turn {
            shared: hall.shared,
            config: &self.config,
            load: &Load::default(),
            now_ms: hall.host_ms,
            proposals: &mut self.waiting,
            out: &mut seat.unsent,
            superseded: &mut superseded,
            stats: &mut self.stats,
        };
        let (used, flow) = seat.connection.handle(&seat.unread, &mut turn);
        let used: Vec<u8> = seat.unread.drain(..used).collect();
        if was_local {
            note_local(&seat.connection, &flow, hall);
        }
        if hall.bug == Bug::ReadOnlyWrites && hall.shared.serving == Serving::ReadOnly {
            agree_to_writes(&mut seat.unsent[unsent_len..]);
        }
        // what comes with the end of a connection is thrown away unheard
        if !matches!(flow, Flow::End(_)) {
            // A client that comes back is heard before its session is its own again.
            if !had_begun && seat.connection.has_begun() {
                hall.witness.heard(seat.connection.session().0, hall.now_ms);
            }
            note_heard(&seat.connection, was_open, &used, hall);
        }
        for takeover in superseded {
            self.superseded[usize::from(takeover.holder.thread)].push(takeover);
        }
        flow
    }

    /// Takes deliveries out of a mailbox and puts their bytes to what their connections have unsent.
    fn collect(&mut self, thread: usize, hall: &mut Hall<'_>) {
        let outbox = std::mem::take(&mut self.mailboxes[thread]);
        for (delivery, bytes) in outbox.iter() {
            self.deliver(delivery, bytes, hall);
        }
    }

    fn deliver(&mut self, delivery: Delivery, bytes: &[u8], hall: &mut Hall<'_>) {
        let Some(seat) = self.seats.get_mut(&delivery.connection) else { return };
        if seat.end_ms.is_some() {
            // Only its count of writes in flight matters.
            let _ = seat.connection.delivered(delivery, hall.host_ms, &mut Vec::new(), &mut self.stats);
            return self.settle(delivery.connection, hall);
        }
        seat.unsent.extend_from_slice(bytes);
        if hall.bug == Bug::FlippedBit && hall.random.once_in(100) {
            seat.unsent.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
        }
        let (unsent, stats) = (&mut seat.unsent, &mut self.stats);
        if let Err(end) = seat.connection.delivered(delivery, hall.host_ms, unsent, stats) {
            hall.witness.ends(&end);
            seat.end(hall.host_ms);
        }
        seat.touched = true;
    }

    /// Puts what the writer has to say into the mailboxes; the state is still locked.
    pub fn fill_mailboxes(&mut self, writer: &mut Writer, bug: Bug) {
        for (outbox, mailbox) in writer.outboxes.iter_mut().zip(&mut self.mailboxes) {
            if bug == Bug::EventsAfterReplies {
                *outbox = sorted(outbox, |kind| u64::from(kind == DeliveryKind::Event));
            } else if bug == Bug::RepliesSwapped {
                *outbox = sorted(outbox, |kind| u64::MAX - reply_zxid(kind));
            }
            outbox.append_to(mailbox);
        }
    }

    fn sweep(&mut self, thread: usize, hall: &mut Hall<'_>) {
        let now_ms = hall.host_ms;
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

    /// Closes the link of a connection.
    fn bid_farewell(&mut self, id: ConnectionId, hall: &mut Hall<'_>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.end(hall.host_ms);
        seat.closed = true;
        let link = hall.network.link(seat.link);
        link.down.end(hall.now_ms);
        link.up.end(hall.now_ms);
        self.settle(id, hall);
    }

    /// Gives up the place of a closed connection whose writes are answered, as far as that matters to its session.
    fn settle(&mut self, id: ConnectionId, hall: &mut Hall<'_>) {
        let waits = |seat: &Seat| !seat.closed || !seat.abandoned && seat.connection.must_settle(&self.config);
        if self.seats.get(&id).is_none_or(waits) {
            return;
        }
        let seat = self.seats.remove(&id).expect("it is there");
        let session = seat.connection.session();
        if hall.bug == Bug::WatchesStay {
            hall.shared.sessions.lock().let_go(session, id);
        } else {
            seat.connection.ended(hall.shared);
        }
        if hall.bug == Bug::CloseWithConnection {
            self.unclosed.push(session);
        }
        if hall.bug == Bug::LocalEndsWithConnection {
            hall.shared.sessions.lock().local.close(session);
        }
        seat.successor.into_iter().for_each(|id| self.cleared[usize::from(id.thread)].push(id));
        self.free.push(id);
    }
}

/// Tells the checkers what a turn has made of a session that only its server knew.
fn note_local(connection: &Connection, flow: &Flow, hall: &mut Hall<'_>) {
    let session = connection.session().0;
    if !connection.is_local() {
        hall.witness.upgraded(session);
    } else if *flow == Flow::End(End::SessionClosed) {
        hall.witness.closing(session);
    }
}

/// A bug: writes that are refused because reads only are served are said to be done.
fn agree_to_writes(mut out: &mut [u8]) {
    let refused = ErrorCode::NotReadOnly.wire().to_be_bytes();
    while let Some((prefix, rest)) = out.split_first_chunk_mut::<{ frame::PREFIX_LEN }>() {
        let (body, behind) = rest.split_at_mut(u32::from_be_bytes(*prefix) as usize);
        if let Some(err) = body.last_chunk_mut::<4>().filter(|err| **err == refused) {
            *err = [0; 4];
        }
        out = behind;
    }
}

/// Tells the checkers which sessions a turn has heard from.
fn note_heard(connection: &Connection, was_open: bool, used: &[u8], hall: &mut Hall<'_>) {
    let (witness, session) = (&mut hall.witness, connection.session());
    if !was_open && connection.is_open() {
        match connection.is_local() {
            true => witness.attached_local(session.0, connection.timeout_ms(), hall.now_ms),
            false => witness.attached(session.0, connection.timeout_ms(), hall.now_ms),
        }
    }
    if session == SessionId::NONE || !was_open {
        return;
    }
    let mut rest = used;
    while let Ok(Some((body, behind))) = frame::split_frame(rest, usize::MAX) {
        let header = RequestHeader::from_bytes(body).expect("clients send sound headers");
        witness.heard(session.0, hall.now_ms);
        if header.op == OpCode::CloseSession.wire() {
            witness.closing(session.0);
        }
        rest = behind;
    }
}

fn config(tick_ms: u64, settings: Settings, distributed: bool, local_sessions: LocalSessions) -> ConnectionConfig {
    ConnectionConfig {
        frame_len_max: frame::FRAME_LEN_MAX,
        session_timeout_min_ms: 2 * tick_ms as i32,
        session_timeout_max_ms: 20 * tick_ms as i32,
        settings,
        auth: AuthConfig::default(),
        is_word: |_| false,
        distributed,
        local_sessions,
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
