//! Starts and stops a server.

pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod prepare;
pub(crate) mod server;
