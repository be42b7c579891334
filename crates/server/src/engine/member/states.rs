//! Sends this server's state to peers that lack it. The sending threads ask the engine thread for
//! parts of the log.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender as Channel};

use oxkeeper_durable::transfer::{LogPart, RunningServer, Sender, TransferError};
use oxkeeper_proto::ServerId;
use oxkeeper_replica::ensemble::Pins;
use oxkeeper_store::Tree;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::peers::{PeerStream, Waker};
use crate::thread::give_way;

/// A request to the engine for the log entries from this index on.
pub(crate) type Asked = (u64, Channel<Option<LogPart>>);

/// Data that the sending threads share with the engine.
#[derive(Clone)]
pub(crate) struct States {
    pub(crate) tree: Arc<Tree>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) asked: Channel<Asked>,
    /// Set once the peer sockets exist.
    pub(crate) waker: Arc<Mutex<Option<Waker>>>,
}

impl States {
    /// Returns the shared data and the engine's end of the request channel.
    pub(crate) fn new(tree: Arc<Tree>) -> (States, Receiver<Asked>) {
        let (asked, questions) = mpsc::channel();
        let states = States { tree, pins: Arc::default(), asked, waker: Arc::default() };
        (states, questions)
    }

    /// Sends the state to `peer`, then closes the stream.
    pub(crate) fn send(&self, mut stream: PeerStream, peer: ServerId) {
        give_way();
        info!(peer = peer.0, "sending a snapshot of the state");
        match self.write(&mut stream, peer) {
            Ok(len) => info!(peer = peer.0, len, "sent the state"),
            Err(problem) => warn!(peer = peer.0, "cannot send the state: {problem}"),
        }
    }

    fn write(&self, stream: &mut PeerStream, peer: ServerId) -> Result<u64, String> {
        let text = |problem: TransferError| problem.to_string();
        let ask = |from| self.ask(from);
        let mut sender = Sender::new(RunningServer::new(self.tree.clone(), self.pins.clone(), ask)).map_err(text)?;
        let (mut chunk, mut len) = (Vec::new(), 0);
        while sender.next_chunk(&mut chunk).map_err(text)? {
            stream.write_all(&chunk).map_err(|problem| problem.to_string())?;
            len += chunk.len() as u64;
            chunk.clear();
        }
        stream.flush().map_err(|problem| problem.to_string())?;
        sender.into_source().is_sent_to(peer);
        Ok(len)
    }

    /// Asks the engine for log entries.
    fn ask(&self, from: u64) -> Result<Option<LogPart>, TransferError> {
        let (answer, answered) = mpsc::channel();
        self.asked.send((from, answer)).map_err(|_| TransferError::Stopped)?;
        if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
        answered.recv().map_err(|_| TransferError::Stopped)
    }
}
