//! What can go wrong, from the caller's point of view: refused, unknown, or never sent.

use std::io;

use oxkeeper_proto::frame::FrameLengthError;
use oxkeeper_proto::{DecodeError, ErrorCode};
use thiserror::Error;

/// Why a call or a connection failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The server refused the request; it had no effect.
    #[error("{0:?}")]
    Server(ErrorCode),
    /// The server refused the request with a code the protocol does not have.
    #[error("the server answered with the unknown error {0}")]
    UnknownCode(i32),
    /// The name of the host leads to no address.
    #[error("unknown host")]
    UnknownHost(#[source] io::Error),
    /// The connection could not be made.
    #[error("cannot connect")]
    Io(#[from] io::Error),
    /// The connection ended first: the request may or may not have taken effect.
    #[error("connection lost ({0})")]
    ConnectionLost(io::ErrorKind),
    /// The session has ended, with its ephemerals and watches.
    #[error("session expired")]
    SessionExpired,
    /// No connection with TLS, or not the one that was wanted.
    #[error("TLS: {0}")]
    Tls(String),
    /// No answer to the handshake within the session timeout.
    #[error("no answer to the handshake")]
    HandshakeTimeout,
    /// The server was silent for two thirds of the session timeout.
    #[error("the server is silent")]
    Silent,
    /// The server sent bytes that are not the record they should be.
    #[error("malformed answer: {0}")]
    Decode(#[from] DecodeError),
    /// The server sent a frame of an impossible length.
    #[error(transparent)]
    FrameLength(#[from] FrameLengthError),
    /// The answer is not to the request that is next in line.
    #[error("answer to xid {found}, expected {expected:?}")]
    OutOfOrder {
        /// As received.
        found: i32,
        /// Of the oldest unanswered request.
        expected: Option<i32>,
    },
    /// Nobody reads the watch events.
    #[error("too many watch events unread")]
    EventsOverflow,
}

impl Error {
    /// The error for a non-zero `err` of a reply header or of a result in a multi.
    pub fn from_wire(err: i32) -> Error {
        ErrorCode::from_wire(err).map_or(Error::UnknownCode(err), Error::Server)
    }
}
