//! Sockets and TLS shared by client, peer and admin connections.

pub(crate) mod listener;
pub(crate) mod rebind;
pub(crate) mod socket_queue;
pub(crate) mod tls;
