//! The greeting on a blocking stream: each side of it, within a time that no trickle of bytes extends.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use oxkeeper_proto::ServerId;
use thiserror::Error;
use tracing::debug;

use super::hello::{self, BODY_LEN_MAX, CONFIRMATION, HEAD_LEN, Hello, Refusal, Versions};
use super::stream::PeerStream;

/// Why a greeting came to nothing.
#[derive(Debug, Error)]
pub(super) enum GreetError {
    /// The connection ended, or time was up.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no TLS with it.
    #[error("{0}")]
    Handshake(io::Error),
    /// Whoever that is, it is not one of us.
    #[error("the peer does not speak oxkeeper's protocol between servers")]
    Garbage,
    /// We refuse.
    #[error("{reason}")]
    Refused {
        /// Who asked, when that could be read.
        from: Option<ServerId>,
        /// Why not.
        reason: Refusal,
    },
    /// The other server refuses.
    #[error("it refused the connection: {0}")]
    RefusedThere(String),
}

impl GreetError {
    /// What went wrong in the handshake of TLS: that is for an operator; that somebody only came and went is not.
    pub(super) fn handshake(error: io::Error) -> GreetError {
        let says_why = error.kind() == io::ErrorKind::InvalidData;
        if says_why { GreetError::Handshake(error) } else { GreetError::Io(error) }
    }
}

/// The dialler's part.
///
/// The stream has no time limits afterwards.
pub(super) fn dial(stream: &mut PeerStream, hello: &Hello, deadline: Instant) -> Result<(), GreetError> {
    let mut timed = Timed { stream, deadline };
    timed.write(&hello.encode())?;
    let (version, body) = timed.read_message(hello::answer_head)?;
    // A refusal is read in any version: that its versions differ is what it says.
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

/// The other's part: `judge` decides about the hello.
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

/// A stream with a time at which everything ends.
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
                // Time is up when nothing is left of it, not when the system says so.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Greetings are shorter than any socket's buffer: this blocks for nobody.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.socket().set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    /// The version and the body of what comes next.
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
        // Whoever does not want to hear it need not.
        let _ = self.write(&hello::answer(Err(&reason)));
        Err(GreetError::Refused { from, reason })
    }
}
