//! The bytes of one client, in both directions: received but not handled, and owed but not sent;
//! and the end of its connection.
//!
//! The server gives it a socket, the simulator a link ([`Around`]); it treats both alike. Its owner
//! * hands over input ([`ClientIo::received`]) and the engine's deliveries ([`ClientIo::deliver`]);
//! * writes the output, reports how much left ([`ClientIo::wrote`]), and lets it continue
//!   ([`ClientIo::resume`]);
//! * reads while it [wants input](ClientIo::wants_input), and closes it when it [is
//!   done](ClientIo::is_done).
//!
//! Invariants: requests are handled in order, and none while replies to earlier ones wait to be
//! sent; everything that came before the end of the input is carried out, even if the client takes
//! no output any longer.

use bytes::{Buf, BytesMut};

use crate::connection::{Connection, ConnectionConfig, End, Flow};
use crate::delivery::{ConnectionId, Delivery};
use crate::load::Load;
use crate::stats::ServerStats;

/// Bytes of a client's input that may wait: while its replies wait to be sent, or other clients'
/// requests are handled.
pub const UNREAD_LEN_MAX: usize = 32 << 20;
/// Bytes of output (events and replies) that a client may leave unread before it is cut off.
pub const UNSENT_LEN_MAX: usize = 32 << 20;
/// Number of times that a client's replies may fill a turn and be flushed before others get their
/// turn.
pub const FLUSHES_MAX: usize = 16;
/// Time for which an ending connection may take none of its last bytes, ms.
pub const FAREWELL_MS: u64 = 5_000;

/// Services that a client's bytes need: time, a way out, and the state.
pub trait Around {
    /// Returns the monotonic time, ms.
    fn clock_ms(&self) -> u64;

    /// Returns whether so much waits for the engine that nothing may be added.
    fn is_congested(&self) -> bool;

    /// Handles the requests at the start of `input` with [`Connection::handle`], with the state
    /// locked. Before that, it distributes everything delivered to clients of this thread, so that
    /// no reply overtakes an event. Returns how many bytes were consumed.
    fn handle(&mut self, client: &mut ClientIo, input: &[u8]) -> (usize, Flow);

    /// Writes the output that the client takes without blocking.
    fn flush(&mut self, client: &mut ClientIo);

    /// Takes an empty buffer for another use.
    fn reuse(&mut self, buffer: Vec<u8>) {
        drop(buffer);
    }

    /// Makes the client's next request wait until less is under way: its owner then lets it
    /// [continue](ClientIo::leave_queue).
    fn queue_up(&mut self);

    /// Notes that the client has had its share of a turn: its owner lets it continue when others
    /// have had theirs.
    fn go_on_later(&mut self);

    /// Answers a four-letter word; `rest` came with it.
    fn answer_word(&mut self, word: [u8; 4], rest: &[u8]);
}

/// Reason why a client ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The client closed its side, or the network did.
    Gone,
    /// A four-letter word was answered.
    Answered,
    /// The protocol requires it.
    Protocol(End),
    /// The client does not read its output, which is this many bytes long.
    Unread(usize),
    /// The client began no session in time.
    Silent,
    /// The transport ends it, for example TLS.
    Transport(String),
    /// The server stops.
    Stopping,
}

/// See the module.
#[derive(Debug)]
pub struct ClientIo {
    /// Interprets the bytes.
    pub connection: Connection,
    /// Input that is not a complete frame yet, or waits.
    unread: BytesMut,
    /// Output that has not been taken yet.
    pub unsent: Vec<u8>,
    /// Bytes delivered by the engine since `unsent` was last empty.
    delivered_len: usize,
    /// Whether the next frame waits for an answer, or for room.
    blocked: bool,
    /// Whether the client has had its share of the thread, and continues later.
    paused: bool,
    /// Whether the client waits until less is under way.
    queued: bool,
    /// Whether a four-letter word is being answered; nothing else is then.
    word: bool,
    /// Time at which the client's input ended, ms.
    input_ended_ms: Option<u64>,
    /// Whether the client takes no output any longer; its input is still carried out.
    deaf: bool,
    /// Bytes sent so far.
    written: u64,
    /// Number of sent bytes that the client had taken at the last look, and the time at which it
    /// last grew, ms.
    taken: (u64, u64),
    /// Whether it is closed.
    closed: bool,
    /// Whether the server will not answer its writes.
    abandoned: bool,
    /// The connection that waits for this one to end: the last of those that asked for its session.
    successor: Option<ConnectionId>,
    /// Whether deliveries have reached it since it last continued.
    touched: bool,
    /// Reason and time, ms, of its end; unsent output goes out first.
    end: Option<(Farewell, u64)>,
}

impl ClientIo {
    /// Creates the state of a client that has just been accepted.
    pub fn new(connection: Connection, now_ms: u64) -> ClientIo {
        ClientIo {
            connection,
            unread: BytesMut::new(),
            unsent: Vec::new(),
            delivered_len: 0,
            blocked: false,
            paused: false,
            queued: false,
            word: false,
            input_ended_ms: None,
            deaf: false,
            written: 0,
            taken: (0, now_ms),
            closed: false,
            abandoned: false,
            successor: None,
            touched: false,
            end: None,
        }
    }

    /// Takes bytes from the client, and handles as many as it may.
    pub fn received(&mut self, input: &[u8], around: &mut impl Around) {
        if self.word {
            return;
        }
        if self.unread.is_empty() && !self.is_held_back() {
            let used = self.turn(input, around);
            if used < input.len() {
                self.unread.extend_from_slice(&input[used..]);
            }
        } else {
            self.unread.extend_from_slice(input);
            self.resume(around);
        }
    }

    /// Renews the session if a partial or waiting request shows that the client is alive; its owner
    /// calls this after input. Returns whether it renewed the session.
    pub fn renew_if_waiting(&mut self, now_ms: u64) -> bool {
        !self.unread.is_empty() && self.connection.renew(now_ms)
    }

    /// Handles input that was held back or incomplete, if it may now.
    pub fn resume(&mut self, around: &mut impl Around) {
        if self.is_held_back() || self.end.is_some() {
            return;
        }
        (self.blocked, self.paused) = (false, false);
        if !self.unread.is_empty() || self.connection.is_cleared() {
            let mut unread = std::mem::take(&mut self.unread);
            let used = self.turn(&unread, around);
            if used < unread.len() {
                unread.advance(used);
                self.unread = unread;
            }
        }
    }

    /// Handles the frames at the start of `input` and writes the replies. Returns how many bytes
    /// were consumed.
    fn turn(&mut self, input: &[u8], around: &mut impl Around) -> usize {
        let (mut used, mut flushes) = (0, 0);
        loop {
            if around.is_congested() {
                self.blocked = true;
                self.connection.hold(around.clock_ms());
                self.queue_up(around);
                return used;
            }
            let (count, flow) = around.handle(self, &input[used..]);
            used += count;
            around.flush(self);
            let more = flow == Flow::Flush && self.unsent.is_empty();
            self.blocked = matches!(flow, Flow::Blocked | Flow::Throttled | Flow::Flush);
            self.reuse_unsent(around);
            match flow {
                Flow::More | Flow::Blocked | Flow::Flush => {}
                Flow::Throttled => self.queue_up(around),
                Flow::Word(word) => {
                    around.answer_word(word, &input[used..]);
                    (self.word, used) = (true, input.len());
                }
                Flow::End(end) => self.end(Farewell::Protocol(end), around.clock_ms()),
            }
            if !more {
                return used;
            }
            flushes += 1;
            if flushes == FLUSHES_MAX {
                self.paused = true;
                around.go_on_later();
                return used;
            }
        }
    }

    fn queue_up(&mut self, around: &mut impl Around) {
        self.queued = true;
        around.queue_up();
    }

    fn reuse_unsent(&mut self, around: &mut impl Around) {
        if self.unsent.is_empty() {
            around.reuse(std::mem::take(&mut self.unsent));
        }
    }

    /// Writes the output, and handles the input that was held back for it.
    pub fn go_on(&mut self, around: &mut impl Around) {
        around.flush(self);
        if self.unsent.is_empty() {
            self.reuse_unsent(around);
            self.resume(around);
        }
    }

    /// Takes a delivery of the engine. Returns true if so much is unsent that the client is [cut
    /// off](ClientIo::cut_off) unless it takes some of it now.
    pub fn deliver(
        &mut self,
        delivery: Delivery,
        bytes: &[u8],
        now_ms: u64,
        load: &Load,
        stats: &mut ServerStats,
    ) -> bool {
        if self.end.is_some() {
            // Only its count of writes in flight matters.
            let len = self.unsent.len();
            self.take_note(delivery, now_ms, load, stats);
            self.unsent.truncate(len);
            return false;
        }
        if self.unsent.is_empty() {
            self.delivered_len = 0;
        }
        self.unsent.extend_from_slice(bytes);
        self.delivered_len += bytes.len();
        self.take_note(delivery, now_ms, load, stats);
        self.leaves_unread()
    }

    /// Passes a delivery to the connection.
    fn take_note(&mut self, delivery: Delivery, now_ms: u64, load: &Load, stats: &mut ServerStats) {
        let ClientIo { connection, unsent, .. } = self;
        let before = (connection.in_flight(), connection.large_bytes());
        let delivered = connection.delivered(delivery, now_ms, unsent, stats);
        load.finish(before.0 - connection.in_flight(), before.1 - connection.large_bytes());
        if let Err(end) = delivered {
            self.end(Farewell::Protocol(end), now_ms);
        }
    }

    /// Returns whether the client leaves too much unread. A reply being sent may be long: only
    /// bytes delivered behind it count.
    fn leaves_unread(&self) -> bool {
        self.delivered_len.min(self.unsent.len()) > UNSENT_LEN_MAX
    }

    /// Ends a client that has too much output and takes none of it.
    pub fn cut_off(&mut self, now_ms: u64) {
        if self.unsent.len() > UNSENT_LEN_MAX {
            self.end(Farewell::Unread(self.unsent.len()), now_ms);
            self.unsent = Vec::new();
        }
    }

    /// Notes that `count` bytes were sent.
    pub fn wrote(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Drops the output of a client that takes nothing any longer.
    pub fn forget_unheard(&mut self) {
        if self.deaf {
            self.unsent.clear();
        }
    }

    /// Notes that the client has taken all its output.
    pub fn note_all_taken(&mut self, now_ms: u64) {
        self.taken.1 = now_ms;
    }

    /// Notes that `count` of the sent bytes are not acknowledged: the client has taken the others,
    /// which is a sign of life.
    pub fn note_unacknowledged(&mut self, count: u64, now_ms: u64) {
        let taken = self.written.saturating_sub(count);
        if taken > self.taken.0 {
            self.connection.renew(now_ms);
            self.taken = (taken, now_ms);
        }
    }

    /// Notes that the client sends nothing more.
    pub fn end_input(&mut self, now_ms: u64) {
        self.input_ended_ms.get_or_insert(now_ms);
    }

    /// Notes that the client takes nothing any longer; its input is still carried out.
    pub fn turn_deaf(&mut self) {
        self.deaf = true;
    }

    /// Returns whether the client takes nothing any longer.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Ends the connection once everything is sent; the first reason counts.
    pub fn end(&mut self, farewell: Farewell, now_ms: u64) {
        self.end.get_or_insert((farewell, now_ms));
    }

    /// Returns the reason why it ends, if it does.
    pub fn farewell(&self) -> Option<&Farewell> {
        self.end.as_ref().map(|(farewell, _)| farewell)
    }

    /// Ends a client whose input has ended and is all handled. Returns whether it was one.
    pub fn end_if_over(&mut self, now_ms: u64) -> bool {
        let is_over = self.end.is_none() && self.input_ended_ms.is_some() && !self.is_held_back() && !self.blocked;
        if is_over {
            let moved = self.successor.is_some();
            self.end(if moved { Farewell::Protocol(End::Disconnected) } else { Farewell::Gone }, now_ms);
        }
        is_over
    }

    /// Returns whether it must be closed: it is ending, and everything is sent.
    pub fn is_done(&self) -> bool {
        self.end.is_some() && self.unsent.is_empty()
    }

    /// Notes that it is closed.
    pub fn close(&mut self) {
        self.closed = true;
        self.unread = BytesMut::new();
    }

    /// Returns whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Ends a client because the server serves no clients for now; its writes are not answered.
    pub fn abandon(&mut self, now_ms: u64) {
        self.end(Farewell::Protocol(End::NotServing), now_ms);
        self.abandoned = true;
    }

    /// Sets the connection that waits for this one to end. Returns the one that waited so far,
    /// which must end.
    pub fn set_successor(&mut self, successor: ConnectionId) -> Option<ConnectionId> {
        self.successor.replace(successor)
    }

    /// Takes the connection that waits for this one to end.
    pub fn take_successor(&mut self) -> Option<ConnectionId> {
        self.successor.take()
    }

    /// Ends this connection because its session has moved or ended. If it has moved, input that had
    /// arrived was [received](ClientIo::received) before and is carried out as if the client had
    /// left.
    pub fn give_way(&mut self, is_moved: bool, now_ms: u64) {
        if is_moved {
            if self.end.is_none() {
                self.end_input(now_ms);
            }
            self.deaf = true;
        } else {
            self.end(Farewell::Protocol(End::Disconnected), now_ms);
            self.unsent = Vec::new();
        }
    }

    /// Returns whether its writes in flight must be answered before its session continues
    /// elsewhere.
    pub fn must_settle(&self, config: &ConnectionConfig) -> bool {
        !self.abandoned && self.connection.must_settle(config)
    }

    /// Returns whether input only accumulates: replies must leave first, or other clients' requests
    /// come first.
    pub fn is_held_back(&self) -> bool {
        self.queued || self.word || !self.unsent.is_empty()
    }

    /// Returns whether it has had its share, and continues later.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Lets it continue: less is under way.
    pub fn leave_queue(&mut self) {
        self.queued = false;
    }

    /// Notes that deliveries have reached it. Returns whether that was noted already.
    pub fn touch(&mut self) -> bool {
        std::mem::replace(&mut self.touched, true)
    }

    /// Returns whether deliveries have reached it since the last call.
    pub fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    /// Returns whether the client is leaving, or sends nothing more, and takes none of its output.
    pub fn takes_nothing(&self, now_ms: u64) -> bool {
        let leaving_since_ms = self.end.as_ref().map(|&(_, since_ms)| since_ms).or(self.input_ended_ms);
        let is_stuck = |since_ms: u64| now_ms > since_ms.max(self.taken.1) + FAREWELL_MS;
        !self.unsent.is_empty() && leaving_since_ms.is_some_and(is_stuck)
    }

    /// Returns whether every request that was read is answered, and every answer sent.
    pub fn is_settled(&self) -> bool {
        self.connection.in_flight() == 0 && !self.blocked && self.unsent.is_empty()
    }

    /// Returns whether no input waits to be handled.
    pub fn has_read_all(&self) -> bool {
        self.unread.is_empty()
    }

    /// Returns whether more input is wanted. Waiting input is read up to a limit: there may be
    /// pings in it, and writes.
    pub fn wants_input(&self, unread_len_max: usize) -> bool {
        !self.word && self.end.is_none() && self.input_ended_ms.is_none() && self.unread.len() < unread_len_max
    }
}
