//! Hand-overs between threads: proposals to the engine, deliveries and orders to the threads that own connections. See `handoff` for how.
//!
//! Invariant: a delivery is in its mailbox before the state it tells of can be read.

use std::net::{SocketAddr, TcpStream};

use oxkeeper_replica::{ConnectionId, Outbox, Proposals, Takeover};
use tokio::sync::oneshot;

use crate::handoff;
use crate::handoff::sync::Batch;
use crate::net::listener::Opened;
use crate::net::tls::Door;
use crate::peers::Waker;
use crate::storage::restore::Replacement;
use crate::telemetry::report::ThreadReport;

/// Bytes of proposals that wait for the engine before connections are no longer read.
pub(crate) const PROPOSALS_LEN_MAX: usize = 8 << 20;

/// Bytes of deliveries that wait for one thread before the engine waits for it.
const DELIVERIES_LEN_MAX: usize = 64 << 20;

/// Proposals on their way to the engine.
pub(crate) type Proposing = handoff::proposing::Proposing<Proposals, Replacement, Waker>;

/// Mailbox of one thread that owns connections.
pub(crate) type Mailbox = handoff::mailbox::Mailbox<Outbox, Order>;

impl Batch for Proposals {
    const LEN_MAX: usize = PROPOSALS_LEN_MAX;

    fn append_to(&mut self, other: &mut Proposals) {
        Proposals::append_to(self, other);
    }

    fn len(&self) -> usize {
        self.commands.len()
    }

    fn is_empty(&self) -> bool {
        Proposals::is_empty(self)
    }
}

impl Batch for Outbox {
    const LEN_MAX: usize = DELIVERIES_LEN_MAX;

    fn append_to(&mut self, other: &mut Outbox) {
        Outbox::append_to(self, other);
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn is_empty(&self) -> bool {
        Outbox::is_empty(self)
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
