//! The durable log and the durable tree: bytes and indices.
