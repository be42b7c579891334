//! Operations on the data directory of a running server.

pub(crate) mod backup;
pub(crate) mod checkpoint;
pub mod restore;
