//! The state of this server, as it is sent to a peer that lacks it: the durable tree of the last checkpoint, and the log
//! from there on, which the engine's thread is asked for, a part at a time.
//!
//! Invariant: while a source lives, the log keeps what it will ask for, and then what the peer lacks until it is in step ([`Pins`]).

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender as Channel};

use oxkeeper_replica::ensemble::Pins;
use oxkeeper_store::{Snapshot, StoreError, Tree};
use parking_lot::Mutex;
use rustix::process::nice;
use tracing::{info, warn};

use crate::checkpoint::NICENESS;
use crate::peers::{PeerStream, Waker};
use crate::transfer::{LogPart, Sender, StateSource, TransferError};

/// A question to the engine: the entries from this index on.
pub(crate) type Asked = (u64, Channel<Option<LogPart>>);

/// What threads that send states share with the engine.
#[derive(Clone)]
pub(crate) struct States {
    pub(crate) tree: Arc<Tree>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) asked: Channel<Asked>,
    /// Known once the peers' sockets are there.
    pub(crate) waker: Arc<Mutex<Option<Waker>>>,
}

impl States {
    /// And where the engine finds the questions.
    pub(crate) fn new(tree: Arc<Tree>) -> (States, Receiver<Asked>) {
        let (asked, questions) = mpsc::channel();
        let states = States { tree, pins: Arc::default(), asked, waker: Arc::default() };
        (states, questions)
    }

    /// Sends the state to `peer`; the stream ends with it.
    pub(crate) fn send(&self, mut stream: PeerStream, peer: u8) {
        // Those who serve go first. A system that does not know niceness shares evenly.
        let _ = nice(NICENESS);
        info!(peer, "sending the state");
        match self.write(&mut stream, peer) {
            Ok(len) => info!(peer, len, "the state is sent"),
            Err(problem) => warn!(peer, "the state could not be sent: {problem}"),
        }
    }

    fn write(&self, stream: &mut PeerStream, peer: u8) -> Result<u64, String> {
        let text = |problem: TransferError| problem.to_string();
        let pinned = Pinned { pins: self.pins.clone(), number: self.pins.begin() };
        let mut sender = Sender::new(Source { states: self.clone(), pin: pinned.number }).map_err(text)?;
        let (mut chunk, mut len) = (Vec::new(), 0);
        while sender.next_chunk(&mut chunk).map_err(text)? {
            stream.write_all(&chunk).map_err(|problem| problem.to_string())?;
            len += chunk.len() as u64;
            chunk.clear();
        }
        stream.flush().map_err(|problem| problem.to_string())?;
        self.pins.end(pinned.number, Some(peer));
        Ok(len)
    }
}

/// Keeps the log for one state, until it is dropped.
struct Pinned {
    pins: Arc<Pins>,
    number: u64,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.pins.end(self.number, None);
    }
}

/// One state on its way.
struct Source {
    states: States,
    pin: u64,
}

impl StateSource for Source {
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        // Everything stays until it is known from where on.
        let snapshot = self.states.tree.snapshot()?;
        self.states.pins.set(self.pin, snapshot.as_ref().map_or(0, Snapshot::applied_index));
        Ok(snapshot)
    }

    fn entries(&self, from: u64) -> Result<LogPart, TransferError> {
        let (answer, answered) = mpsc::channel();
        self.states.asked.send((from, answer)).map_err(|_| TransferError::Stopped)?;
        if let Some(waker) = &*self.states.waker.lock() {
            waker.wake();
        }
        let part = answered.recv().map_err(|_| TransferError::Stopped)?;
        part.ok_or(TransferError::Source("the log does not reach back that far"))
    }

    fn progress(&self, from: u64) {
        self.states.pins.set(self.pin, from);
    }
}
