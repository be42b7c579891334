//! Connections of a simulated server: production ones, with the threads that own them split into
//! turns that the seed puts in order.
//!
//! A client's bytes are handled by production code, too ([`ClientIo`]). This module chooses whose
//! turn is next, and does the thread's own part: deliveries that wait in its mailbox are written
//! before the replies of this turn.

use std::collections::BTreeMap;

use oxkeeper_proto::records::RequestHeader;
use oxkeeper_proto::{ErrorCode, Jute, OpCode, SessionId, frame};
use oxkeeper_replica::auth::AuthConfig;
use oxkeeper_replica::client_io::{Around, ClientIo, Farewell};
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    Applier, Connection, ConnectionConfig, ConnectionId, Delivery, DeliveryKind, End, Flow, Load, LocalSessions,
    Outbox, Proposals, Serving, Shared, Takeover, Turn,
};
use oxkeeper_state::Settings;

use crate::link::{LinkId, Network, Read};
use crate::options::Bug;
use crate::random::Random;

/// Limit of a client's unread input, bytes.
const UNREAD_LEN_MAX: usize = 64 << 10;
/// Time within which a connection must complete its handshake, ms.
const SILENT_MS: u64 = 10_000;

/// Observer of what connections receive.
pub trait Witness {
    /// Notes that a connection now has a session.
    fn attached(&mut self, session: i64, timeout_ms: i32, now_ms: u64);
    /// Notes that a connection now has a local session, which only its server knows.
    fn attached_local(&mut self, _session: i64, _timeout_ms: i32, _now_ms: u64) {}
    /// Notes that a local session is about to become known to all servers.
    fn upgraded(&mut self, _session: i64) {}
    /// Notes that a connection has received a request.
    fn heard(&mut self, session: i64, now_ms: u64);
    /// Notes that the request was closeSession.
    fn closing(&mut self, session: i64);
    /// Notes that the server ends a connection.
    fn ends(&mut self, end: &End);
}

/// Surroundings of connections during a turn.
pub struct Surroundings<'a> {
    /// State that connections share with the engine.
    pub shared: &'a Shared,
    /// True time, ms.
    pub now_ms: u64,
    /// Time of the server's monotonic clock, ms.
    pub host_ms: u64,
    /// Random choices of the run.
    pub random: &'a mut Random,
    /// Links to clients.
    pub network: &'a mut Network,
    /// Observer of the run.
    pub witness: &'a mut dyn Witness,
    /// Deliberate defect.
    pub bug: Bug,
}

/// An accepted client.
#[derive(Debug)]
struct Seat {
    io: ClientIo,
    link: LinkId,
    opened_ms: u64,
}

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    /// Proposals waiting for the engine.
    pub waiting: Proposals,
    /// Sessions whose connections are gone, for [`Bug::CloseWithConnection`].
    pub unclosed: Vec<SessionId>,
    mailboxes: Vec<Outbox>,
    /// Per thread: connections to end because their sessions have moved.
    superseded: Vec<Vec<Takeover>>,
    /// Per thread: connections to resume because the previous connections of their sessions have
    /// ended.
    cleared: Vec<Vec<ConnectionId>>,
    connections: BTreeMap<ConnectionId, Seat>,
    free: Vec<ConnectionId>,
    places: u32,
    next_thread: usize,
    config: ConnectionConfig,
    stats: ServerStats,
}

impl Connections {
    /// Creates an empty set of connections. Session timeouts are limited to 2 to 20 times `tick_ms`.
    pub fn new(
        threads: usize,
        tick_ms: u64,
        settings: Settings,
        distributed: bool,
        local_sessions: LocalSessions,
    ) -> Connections {
        Connections {
            waiting: Proposals::default(),
            unclosed: Vec::new(),
            mailboxes: (0..threads).map(|_| Outbox::default()).collect(),
            superseded: vec![Vec::new(); threads],
            cleared: vec![Vec::new(); threads],
            connections: BTreeMap::new(),
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
        let io = ClientIo::new(Connection::new(id, "127.0.0.1"), now_ms);
        let seat = Seat { io, link, opened_ms: now_ms };
        self.connections.insert(id, seat);
    }

    /// Returns the links of all connections.
    pub fn links(&self) -> Vec<LinkId> {
        self.connections.values().map(|seat| seat.link).collect()
    }

    /// Describes a connection's state for an error message.
    pub fn describe(&self, link: LinkId) -> String {
        let seat = self.connections.values().find(|seat| seat.link == link);
        seat.map_or("no seat".to_owned(), |seat| format!("{:?}", seat.io))
    }

    /// Returns whether no work is pending.
    pub fn is_idle(&self) -> bool {
        let orders = || self.superseded.iter().all(Vec::is_empty) && self.cleared.iter().all(Vec::is_empty);
        self.waiting.is_empty() && self.mailboxes.iter().all(Outbox::is_empty) && orders()
    }

    /// Closes every connection that has, or asks for, a session of the former kind, because the
    /// server has changed its service.
    pub fn end_sessions(&mut self, read_only: bool, now_ms: u64) {
        let is_of_kind =
            |seat: &&mut Seat| seat.io.connection.has_begun() && seat.io.connection.is_read_only() == read_only;
        self.connections.values_mut().filter(is_of_kind).for_each(|seat| seat.io.abandon(now_ms));
    }

    /// Ends a connection; its thread does so in its next turn.
    pub fn end_soon(&mut self, takeover: Takeover) {
        self.superseded[usize::from(takeover.holder.thread)].push(takeover);
    }

    /// Returns the time at which a connection has something to read.
    pub fn due_ms(&self, network: &mut Network) -> Option<u64> {
        let connections = self.connections.values().filter(|seat| seat.io.wants_input(UNREAD_LEN_MAX));
        connections.filter_map(|seat| network.link(seat.link).up.due_ms()).min()
    }

    /// Takes a turn of every connection and mailbox, in an order that the seed chooses.
    pub fn all_turns(&mut self, surroundings: &mut Surroundings<'_>) {
        let threads = self.mailboxes.len();
        let first = surroundings.random.place(threads);
        let early = surroundings.random.once_in(2);
        if early {
            (0..threads).for_each(|thread| self.mailbox_turn((first + thread) % threads, surroundings));
        }
        let mut ids: Vec<_> = self.connections.keys().copied().collect();
        if !ids.is_empty() {
            let first = surroundings.random.place(ids.len());
            ids.rotate_left(first);
        }
        for id in ids {
            self.client_turn(id, surroundings);
            if self.connections.get(&id).is_some_and(|seat| seat.io.farewell().is_some()) {
                self.client_turn(id, surroundings);
            }
        }
        if !early {
            (0..threads).for_each(|thread| self.mailbox_turn((first + thread) % threads, surroundings));
        }
    }

    /// Takes a turn of one connection, or of one thread's mailbox.
    pub fn io_turn(&mut self, surroundings: &mut Surroundings<'_>) {
        if surroundings.random.once_in(4) || self.connections.is_empty() {
            let thread = surroundings.random.place(self.mailboxes.len());
            return self.mailbox_turn(thread, surroundings);
        }
        let place = surroundings.random.place(self.connections.len());
        let id = *self.connections.keys().nth(place).expect("it is below the length");
        self.client_turn(id, surroundings);
    }

    /// Does a thread's work after it is woken: handles takeovers and deliveries, and continues the
    /// connections that they affect.
    fn mailbox_turn(&mut self, thread: usize, surroundings: &mut Surroundings<'_>) {
        self.collect(thread, None, surroundings);
        for takeover in std::mem::take(&mut self.superseded[thread]) {
            self.supersede(takeover, surroundings);
        }
        for id in std::mem::take(&mut self.cleared[thread]) {
            if let Some(seat) = self.connections.get_mut(&id) {
                seat.io.connection.clear();
                self.go_on(id, surroundings);
            }
        }
        let mut touched = Vec::new();
        for (id, seat) in &mut self.connections {
            if usize::from(id.thread) == thread && seat.io.take_touched() {
                touched.push(*id);
            }
        }
        touched.into_iter().for_each(|id| self.go_on(id, surroundings));
        self.sweep(thread, surroundings);
    }

    /// Ends a connection whose session is wanted elsewhere, after handling the bytes that have
    /// arrived from its client.
    fn supersede(&mut self, Takeover { holder, successor }: Takeover, surroundings: &mut Surroundings<'_>) {
        if !self.connections.contains_key(&holder) {
            return successor.into_iter().for_each(|id| self.cleared[usize::from(id.thread)].push(id));
        }
        let former = self.with(holder, surroundings, |io, hands| {
            let former = successor.and_then(|successor| io.set_successor(successor));
            while successor.is_some() && hands.read(io) {}
            io.give_way(successor.is_some(), hands.surroundings.host_ms);
            former
        });
        if let Some(former) = former.flatten() {
            self.superseded[usize::from(former.thread)].push(Takeover { holder: former, successor: None });
        }
    }

    /// Writes unsent bytes and handles requests that were held back.
    fn go_on(&mut self, id: ConnectionId, surroundings: &mut Surroundings<'_>) {
        self.with(id, surroundings, |io, hands| io.go_on(hands));
        self.settle(id, surroundings);
    }

    /// Wakes a client's task once.
    fn client_turn(&mut self, id: ConnectionId, surroundings: &mut Surroundings<'_>) {
        let is_done = self.with(id, surroundings, |io, hands| {
            if io.is_closed() {
                return false;
            }
            if io.is_paused() || !io.unsent.is_empty() {
                io.go_on(hands);
            }
            io.end_if_over(hands.surroundings.host_ms);
            if !io.is_done() {
                hands.read(io);
            }
            io.is_done()
        });
        match is_done {
            Some(true) => self.bid_farewell(id, surroundings),
            // A closed connection may have been abandoned in the meantime.
            Some(false) | None => self.settle(id, surroundings),
        }
    }

    /// Runs `work` for one client with its surroundings. Returns `None` if the connection is gone.
    fn with<T>(
        &mut self,
        id: ConnectionId,
        surroundings: &mut Surroundings<'_>,
        work: impl FnOnce(&mut ClientIo, &mut Hands<'_, '_>) -> T,
    ) -> Option<T> {
        let mut seat = self.connections.remove(&id)?;
        let ended = seat.io.farewell().is_some();
        let done = work(&mut seat.io, &mut Hands { connections: self, surroundings, id, link: seat.link });
        note_end(&seat.io, ended, surroundings);
        self.connections.insert(id, seat);
        Some(done)
    }

    /// Empties a mailbox and appends the deliveries to the unsent bytes of their connections.
    /// `current` is the connection whose turn it is.
    fn collect(
        &mut self,
        thread: usize,
        mut current: Option<(ConnectionId, &mut ClientIo)>,
        surroundings: &mut Surroundings<'_>,
    ) {
        let outbox = std::mem::take(&mut self.mailboxes[thread]);
        for (delivery, bytes) in outbox.iter() {
            match &mut current {
                Some((id, io)) if *id == delivery.connection => {
                    deliver(io, delivery, bytes, &mut self.stats, surroundings)
                }
                _ => {
                    let Some(seat) = self.connections.get_mut(&delivery.connection) else { continue };
                    let ended = seat.io.farewell().is_some();
                    deliver(&mut seat.io, delivery, bytes, &mut self.stats, surroundings);
                    note_end(&seat.io, ended, surroundings);
                    self.settle(delivery.connection, surroundings);
                }
            }
        }
    }

    /// Moves the applier's deliveries to the mailboxes while the state is still locked.
    pub fn fill_mailboxes(&mut self, applier: &mut Applier, bug: Bug) {
        for (outbox, mailbox) in applier.outboxes.iter_mut().zip(&mut self.mailboxes) {
            if bug == Bug::EventsAfterReplies {
                *outbox = sorted(outbox, |kind| u64::from(kind == DeliveryKind::Event));
            } else if bug == Bug::RepliesSwapped {
                *outbox = sorted(outbox, |kind| u64::MAX - reply_zxid(kind));
            }
            outbox.append_to(mailbox);
        }
    }

    fn sweep(&mut self, thread: usize, surroundings: &mut Surroundings<'_>) {
        let now_ms = surroundings.host_ms;
        for seat in self.connections.iter_mut().filter(|(id, _)| usize::from(id.thread) == thread).map(|(_, seat)| seat)
        {
            if !seat.io.connection.has_begun() && now_ms > seat.opened_ms + SILENT_MS {
                seat.io.end(Farewell::Silent, now_ms);
            }
            if seat.io.takes_nothing(now_ms) {
                seat.io.turn_deaf();
                seat.io.forget_unheard();
            }
        }
    }

    /// Closes the link of a connection.
    fn bid_farewell(&mut self, id: ConnectionId, surroundings: &mut Surroundings<'_>) {
        let Some(seat) = self.connections.get_mut(&id) else { return };
        seat.io.close();
        let link = surroundings.network.link(seat.link);
        link.down.end(surroundings.now_ms);
        link.up.end(surroundings.now_ms);
        self.settle(id, surroundings);
    }

    /// Frees the place of a closed connection once its writes are answered, as far as its session
    /// needs that.
    fn settle(&mut self, id: ConnectionId, surroundings: &mut Surroundings<'_>) {
        let waits = |seat: &Seat| !seat.io.is_closed() || seat.io.must_settle(&self.config);
        if self.connections.get(&id).is_none_or(waits) {
            return;
        }
        let mut seat = self.connections.remove(&id).expect("it is there");
        let session = seat.io.connection.session();
        if surroundings.bug == Bug::WatchesStay {
            surroundings.shared.sessions.lock().let_go(session, id);
        } else {
            seat.io.connection.ended(surroundings.shared);
        }
        if surroundings.bug == Bug::CloseWithConnection {
            self.unclosed.push(session);
        }
        if surroundings.bug == Bug::LocalEndsWithConnection {
            surroundings.shared.sessions.lock().local.close(session);
        }
        seat.io.take_successor().into_iter().for_each(|id| self.cleared[usize::from(id.thread)].push(id));
        self.free.push(id);
    }
}

/// Access of one client's I/O to its thread.
struct Hands<'a, 'b> {
    connections: &'a mut Connections,
    surroundings: &'a mut Surroundings<'b>,
    id: ConnectionId,
    link: LinkId,
}

impl Hands<'_, '_> {
    /// Reads once if the client's input is wanted. Returns whether there was any.
    fn read(&mut self, io: &mut ClientIo) -> bool {
        if !io.wants_input(UNREAD_LEN_MAX) {
            return false;
        }
        let Surroundings { network, random, now_ms, host_ms, .. } = &mut *self.surroundings;
        match network.link(self.link).up.read(*now_ms, random) {
            Read::Nothing => return false,
            Read::End => {
                io.end_input(*host_ms);
                return false;
            }
            Read::Bytes(bytes) => io.received(&bytes, self),
        }
        if io.renew_if_waiting(self.surroundings.host_ms) {
            self.surroundings.witness.heard(io.connection.session().0, self.surroundings.now_ms);
        }
        true
    }
}

impl Around for Hands<'_, '_> {
    fn clock_ms(&self) -> u64 {
        self.surroundings.host_ms
    }

    fn is_congested(&self) -> bool {
        false
    }

    fn handle(&mut self, io: &mut ClientIo, input: &[u8]) -> (usize, Flow) {
        let Hands { connections, surroundings, id, .. } = self;
        if surroundings.bug != Bug::TurnBeforeMailbox {
            // The events of every change that this turn can see must come first.
            connections.collect(usize::from(id.thread), Some((*id, &mut *io)), surroundings);
        }
        if io.farewell().is_some() {
            return (input.len(), Flow::More);
        }
        let (was_open, had_begun) = (io.connection.is_open(), io.connection.has_begun());
        let (was_local, unsent_len) = (io.connection.is_local(), io.unsent.len());
        let mut superseded = Vec::new();
        let mut turn = Turn {
            shared: surroundings.shared,
            config: &connections.config,
            load: &Load::default(),
            now_ms: surroundings.host_ms,
            proposals: &mut connections.waiting,
            out: &mut io.unsent,
            superseded: &mut superseded,
            stats: &mut connections.stats,
        };
        let (used, flow) = io.connection.handle(input, &mut turn);
        if was_local {
            note_local(&io.connection, &flow, surroundings);
        }
        if surroundings.bug == Bug::ReadOnlyWrites && surroundings.shared.serving == Serving::ReadOnly {
            agree_to_writes(&mut io.unsent[unsent_len..]);
        }
        // Input that ends the connection is discarded, and does not count as heard.
        if !matches!(flow, Flow::End(_)) {
            // A returning client counts as heard before it owns its session again.
            if !had_begun && io.connection.has_begun() {
                surroundings.witness.heard(io.connection.session().0, surroundings.now_ms);
            }
            note_heard(&io.connection, was_open, &input[..used], surroundings);
        }
        for takeover in superseded {
            connections.superseded[usize::from(takeover.holder.thread)].push(takeover);
        }
        (used, flow)
    }

    fn flush(&mut self, io: &mut ClientIo) {
        let Surroundings { network, random, now_ms, .. } = &mut *self.surroundings;
        // Bytes that wait make the write fail once the client is gone; bytes already written are
        // lost silently.
        if !io.unsent.is_empty() && network.link(self.link).down.has_ended() {
            io.turn_deaf();
        }
        if !io.is_deaf() {
            let len = io.unsent.len();
            network.write_down(self.link, &mut io.unsent, *now_ms, random);
            io.wrote(len - io.unsent.len());
        }
        io.forget_unheard();
    }

    fn queue_up(&mut self) {
        unreachable!("there is no limit");
    }

    fn go_on_later(&mut self) {}

    fn answer_word(&mut self, word: [u8; 4], _rest: &[u8]) {
        panic!("nobody sends {word:?}");
    }
}

fn deliver(
    io: &mut ClientIo,
    delivery: Delivery,
    bytes: &[u8],
    stats: &mut ServerStats,
    surroundings: &mut Surroundings<'_>,
) {
    let flipped: Vec<u8>;
    let bytes = match bytes.split_last() {
        Some((last, rest)) if surroundings.bug == Bug::FlippedBit && surroundings.random.once_in(100) => {
            flipped = [rest, &[last ^ 1]].concat();
            &flipped
        }
        _ => bytes,
    };
    io.deliver(delivery, bytes, surroundings.host_ms, &Load::default(), stats);
    io.touch();
}

/// Tells the checkers, once, why a connection ends.
fn note_end(io: &ClientIo, ended: bool, surroundings: &mut Surroundings<'_>) {
    if let Some(Farewell::Protocol(end)) = io.farewell().filter(|_| !ended) {
        surroundings.witness.ends(end);
    }
}

/// Tells the checkers what a turn did to a local session.
fn note_local(connection: &Connection, flow: &Flow, surroundings: &mut Surroundings<'_>) {
    let session = connection.session().0;
    if !connection.is_local() {
        surroundings.witness.upgraded(session);
    } else if *flow == Flow::End(End::SessionClosed) {
        surroundings.witness.closing(session);
    }
}

/// Implements [`Bug::ReadOnlyWrites`]: reports writes that read-only mode refused as done.
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
fn note_heard(connection: &Connection, was_open: bool, used: &[u8], surroundings: &mut Surroundings<'_>) {
    let (witness, session) = (&mut surroundings.witness, connection.session());
    if !was_open && connection.is_open() {
        match connection.is_local() {
            true => witness.attached_local(session.0, connection.timeout_ms(), surroundings.now_ms),
            false => witness.attached(session.0, connection.timeout_ms(), surroundings.now_ms),
        }
    }
    if session == SessionId::NONE || !was_open {
        return;
    }
    let mut rest = used;
    while let Ok(Some((body, behind))) = frame::split_frame(rest, usize::MAX) {
        let header = RequestHeader::from_bytes(body).expect("clients send sound headers");
        witness.heard(session.0, surroundings.now_ms);
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

/// Reorders deliveries, for the bugs that need it.
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
