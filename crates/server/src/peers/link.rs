//! One link: bytes to frames and frames to bytes, never waiting.
//!
//! Owns the stream, what came and is not yet a frame, and what is to be sent. A frame is its length (u32) and its bytes.
//! Invariant: frames leave and arrive whole, in order, and none twice; after an error nothing more does.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::SockRef;

use super::FRAME_LEN_MAX;
use super::stream::PeerStream;

/// Bytes of a frame's length.
const PREFIX_LEN: usize = 4;
/// Bytes for input when no frame needs more.
const INPUT_LEN: usize = 64 << 10;
/// Bytes of an empty buffer that are kept for the next time.
const BUFFER_KEPT: usize = 4 << 20;
/// Bytes read from, or written to, one link before the others have their turn.
const TURN_LEN: usize = 8 << 20;

/// Why a link ends.
#[derive(Debug)]
pub(super) struct End {
    /// The other server did it, as opposed to us or the network.
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
    /// Larger the later it was made.
    pub(super) number: u64,
    input: Input,
    output: Output,
    /// The socket is full; it will say when it is not.
    pub(super) blocked: bool,
    /// The event queue looks for room.
    pub(super) watched: bool,
    /// Nothing can be written any more. What came before that is read still.
    broken: Option<End>,
}

impl Link {
    /// `stream` must not block.
    pub(super) fn new(stream: PeerStream, number: u64) -> Link {
        let (input, output) = (Input::new(), Output::default());
        Link { stream, number, input, output, blocked: false, watched: false, broken: None }
    }

    pub(super) fn stream(&self) -> &PeerStream {
        &self.stream
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn unsent(&self) -> usize {
        self.output.unsent().len()
    }

    /// Whether anything waits, here or within TLS.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent() > 0 || self.stream.wants_flush()
    }

    /// Adds a frame to what is to be sent.
    pub(super) fn push(&mut self, frame: &[u8]) {
        if !self.is_broken() {
            self.output.push(frame);
        }
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self) {
        self.blocked = false;
        let mut left = TURN_LEN;
        while !self.is_broken() && self.has_unsent() {
            if left == 0 {
                self.blocked = true;
                return;
            }
            let unsent = self.output.unsent();
            let written = match unsent.len().min(left) {
                0 => self.stream.flush().map(|()| 0),
                len => self.stream.write(&unsent[..len]),
            };
            match written {
                Ok(len) => {
                    self.output.sent(len);
                    left -= len;
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

    /// Reads what is there and hands out its frames. Ends early when it was much: the socket remains readable then.
    pub(super) fn read(&mut self, frame: &mut dyn FnMut(&[u8])) -> Result<(), End> {
        let mut left = TURN_LEN;
        while left > 0 || self.stream.has_plain() {
            let room = self.input.room();
            let wanted = room.len();
            match self.stream.read(room) {
                Ok(0) => return Err(self.broken.take().unwrap_or_else(closed)),
                Ok(len) => {
                    self.input.filled(len);
                    self.input.split(frame)?;
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

    /// Ends the connection without waiting for what is unsent: the other side learns at once.
    pub(super) fn reset(self) {
        let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
    }
}

fn closed() -> End {
    End { by_peer: true, reason: "closed by the peer".to_owned() }
}

/// Bytes that came.
#[derive(Debug)]
struct Input {
    buffer: Vec<u8>,
    /// What is not yet handed out: `start..end` of the buffer.
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Input {
        Input { buffer: vec![0; INPUT_LEN], start: 0, end: 0 }
    }

    /// Where the next bytes go; never empty. The buffer grows with what has come, not with what a prefix promises.
    fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        &mut self.buffer[self.end..]
    }

    fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Hands out every whole frame.
    fn split(&mut self, frame: &mut dyn FnMut(&[u8])) -> Result<(), End> {
        while let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk::<PREFIX_LEN>() {
            let len = u32::from_be_bytes(*prefix) as usize;
            if len > FRAME_LEN_MAX {
                let reason = format!("a frame of {len} bytes; the limit is {FRAME_LEN_MAX}");
                return Err(End { by_peer: false, reason });
            }
            if rest.len() < len {
                break;
            }
            frame(&rest[..len]);
            self.start += PREFIX_LEN + len;
        }
        if self.start == self.end && self.buffer.len() > BUFFER_KEPT {
            *self = Input::new();
        }
        Ok(())
    }
}

/// Bytes to send.
#[derive(Debug, Default)]
struct Output {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are sent already.
    sent: usize,
}

impl Output {
    fn unsent(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    fn push(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).expect("checked by the caller");
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.buffer.extend_from_slice(frame);
    }

    fn sent(&mut self, len: usize) {
        self.sent += len;
        if self.sent == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT);
            self.sent = 0;
        } else if self.sent > BUFFER_KEPT && self.sent > self.buffer.len() / 2 {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}
