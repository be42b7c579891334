//! Sockets and TLS, as connections of clients, peers and administrators share them.

pub(crate) mod listener;
pub(crate) mod rebind;
pub(crate) mod socket_queue;
pub(crate) mod tls;
