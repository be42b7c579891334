//! The ZooKeeper client protocol as plain data: Jute primitives, records, operations, error codes and frames.
//!
//! Pure: no I/O, no clock, no state. Records borrow from the input where possible. Every length is checked
//! before it is used, so no input panics, loops, or allocates more than a small multiple of its own size.
//!
//! Deliberately absent: the *effect* of an operation (`oxkeeper-state`), and the rules who may send it when
//! (`oxkeeper-replica`).
//!
//! Reading order: [`jute`] (primitives), [`records`] (every record, in protocol order), [`multi`] (the only
//! body that is not a record), [`op`], [`error`], [`frame`], [`path`].

pub mod error;
pub mod frame;
pub mod ids;
pub mod java;
pub mod jute;
pub mod multi;
pub mod op;
pub mod path;
pub mod records;

pub use error::ErrorCode;
pub use ids::{ServerId, SessionId, Zxid};
pub use jute::{DecodeError, Jute, Reader, Text};
pub use op::{OpClass, OpCode};
