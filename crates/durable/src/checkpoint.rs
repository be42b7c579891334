//! Writes the contents of a checkpoint to the durable tree.

use oxkeeper_state::Captured;
use oxkeeper_state::checkpoint::Head;
use oxkeeper_store::{Kind, StoreError, TreeWriter};

/// Meta key for the scalars.
pub const SCALARS: &str = "scalars";
/// Meta key for the feature level, which is read before anything else.
pub const LEVEL: &str = "level";
/// Meta key for the state's data about the ensemble.
pub const ENSEMBLE: &str = "ensemble";

/// Writes the part of the state that is captured in one go.
///
/// # Errors
/// Any [`StoreError`]; the previous checkpoint stays valid.
pub fn put_head(writer: &mut TreeWriter<'_>, head: &Head) -> Result<(), StoreError> {
    writer.put_meta(SCALARS, &head.scalars)?;
    writer.put_meta(ENSEMBLE, &head.ensemble)?;
    writer.put_meta(LEVEL, &head.level)?;
    let acls = head.acls.iter().map(|(id, record)| (Kind::Acl, u64::from(*id), record));
    let sessions = head.sessions.iter().map(|(id, record)| (Kind::Session, *id as u64, record));
    for (kind, key, record) in acls.chain(sessions) {
        put(writer, kind, key, record.as_deref())?;
    }
    Ok(())
}

/// Writes captured znodes.
///
/// # Errors
/// See [`put_head`].
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
