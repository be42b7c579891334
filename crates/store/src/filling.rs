//! A tree that is filled with the records of another tree as they arrive.
//!
//! Owns the file `tree.unfinished` of a directory, which is renamed to `tree.redb` when it is
//! complete: a partial tree is never taken for a complete one. Records are collected and written in
//! transactions of about [`PORTION_LEN`], so memory stays bounded; it is fastest if they come in
//! the order of keys. Nothing else uses the directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::Database;

use crate::disk::Disk;
use crate::error::{StoreError, io_error};
use crate::tree::{Contents, Header, Kind, Tree, TreeOptions, TreeWriter, UNFINISHED};

/// Size of the records in one transaction, bytes.
const PORTION_LEN: usize = 4 << 20;

/// A tree being filled.
pub struct Filling {
    tree: Tree,
    unfinished: PathBuf,
    database: Database,
    contents: Contents,
    /// Values not yet written, one after the other.
    values: Vec<u8>,
    /// Keys and lengths of these values.
    records: Vec<(Place, usize)>,
}

/// Destination of a value.
enum Place {
    Record(Kind, u64),
    Meta(String),
}

impl std::fmt::Debug for Filling {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Filling").field("contents", &self.contents).finish_non_exhaustive()
    }
}

impl Filling {
    /// Begins a tree in `dir`, which is created if absent and holds no other tree.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn begin(disk: Arc<dyn Disk>, dir: &Path, options: &TreeOptions) -> Result<Self, StoreError> {
        disk.create_dir(dir).map_err(io_error(dir, "create the directory"))?;
        let tree = Tree::closed(disk, dir, options);
        // Nothing is served from it yet.
        tree.hurry(true);
        let unfinished = dir.join(UNFINISHED);
        let database = tree.begin(&unfinished)?;
        let contents = Contents::default();
        Ok(Self { tree, unfinished, database, contents, values: Vec::new(), records: Vec::new() })
    }

    /// Sets the record of a key.
    ///
    /// # Errors
    /// [`StoreError::Full`] and errors about the file. After an error the tree cannot be completed.
    pub fn put(&mut self, kind: Kind, key: u64, value: &[u8]) -> Result<(), StoreError> {
        self.push(Place::Record(kind, key), value)
    }

    /// Sets a named value.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.push(Place::Meta(key.to_owned()), value)
    }

    /// Returns the contents so far.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn contents(&mut self) -> Result<Contents, StoreError> {
        self.flush()?;
        Ok(self.contents)
    }

    /// Completes the tree at the applied index and makes it durable with its final name.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn finish(mut self, applied: u64) -> Result<(), StoreError> {
        self.write(Some(applied))?;
        drop(self.database);
        self.tree.name(&self.unfinished)
    }

    fn push(&mut self, place: Place, value: &[u8]) -> Result<(), StoreError> {
        self.values.extend_from_slice(value);
        self.records.push((place, value.len()));
        // Small values count with their keys, too.
        match self.values.len() + self.records.len() * size_of::<(Place, usize)>() >= PORTION_LEN {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.records.is_empty() { Ok(()) } else { self.write(None) }
    }

    /// Writes one transaction. The last one sets the applied index, without which a file is not a
    /// tree.
    fn write(&mut self, applied: Option<u64>) -> Result<(), StoreError> {
        let Self { tree, database, contents, values, records, .. } = self;
        let mut txn = database.begin_write().map_err(|error| tree.error(error))?;
        txn.set_quick_repair(applied.is_some());
        let mut writer = TreeWriter::open(tree, &txn)?;
        writer.header = Header { applied: applied.unwrap_or(0), contents: *contents };
        let mut rest = values.as_slice();
        for (place, len) in records.drain(..) {
            let (value, behind) = rest.split_at(len);
            rest = behind;
            match place {
                Place::Record(kind, key) => writer.put(kind, key, value)?,
                Place::Meta(key) => writer.put_meta(&key, value)?,
            }
        }
        *contents = writer.header.contents;
        match applied {
            Some(_) => writer.finish()?,
            None => drop(writer),
        }
        values.clear();
        txn.commit().map_err(|error| tree.error(error))
    }
}
