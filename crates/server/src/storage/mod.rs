//! What is done with the data directory while the server runs.

pub(crate) mod backup;
pub(crate) mod checkpoint;
pub mod restore;
