//! What threads hand to each other: proposals to the engine, deliveries and orders to the threads that own connections.
//!
//! Invariant: a delivery is in its mailbox before the state it tells of can be read.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oxkeeper_replica::{ConnectionId, Outbox, Proposals, Takeover};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use crate::listening::Opened;
use crate::peers::Waker;
use crate::report::ThreadReport;
use crate::restore::Replacement;
use crate::tls::Door;

/// Bytes of proposals that wait for the engine before connections are no longer read.
pub(crate) const PROPOSALS_LEN_MAX: usize = 8 << 20;

/// Bytes of deliveries that wait for one thread before the engine waits for it.
const DELIVERIES_LEN_MAX: usize = 64 << 20;

/// Proposals on their way to the engine.
#[derive(Debug, Default)]
pub(crate) struct Proposing {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Ends the engine's sleep, where that is not in [`Proposing::take`].
    waker: Mutex<Option<Waker>>,
    /// Bytes waiting: read without the lock by those who would add more.
    len: AtomicUsize,
    /// Bytes that the engine has taken and that are not applied.
    unapplied: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    proposals: Proposals,
    /// What is to replace the engine's data.
    replacement: Option<Replacement>,
    engine_sleeps: bool,
    stop: bool,
}

impl Proposing {
    /// Hands proposals over; `proposals` is empty afterwards. Once the engine is to stop they are dropped: their
    /// connections end without an answer to them.
    pub(crate) fn push(&self, proposals: &mut Proposals) {
        let mut waiting = self.waiting.lock();
        if waiting.stop {
            return proposals.clear();
        }
        proposals.append_to(&mut waiting.proposals);
        self.len.store(waiting.proposals.commands.len(), Ordering::SeqCst);
        let engine_sleeps = std::mem::take(&mut waiting.engine_sleeps);
        drop(waiting);
        if engine_sleeps {
            self.arrived.notify_one();
        } else if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }

    /// Whether so much waits that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        // Who finds this after it has said that it waits, is relieved by whoever makes it untrue: one of the two sees the other.
        self.len.load(Ordering::SeqCst) + self.unapplied.load(Ordering::SeqCst) > PROPOSALS_LEN_MAX
    }

    /// The engine sleeps elsewhere, and is woken by this from now on.
    pub(crate) fn wake_by(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    /// The engine has taken so many bytes that are not applied yet. If these are fewer than before, it is for the
    /// engine to relieve those who wait.
    pub(crate) fn note_unapplied(&self, len: usize) {
        self.unapplied.store(len, Ordering::SeqCst);
    }

    /// Swaps what waits into `taken`, which must be empty, without waiting; whether the engine is to stop.
    pub(crate) fn take_waiting(&self, taken: &mut Proposals) -> bool {
        let mut waiting = self.waiting.lock();
        std::mem::swap(taken, &mut waiting.proposals);
        self.len.store(0, Ordering::SeqCst);
        waiting.stop
    }

    /// Swaps what waits into `taken`, which must be empty; waits for something to arrive, at most so long. False once
    /// the engine is to stop and nothing waits.
    pub(crate) fn take(&self, taken: &mut Proposals, timeout: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.proposals.is_empty() && waiting.replacement.is_none() && !waiting.stop {
            waiting.engine_sleeps = true;
            self.arrived.wait_for(&mut waiting, timeout);
            waiting.engine_sleeps = false;
        }
        std::mem::swap(taken, &mut waiting.proposals);
        self.len.store(0, Ordering::SeqCst);
        !(waiting.stop && taken.is_empty())
    }

    /// The engine of a server alone is to go on with other data. Once it is to stop nobody takes this any more.
    pub(crate) fn replace(&self, replacement: Replacement) {
        let mut waiting = self.waiting.lock();
        if !waiting.stop {
            waiting.replacement = Some(replacement);
            self.arrived.notify_one();
        }
    }

    /// What is to replace the engine's data, if something is.
    pub(crate) fn take_replacement(&self) -> Option<Replacement> {
        self.waiting.lock().replacement.take()
    }

    /// Whether the engine is to stop.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.waiting.lock().stop
    }

    /// The engine is to stop once everything that waits is done.
    pub(crate) fn stop(&self) {
        self.waiting.lock().stop = true;
        self.arrived.notify_one();
        if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }
}

/// An order to a thread that owns connections.
#[derive(Debug)]
pub(crate) enum Order {
    /// Take this client.
    Adopt(TcpStream, SocketAddr, Door),
    /// Accept clients here.
    Listen(Opened),
    /// End a connection: its session is wanted by another one, or is over.
    Supersede(Takeover),
    /// This connection may go on: the one that had its session has ended.
    Clear(ConnectionId),
    /// Tell what your connections do.
    Report(oneshot::Sender<ThreadReport>),
    /// Forget the counters: of every connection, or of the server.
    ResetStats { connections: bool },
    /// End every connection that has a session or asks for one, of read-only mode or not: the server serves those no more.
    EndSessions { read_only: bool },
    /// The server stops: end each connection at a moment when it waits for nothing it has asked.
    Drain,
    /// Read nothing more; end each connection once what was read is answered.
    Leave,
    /// End every connection.
    Stop,
}

/// What waits for one thread that owns connections.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    outbox: Mutex<Outbox>,
    filled: AtomicBool,
    congested: AtomicBool,
    emptied: Condvar,
    orders: Mutex<Vec<Order>>,
    wake: Notify,
}

impl Mailbox {
    /// Adds deliveries, without waking their thread; `outbox` is empty afterwards. Whether there were any.
    pub(crate) fn fill(&self, outbox: &mut Outbox) -> bool {
        if outbox.is_empty() {
            return false;
        }
        outbox.append_to(&mut self.outbox.lock());
        self.filled.store(true, Ordering::Release);
        true
    }

    /// The thread has clients that wait for room among the proposals.
    pub(crate) fn wait_for_relief(&self) {
        self.congested.store(true, Ordering::SeqCst);
    }

    /// Wakes the thread if clients of it wait for room.
    pub(crate) fn relieve(&self) {
        if self.congested.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Swaps the deliveries into `taken`, which must be empty; says whether there were any.
    pub(crate) fn empty_into(&self, taken: &mut Outbox) -> bool {
        if !self.filled.load(Ordering::Acquire) {
            return false;
        }
        let mut outbox = self.outbox.lock();
        self.filled.store(false, Ordering::Release);
        std::mem::swap(&mut *outbox, taken);
        self.emptied.notify_one();
        true
    }

    /// Until there is room for more deliveries: a storm of events is no faster than those who write them out. The state
    /// must not be locked, or the thread could not come to empty this.
    pub(crate) fn wait_for_room(&self) {
        let mut outbox = self.outbox.lock();
        while outbox.bytes.len() > DELIVERIES_LEN_MAX {
            self.emptied.wait(&mut outbox);
        }
    }

    /// Adds an order and wakes the thread.
    pub(crate) fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.wake();
    }

    /// Takes all orders.
    pub(crate) fn orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.orders.lock())
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Until the thread is woken.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
