//! The durable log and the durable tree: bytes and indices.
//!
//! There are two halves, as in etcd's and ZooKeeper's stores. The [`Log`] makes a write durable
//! before it is answered: append-only segment files, with one `fdatasync` for all waiting writes.
//! The [`Tree`] is the state at one applied index, changed incrementally by background checkpoints,
//! so that a restart loads the tree and replays a short log tail.
//!
//! Deliberately absent: commands, znodes, sessions (payloads are opaque bytes), threads, clocks and
//! randomness. All I/O goes through [`Disk`], so the simulator runs this same code on a [`fake`]
//! disk.
//!
//! Invariants of the whole crate: synced data survives any crash; refused data never reappears;
//! damaged bytes are reported with file and place, and never served.
//!
//! Modules in reading order: `disk` (the interface to the operating system), `error`, `lock`; the
//! log: `batch` (bytes of one group), `segment` (one file), `index` (the live part), `recover`,
//! `log`; the tree: `backend` (redb on a [`Disk`]), `tree`, `filling` (a tree from elsewhere); and
//! [`fake`].

mod backend;
mod batch;
mod disk;
mod error;
pub mod fake;
mod filling;
mod index;
mod lock;
mod log;
mod recover;
mod segment;
mod tree;

pub use disk::{Disk, DiskFile, RealDisk, parent};
pub use error::{AppendError, StoreError, SyncError, io_error};
pub use filling::Filling;
pub use lock::{DirLock, lock};
pub use log::{
    Log, LogOptions, LogReader, RECORD_LEN_MAX, SCALAR_LEN_MAX, SEGMENT_LEN, STAGED_LEN_MAX, TRIM_SEGMENTS_MAX,
};
pub use recover::{Logged, read_segment};
pub use tree::{Contents, Kind, Snapshot, Sum, TREE_FILE, Tree, TreeOptions, TreeWriter};
