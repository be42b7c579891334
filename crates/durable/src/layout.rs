//! The files of a data directory, and how they are opened.

use oxkeeper_state::Level;
use oxkeeper_store::{LogOptions, TreeOptions};

/// Name of the log's directory below `dataLogDir`.
pub const LOG_DIR: &str = "log";
/// Marker file: the directory that holds it is incomplete.
pub const UNFINISHED: &str = "import.unfinished";
/// The highest feature level that this build knows.
#[cfg(not(feature = "next-version"))]
pub const KNOWS: Level = Level::KNOWN;
/// The highest feature level that this build knows, which plays the next version.
#[cfg(feature = "next-version")]
pub const KNOWS: Level = Level::NEXT;

/// Options for opening the log and the durable tree.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Options of the log.
    pub log: LogOptions,
    /// Options of the durable tree.
    pub tree: TreeOptions,
    /// The highest feature level that recovery accepts.
    pub knows: Level,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { log: LogOptions::default(), tree: TreeOptions::default(), knows: KNOWS }
    }
}
