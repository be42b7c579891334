//! Connections of clients, and the threads that own them.

pub(crate) mod admission;
pub(crate) mod client;
pub(crate) mod listening;
pub(crate) mod thread;
