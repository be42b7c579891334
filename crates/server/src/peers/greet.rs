//! The greeting on a blocking stream, for both sides, under a deadline that a trickle of bytes does
//! not extend.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use oxkeeper_proto::ServerId;
use thiserror::Error;
use tracing::debug;

use super::hello::{self, BODY_LEN_MAX, CONFIRMATION, HEAD_LEN, Hello, Refusal, Versions};
use super::stream::PeerStream;

/// Reason why a greeting failed.
#[derive(Debug, Error)]
pub(super) enum GreetError {
    /// The connection ended or timed out.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The TLS handshake failed.
    #[error("{0}")]
    Handshake(io::Error),
    /// The other side is not an oxkeeper server.
    #[error("the peer does not speak oxkeeper's protocol between servers")]
    Garbage,
    /// This server refused.
    #[error("{reason}")]
    Refused {
        /// The sender, if it could be read.
        from: Option<ServerId>,
        /// The reason.
        reason: Refusal,
    },
    /// The other server refused.
    #[error("it refused the connection: {0}")]
    RefusedThere(String),
}

impl GreetError {
    /// Returns the error for a failed TLS handshake. A real TLS error is for the operator; a
    /// connection that only came and went is not.
    pub(super) fn handshake(error: io::Error) -> GreetError {
        let says_why = error.kind() == io::ErrorKind::InvalidData;
        if says_why { GreetError::Handshake(error) } else { GreetError::Io(error) }
    }
}

/// Runs the dialler's side.
///
/// The stream has no time limits afterwards.
pub(super) fn dial(stream: &mut PeerStream, hello: &Hello, deadline: Instant) -> Result<(), GreetError> {
    let mut timed = Timed { stream, deadline };
    timed.write(&hello.encode())?;
    let (version, body) = timed.read_message(hello::answer_head)?;
    // A refusal is read in any version, since it may report that the versions differ.
    hello::verdict(&body).map_err(GreetError::RefusedThere)?;
    let chosen = Versions { lowest: version, highest: version };
    if Versions::HERE.shared(chosen).is_none() {
        return Err(GreetError::RefusedThere(format!("it speaks {chosen}, this server {}", Versions::HERE)));
    }
    debug!(version, to = hello.to.0, "welcomed");
    timed.write(&[CONFIRMATION])?;
    stream.limit(None)?;
    Ok(())
}

/// Runs the accepting side. `judge` decides about the hello.
///
/// The stream has no time limits afterwards.
pub(super) fn receive(
    stream: &mut PeerStream,
    deadline: Instant,
    judge: impl FnOnce(&Hello, &PeerStream) -> Result<(), Refusal>,
) -> Result<Hello, GreetError> {
    let mut timed = Timed { stream, deadline };
    let (lowest, body) = timed.read_message(hello::hello_head)?;
    let there = Versions::of_hello(lowest, &body);
    let Some(version) = Versions::HERE.shared(there) else {
        return timed.refuse(None, Refusal::Version { here: Versions::HERE, there });
    };
    let hello = Hello::decode(&body).ok_or(GreetError::Garbage)?;
    if let Err(reason) = judge(&hello, timed.stream) {
        return timed.refuse(Some(hello.from), reason);
    }
    timed.write(&hello::answer(Ok(version)))?;
    debug!(version, from = hello.from.0, "greeted");
    let mut confirmation = [0];
    timed.read_exact(&mut confirmation)?;
    if confirmation != [CONFIRMATION] {
        return Err(GreetError::Garbage);
    }
    stream.limit(None)?;
    Ok(hello)
}

/// A stream with an overall deadline.
struct Timed<'a> {
    stream: &'a mut PeerStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    fn read_exact(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            self.stream.socket().set_read_timeout(Some(self.left()?))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => buffer = &mut buffer[len..],
                // The deadline decides when time is up, not the system's timeout.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a greeting. Greetings are shorter than any socket buffer, so this does not block.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.socket().set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    /// Reads the next message and returns its version and body.
    fn read_message(
        &mut self,
        split: impl Fn(&[u8; HEAD_LEN]) -> Option<(u16, usize)>,
    ) -> Result<(u16, Vec<u8>), GreetError> {
        let mut head = [0; HEAD_LEN];
        self.read_exact(&mut head)?;
        let (version, len) = split(&head).ok_or(GreetError::Garbage)?;
        assert!(len <= BODY_LEN_MAX, "checked by the head's decoder");
        let mut body = vec![0; len];
        self.read_exact(&mut body)?;
        Ok((version, body))
    }

    fn refuse<T>(&mut self, from: Option<ServerId>, reason: Refusal) -> Result<T, GreetError> {
        // The other side need not stay to read it.
        let _ = self.write(&hello::answer(Err(&reason)));
        Err(GreetError::Refused { from, reason })
    }
}
