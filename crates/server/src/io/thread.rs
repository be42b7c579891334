//! A thread that owns connections. It reads requests, answers what it can under the shared lock,
//! proposes the rest to the engine, and writes replies.
//!
//! Ordering with the engine: the engine fills this thread's mailbox before it unlocks the state. A
//! turn takes the lock first and then empties the mailbox, so that (1) events of every change
//! visible to the turn are written before its replies, and (2) a reply of this turn is written
//! before the events of later changes.
//!
//! Each client is a task. The mailbox has a task of its own, which writes deliveries without waking
//! the clients' tasks.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use oxkeeper_replica::client_io::{Around, ClientIo, Farewell, UNREAD_LEN_MAX};
use oxkeeper_replica::stats::ServerStats;
use oxkeeper_replica::{
    ConnectionConfig, ConnectionId, Delivery, End, Flow, Load, Outbox, Proposals, Shared, Takeover, Turn,
};
use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tracing::{debug, info, warn};

use super::accept::accept;
use super::admission::Admission;
use super::client::{Client, Gone};
use crate::clock::Clock;
use crate::engine::mailbox::{Mailbox, Order, Proposing};
use crate::net::listener::Opened;
use crate::net::tls::{ClientTls, Door, Wire};
use crate::telemetry::report::{ConnectionReport, ThreadReport};
use crate::telemetry::watchdog::Watchdog;

/// Maximum bytes per read from a socket.
const READ_LEN: usize = 64 << 10;
/// Bytes of output buffer capacity kept for the next turn.
const BUFFER_KEPT: usize = 256 << 10;
/// Maximum number of spare output buffers.
const SPARES_MAX: usize = 64;
/// Interval between checks of all clients.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Answers four-letter words.
pub(crate) trait FourLetterWords: Debug + Send + Sync {
    /// Returns the reply to `word`; `argument` holds the bytes that followed it.
    fn answer<'a>(&'a self, word: [u8; 4], argument: &'a [u8]) -> Pin<Box<dyn Future<Output = String> + 'a>>;
}

/// Data shared by all threads that own connections.
#[derive(Debug)]
pub(crate) struct IoShared {
    pub(crate) state: Arc<RwLock<Shared>>,
    pub(crate) config: ConnectionConfig,
    pub(crate) proposing: Arc<Proposing>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) words: Arc<dyn FourLetterWords>,
    /// `None`: clients connect without TLS.
    pub(crate) tls: Option<Arc<ClientTls>>,
    pub(crate) clock: Clock,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) load: Arc<Load>,
    /// Drop requests whose client is gone before their turn comes.
    pub(crate) drop_stale: bool,
    /// Maximum time for a connection to begin a session, ms.
    pub(crate) sessionless_timeout_ms: u64,
}

/// Data of one thread that owns connections.
pub(crate) struct Io {
    thread: u16,
    shared: Arc<IoShared>,
    mailbox: Arc<Mailbox>,
    places: RefCell<Places>,
    input: RefCell<Box<[u8]>>,
    /// Decrypted input from TLS.
    plain: RefCell<Vec<u8>>,
    /// Scratch buffer for encryption.
    sealing: Rc<RefCell<Vec<u8>>>,
    scratch: RefCell<Scratch>,
    touched: RefCell<Vec<Rc<Client>>>,
    /// Clients that wait for room among the proposals.
    congested: RefCell<Vec<Rc<Client>>>,
    stats: RefCell<ServerStats>,
    stage: Cell<Stage>,
}

/// Stage of a server stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Clients are served.
    Serving,
    /// Each client is served until it awaits nothing.
    Draining,
    /// Nothing more is read; what was read is answered.
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

/// Buffers reused from turn to turn.
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

    /// Runs until the server has stopped and every connection has ended.
    pub(crate) async fn run(self: Rc<Io>) {
        let io = self.clone();
        let sweeper = spawn_local(async move { io.sweep_regularly().await });
        while !(self.stage.get() == Stage::Stopped && self.places.borrow().is_empty()) {
            self.mailbox.woken().await;
            // Pending deliveries reach their clients before an order may end them.
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
                Order::Listen(opened) => drop(spawn_local(self.clone().accept(opened))),
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

    /// Accepts clients and distributes them round-robin over the threads.
    async fn accept(self: Rc<Io>, opened: Opened) {
        let mailboxes = &self.shared.mailboxes;
        let mut turn = 0;
        let deal = |stream, peer, door| {
            turn = (turn + 1) % mailboxes.len();
            if turn == 0 {
                self.adopt(stream, peer, door);
            } else {
                mailboxes[turn].order(Order::Adopt(stream, peer, door));
            }
        };
        accept(opened, &self.shared.admission, deal).await;
    }

    /// Takes over a client from the listener.
    fn adopt(self: &Rc<Io>, stream: StdStream, peer: SocketAddr, door: Door) {
        let wire = Wire::new(door, self.shared.tls.as_ref(), &self.sealing).map_err(|end| end.to_string());
        let stream = wire.and_then(|wire| Ok((TcpStream::from_std(stream).map_err(|error| error.to_string())?, wire)));
        match stream {
            Ok((stream, wire)) => self.serve(stream, wire, peer),
            Err(error) => {
                warn!(%peer, %error, "cannot take over a client's connection");
                self.shared.admission.leave(peer);
            }
        }
    }

    /// Serves a client on this thread.
    pub(crate) fn serve(self: &Rc<Io>, stream: TcpStream, wire: Wire, peer: SocketAddr) {
        let times = (self.shared.clock.wall_ms(), self.now_ms());
        let client = self.places.borrow_mut().seat(self.thread, |id| Client::new(id, stream, wire, peer, times));
        if self.stage.get() != Stage::Serving {
            client.io.borrow_mut().end(Farewell::Stopping, times.1);
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

    /// Polls a client's task: writes pending output and reads input.
    fn poll(self: &Rc<Io>, client: &Rc<Client>, context: &mut Context<'_>) -> Poll<()> {
        if client.io.borrow().is_paused() {
            client.io.borrow_mut().resume(&mut self.around(client));
        }
        loop {
            self.write_unsent(client, context);
            if client.io.borrow().is_done() {
                if client.say_goodbye(&mut client.io.borrow_mut().unsent) {
                    continue;
                }
                return self.part(client, context);
            }
            if client.io.borrow_mut().end_if_over(self.now_ms()) {
                continue;
            }
            let wants_input = self.wants_input(&client.io.borrow());
            if (!wants_input || self.read(client, context).is_pending()) && !self.dismiss(client) {
                client.sleep(context.waker());
                if client.io.borrow().is_paused() {
                    client.wake();
                }
                return Poll::Pending;
            }
        }
    }

    /// Returns the surroundings needed to process the input of `client`.
    fn around<'a>(self: &'a Rc<Io>, client: &'a Rc<Client>) -> Hands<'a> {
        Hands { io: self, client }
    }

    fn wants_input(&self, io: &ClientIo) -> bool {
        io.wants_input(UNREAD_LEN_MAX) && self.stage.get() != Stage::Leaving
    }

    /// Ends the client if the server is stopping and the client awaits no reply. Returns whether it
    /// did.
    fn dismiss(&self, client: &Client) -> bool {
        let mut io = client.io.borrow_mut();
        let may_go = match self.stage.get() {
            Stage::Serving => false,
            Stage::Draining => io.is_settled() && io.has_read_all() && !client.has_input(),
            Stage::Leaving | Stage::Stopped => io.is_settled(),
        };
        if may_go {
            io.end(Farewell::Stopping, self.now_ms());
        }
        may_go
    }

    /// Ends a client that has received everything. During a graceful stop, the client closes the
    /// connection: otherwise later input would be answered with a reset, which may cost the client
    /// replies that it has not read.
    fn part(&self, client: &Client, context: &mut Context<'_>) -> Poll<()> {
        let dismissed = client.io.borrow().farewell() == Some(&Farewell::Stopping);
        if !dismissed || self.stage.get() == Stage::Stopped {
            return Poll::Ready(());
        }
        if !client.parting.replace(true) {
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
            let mut io = client.io.borrow_mut();
            if io.unsent.is_empty() {
                return;
            }
            match client.poll_write_ready(context) {
                Poll::Pending if !io.is_deaf() => return,
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Gone)) => io.turn_deaf(),
            }
            client.flush(&mut io);
            if io.unsent.is_empty() {
                io.unsent = Vec::new();
                io.note_all_taken(self.now_ms());
                io.resume(&mut self.around(client));
            }
        }
    }

    /// Reads once and processes the input.
    fn read(self: &Rc<Io>, client: &Rc<Client>, context: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.input.borrow_mut();
        let read = if client.is_peer_closed() { Err(Gone) } else { ready!(client.poll_read(&mut buffer, context)) };
        let mut io = client.io.borrow_mut();
        match read {
            Ok(count) => self.receive(client, &mut io, &mut buffer[..count]),
            Err(Gone) => io.end_input(self.now_ms()),
        }
        Poll::Ready(())
    }

    /// Processes raw input.
    fn receive(self: &Rc<Io>, client: &Rc<Client>, io: &mut ClientIo, input: &mut [u8]) {
        if client.is_plain() {
            io.received(input, &mut self.around(client));
        } else {
            self.receive_sealed(client, io, input);
        }
        // A client that has not been answered yet, or that is sending a long request, is still
        // alive.
        io.renew_if_waiting(self.now_ms());
    }

    /// Counts a connection that turned out to be plain.
    fn count_plain(&self, client: &Client) {
        if client.is_plain() {
            let is_remote = !client.peer.ip().to_canonical().is_loopback();
            self.stats.borrow_mut().plain[usize::from(is_remote)] += 1;
        }
    }

    /// Processes input that is encrypted, or that may turn out to be.
    fn receive_sealed(self: &Rc<Io>, client: &Rc<Client>, io: &mut ClientIo, input: &mut [u8]) {
        let mut plain = self.plain.take();
        let received = client.receive(io, input, &mut plain);
        // If it is plain, its later input does not take this path.
        self.count_plain(client);
        match received {
            Ok(()) if plain.is_empty() => client.flush(io),
            Ok(()) => io.received(&plain, &mut self.around(client)),
            Err(end) => {
                io.end(Farewell::Transport(end.to_string()), self.now_ms());
                client.flush(io);
            }
        }
        if io.unsent.is_empty() {
            io.unsent = Vec::new();
        }
        plain.clear();
        plain.shrink_to(BUFFER_KEPT);
        self.plain.replace(plain);
    }

    /// Takes deliveries from the mailbox and appends their bytes to their clients' unsent output.
    /// `current` is a client that is already borrowed.
    fn collect(&self, mut current: Option<(&Rc<Client>, &mut ClientIo)>) {
        let mut outbox = std::mem::take(&mut self.scratch.borrow_mut().outbox);
        if self.mailbox.empty_into(&mut outbox) {
            let now_ms = self.now_ms();
            for (delivery, bytes) in outbox.iter() {
                match &mut current {
                    Some((client, io)) if client.id == delivery.connection => {
                        self.deliver(client, io, delivery, bytes, now_ms);
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
        let mut io = client.io.borrow_mut();
        self.deliver(&client, &mut io, delivery, bytes, now_ms);
    }

    fn deliver(&self, client: &Rc<Client>, io: &mut ClientIo, delivery: Delivery, bytes: &[u8], now_ms: u64) {
        if !io.touch() {
            self.touched.borrow_mut().push(client.clone());
        }
        if io.unsent.capacity() == 0 {
            io.unsent = self.scratch.borrow_mut().spares.pop().unwrap_or_default();
        }
        if io.deliver(delivery, bytes, now_ms, &self.shared.load, &mut self.stats.borrow_mut()) {
            client.flush(io);
            io.cut_off(now_ms);
        }
    }

    /// Continues every client that received deliveries.
    fn settle_touched(self: &Rc<Io>) {
        let mut touched = std::mem::take(&mut *self.touched.borrow_mut());
        for client in touched.drain(..) {
            client.io.borrow_mut().take_touched();
            self.go_on(&client);
        }
        let mut place = self.touched.borrow_mut();
        if place.is_empty() {
            *place = touched;
        }
    }

    /// Writes a client's unsent output and processes its unread input. Wakes its task if anything
    /// is left.
    fn go_on(self: &Rc<Io>, client: &Rc<Client>) {
        let mut io = client.io.borrow_mut();
        let was_read = self.wants_input(&io);
        io.go_on(&mut self.around(client));
        // The task is waiting for input; anything else requires a wake-up.
        let only_reads = was_read && self.wants_input(&io) && io.unsent.is_empty();
        if !only_reads || self.stage.get() != Stage::Serving {
            client.wake();
        }
    }

    fn is_congested(&self) -> bool {
        self.shared.proposing.is_congested() || self.shared.load.is_full()
    }

    /// Waits for room. There may be room again before the engine has noticed that this thread
    /// waits.
    fn await_relief(&self) {
        self.mailbox.wait_for_relief();
        if !self.is_congested() {
            self.mailbox.relieve();
        }
    }

    /// Relieves other threads: the replies just sent may have made room for their clients.
    fn relieve_others(&self) {
        if self.shared.load.counts() && !self.shared.load.is_full() {
            self.shared.mailboxes.iter().for_each(|mailbox| mailbox.relieve());
        }
    }

    fn relieve_congestion(self: &Rc<Io>) {
        if !self.is_congested() {
            let waiting = std::mem::take(&mut *self.congested.borrow_mut());
            for client in waiting {
                client.io.borrow_mut().leave_queue();
                if !self.is_stale(&client) {
                    self.go_on(&client);
                }
            }
        } else if !self.congested.borrow().is_empty() {
            self.await_relief();
        }
    }

    /// Returns whether the client is gone after waiting, and ends it if so.
    fn is_stale(&self, client: &Client) -> bool {
        let stale = self.shared.drop_stale && client.is_gone();
        if stale {
            self.stats.borrow_mut().stale_dropped += 1;
            client.io.borrow_mut().end(Farewell::Gone, self.now_ms());
            client.wake();
        }
        stale
    }

    /// Ends a connection whose session is over or wanted by another connection. In the latter case,
    /// first processes everything the client has sent, as if the client had disconnected.
    fn supersede(self: &Rc<Io>, Takeover { holder, successor }: Takeover) {
        let Some(client) = self.places.borrow().client(holder) else {
            return successor.into_iter().for_each(|successor| self.clear_way(successor));
        };
        let mut io = client.io.borrow_mut();
        if let Some(former) = successor.and_then(|successor| io.set_successor(successor)) {
            self.end_elsewhere(former);
        }
        if successor.is_some() {
            self.read_everything(&client, &mut io);
        }
        io.give_way(successor.is_some(), self.now_ms());
        drop(io);
        client.wake();
    }

    /// Reads what has arrived by now, up to a limit: a client that keeps sending is not read
    /// forever.
    fn read_everything(self: &Rc<Io>, client: &Rc<Client>, io: &mut ClientIo) {
        let mut buffer = self.input.borrow_mut();
        let mut budget = UNREAD_LEN_MAX;
        while self.wants_input(io) && budget > 0 {
            match client.read_now(&mut buffer) {
                0 => return,
                count => self.receive(client, io, &mut buffer[..count]),
            }
            budget = budget.saturating_sub(READ_LEN);
        }
    }

    /// Ends a connection that waits for a session which a newer connection also wants.
    fn end_elsewhere(&self, holder: ConnectionId) {
        let takeover = Takeover { holder, successor: None };
        self.shared.mailboxes[usize::from(holder.thread)].order(Order::Supersede(takeover));
    }

    /// Tells a connection that no other connection has its session any more.
    fn clear_way(&self, successor: ConnectionId) {
        self.shared.mailboxes[usize::from(successor.thread)].order(Order::Clear(successor));
    }

    /// Lets a connection proceed after the previous holder of its session has ended.
    fn cleared(self: &Rc<Io>, id: ConnectionId) {
        let Some(client) = self.places.borrow().client(id) else { return };
        client.io.borrow_mut().connection.clear();
        self.go_on(&client);
    }

    fn answer_word(self: &Rc<Io>, client: &Rc<Client>, word: [u8; 4], rest: &[u8]) {
        let (io, client) = (self.clone(), client.clone());
        let argument = rest.get(4..).unwrap_or_default().to_vec();
        spawn_local(async move {
            let text = io.shared.words.answer(word, &argument).await;
            let mut answered = client.io.borrow_mut();
            answered.unsent.extend_from_slice(text.as_bytes());
            answered.end(Farewell::Answered, io.now_ms());
            client.wake();
        });
    }

    /// Frees the place of an ended client and everything it held.
    fn vacate(&self, client: &Client) {
        self.places.borrow_mut().vacate(client.id);
        if self.stage.get() == Stage::Stopped {
            self.mailbox.wake();
        }
        let mut io = client.io.borrow_mut();
        io.connection.ended(&self.shared.state.read());
        self.shared.load.finish(io.connection.in_flight(), io.connection.large_bytes());
        self.relieve_others();
        io.take_successor().into_iter().for_each(|successor| self.clear_way(successor));
    }

    /// Waits until an ended client has nothing in flight for its session: the connection that takes
    /// the session over must see what this one wrote.
    fn settle(&self, client: &Client, context: &mut Context<'_>) -> Poll<()> {
        let waits = client.io.borrow().must_settle(&self.shared.config) && self.stage.get() != Stage::Stopped;
        if waits {
            client.sleep(context.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Closes the socket of a client that has ended.
    fn bid_farewell(&self, client: &Client) {
        client.shut_down();
        let mut io = client.io.borrow_mut();
        io.close();
        self.shared.admission.parts(-i32::from(client.parting.get()));
        self.shared.admission.leave(client.peer);
        let (peer, session) = (client.peer, io.connection.session());
        let farewell = io.farewell().cloned().unwrap_or(Farewell::Gone);
        match &farewell {
            Farewell::Gone => self.stats.borrow_mut().dropped += 1,
            Farewell::Silent => self.stats.borrow_mut().silent += 1,
            Farewell::Answered
            | Farewell::Stopping
            | Farewell::Protocol(_)
            | Farewell::Unread(_)
            | Farewell::Transport(_) => {}
        }
        match farewell {
            Farewell::Gone | Farewell::Answered | Farewell::Stopping => debug!(%peer, %session, ?farewell, "closed"),
            Farewell::Protocol(End::SessionClosed) => debug!(%peer, %session, "session closed"),
            Farewell::Protocol(end @ (End::Disconnected | End::SessionExpired(_))) => {
                info!(%peer, %session, "closed: {end}");
            }
            Farewell::Protocol(end) => warn!(%peer, %session, "closed: {end}"),
            Farewell::Unread(len) => warn!(%peer, %session, "closed: the client left {len} bytes unread"),
            Farewell::Silent => warn!(%peer, "closed: the client did not start a session in time"),
            Farewell::Transport(end) => warn!(%peer, %session, "closed: {end}"),
        }
    }

    async fn sweep_regularly(self: Rc<Io>) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            self.shared.watchdog.io_beats(self.thread);
            self.sweep();
        }
    }

    /// Ends clients that are silent, and cuts off those that do not take their output.
    fn sweep(&self) {
        let now_ms = self.now_ms();
        for client in self.places.borrow().clients() {
            let mut io = client.io.borrow_mut();
            if !io.connection.has_begun() && now_ms > client.opened_ms + self.shared.sessionless_timeout_ms {
                io.end(Farewell::Silent, now_ms);
                client.wake();
            }
            if let Some(tls) = &self.shared.tls
                && client.is_handshaking()
                && now_ms > client.opened_ms + tls.handshake_timeout_ms
            {
                io.end(Farewell::Transport("the handshake of TLS took too long".to_owned()), now_ms);
                client.wake();
            }
            if !io.is_closed() && !io.unsent.is_empty() {
                client.look_for_progress(&mut io, now_ms);
            }
            if io.takes_nothing(now_ms) {
                io.turn_deaf();
                client.wake();
            }
        }
    }

    fn report(&self) -> ThreadReport {
        let mut report = ThreadReport { stats: self.stats.borrow().clone(), ..ThreadReport::default() };
        for client in self.places.borrow().clients() {
            let io = client.io.borrow();
            if io.is_closed() {
                continue;
            }
            report.outstanding += u64::from(io.connection.in_flight());
            report.connections.push(ConnectionReport {
                peer: client.peer,
                secure: client.is_secure(),
                session: io.connection.session(),
                timeout_ms: io.connection.timeout_ms(),
                established_ms: client.established_ms,
                outstanding: io.connection.in_flight(),
                stats: io.connection.stats,
            });
        }
        report
    }

    fn reset_stats(&self, connections: bool) {
        if connections {
            let places = self.places.borrow();
            places.clients().for_each(|client| client.io.borrow_mut().connection.stats.reset());
        } else {
            self.stats.borrow_mut().reset();
        }
    }

    fn end_sessions(&self, read_only: bool) {
        let now_ms = self.now_ms();
        for client in self.places.borrow().clients() {
            let mut io = client.io.borrow_mut();
            if io.connection.has_begun() && io.connection.is_read_only() == read_only {
                io.abandon(now_ms);
                client.wake();
            }
        }
    }

    /// Enters the next stage of a stop; each client's task acts on it.
    fn wind_down(&self, stage: Stage) {
        self.stage.set(stage);
        self.places.borrow().clients().for_each(|client| client.wake());
    }

    fn stop(&self) {
        self.stage.set(Stage::Stopped);
        let now_ms = self.now_ms();
        for client in self.places.borrow().clients() {
            client.io.borrow_mut().end(Farewell::Stopping, now_ms);
            client.wake();
        }
    }
}

/// The thread's [`Around`] for processing the input of one client.
struct Hands<'a> {
    io: &'a Rc<Io>,
    client: &'a Rc<Client>,
}

impl Around for Hands<'_> {
    fn clock_ms(&self) -> u64 {
        self.io.now_ms()
    }

    fn is_congested(&self) -> bool {
        self.io.shared.proposing.is_congested()
    }

    fn handle(&mut self, client: &mut ClientIo, input: &[u8]) -> (usize, Flow) {
        let Io { shared, scratch, stats, .. } = &**self.io;
        let locked = shared.state.read();
        // Events of all changes visible to this turn are written first.
        self.io.collect(Some((self.client, client)));
        if client.farewell().is_some() {
            return (input.len(), Flow::More);
        }
        let mut scratch = scratch.borrow_mut();
        let scratch = &mut *scratch;
        if client.unsent.capacity() == 0 {
            client.unsent = scratch.spares.pop().unwrap_or_default();
        }
        let mut turn = Turn {
            shared: &locked,
            config: &shared.config,
            load: &shared.load,
            now_ms: self.io.now_ms(),
            proposals: &mut scratch.proposals,
            out: &mut client.unsent,
            superseded: &mut scratch.superseded,
            stats: &mut stats.borrow_mut(),
        };
        let result = client.connection.handle(input, &mut turn);
        drop(locked);
        if !scratch.proposals.is_empty() {
            shared.proposing.push(&mut scratch.proposals);
        }
        for takeover in scratch.superseded.drain(..) {
            shared.mailboxes[usize::from(takeover.holder.thread)].order(Order::Supersede(takeover));
        }
        result
    }

    fn flush(&mut self, client: &mut ClientIo) {
        self.client.flush(client);
    }

    fn reuse(&mut self, buffer: Vec<u8>) {
        self.io.scratch.borrow_mut().keep(buffer);
    }

    fn queue_up(&mut self) {
        self.io.stats.borrow_mut().held_back += 1;
        self.io.congested.borrow_mut().push(self.client.clone());
        self.io.await_relief();
    }

    fn go_on_later(&mut self) {
        self.client.wake();
    }

    fn answer_word(&mut self, word: [u8; 4], rest: &[u8]) {
        self.io.answer_word(self.client, word, rest);
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
