//! The state of a running server, as it is sent to a peer: the durable tree of the last checkpoint,
//! and the log entries that follow it, which are requested from the engine one part at a time.
//!
//! Invariant: while a source lives, the log keeps the entries that it will ask for. Afterwards the
//! log keeps the entries that the peer still lacks once it has the whole state, until the peer has
//! caught up ([`Pins`]).

use std::sync::Arc;

use oxkeeper_proto::ServerId;
use oxkeeper_replica::ensemble::Pins;
use oxkeeper_store::{Snapshot, StoreError, Tree};

use super::{LogPart, StateSource, TransferError};

/// State source of a running server. `A` asks the engine for log entries.
#[derive(Debug)]
pub struct RunningServer<A> {
    tree: Arc<Tree>,
    pins: Arc<Pins>,
    pin: u64,
    sent_to: Option<ServerId>,
    ask: A,
}

impl<A> RunningServer<A> {
    /// Creates a source, and pins the whole log until it is known which entries are needed. `ask`
    /// returns the entries from an index on, or `None` if the log does not reach back that far.
    pub fn new(tree: Arc<Tree>, pins: Arc<Pins>, ask: A) -> RunningServer<A> {
        RunningServer { pin: pins.begin(), tree, pins, sent_to: None, ask }
    }

    /// Notes that `peer` has received the whole state: the log keeps later entries until the peer
    /// has caught up.
    pub fn is_sent_to(mut self, peer: ServerId) {
        self.sent_to = Some(peer);
    }
}

impl<A> Drop for RunningServer<A> {
    fn drop(&mut self) {
        self.pins.end(self.pin, self.sent_to);
    }
}

impl<A> StateSource for RunningServer<A>
where
    A: Fn(u64) -> Result<Option<LogPart>, TransferError> + Send + Sync,
{
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let snapshot = self.tree.snapshot()?;
        self.progress(snapshot.as_ref().map_or(0, Snapshot::applied_index));
        Ok(snapshot)
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        (self.ask)(from)?.ok_or(TransferError::Source("the log does not reach back that far"))
    }

    fn progress(&self, from: u64) {
        self.pins.set(self.pin, from);
    }
}
