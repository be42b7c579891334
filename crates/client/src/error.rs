//! Errors of the client. They tell a caller whether the request was refused, has an unknown result, or was never sent.

use std::io;

use oxkeeper_proto::frame::FrameLengthError;
use oxkeeper_proto::{DecodeError, ErrorCode};
use thiserror::Error;

/// Errors of calls and connections.
#[derive(Debug, Error)]
pub enum Error {
    /// The server refused the request; it had no effect.
    #[error("{0:?}")]
    Server(ErrorCode),
    /// The server refused the request with a code the protocol does not have.
    #[error("the server answered with the unknown error {0}")]
    UnknownCode(i32),
    /// The host name does not resolve to an address.
    #[error("unknown host")]
    UnknownHost(#[source] io::Error),
    /// The connection could not be made.
    #[error("cannot connect")]
    Io(#[from] io::Error),
    /// The connection ended before the answer: the request may or may not have taken effect.
    #[error("connection lost ({0})")]
    ConnectionLost(io::ErrorKind),
    /// The session has ended, with its ephemerals and watches.
    #[error("session expired")]
    SessionExpired,
    /// The TLS handshake failed, or the server's certificate is not the expected one.
    #[error("TLS: {0}")]
    Tls(String),
    /// No answer to the handshake within the session timeout.
    #[error("no answer to the handshake")]
    HandshakeTimeout,
    /// The server was silent for two thirds of the session timeout.
    #[error("the server is silent")]
    Silent,
    /// The server sent bytes that are not the expected record.
    #[error("malformed answer: {0}")]
    Decode(#[from] DecodeError),
    /// The server sent a frame with a length that is not allowed.
    #[error(transparent)]
    FrameLength(#[from] FrameLengthError),
    /// The answer does not belong to the oldest unanswered request.
    #[error("answer to xid {found}, expected {expected:?}")]
    OutOfOrder {
        /// Xid in the answer.
        found: i32,
        /// Xid of the oldest unanswered request.
        expected: Option<i32>,
    },
    /// The receiver of watch events does not read them.
    #[error("too many watch events unread")]
    EventsOverflow,
}

impl Error {
    /// Returns the error for a non-zero `err` in a reply header or in a result of a multi.
    pub fn from_wire(err: i32) -> Error {
        ErrorCode::from_wire(err).map_or(Error::UnknownCode(err), Error::Server)
    }
}
