//! Commands: what is agreed on, logged and applied. A client's write travels as the bytes the client sent, with who
//! asked in front; everything it leads to (names, versions, zxids, errors) is decided when it is applied.
//!
//! Layout of a log entry, a *batch*: version byte, `time_ms` (i64), then commands, each with its length (u32) in front.
//! Layout of a command: session (i64), xid (i32), operation (i32), settings (u8), identities (Jute buffer), body.

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, OpCode, Reader, SessionId};

use crate::acl::{Caller, Identities};
use crate::settings::Settings;

/// One write, of a client or of the server itself.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Whose; `NONE` for the server's own.
    pub session: SessionId,
    /// Of the request; clients choose it.
    pub xid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// Switches of the server that took the request.
    pub settings: Settings,
    /// Who asks.
    pub identities: Identities<'a>,
    /// As the client sent it.
    pub body: &'a [u8],
}

impl<'a> Command<'a> {
    /// Appends the command with its length in front.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        out.put_i64(self.session.0);
        out.put_i32(self.xid);
        out.put_i32(self.op.wire());
        out.put_u8(self.settings.0);
        Some(self.identities.0).encode(out);
        out.put_slice(self.body);
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }

    fn decode(bytes: &'a [u8]) -> Result<Command<'a>, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let session = SessionId(i64::decode(reader)?);
        let xid = i32::decode(reader)?;
        let op = OpCode::from_wire(i32::decode(reader)?).ok_or(DecodeError::NotAllowed("operation"))?;
        let settings = Settings(reader.take(1)?[0]);
        let identities = Identities(reader.buffer()?.unwrap_or_default());
        Ok(Command { session, xid, op, settings, identities, body: reader.rest() })
    }

    /// Who asks, for permission checks.
    pub fn caller(&self) -> Caller<'a> {
        Caller { identities: self.identities, settings: self.settings }
    }
}

/// Version byte of the batch layout above.
const BATCH_VERSION: u8 = 1;

/// Appends the start of a batch; encoded commands follow it.
pub fn begin_batch(time_ms: i64, out: &mut Vec<u8>) {
    out.put_u8(BATCH_VERSION);
    out.put_i64(time_ms);
}

/// How many bytes and commands at the start of `commands`, encoded one after the other, go into one batch of at most
/// `len_max` bytes; a command that alone has more is a batch of its own.
pub fn batch_extent(commands: &[u8], len_max: usize) -> (usize, usize) {
    let (mut len, mut count) = (0, 0);
    while let Some(prefix) = commands[len..].first_chunk::<4>() {
        let next = 4 + u32::from_be_bytes(*prefix) as usize;
        if len > 0 && len + next > len_max {
            break;
        }
        len += next;
        count += 1;
    }
    (len, count)
}

/// A decoded batch: one time for all its commands.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// When the leader packed it, Unix ms.
    pub time_ms: i64,
    commands: Reader<'a>,
}

impl<'a> Batch<'a> {
    /// Reads the start of a batch. *Errors*: an unknown version, a truncated header.
    pub fn decode(bytes: &'a [u8]) -> Result<Batch<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.take(1)? != [BATCH_VERSION] {
            return Err(DecodeError::NotAllowed("batch version"));
        }
        Ok(Batch { time_ms: i64::decode(&mut reader)?, commands: reader })
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<Command<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.commands.rest().is_empty() {
            return None;
        }
        let bytes = self.commands.buffer().and_then(|bytes| bytes.ok_or(DecodeError::NegativeLength));
        let command = bytes.and_then(Command::decode);
        if command.is_err() {
            // What follows has no known start.
            self.commands = Reader::new(&[]);
        }
        Some(command)
    }
}
