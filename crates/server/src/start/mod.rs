//! Puts a server together, and takes it apart.

pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod prepare;
pub(crate) mod server;
