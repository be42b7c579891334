//! One link: converts bytes to frames and frames to bytes without blocking.
//!
//! A link owns the stream, received bytes that are not a frame yet, and unsent output.
//! [`super::pieces`] defines how frames are split. Invariant: frames are sent and received whole,
//! and none twice; after an error, no more are.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::SockRef;

use super::pieces::{Input, Output};
use super::stream::PeerStream;

/// Maximum unsent bytes in the system's buffer for a link. Urgent frames wait behind them: 10 ms at
/// 100 Mbit/s.
const SYSTEM_UNSENT_LEN: u32 = 128 << 10;
/// Bytes read from, or written to, one link before the other links have their turn.
const TURN_LEN: usize = 8 << 20;

/// Reason for the end of a link.
#[derive(Debug)]
pub(super) struct End {
    /// The other server caused it, not this one or the network.
    pub(super) by_peer: bool,
    pub(super) reason: String,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        let by_peer = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        );
        End { by_peer, reason: error.to_string() }
    }
}

/// A link to one peer.
#[derive(Debug)]
pub(super) struct Link {
    stream: PeerStream,
    /// Sequence number; a later link has a larger one.
    pub(super) number: u64,
    input: Input,
    output: Output,
    /// The socket is full and will report when there is room.
    pub(super) blocked: bool,
    /// The event queue watches for room.
    pub(super) watched: bool,
    /// Nothing more can be written. Earlier input is still read.
    broken: Option<End>,
    /// Bytes have arrived since the last check, but no whole frame.
    pub(super) stirs: bool,
    /// The socket was full and has taken bytes since the last check.
    pub(super) drains: bool,
}

impl Link {
    /// Returns a link over `stream`, which must be non-blocking.
    pub(super) fn new(stream: PeerStream, number: u64) -> Link {
        // Without this option, urgent frames wait longer.
        let _ = SockRef::from(stream.socket()).set_tcp_notsent_lowat(SYSTEM_UNSENT_LEN);
        Link {
            stream,
            number,
            input: Input::new(),
            output: Output::default(),
            blocked: false,
            watched: false,
            broken: None,
            stirs: false,
            drains: false,
        }
    }

    pub(super) fn stream(&self) -> &PeerStream {
        &self.stream
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Returns whether unsent data is left, here or within TLS.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent() > 0 || self.stream.wants_flush()
    }

    /// Adds a frame to the output: at the end, or ahead of everything whose sending has not begun.
    pub(super) fn push(&mut self, frame: &[u8], is_urgent: bool) {
        match is_urgent {
            _ if self.is_broken() => {}
            true => self.output.push_urgent(frame),
            false => self.output.push(frame),
        }
    }

    /// Writes as much as the socket accepts.
    pub(super) fn write(&mut self) {
        let was_blocked = std::mem::replace(&mut self.blocked, false);
        let mut left = TURN_LEN;
        while !self.is_broken() && self.has_unsent() {
            if left == 0 {
                self.blocked = true;
                return;
            }
            let unsent = self.output.next();
            let written = match unsent.len().min(left) {
                0 => self.stream.flush().map(|()| 0),
                len => self.stream.write(&unsent[..len]),
            };
            match written {
                Ok(len) => {
                    self.output.sent(len);
                    left -= len;
                    self.drains |= was_blocked && len > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.broken = Some(error.into()),
            }
        }
    }

    /// Reads what is available and passes on its frames. Ends early after a large amount: the
    /// socket then stays readable.
    pub(super) fn read(&mut self, frame: &mut dyn FnMut(&[u8])) -> Result<(), End> {
        let mut left = TURN_LEN;
        while left > 0 || self.stream.has_plain() {
            let room = self.input.room();
            let wanted = room.len();
            match self.stream.read(room) {
                Ok(0) => return Err(self.broken.take().unwrap_or_else(closed)),
                Ok(len) => {
                    self.input.filled(len);
                    let mut is_whole = false;
                    let split = self.input.split(&mut |bytes| {
                        is_whole = true;
                        frame(bytes);
                    });
                    split.map_err(|reason| End { by_peer: false, reason })?;
                    self.stirs = !is_whole;
                    // A short read has emptied the socket.
                    let is_empty = len < wanted && !self.is_broken() && !self.stream.may_have_more();
                    left = if is_empty { 0 } else { left.saturating_sub(len) };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.broken.take().map_or(Ok(()), Err);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Resets the connection without sending the rest, so that the other side notices at once.
    pub(super) fn reset(self) {
        let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
    }
}

fn closed() -> End {
    End { by_peer: true, reason: "closed by the peer".to_owned() }
}
