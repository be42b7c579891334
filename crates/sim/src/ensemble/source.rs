//! A server's state as its peers are sent it. Mirrors `oxkeeper-server`'s `source.rs`, but for its questions to the engine's
//! thread: here the replica is asked itself, between two turns of the engine.

use std::sync::Arc;

use oxkeeper_replica::engine::MemberEngine;
use oxkeeper_replica::ensemble::Pins;
use oxkeeper_server::transfer::{LogPart, StateSource, TransferError};
use oxkeeper_store::{Snapshot, StoreError, Tree};

use parking_lot::Mutex;

/// Bytes of log entries in one part: few, so that there are several.
const PART_LEN: usize = 2_000;

/// Keeps the log of the sending server for one state.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    number: u64,
    sent_to: Option<u8>,
}

impl Pin {
    /// Everything stays at first.
    pub fn new(pins: Arc<Pins>) -> Pin {
        Pin { number: pins.begin(), pins, sent_to: None }
    }

    /// Server `peer` has all of it: what comes next stays until it is in step.
    pub fn is_sent_to(&mut self, peer: u8) {
        self.sent_to = Some(peer);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.end(self.number, self.sent_to);
    }
}

/// One state on its way.
#[derive(Debug)]
pub struct Source {
    engine: Arc<Mutex<MemberEngine>>,
    tree: Arc<Tree>,
    pins: Arc<Pins>,
    pin: u64,
}

impl Source {
    /// Of a server's life.
    pub fn new(engine: Arc<Mutex<MemberEngine>>, tree: Arc<Tree>, pin: &Pin) -> Source {
        Source { engine, tree, pins: pin.pins.clone(), pin: pin.number }
    }
}

impl StateSource for Source {
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let snapshot = self.tree.snapshot()?;
        self.progress(snapshot.as_ref().map_or(0, Snapshot::applied_index));
        Ok(snapshot)
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        let part = self.engine.lock().replica().log_part(from, PART_LEN);
        part.ok_or(TransferError::Source("the log does not reach back that far"))
    }

    fn progress(&self, from: u64) {
        self.pins.set(self.pin, from);
    }
}
