//! Hand-offs between threads: proposals to the engine, deliveries and orders to the threads that
//! own connections. The `handoff` module implements them.
//!
//! Invariant: a delivery is in its mailbox before the state it reports can be read.

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

/// Bytes of proposals waiting for the engine at which connections are no longer read.
pub(crate) const PROPOSALS_LEN_MAX: usize = 8 << 20;

/// Bytes of deliveries waiting for one thread at which the engine waits for that thread.
const DELIVERIES_LEN_MAX: usize = 64 << 20;

/// Proposals waiting for the engine.
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
    /// Take over this client.
    Adopt(TcpStream, SocketAddr, Door),
    /// Accept clients on this listener.
    Listen(Opened),
    /// End a connection because another one wants its session, or because its session is over.
    Supersede(Takeover),
    /// Let this connection proceed: the connection that had its session has ended.
    Clear(ConnectionId),
    /// Report on all connections.
    Report(oneshot::Sender<ThreadReport>),
    /// Reset the counters of every connection, or of the server.
    ResetStats { connections: bool },
    /// End every connection that has a session or asks for one, either the read-only connections or
    /// the others: the server no longer serves them.
    EndSessions { read_only: bool },
    /// The server is stopping: end each connection at a point where it awaits no reply.
    Drain,
    /// Stop reading; end each connection once everything read from it has been answered.
    Leave,
    /// End every connection.
    Stop,
}
