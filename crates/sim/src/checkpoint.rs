//! A checkpoint, interleaved with everything else: between any two portions of znodes the world goes on.
//!
//! Mirrors `oxkeeper-server`'s `checkpoint.rs`. Invariants: it begins between two log entries, never within one, because
//! a restart applies whole entries; the log is trimmed only up to what a committed checkpoint holds.

use oxkeeper_server::recovery::{ENSEMBLE, LEVEL, SCALARS};
use oxkeeper_state::Captured;
use oxkeeper_state::checkpoint::Head;
use oxkeeper_store::{Kind, StoreError, TreeWriter};

/// How far the log and the durable tree have come, in entries.
#[derive(Debug)]
pub struct Progress {
    /// Applied to the state.
    pub applied: u64,
    /// Held by the durable tree.
    pub committed: u64,
}

impl Progress {
    /// After recovery.
    pub fn new(applied: u64, committed: u64) -> Progress {
        Progress { applied, committed }
    }
}

/// Writes what was captured at once.
pub fn put_head(writer: &mut TreeWriter<'_>, head: &Head) -> Result<(), StoreError> {
    writer.put_meta(SCALARS, &head.scalars)?;
    writer.put_meta(ENSEMBLE, &head.ensemble)?;
    writer.put_meta(LEVEL, &head.level)?;
    for (id, record) in &head.acls {
        put(writer, Kind::Acl, u64::from(*id), record.as_deref())?;
    }
    for (id, record) in &head.sessions {
        put(writer, Kind::Session, *id as u64, record.as_deref())?;
    }
    Ok(())
}

/// Writes some znodes.
pub fn put_znodes(writer: &mut TreeWriter<'_>, captured: Vec<Captured>) -> Result<(), StoreError> {
    for (slot, record) in captured {
        put(writer, Kind::Znode, u64::from(slot), record.as_deref())?;
    }
    Ok(())
}

fn put(writer: &mut TreeWriter<'_>, kind: Kind, key: u64, record: Option<&[u8]>) -> Result<(), StoreError> {
    match record {
        Some(record) => writer.put(kind, key, record),
        None => writer.remove(kind, key),
    }
}
