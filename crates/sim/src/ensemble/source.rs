//! A server's state as its peers are sent it. Mirrors `oxkeeper-server`'s `source.rs`, but for its questions to the engine's
//! thread: here the replica is asked itself, between two turns of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use oxkeeper_replica::engine::MemberEngine;
use oxkeeper_server::transfer::{LogPart, StateSource, TransferError};
use oxkeeper_store::{Snapshot, StoreError, Tree};

use parking_lot::Mutex;

/// Bytes of log entries in one part: few, so that there are several.
const PART_LEN: usize = 2_000;

/// From which index on the log must stay, for each state that is being sent.
#[derive(Debug, Default)]
pub struct Pins(Mutex<(u64, BTreeMap<u64, u64>)>);

impl Pins {
    /// The lowest index that must stay.
    pub fn lowest(&self) -> u64 {
        self.0.lock().1.values().copied().min().unwrap_or(u64::MAX)
    }

    fn add(&self) -> u64 {
        let mut pins = self.0.lock();
        pins.0 += 1;
        let id = pins.0;
        pins.1.insert(id, 0);
        id
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
    pub fn new(engine: Arc<Mutex<MemberEngine>>, tree: Arc<Tree>, pins: Arc<Pins>) -> Source {
        Source { pin: pins.add(), engine, tree, pins }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.pins.0.lock().1.remove(&self.pin);
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
        self.pins.0.lock().1.insert(self.pin, from);
    }
}
