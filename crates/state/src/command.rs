//! Commands: the writes that servers agree on, log and apply. A client's write travels as the bytes
//! the client sent, preceded by the caller's identity; everything that follows from it (names,
//! versions, zxids, errors) is decided when it is applied.
//!
//! Layout of a command: session (i64), xid (i32), operation (i32), settings (u8), identities (Jute
//! buffer), body. If a switch beyond the first eight is on, [`WIDE`] stands in place of the
//! operation, the operation follows it, and the settings are a u32.
//!
//! Layouts of a log entry, by its first byte:
//!
//! 1. A *batch* of a standalone server: `time_ms` (i64), then commands, each preceded by its length
//!    (u32).
//! 2. A batch that an ensemble agreed on: ballot (20 bytes), `time_ms` (i64), then sections. A
//!    section holds the commands of one server: the server (u8), its boot (u64), the number of the
//!    first command (u64), the length of all commands (u32), then the commands as above. Server 0
//!    stands for the leader's own commands, which have no numbers.
//! 3. An *epoch*, with which a leader begins: ballot (20 bytes), `time_ms` (i64), the ensemble's id
//!    (u64), the version of the membership (i64), its text.
//!
//! Every later kind has the feature level that it needs (u32) right after the first byte, and
//! always will. A program that does not know the kind can thus say which level it lacks.
//!
//! 4. A *raise* of the agreed feature level to the level that the entry needs: ballot (20 bytes; 0
//!    for a standalone server), `time_ms` (i64).
//! 5. A *renewal*, which ends a configuration and begins the next one with the same voters: ballot
//!    (20 bytes), `time_ms` (i64), then the servers that have lost their disks and are readmitted
//!    by it (u8 each).

use std::fmt;

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, OpCode, Reader, ServerId, SessionId};

use crate::acl::{Caller, Identities};
use crate::level::Level;
use crate::settings::Settings;

/// A consensus ballot as bytes. It is stored and compared, but never interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BallotId(pub [u8; BALLOT_LEN]);

/// Length of a [`BallotId`], bytes.
pub const BALLOT_LEN: usize = 20;

/// Number of a command: each server counts its own commands, so that none is applied twice or out
/// of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The server that submitted the command; never 0.
    pub server: ServerId,
    /// Boot of that server.
    pub boot: u64,
    /// Sequence number, which starts at 1 in each boot.
    pub seq: u64,
}

/// One write of a client or of the server itself.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Number in an ensemble; `None` for a standalone server's commands and the leader's own. It is
    /// part of the batch, not of the command's encoding.
    pub from: Option<Number>,
    /// Session of the request; `NONE` for the server's own commands.
    pub session: SessionId,
    /// xid of the request, chosen by the client.
    pub xid: i32,
    /// Operation of the request.
    pub op: OpCode,
    /// Switches of the server that took the request.
    pub settings: Settings,
    /// Identities of the caller.
    pub identities: Identities<'a>,
    /// Body of the request, as the client sent it.
    pub body: &'a [u8],
}

impl<'a> Command<'a> {
    /// Appends the command, preceded by its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        out.put_i64(self.session.0);
        out.put_i32(self.xid);
        match u8::try_from(self.settings.0) {
            Ok(settings) => {
                out.put_i32(self.op.wire());
                out.put_u8(settings);
            }
            Err(_) => {
                out.put_i32(WIDE);
                out.put_i32(self.op.wire());
                out.put_u32(self.settings.0);
            }
        }
        Some(self.identities.0).encode(out);
        out.put_slice(self.body);
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Command<'a>, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let session = SessionId(i64::decode(reader)?);
        let xid = i32::decode(reader)?;
        let (op, settings) = match i32::decode(reader)? {
            WIDE => (i32::decode(reader)?, i32::decode(reader)? as u32),
            op => (op, u32::from(reader.take(1)?[0])),
        };
        let op = OpCode::from_wire(op).ok_or(DecodeError::NotAllowed("operation"))?;
        let settings = Settings(settings);
        let identities = Identities(reader.buffer()?.unwrap_or_default());
        Ok(Command { from: None, session, xid, op, settings, identities, body: reader.rest() })
    }

    /// Returns the caller, for permission checks.
    pub fn caller(&self) -> Caller<'a> {
        Caller { identities: self.identities, settings: self.settings }
    }
}

/// Value in place of the operation in a command with more than eight switches. No operation has
/// this number.
const WIDE: i32 = i32::MIN;

/// Version bytes of the layouts above.
const BATCH_VERSION: u8 = 1;
const AGREED_VERSION: u8 = 2;
const EPOCH_VERSION: u8 = 3;
const RAISE_VERSION: u8 = 4;
const RENEWAL_VERSION: u8 = 5;
#[cfg(feature = "next-version")]
const NEXT_VERSION: u8 = 6;

/// Reason why bytes are not a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEntry {
    /// A newer program wrote the entry.
    Newer {
        /// Kind of the entry.
        kind: u8,
        /// Feature level that the entry needs.
        needs: Level,
        /// Highest feature level known here.
        knows: Level,
    },
    /// The entry is damaged.
    Malformed(DecodeError),
}

impl fmt::Display for BadEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadEntry::Newer { kind, needs, knows } => {
                write!(formatter, "it is of kind {kind} and needs feature level {needs}, this program knows {knows}")
            }
            BadEntry::Malformed(problem) => problem.fmt(formatter),
        }
    }
}

impl std::error::Error for BadEntry {}

impl From<DecodeError> for BadEntry {
    fn from(problem: DecodeError) -> BadEntry {
        BadEntry::Malformed(problem)
    }
}

/// Appends the start of a standalone server's batch; encoded commands follow it.
pub fn begin_batch(time_ms: i64, out: &mut Vec<u8>) {
    out.put_u8(BATCH_VERSION);
    out.put_i64(time_ms);
}

/// Appends the start of an ensemble's batch in the layout that every program reads; sections follow
/// it.
pub fn begin_agreed(ballot: BallotId, time_ms: i64, out: &mut Vec<u8>) {
    out.put_u8(AGREED_VERSION);
    out.put_slice(&ballot.0);
    out.put_i64(time_ms);
}

/// Appends the start of an ensemble's batch in the layout of the agreed `level`; sections follow
/// it.
pub fn begin_agreed_at(level: Level, ballot: BallotId, time_ms: i64, out: &mut Vec<u8>) {
    #[cfg(feature = "next-version")]
    if level >= Level::NEXT {
        out.put_u8(NEXT_VERSION);
        out.put_u32(Level::NEXT.0);
        out.put_i64(time_ms);
        return out.put_slice(&ballot.0);
    }
    debug_assert!(level <= Level::KNOWN, "level {level} has its own layouts");
    begin_agreed(ballot, time_ms, out);
}

/// Boot in a section of the leader's own commands, which have no numbers. No server has this boot.
pub const OWN_BOOT: u64 = 0;

/// Appends a section of encoded commands, numbered from `first_seq` on. The leader's own commands
/// have `server` 0 and boot [`OWN_BOOT`]: they have no numbers, and `first_seq` means nothing.
pub fn put_section(server: ServerId, boot: u64, first_seq: u64, commands: &[u8], out: &mut Vec<u8>) {
    out.put_u8(server.0);
    out.put_u64(boot);
    out.put_u64(first_seq);
    out.put_u32(u32::try_from(commands.len()).expect("a log entry is shorter than 4 GiB"));
    out.put_slice(commands);
}

/// Returns how many bytes and commands at the start of `commands`, encoded one after the other, go
/// into one batch of at most `len_max` bytes. A command that alone exceeds this forms a batch of
/// its own.
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

/// A decoded log entry.
#[derive(Clone, Debug)]
pub enum Entry<'a> {
    /// A batch of commands.
    Batch(Batch<'a>),
    /// The start of a leader's epoch.
    Epoch(Epoch<'a>),
    /// The start of a higher feature level.
    Raise(Raise),
    /// A new configuration with the same voters.
    Renewal(Renewal),
}

impl<'a> Entry<'a> {
    /// Decodes the start of an entry, if it needs no higher level than the server `knows`.
    /// *Errors*: an unknown kind, a truncated header.
    pub fn decode(bytes: &'a [u8], knows: Level) -> Result<Entry<'a>, BadEntry> {
        let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        let reader = &mut Reader::new(rest);
        let needs = if kind < RAISE_VERSION { Level::NONE } else { Level(i32::decode(reader)? as u32) };
        if needs > knows {
            return Err(BadEntry::Newer { kind, needs, knows });
        }
        Ok(match kind {
            EPOCH_VERSION => Entry::Epoch(Epoch::decode(rest)?),
            RAISE_VERSION => Entry::Raise(Raise::decode(needs, reader)?),
            RENEWAL_VERSION => Entry::Renewal(Renewal::decode(reader)?),
            _ => Entry::Batch(Batch::decode(bytes)?),
        })
    }

    /// Checks a whole entry before it becomes durable: every entry that passes can be applied.
    /// *Errors*: as [`Entry::decode`]; a malformed command.
    pub fn check(bytes: &[u8], knows: Level) -> Result<(), BadEntry> {
        match Entry::decode(bytes, knows)? {
            Entry::Batch(mut batch) => batch.try_for_each(|command| command.map(drop)).map_err(BadEntry::Malformed),
            Entry::Epoch(_) | Entry::Raise(_) | Entry::Renewal(_) => Ok(()),
        }
    }
}

/// The entry with which a higher feature level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// Feature level that applies from here on.
    pub level: Level,
    /// The leader's ballot; `None` for a standalone server.
    pub ballot: Option<BallotId>,
    /// Time of the proposal, Unix ms.
    pub time_ms: i64,
}

impl Raise {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(RAISE_VERSION);
        out.put_u32(self.level.0);
        out.put_slice(&self.ballot.map_or([0; BALLOT_LEN], |ballot| ballot.0));
        out.put_i64(self.time_ms);
    }

    fn decode(level: Level, reader: &mut Reader<'_>) -> Result<Raise, DecodeError> {
        let ballot = Some(decode_ballot(reader)?).filter(|ballot| ballot.0 != [0; BALLOT_LEN]);
        Ok(Raise { level, ballot, time_ms: i64::decode(reader)? })
    }
}

/// Version of a membership that has none yet and gets the zxid of the epoch that establishes it.
pub const VERSION_WANTED: i64 = -1;

/// The entry with which a leader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch<'a> {
    /// The leader's ballot.
    pub ballot: BallotId,
    /// Time when the epoch began, Unix ms.
    pub time_ms: i64,
    /// Id of the ensemble, not 0. The first epoch sets it; later ones change nothing.
    pub ensemble: u64,
    /// Version of the membership, from the name of its dynamic file; otherwise 0 or
    /// [`VERSION_WANTED`].
    pub config_version: i64,
    /// The membership from the leader's configuration, as in `/zookeeper/config`.
    pub config: &'a [u8],
}

impl<'a> Epoch<'a> {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(EPOCH_VERSION);
        out.put_slice(&self.ballot.0);
        out.put_i64(self.time_ms);
        out.put_u64(self.ensemble);
        out.put_i64(self.config_version);
        out.put_slice(self.config);
    }

    fn decode(bytes: &'a [u8]) -> Result<Epoch<'a>, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let ballot = decode_ballot(reader)?;
        let time_ms = i64::decode(reader)?;
        let ensemble = decode_u64(reader)?;
        let config_version = i64::decode(reader)?;
        Ok(Epoch { ballot, time_ms, ensemble, config_version, config: reader.rest() })
    }
}

/// The last entry of a configuration. The same voters begin the next one after it, in which nothing
/// counts that a voter had promised or accepted and then lost with its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The leader's ballot.
    pub ballot: BallotId,
    /// Time when the leader packed the entry, Unix ms.
    pub time_ms: i64,
    /// Voters that have lost their disks.
    pub servers: Vec<ServerId>,
}

impl Renewal {
    /// The feature level that introduced this entry.
    pub const NEEDS: Level = Level(1);

    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(RENEWAL_VERSION);
        out.put_u32(Renewal::NEEDS.0);
        out.put_slice(&self.ballot.0);
        out.put_i64(self.time_ms);
        out.extend(self.servers.iter().map(|server| server.0));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Renewal, DecodeError> {
        let ballot = decode_ballot(reader)?;
        let time_ms = i64::decode(reader)?;
        Ok(Renewal { ballot, time_ms, servers: reader.rest().iter().copied().map(ServerId).collect() })
    }
}

pub(crate) fn decode_ballot(reader: &mut Reader<'_>) -> Result<BallotId, DecodeError> {
    let bytes = reader.take(BALLOT_LEN)?;
    Ok(BallotId(bytes.try_into().expect("as many as were taken")))
}

pub(crate) fn decode_u64(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    i64::decode(reader).map(|long| long as u64)
}

/// Counts the commands in `commands`, encoded one after the other. *Errors*: a malformed command.
pub fn count_commands(commands: &[u8]) -> Result<Counted, DecodeError> {
    let none = Reader::new(&[]);
    let commands = Reader::new(commands);
    let mut batch = Batch { time_ms: 0, ballot: None, commands, from: None, sections: none };
    batch.try_fold(Counted::default(), |mut counted, command| {
        let command = command?;
        counted.count += 1;
        counted.reconfigs |= command.op == OpCode::Reconfig;
        counted.resumed.extend((command.op == OpCode::ResumeSession).then_some(command.session));
        Ok(counted)
    })
}

/// Result of [`count_commands`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Number of commands.
    pub count: u64,
    /// Whether one of them is a reconfig, on which a leader must rule.
    pub reconfigs: bool,
    /// Sessions whose clients have come back.
    pub resumed: Vec<SessionId>,
}

/// A decoded batch. All its commands have the same time.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Time when the leader packed the batch, Unix ms.
    pub time_ms: i64,
    /// Ballot under which the batch was agreed on; `None` for a standalone server.
    pub ballot: Option<BallotId>,
    /// Rest of the current section.
    commands: Reader<'a>,
    /// Number of the next command in the current section.
    from: Option<Number>,
    /// Sections after the current one.
    sections: Reader<'a>,
}

impl<'a> Batch<'a> {
    /// Decodes the start of a batch. *Errors*: an unknown version, a truncated header.
    pub fn decode(bytes: &'a [u8]) -> Result<Batch<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let none = Reader::new(&[]);
        match reader.take(1)? {
            [BATCH_VERSION] => {
                let time_ms = i64::decode(&mut reader)?;
                Ok(Batch { time_ms, ballot: None, commands: reader, from: None, sections: none })
            }
            [AGREED_VERSION] => {
                let ballot = Some(decode_ballot(&mut reader)?);
                let time_ms = i64::decode(&mut reader)?;
                Ok(Batch { time_ms, ballot, commands: none, from: None, sections: reader })
            }
            #[cfg(feature = "next-version")]
            [NEXT_VERSION] => {
                reader.take(4)?;
                let time_ms = i64::decode(&mut reader)?;
                let ballot = Some(decode_ballot(&mut reader)?);
                Ok(Batch { time_ms, ballot, commands: none, from: None, sections: reader })
            }
            _ => Err(DecodeError::NotAllowed("kind of entry")),
        }
    }

    fn begin_section(&mut self) -> Result<(), DecodeError> {
        let server = ServerId(self.sections.take(1)?[0]);
        let (boot, seq) = (decode_u64(&mut self.sections)?, decode_u64(&mut self.sections)?);
        let commands = self.sections.buffer()?.ok_or(DecodeError::NegativeLength)?;
        let is_numbered = server != ServerId(0) || boot != OWN_BOOT;
        // Each command has at least one byte, so no number after the first can overflow.
        if is_numbered && (seq == 0 || seq.checked_add(commands.len() as u64).is_none()) {
            return Err(DecodeError::NotAllowed("number of a command"));
        }
        self.from = is_numbered.then_some(Number { server, boot, seq });
        self.commands = Reader::new(commands);
        Ok(())
    }

    fn next_command(&mut self) -> Result<Command<'a>, DecodeError> {
        let bytes = self.commands.buffer()?.ok_or(DecodeError::NegativeLength)?;
        let command = Command { from: self.from, ..Command::decode(bytes)? };
        if let Some(number) = &mut self.from {
            number.seq += 1;
        }
        Ok(command)
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<Command<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut begun = Ok(());
        while begun.is_ok() && self.commands.rest().is_empty() {
            if self.sections.rest().is_empty() {
                return None;
            }
            begun = self.begin_section();
        }
        let command = begun.and_then(|()| self.next_command());
        if command.is_err() {
            // The start of the next command is unknown.
            (self.commands, self.sections) = (Reader::new(&[]), Reader::new(&[]));
        }
        Some(command)
    }
}
