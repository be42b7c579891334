//! A thread that owns connections: it reads, answers what it can under the shared lock, proposes the rest, and writes.
//!
//! Ordering, with the engine: the engine fills this thread's mailbox before it unlocks the state. A turn takes the lock
//! first and then empties the mailbox, so that (1) events of every change the turn can see are written in front of its
//! replies, and (2) a reply of this turn is written in front of events of changes after it.
//!
//! Every client is a task; deliveries are written by the mailbox's own task, without waking the client's.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    ConnectionConfig, ConnectionId, Delivery, End, Flow, Load, Outbox, Proposals, Shared, Takeover, Turn,
};
use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tracing::{debug, info, warn};

use crate::admission::Admission;
use crate::client::{Client, Farewell, Gone, Inner};
use crate::clock::Clock;
use crate::listening::accept;
use crate::mailbox::{Mailbox, Order, Proposing};
use crate::pulse::Pulse;
use crate::report::{ConnectionReport, ThreadReport};
use crate::tls::{ClientTls, Door, Wire};
use crate::words_service::WordsService;

/// Bytes read from a socket at once.
const READ_LEN: usize = 64 << 10;
/// Bytes of a client's input that may wait: while its replies wait to be sent, or other clients' requests are handled.
const UNREAD_LEN_MAX: usize = 32 << 20;
/// Bytes a client may leave unread before it is cut off: events, and replies to what it asked for.
const UNSENT_LEN_MAX: usize = 32 << 20;
/// Times a client's replies fill a turn and leave at once before others have theirs.
const FLUSHES_MAX: usize = 16;
/// Bytes of output buffers kept for the next turn.
const BUFFER_KEPT: usize = 256 << 10;
/// Spare output buffers kept.
const SPARES_MAX: usize = 64;
/// How often clients are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What all such threads share.
#[derive(Debug)]
pub(crate) struct IoShared {
    pub(crate) state: Arc<RwLock<Shared>>,
    pub(crate) config: ConnectionConfig,
    pub(crate) proposing: Arc<Proposing>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) words: Arc<WordsService>,
    /// `None`: clients come without TLS.
    pub(crate) tls: Option<Arc<ClientTls>>,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) load: Arc<Load>,
    /// Whose client is gone before its request's turn comes is forgotten.
    pub(crate) drop_stale: bool,
    /// How long a connection may take to say who it is, ms.
    pub(crate) sessionless_timeout_ms: u64,
}

/// One thread's world.
pub(crate) struct Io {
    thread: u16,
    shared: Arc<IoShared>,
    mailbox: Arc<Mailbox>,
    places: RefCell<Places>,
    input: RefCell<Box<[u8]>>,
    /// What came over TLS, decrypted.
    plain: RefCell<Vec<u8>>,
    /// What is to be encrypted.
    sealing: Rc<RefCell<Vec<u8>>>,
    scratch: RefCell<Scratch>,
    touched: RefCell<Vec<Rc<Client>>>,
    /// Clients that wait because too much is proposed.
    congested: RefCell<Vec<Rc<Client>>>,
    stats: RefCell<ServerStats>,
    stage: Cell<Stage>,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Clients are served.
    Serving,
    /// Each client is served until it waits for nothing.
    Draining,
    /// Nobody is read any more; what was read is answered.
    Leaving,
    /// Every connection ends.
    Stopped,
}

#[derive(Default)]
struct Places {
    clients: Vec<Option<Rc<Client>>>,
    generations: Vec<u16>,
    free: Vec<u32>,
}

/// Buffers used by one turn after the other.
#[derive(Default)]
struct Scratch {
    outbox: Outbox,
    proposals: Proposals,
    superseded: Vec<Takeover>,
    /// Empty output buffers.
    spares: Vec<Vec<u8>>,
}

impl Scratch {
    fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_KEPT && self.spares.len() < SPARES_MAX {
            self.spares.push(buffer);
        }
    }
}

impl Io {
    pub(crate) fn new(thread: u16, shared: Arc<IoShared>) -> Rc<Io> {
        let mailbox = shared.mailboxes[usize::from(thread)].clone();
        Rc::new(Io {
            thread,
            shared,
            mailbox,
            places: RefCell::default(),
            input: RefCell::new(vec![0; READ_LEN].into_boxed_slice()),
            plain: RefCell::default(),
            sealing: Rc::default(),
            scratch: RefCell::default(),
            touched: RefCell::default(),
            congested: RefCell::default(),
            stats: RefCell::default(),
            stage: Cell::new(Stage::Serving),
        })
    }

    /// Runs until the server stops and every connection has ended.
    pub(crate) async fn run(self: Rc<Io>) {
        let io = self.clone();
        let sweeper = spawn_local(async move { io.sweep_regularly().await });
        while !(self.stage.get() == Stage::Stopped && self.places.borrow().is_empty()) {
            self.mailbox.woken().await;
            // What is there already reaches its clients before an order may end them.
            self.collect(None);
            self.obey_orders();
            self.settle_touched();
            self.relieve_others();
            self.relieve_congestion();
        }
        sweeper.abort();
    }

    fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    fn obey_orders(self: &Rc<Io>) {
        for order in self.mailbox.orders() {
            match order {
                Order::Adopt(stream, peer, door) => self.adopt(stream, peer, door),
                Order::Listen(opened) => drop(spawn_local(accept(self.clone(), self.shared.clone(), opened))),
                Order::Supersede(takeover) => self.supersede(takeover),
                Order::Clear(id) => self.cleared(id),
                Order::Report(answer) => drop(answer.send(self.report())),
                Order::ResetStats { connections } => self.reset_stats(connections),
                Order::EndSessions { read_only } => self.end_sessions(read_only),
                Order::Drain => self.wind_down(Stage::Draining),
                Order::Leave => self.wind_down(Stage::Leaving),
                Order::Stop => self.stop(),
            }
        }
    }

    /// Takes a client over from the listener.
    pub(crate) fn adopt(self: &Rc<Io>, stream: StdStream, peer: SocketAddr, door: Door) {
        let wire = Wire::new(door, self.shared.tls.as_ref(), &self.sealing).map_err(|end| end.to_string());
        let stream = wire.and_then(|wire| Ok((TcpStream::from_std(stream).map_err(|error| error.to_string())?, wire)));
        match stream {
            Ok((stream, wire)) => self.serve(stream, wire, peer),
            Err(error) => {
                warn!(%peer, %error, "a client could not be taken over");
                self.shared.admission.leave(peer);
            }
        }
    }

    /// Serves a client on this thread.
    pub(crate) fn serve(self: &Rc<Io>, stream: TcpStream, wire: Wire, peer: SocketAddr) {
        let times = (self.shared.clock.wall_ms(), self.now_ms());
        let client = self.places.borrow_mut().seat(self.thread, |id| Client::new(id, stream, wire, peer, times));
        if self.stage.get() != Stage::Serving {
            client.inner.borrow_mut().end(Farewell::Stopping, times.1);
        }
        self.count_plain(&client);
        let io = self.clone();
        spawn_local(async move {
            std::future::poll_fn(|context| io.poll(&client, context)).await;
            io.bid_farewell(&client);
            std::future::poll_fn(|context| io.settle(&client, context)).await;
            io.vacate(&client);
        });
    }

    /// One wake-up of a client's task: writes what waits, reads what came.
    fn poll(self: &Rc<Io>, client: &Rc<Client>, context: &mut Context<'_>) -> Poll<()> {
        if client.inner.borrow().paused {
            self.handle_unread(client, &mut client.inner.borrow_mut());
        }
        loop {
            self.write_unsent(client, context);
            let inner = client.inner.borrow();
            if inner.end.is_some() && inner.unsent.is_empty() {
                drop(inner);
                if client.say_goodbye(&mut client.inner.borrow_mut().unsent) {
                    continue;
                }
                return self.part(client, context);
            }
            let (is_over, wants_input) = (inner.is_over(), self.wants_input(&inner));
            drop(inner);
            if is_over {
                client.inner.borrow_mut().end_over(self.now_ms());
                continue;
            }
            if (!wants_input || self.read(client, context).is_pending()) && !self.dismiss(client) {
                client.sleep(context.waker());
                if client.inner.borrow().paused {
                    client.wake();
                }
                return Poll::Pending;
            }
        }
    }

    fn wants_input(&self, inner: &Inner) -> bool {
        inner.wants_input(UNREAD_LEN_MAX) && self.stage.get() != Stage::Leaving
    }

    /// The server stops: the client ends if it is a moment at which it waits for nothing it has asked.
    fn dismiss(&self, client: &Client) -> bool {
        let mut inner = client.inner.borrow_mut();
        let may_go = match self.stage.get() {
            Stage::Serving => false,
            Stage::Draining => inner.is_settled() && inner.unread.is_empty() && !client.has_input(),
            Stage::Leaving | Stage::Stopped => inner.is_settled(),
        };
        if may_go {
            inner.end(Farewell::Stopping, self.now_ms());
        }
        may_go
    }

    /// The end of a client that has everything. While the server stops at leisure it is left to the client to close:
    /// what it sends meanwhile would otherwise be answered by a reset, which may cost it replies it has not read.
    fn part(&self, client: &Client, context: &mut Context<'_>) -> Poll<()> {
        let dismissed = matches!(client.inner.borrow().end, Some((Farewell::Stopping, _)));
        if !dismissed || self.stage.get() == Stage::Stopped {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut client.inner.borrow_mut().parting, true) {
            client.close_output();
            self.shared.admission.parts(1);
        }
        let mut buffer = self.input.borrow_mut();
        while let Ok(_ignored) = match client.poll_read(&mut buffer, context) {
            Poll::Ready(read) => read,
            Poll::Pending => {
                client.sleep(context.waker());
                return Poll::Pending;
            }
        } {}
        Poll::Ready(())
    }

    fn write_unsent(self: &Rc<Io>, client: &Rc<Client>, context: &mut Context<'_>) {
        loop {
            let mut inner = client.inner.borrow_mut();
            if inner.unsent.is_empty() {
                return;
            }
            match client.poll_write_ready(context) {
                Poll::Pending if !inner.deaf => return,
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Gone)) => inner.deaf = true,
            }
            client.flush(&mut inner);
            if inner.unsent.is_empty() {
                inner.unsent = Vec::new();
                inner.taken.1 = self.now_ms();
                self.handle_unread(client, &mut inner);
            }
        }
    }

    /// Reads once and handles what came.
    fn read(self: &Rc<Io>, client: &Rc<Client>, context: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.input.borrow_mut();
        let read = if client.is_peer_closed() { Err(Gone) } else { ready!(client.poll_read(&mut buffer, context)) };
        let mut inner = client.inner.borrow_mut();
        match read {
            Ok(count) => self.receive(client, &mut inner, &mut buffer[..count]),
            Err(Gone) => inner.input_ended_ms = Some(self.now_ms()),
        }
        Poll::Ready(())
    }

    /// Handles what came off the wire.
    fn receive(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner, input: &mut [u8]) {
        if client.is_plain() {
            self.handle_input(client, inner, input);
        } else {
            self.handle_sealed(client, inner, input);
        }
        // A client that is not answered yet, or sends a long request, is alive nevertheless.
        if !inner.unread.is_empty() {
            inner.connection.renew(self.now_ms());
        }
    }

    fn handle_input(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner, input: &[u8]) {
        if inner.word {
            return;
        }
        if inner.unread.is_empty() && !inner.is_held_back() {
            let used = self.turn(client, inner, input);
            if used < input.len() {
                inner.unread.extend_from_slice(&input[used..]);
            }
        } else {
            inner.unread.extend_from_slice(input);
            self.handle_unread(client, inner);
        }
    }

    /// Counts a connection that has turned out to be without TLS.
    fn count_plain(&self, client: &Client) {
        if client.is_plain() {
            let is_remote = !client.peer.ip().to_canonical().is_loopback();
            self.stats.borrow_mut().plain[usize::from(is_remote)] += 1;
        }
    }

    /// Handles what came over TLS, or may turn out to be so.
    fn handle_sealed(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner, input: &mut [u8]) {
        let mut plain = self.plain.take();
        let received = client.receive(inner, input, &mut plain);
        // From now on it does not come here any more.
        self.count_plain(client);
        match received {
            Ok(()) if plain.is_empty() => client.flush(inner),
            Ok(()) => self.handle_input(client, inner, &plain),
            Err(end) => {
                inner.end(Farewell::Wire(end), self.now_ms());
                client.flush(inner);
            }
        }
        if inner.unsent.is_empty() {
            inner.unsent = Vec::new();
        }
        plain.clear();
        plain.shrink_to(BUFFER_KEPT);
        self.plain.replace(plain);
    }

    /// Handles input that was held back or incomplete.
    fn handle_unread(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner) {
        if inner.is_held_back() || inner.end.is_some() {
            return;
        }
        (inner.blocked, inner.paused) = (false, false);
        if !inner.unread.is_empty() || inner.connection.is_cleared() {
            let unread = std::mem::take(&mut inner.unread);
            let used = self.turn(client, inner, &unread);
            inner.used(unread, used);
        }
    }

    /// Handles the frames at the start of `input` and writes the replies; how many bytes were used up.
    fn turn(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner, input: &[u8]) -> usize {
        let (mut used, mut flushes) = (0, 0);
        loop {
            if self.shared.proposing.is_congested() {
                inner.blocked = true;
                inner.connection.hold(self.now_ms());
                self.queue_up(client, inner);
                return used;
            }
            let (count, flow) = self.handle(client, inner, &input[used..]);
            used += count;
            client.flush(inner);
            let more = flow == Flow::Flush && inner.unsent.is_empty();
            inner.blocked = matches!(flow, Flow::Blocked | Flow::Throttled | Flow::Flush);
            if inner.unsent.is_empty() {
                self.scratch.borrow_mut().keep(std::mem::take(&mut inner.unsent));
            }
            match flow {
                Flow::More | Flow::Blocked | Flow::Flush => {}
                Flow::Throttled => self.queue_up(client, inner),
                Flow::Word(word) => {
                    self.answer_word(client, word, &input[used..]);
                    (inner.word, used) = (true, input.len());
                }
                Flow::End(end) => inner.end(Farewell::Protocol(end), self.now_ms()),
            }
            if !more {
                return used;
            }
            flushes += 1;
            if flushes == FLUSHES_MAX {
                inner.paused = true;
                client.wake();
                return used;
            }
        }
    }

    /// The part of a turn under the lock.
    fn handle(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner, input: &[u8]) -> (usize, Flow) {
        let shared = self.shared.state.read();
        // Whatever this turn can see, its events come first.
        self.collect(Some((client, inner)));
        if inner.end.is_some() {
            return (input.len(), Flow::More);
        }
        let mut scratch = self.scratch.borrow_mut();
        let scratch = &mut *scratch;
        if inner.unsent.capacity() == 0 {
            inner.unsent = scratch.spares.pop().unwrap_or_default();
        }
        let mut turn = Turn {
            shared: &shared,
            config: &self.shared.config,
            load: &self.shared.load,
            now_ms: self.now_ms(),
            proposals: &mut scratch.proposals,
            out: &mut inner.unsent,
            superseded: &mut scratch.superseded,
            stats: &mut self.stats.borrow_mut(),
        };
        let result = inner.connection.handle(input, &mut turn);
        drop(shared);
        if !scratch.proposals.is_empty() {
            self.shared.proposing.push(&mut scratch.proposals);
        }
        for takeover in scratch.superseded.drain(..) {
            self.shared.mailboxes[usize::from(takeover.holder.thread)].order(Order::Supersede(takeover));
        }
        result
    }

    /// Takes deliveries out of the mailbox and puts their bytes to what their clients have unsent. `current` is a
    /// client that is borrowed already.
    fn collect(&self, mut current: Option<(&Rc<Client>, &mut Inner)>) {
        let mut outbox = std::mem::take(&mut self.scratch.borrow_mut().outbox);
        if self.mailbox.empty_into(&mut outbox) {
            let now_ms = self.now_ms();
            for (delivery, bytes) in outbox.iter() {
                match &mut current {
                    Some((client, inner)) if client.id == delivery.connection => {
                        self.deliver(client, inner, delivery, bytes, now_ms);
                    }
                    _ => self.deliver_to_other(delivery, bytes, now_ms),
                }
            }
            outbox.clear(BUFFER_KEPT);
        }
        self.scratch.borrow_mut().outbox = outbox;
    }

    fn deliver_to_other(&self, delivery: Delivery, bytes: &[u8], now_ms: u64) {
        let Some(client) = self.places.borrow().client(delivery.connection) else { return };
        let mut inner = client.inner.borrow_mut();
        self.deliver(&client, &mut inner, delivery, bytes, now_ms);
    }

    fn deliver(&self, client: &Rc<Client>, inner: &mut Inner, delivery: Delivery, bytes: &[u8], now_ms: u64) {
        if !std::mem::replace(&mut inner.touched, true) {
            self.touched.borrow_mut().push(client.clone());
        }
        if inner.end.is_some() {
            let len = inner.unsent.len();
            self.take_note(inner, delivery, now_ms);
            return inner.unsent.truncate(len);
        }
        if inner.unsent.is_empty() {
            inner.delivered_len = 0;
        }
        if inner.unsent.capacity() == 0 {
            inner.unsent = self.scratch.borrow_mut().spares.pop().unwrap_or_default();
        }
        inner.unsent.extend_from_slice(bytes);
        inner.delivered_len += bytes.len();
        self.take_note(inner, delivery, now_ms);
        // A reply on its way may be long. Only what was delivered behind it counts, and only if the socket is full.
        if inner.delivered_len.min(inner.unsent.len()) > UNSENT_LEN_MAX {
            client.flush(inner);
            if inner.unsent.len() > UNSENT_LEN_MAX {
                inner.end(Farewell::Unread(inner.unsent.len()), now_ms);
                inner.unsent = Vec::new();
            }
        }
    }

    /// Tells the connection what it was sent; to one that has ended only its count of writes in flight matters.
    fn take_note(&self, inner: &mut Inner, delivery: Delivery, now_ms: u64) {
        let Inner { connection, unsent, .. } = inner;
        let before = (connection.in_flight(), connection.large_bytes());
        let delivered = connection.delivered(delivery, now_ms, unsent, &mut self.stats.borrow_mut());
        self.shared.load.finish(before.0 - connection.in_flight(), before.1 - connection.large_bytes());
        if let Err(end) = delivered {
            inner.end(Farewell::Protocol(end), now_ms);
        }
    }

    /// Goes on with every client that deliveries have reached.
    fn settle_touched(self: &Rc<Io>) {
        let mut touched = std::mem::take(&mut *self.touched.borrow_mut());
        for client in touched.drain(..) {
            client.inner.borrow_mut().touched = false;
            self.go_on(&client);
        }
        let mut place = self.touched.borrow_mut();
        if place.is_empty() {
            *place = touched;
        }
    }

    /// Writes what a client has unsent and handles what it has unread; wakes its task if that is not all.
    fn go_on(self: &Rc<Io>, client: &Rc<Client>) {
        let mut inner = client.inner.borrow_mut();
        let was_read = self.wants_input(&inner);
        client.flush(&mut inner);
        if inner.unsent.is_empty() {
            self.scratch.borrow_mut().keep(std::mem::take(&mut inner.unsent));
            self.handle_unread(client, &mut inner);
        }
        // Its task waits for input. For anything else it must be woken.
        let only_reads = was_read && self.wants_input(&inner) && inner.unsent.is_empty();
        if !only_reads || self.stage.get() != Stage::Serving {
            client.wake();
        }
    }

    /// The client's next frame waits until less is under way.
    fn queue_up(&self, client: &Rc<Client>, inner: &mut Inner) {
        self.stats.borrow_mut().held_back += 1;
        if !std::mem::replace(&mut inner.queued, true) {
            self.congested.borrow_mut().push(client.clone());
        }
        self.await_relief();
    }

    fn is_congested(&self) -> bool {
        self.shared.proposing.is_congested() || self.shared.load.is_full()
    }

    /// There may be room again before the engine has heard that someone waits for it.
    fn await_relief(&self) {
        self.mailbox.wait_for_relief();
        if !self.is_congested() {
            self.mailbox.relieve();
        }
    }

    /// The answers just given may have made room for clients of other threads.
    fn relieve_others(&self) {
        if self.shared.load.counts() && !self.shared.load.is_full() {
            self.shared.mailboxes.iter().for_each(|mailbox| mailbox.relieve());
        }
    }

    fn relieve_congestion(self: &Rc<Io>) {
        if !self.is_congested() {
            let waiting = std::mem::take(&mut *self.congested.borrow_mut());
            for client in waiting {
                client.inner.borrow_mut().queued = false;
                if !self.is_stale(&client) {
                    self.go_on(&client);
                }
            }
        } else if !self.congested.borrow().is_empty() {
            self.await_relief();
        }
    }

    /// Whether a client has gone while it waited; then it ends.
    fn is_stale(&self, client: &Client) -> bool {
        let stale = self.shared.drop_stale && client.is_gone();
        if stale {
            self.stats.borrow_mut().stale_dropped += 1;
            client.inner.borrow_mut().end(Farewell::Gone, self.now_ms());
            client.wake();
        }
        stale
    }

    /// Ends a connection whose session is over, or wanted elsewhere: then what has arrived from its client is carried out
    /// first, as if it had left.
    fn supersede(self: &Rc<Io>, Takeover { holder, successor }: Takeover) {
        let Some(client) = self.places.borrow().client(holder) else {
            return successor.into_iter().for_each(|successor| self.clear_way(successor));
        };
        let mut inner = client.inner.borrow_mut();
        if let Some(former) = successor.and_then(|successor| inner.successor.replace(successor)) {
            self.end_elsewhere(former);
        }
        let now_ms = self.now_ms();
        if successor.is_some() {
            if inner.end.is_none() {
                self.read_everything(&client, &mut inner);
                inner.input_ended_ms.get_or_insert(now_ms);
            }
            inner.deaf = true;
        } else {
            inner.end(Farewell::Protocol(End::Disconnected), now_ms);
            inner.unsent = Vec::new();
        }
        drop(inner);
        client.wake();
    }

    /// Reads what has arrived by now. A client that goes on sending is not read for ever.
    fn read_everything(self: &Rc<Io>, client: &Rc<Client>, inner: &mut Inner) {
        let mut buffer = self.input.borrow_mut();
        let mut budget = UNREAD_LEN_MAX;
        while self.wants_input(inner) && budget > 0 {
            match client.read_now(&mut buffer) {
                0 => return,
                count => self.receive(client, inner, &mut buffer[..count]),
            }
            budget = budget.saturating_sub(READ_LEN);
        }
    }

    /// Ends a connection that waits for a session which a newer one wants, too.
    fn end_elsewhere(&self, holder: ConnectionId) {
        let takeover = Takeover { holder, successor: None };
        self.shared.mailboxes[usize::from(holder.thread)].order(Order::Supersede(takeover));
    }

    /// Tells a connection that nobody else has its session any more.
    fn clear_way(&self, successor: ConnectionId) {
        self.shared.mailboxes[usize::from(successor.thread)].order(Order::Clear(successor));
    }

    /// The connection that had this one's session has ended.
    fn cleared(self: &Rc<Io>, id: ConnectionId) {
        let Some(client) = self.places.borrow().client(id) else { return };
        client.inner.borrow_mut().connection.clear();
        self.go_on(&client);
    }

    fn answer_word(self: &Rc<Io>, client: &Rc<Client>, word: [u8; 4], rest: &[u8]) {
        let (io, client) = (self.clone(), client.clone());
        let argument = rest.get(4..).unwrap_or_default().to_vec();
        spawn_local(async move {
            let text = io.shared.words.answer(word, &argument).await;
            let mut inner = client.inner.borrow_mut();
            inner.unsent.extend_from_slice(text.as_bytes());
            inner.end(Farewell::Answered, io.now_ms());
            client.wake();
        });
    }

    /// Gives up the place of a client that has ended: what it held is let go.
    fn vacate(&self, client: &Client) {
        self.places.borrow_mut().vacate(client.id);
        if self.stage.get() == Stage::Stopped {
            self.mailbox.wake();
        }
        let mut inner = client.inner.borrow_mut();
        inner.connection.ended(&self.shared.state.read());
        self.shared.load.finish(inner.connection.in_flight(), inner.connection.large_bytes());
        self.relieve_others();
        inner.successor.take().into_iter().for_each(|successor| self.clear_way(successor));
    }

    /// Waits until a client that has ended owes its session nothing: whoever takes it over must see what it has written.
    fn settle(&self, client: &Client, context: &mut Context<'_>) -> Poll<()> {
        let waits = client.inner.borrow().must_settle(&self.shared.config) && self.stage.get() != Stage::Stopped;
        if waits {
            client.sleep(context.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Closes the socket of a client that has ended.
    fn bid_farewell(&self, client: &Client) {
        client.shut_down();
        let mut inner = client.inner.borrow_mut();
        inner.closed = true;
        inner.unread = BytesMut::new();
        self.shared.admission.parts(-i32::from(inner.parting));
        self.shared.admission.leave(client.peer);
        let (peer, session) = (client.peer, inner.connection.session());
        let farewell = inner.end.as_ref().map_or(Farewell::Gone, |(farewell, _)| farewell.clone());
        match &farewell {
            Farewell::Gone => self.stats.borrow_mut().dropped += 1,
            Farewell::Silent => self.stats.borrow_mut().silent += 1,
            Farewell::Answered
            | Farewell::Stopping
            | Farewell::Protocol(_)
            | Farewell::Unread(_)
            | Farewell::Wire(_)
            | Farewell::Handshake => {}
        }
        match farewell {
            Farewell::Gone | Farewell::Answered | Farewell::Stopping => debug!(%peer, %session, ?farewell, "closed"),
            Farewell::Protocol(End::SessionClosed) => debug!(%peer, %session, "session closed"),
            Farewell::Protocol(end @ (End::Disconnected | End::SessionExpired(_))) => {
                info!(%peer, %session, "closed: {end}");
            }
            Farewell::Protocol(end) => warn!(%peer, %session, "closed: {end}"),
            Farewell::Unread(len) => warn!(%peer, %session, "closed: the client leaves {len} bytes unread"),
            Farewell::Silent => warn!(%peer, "closed: the client did not begin a session in time"),
            Farewell::Wire(end) => warn!(%peer, %session, "closed: {end}"),
            Farewell::Handshake => warn!(%peer, "closed: the handshake of TLS took too long"),
        }
    }

    async fn sweep_regularly(self: Rc<Io>) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            self.shared.pulse.io_beats(self.thread);
            self.sweep();
        }
    }

    /// Ends clients that are silent, or that do not take their farewell.
    fn sweep(&self) {
        let now_ms = self.now_ms();
        for client in self.places.borrow().clients() {
            let mut inner = client.inner.borrow_mut();
            if !inner.connection.has_begun() && now_ms > client.opened_ms + self.shared.sessionless_timeout_ms {
                inner.end(Farewell::Silent, now_ms);
                client.wake();
            }
            if let Some(tls) = &self.shared.tls
                && client.is_handshaking()
                && now_ms > client.opened_ms + tls.handshake_timeout_ms
            {
                inner.end(Farewell::Handshake, now_ms);
                client.wake();
            }
            if !inner.closed && !inner.unsent.is_empty() {
                client.look_for_progress(&mut inner, now_ms);
            }
            if inner.takes_nothing(now_ms) {
                inner.deaf = true;
                client.wake();
            }
        }
    }

    fn report(&self) -> ThreadReport {
        let mut report = ThreadReport { stats: self.stats.borrow().clone(), ..ThreadReport::default() };
        for client in self.places.borrow().clients() {
            let inner = client.inner.borrow();
            if inner.closed {
                continue;
            }
            report.outstanding += u64::from(inner.connection.in_flight());
            report.connections.push(ConnectionReport {
                peer: client.peer,
                secure: client.is_secure(),
                session: inner.connection.session(),
                timeout_ms: inner.connection.timeout_ms(),
                established_ms: client.established_ms,
                outstanding: inner.connection.in_flight(),
                stats: inner.connection.stats,
            });
        }
        report
    }

    fn reset_stats(&self, connections: bool) {
        if connections {
            let places = self.places.borrow();
            places.clients().for_each(|client| client.inner.borrow_mut().connection.stats.reset());
        } else {
            self.stats.borrow_mut().reset();
        }
    }

    fn end_sessions(&self, read_only: bool) {
        let now_ms = self.now_ms();
        for client in self.places.borrow().clients() {
            let mut inner = client.inner.borrow_mut();
            if inner.connection.has_begun() && inner.connection.is_read_only() == read_only {
                inner.end(Farewell::Protocol(End::NotServing), now_ms);
                inner.abandoned = true;
                client.wake();
            }
        }
    }

    /// The next stage of a stop: every client sees for itself what that means to it.
    fn wind_down(&self, stage: Stage) {
        self.stage.set(stage);
        self.places.borrow().clients().for_each(|client| client.wake());
    }

    fn stop(&self) {
        self.stage.set(Stage::Stopped);
        let now_ms = self.now_ms();
        for client in self.places.borrow().clients() {
            client.inner.borrow_mut().end(Farewell::Stopping, now_ms);
            client.wake();
        }
    }
}

impl Places {
    fn seat(&mut self, thread: u16, client: impl FnOnce(ConnectionId) -> Rc<Client>) -> Rc<Client> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.generations.push(0);
            self.clients.len() as u32 - 1
        });
        let generation = self.generations[place as usize];
        let client = client(ConnectionId { thread, generation, place });
        self.clients[place as usize] = Some(client.clone());
        client
    }

    fn vacate(&mut self, id: ConnectionId) {
        let place = id.place as usize;
        self.clients[place] = None;
        self.generations[place] = self.generations[place].wrapping_add(1);
        self.free.push(id.place);
    }

    fn client(&self, id: ConnectionId) -> Option<Rc<Client>> {
        let client = self.clients.get(id.place as usize)?.as_ref()?;
        (client.id == id).then(|| client.clone())
    }

    fn clients(&self) -> impl Iterator<Item = &Rc<Client>> {
        self.clients.iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.clients.len()
    }
}
