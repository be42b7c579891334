//! The sending side. Invariant: the tree that is sent is that of one checkpoint, and is checked
//! against the sums with which it was written, so that damage on this server's disk ends the
//! transfer instead of reaching the peer.

use oxkeeper_store::{Kind, Snapshot, Sum};

use super::chunk::{CONTENT_LEN_MAX, seal};
use super::item::Item;
use super::{StateSource, TransferError};

/// Bytes already sent that stay in the buffer before it is compacted.
const SENT_KEPT: usize = 1 << 20;

/// Sender of a state, one chunk at a time.
#[derive(Debug)]
pub struct Sender<S> {
    source: S,
    stage: Stage,
    /// Number of the next chunk.
    number: u64,
    /// Encoded items; the first `sent` bytes have been sent.
    items: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
enum Stage {
    Tree(Box<Walk>),
    /// Sends log entries from this index on.
    Log(u64),
    /// All items are encoded.
    End,
    Failed,
}

/// Position in the tree.
#[derive(Debug)]
struct Walk {
    snapshot: Snapshot,
    /// Index in [`Kind::ALL`] of the current kind, the key to continue at, and the sum of the
    /// records before it.
    kind: usize,
    from: u64,
    sum: Sum,
}

impl<S: StateSource> Sender<S> {
    /// Begins a transfer of the current checkpoint.
    ///
    /// # Errors
    /// [`TransferError::Store`].
    pub fn new(source: S) -> Result<Self, TransferError> {
        let mut items = Vec::new();
        let stage = match source.snapshot()? {
            None => {
                Item::Head { applied: 0, contents: Default::default() }.encode(&mut items);
                Stage::Log(0)
            }
            Some(snapshot) => {
                let (applied, contents) = (snapshot.applied_index(), snapshot.contents());
                Item::Head { applied, contents }.encode(&mut items);
                snapshot.load_meta(|name, value| Item::Value { name, value }.encode(&mut items))?;
                Stage::Tree(Box::new(Walk { snapshot, kind: 0, from: 0, sum: Sum::default() }))
            }
        };
        Ok(Self { source, stage, number: 0, items, sent: 0 })
    }

    /// Returns the source of the state.
    pub fn into_source(self) -> S {
        self.source
    }

    /// Appends the next chunk to `out`, of at most [`CHUNK_LEN_MAX`](super::CHUNK_LEN_MAX) bytes.
    /// Returns false, and appends nothing, if everything has been sent.
    ///
    /// # Errors
    /// Any [`TransferError`]; every later call fails, too.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> Result<bool, TransferError> {
        while self.items.len() - self.sent < CONTENT_LEN_MAX {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Failed) {
                Stage::Tree(walk) => walk.on(&mut self.items, self.sent + CONTENT_LEN_MAX)?,
                Stage::Log(from) => self.log_part(from)?,
                Stage::End => {
                    self.stage = Stage::End;
                    break;
                }
                Stage::Failed => return Err(TransferError::Failed),
            };
        }
        let rest = &self.items[self.sent..];
        let content = &rest[..rest.len().min(CONTENT_LEN_MAX)];
        if content.is_empty() {
            return Ok(false);
        }
        seal(self.number, content, out);
        self.number += 1;
        self.sent += content.len();
        if self.sent == self.items.len() || self.sent >= SENT_KEPT {
            self.items.drain(..self.sent);
            self.sent = 0;
        }
        Ok(true)
    }

    fn log_part(&mut self, from: u64) -> Result<Stage, TransferError> {
        self.source.progress(from);
        let part = self.source.entries(from)?;
        let mut next = from;
        for entry in &part.entries {
            Item::Entry { index: next, entry }.encode(&mut self.items);
            next += 1;
        }
        match part.last {
            Some(tail) if tail.end == next => {
                Item::Tail(tail).encode(&mut self.items);
                Ok(Stage::End)
            }
            Some(_) => Err(TransferError::Source("the last entries do not reach the log's end")),
            None if next == from => Err(TransferError::Source("no entries came, and they were not the last")),
            None => Ok(Stage::Log(next)),
        }
    }
}

impl Walk {
    /// Appends records until `items` has `len` bytes or all records of the kind are done; returns
    /// the next stage.
    fn on(mut self: Box<Self>, items: &mut Vec<u8>, len: usize) -> Result<Stage, TransferError> {
        let Some(&kind) = Kind::ALL.get(self.kind) else {
            return Ok(Stage::Log(self.snapshot.applied_index()));
        };
        let (sum, next) = self.snapshot.load_while(kind, self.from, |key, record| {
            Item::Record { kind, key, record }.encode(items);
            items.len() < len
        })?;
        self.sum = self.sum + sum;
        match next {
            Some(from) if self.sum.count() <= self.snapshot.count(kind) => self.from = from,
            Some(_) | None => {
                self.snapshot.check(kind, self.sum)?;
                (self.kind, self.from, self.sum) = (self.kind + 1, 0, Sum::default());
            }
        }
        Ok(Stage::Tree(self))
    }
}
