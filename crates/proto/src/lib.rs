//! The ZooKeeper client protocol: Jute primitives, records, operations, errors, frames.
