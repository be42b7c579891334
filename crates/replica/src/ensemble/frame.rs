//! Frames between servers: one kind byte, then fields in big-endian order. The transport handles
//! their length and their link: a frame does not name its sender.
//!
//! Every frame is checked while it is decoded; a frame that passes cannot make consensus panic,
//! whichever server sent it. Two servers agree on the version of this format in their handshake.
//! Within one version a ping grows by *fields*: each has a tag (u8), a length (u8) and a value, and
//! a server skips fields whose tag it does not know (see `mod field`).
//!
//! Urgent frames ([`Frame::is_urgent`]) may overtake others on their link, and are never overtaken.
//! Their content therefore means the same in any order: a heartbeat names its configuration, and a
//! pulse only repeats the place that the last ping reported.

use std::sync::Arc;

use bytes::BufMut;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatReply, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{
    AcceptDecide, AcceptSync, Accepted, Decide, NotAccepted, PaxosMessage, PaxosMsg, Prepare, PrepareReq, Promise,
};
use omnipaxos::util::{LogSync, SequenceNumber};
use oxkeeper_proto::{DecodeError, Jute, Reader, ServerId, SessionId};
use oxkeeper_state::command::{BadEntry, BallotId, Entry};
use oxkeeper_state::membership::MEMBERS_MAX;
use oxkeeper_state::{Digest, Level};
use thiserror::Error;

use super::ballot::{self, BALLOT_LEN};
use super::storage::LogEntry;

/// Reason why a frame is refused; its link ends.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadFrame {
    /// The frame does not have the layout of its kind.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// This version does not know the frame's kind.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A newer program wrote this log entry. Nothing of the frame is used.
    #[error("log entry of kind {kind} needs feature level {needs}, this server knows {knows}: upgrade this server")]
    Newer {
        /// Kind of the entry.
        kind: u8,
        /// The feature level that the entry needs.
        needs: Level,
        /// The highest level that this server knows.
        knows: Level,
    },
    /// The ballot is of a server that is no member or may not send it, is of another configuration,
    /// or has a number that leaves none above it.
    #[error("a ballot of configuration {configuration}, number {number}, process {process}")]
    Ballot {
        /// Configuration of the ballot.
        configuration: u32,
        /// Number of the ballot.
        number: u32,
        /// Process of the ballot.
        process: u64,
    },
    /// No log reaches this index.
    #[error("index {0} is out of range")]
    Index(u64),
    /// The forwarded commands do not follow the last ones, or are not valid commands.
    #[error("forwarded commands: {0}")]
    Forward(&'static str),
}

impl From<BadEntry> for BadFrame {
    fn from(problem: BadEntry) -> BadFrame {
        match problem {
            BadEntry::Newer { kind, needs, knows } => BadFrame::Newer { kind, needs, knows },
            BadEntry::Malformed(problem) => BadFrame::Malformed(problem),
        }
    }
}

impl BadFrame {
    fn ballot(ballot: Ballot) -> BadFrame {
        let Ballot { config_id: configuration, n: number, pid: process, .. } = ballot;
        BadFrame::Ballot { configuration, number, process }
    }
}

/// Status of a server, which it reports to its peers with every ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The configuration it is in; 0 for a blank server.
    pub configuration: u32,
    /// Index below which everything was decided before that configuration.
    pub base: u64,
    /// Whether it votes there.
    pub votes: bool,
    /// The ballot that it has promised, or follows.
    pub promise: Ballot,
    /// Whether it leads, or follows the leader of that ballot.
    pub accepting: bool,
    /// Whether it leads that ballot.
    pub leading: bool,
    /// Whether it may found an ensemble without waiting for all members.
    pub initialize: bool,
    /// Index below which it knows everything to be decided.
    pub decided: u64,
    /// One past its newest entry.
    pub end: u64,
    /// Id of the ensemble in the state it began with, which may be an imported state with which no
    /// ensemble has been founded yet.
    pub origin: u64,
    /// Hash of the servers with which it would found an ensemble; 0 if the receiver is not among
    /// them any longer.
    pub founders: u64,
    /// The highest feature level that it knows and allows. An older server leaves out this field
    /// and those that follow.
    pub knows: Level,
    /// Start number, which tells apart the processes that have had its id: numbers grow, and none
    /// is given twice.
    pub boot: u64,
}

impl Status {
    /// Returns whether it has nothing and takes no part yet.
    pub fn is_blank(&self) -> bool {
        self.configuration == 0
    }
}

/// Sender and receiver of a frame, as processes of their configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roster {
    /// The configuration that both ends are in.
    pub configuration: u32,
    /// The sender's process.
    pub from: u64,
    /// The receiver's process.
    pub to: u64,
    /// Number of processes.
    pub processes: u64,
    /// The feature level that the receiver knows: it refuses entries that need more.
    pub knows: Level,
}

/// Message from one server to another.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A message about the log, from OmniPaxos.
    Consensus(PaxosMessage<LogEntry>),
    /// A message of the election, from OmniPaxos.
    Heartbeat {
        /// The configuration in which the sender votes: it may be ahead of the sender's other
        /// frames on this link.
        configuration: u32,
        /// The message.
        message: BLEMessage,
    },
    /// The sender's status and its clock; answered at once.
    Ping {
        /// Whether it may overtake other frames: then it is a pulse.
        urgent: bool,
        /// The sender's status.
        status: Status,
        /// The sender's clock, ms.
        sent_ms: u64,
    },
    /// The answer to a ping, with the time at which the receiver sent that.
    Pong(u64),
    /// The sender leads this ballot, and takes commands, starting with the first one it has not seen.
    Ready(BallotId),
    /// Commands of the sender's clients, numbered from `first` on.
    Forward {
        /// Start number of the sender.
        boot: u64,
        /// Number of the first command.
        first: u64,
        /// The commands, each preceded by its length.
        commands: Vec<u8>,
    },
    /// Sessions whose clients the sender has heard from.
    Touches(Vec<SessionId>),
    /// The receiver needs entries that the sender has trimmed: it should fetch the sender's state.
    NeedState,
    /// The sender is blank: it asks the leader how to join.
    Join,
    /// Another server is blank, and asks over a link to the sender how to join.
    JoinFor {
        /// The server that asks.
        blank: ServerId,
        /// Number of the sender's link to it: the answer goes over no other.
        link: u64,
    },
    /// The sender's state has everything that the receiver may ever have acknowledged, from this
    /// index on.
    JoinAt(u64),
    /// Like [`Frame::JoinAt`], for another server, on whose behalf the receiver asked.
    JoinAtFor {
        /// The server that joins.
        blank: ServerId,
        /// Number of the link, as in the question.
        link: u64,
        /// Index from which on the state has everything.
        at: u64,
    },
    /// The sender asks for every decided entry from this index on.
    Follow(u64),
    /// The sender has this many entries, and missed the end of its configuration.
    Lacks(u64),
    /// Entries that are decided, in order.
    Decided {
        /// Index of the first one.
        first: u64,
        /// The entries as they were accepted.
        entries: Vec<LogEntry>,
    },
    /// The sender has every entry up to this index.
    Learned(u64),
    /// The leader hands over: the receiver should lead.
    TakeOver,
    /// Digest of the sender's state.
    Digest {
        /// Number of entries applied to that state.
        applied: u64,
        /// The digest.
        digest: Digest,
    },
    /// Two processes have the receiver's id.
    Twin,
    /// The receiver lacks more than is sent at once: it should learn entries a part at a time, up
    /// to this index at least.
    Behind(u64),
}

mod kind {
    pub(super) const PREPARE_REQ: u8 = 1;
    pub(super) const PREPARE: u8 = 2;
    pub(super) const PROMISE: u8 = 3;
    pub(super) const ACCEPT_SYNC: u8 = 4;
    pub(super) const ACCEPT_DECIDE: u8 = 5;
    pub(super) const ACCEPTED: u8 = 6;
    pub(super) const NOT_ACCEPTED: u8 = 7;
    pub(super) const DECIDE: u8 = 8;
    pub(super) const HEARTBEAT: u8 = 16;
    pub(super) const HEARTBEAT_REPLY: u8 = 17;
    pub(super) const PING: u8 = 32;
    pub(super) const READY: u8 = 33;
    pub(super) const FORWARD: u8 = 34;
    pub(super) const TOUCHES: u8 = 35;
    pub(super) const NEED_STATE: u8 = 36;
    pub(super) const JOIN: u8 = 37;
    pub(super) const JOIN_AT: u8 = 38;
    pub(super) const PONG: u8 = 39;
    pub(super) const FOLLOW: u8 = 40;
    pub(super) const LACKS: u8 = 41;
    pub(super) const DECIDED: u8 = 42;
    pub(super) const LEARNED: u8 = 43;
    pub(super) const TAKE_OVER: u8 = 44;
    pub(super) const JOIN_FOR: u8 = 45;
    pub(super) const JOIN_AT_FOR: u8 = 46;
    pub(super) const DIGEST: u8 = 47;
    pub(super) const PULSE: u8 = 48;
    pub(super) const TWIN: u8 = 49;
    pub(super) const BEHIND: u8 = 50;
}

/// Tags of the fields behind the fixed part of a ping. A new field takes the next free number for
/// good, in [`put_status`] and `Fields::status`; a field that is left out has its default.
mod field {
    /// Reserved: no field has this tag.
    pub(super) const NONE: u8 = 0;
    /// [`Status::knows`](super::Status::knows), u32.
    pub(super) const KNOWS: u8 = 1;
    /// [`Status::boot`](super::Status::boot), u64.
    pub(super) const BOOT: u8 = 2;
}

/// Highest ballot number: no ensemble has that many elections, and a ballot must have numbers above
/// it.
const BALLOT_NUMBER_MAX: u32 = u32::MAX / 2;
/// Highest index: no log has more entries.
const INDEX_MAX: u64 = 1 << 56;

impl Frame {
    /// Appends the frame, without its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Consensus(message) => encode_paxos(&message.msg, out),
            Frame::Heartbeat { configuration, message } => encode_heartbeat(*configuration, &message.msg, out),
            Frame::Ping { urgent, status, sent_ms } => {
                out.put_u8(if *urgent { kind::PULSE } else { kind::PING });
                out.put_u64(*sent_ms);
                put_status(status, out);
            }
            Frame::Pong(sent_ms) => {
                out.put_u8(kind::PONG);
                out.put_u64(*sent_ms);
            }
            Frame::Ready(ballot) => {
                out.put_u8(kind::READY);
                out.put_slice(&ballot.0);
            }
            Frame::Forward { boot, first, commands } => encode_forward(*boot, *first, commands, out),
            Frame::Touches(sessions) => {
                out.put_u8(kind::TOUCHES);
                sessions.iter().for_each(|session| out.put_i64(session.0));
            }
            Frame::NeedState => out.put_u8(kind::NEED_STATE),
            Frame::Join => out.put_u8(kind::JOIN),
            Frame::JoinFor { blank, link } => {
                put_index(kind::JOIN_FOR, *link, out);
                out.put_u8(blank.0);
            }
            Frame::JoinAt(index) => put_index(kind::JOIN_AT, *index, out),
            Frame::JoinAtFor { blank, link, at } => {
                put_index(kind::JOIN_AT_FOR, *at, out);
                out.put_u64(*link);
                out.put_u8(blank.0);
            }
            Frame::Follow(index) => put_index(kind::FOLLOW, *index, out),
            Frame::Lacks(index) => put_index(kind::LACKS, *index, out),
            Frame::Decided { first, entries } => {
                put_index(kind::DECIDED, *first, out);
                put_entries(entries, out);
            }
            Frame::Learned(index) => put_index(kind::LEARNED, *index, out),
            Frame::TakeOver => out.put_u8(kind::TAKE_OVER),
            Frame::Digest { applied, digest } => {
                put_index(kind::DIGEST, *applied, out);
                out.put_slice(&digest.encode());
            }
            Frame::Twin => out.put_u8(kind::TWIN),
            Frame::Behind(decided) => put_index(kind::BEHIND, *decided, out),
        }
    }

    /// Returns whether these are the bytes of a frame that means something only to voters of one
    /// configuration.
    pub fn is_of_consensus(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|&kind| kind < kind::PING)
    }

    /// Returns the ballot of a consensus frame that brings entries.
    pub(crate) fn ballot_of_entries(bytes: &[u8]) -> Option<Ballot> {
        let (kind, rest) = bytes.split_first()?;
        let brings = [kind::PROMISE, kind::ACCEPT_SYNC, kind::ACCEPT_DECIDE].contains(kind);
        rest.get(..BALLOT_LEN).filter(|_| brings).and_then(ballot::from_bytes)
    }

    /// Returns whether these are the bytes of an urgent frame, which may overtake others.
    pub fn is_urgent(bytes: &[u8]) -> bool {
        use kind::{HEARTBEAT, HEARTBEAT_REPLY, PONG, PULSE, TOUCHES};
        bytes.first().is_some_and(|kind| [HEARTBEAT, HEARTBEAT_REPLY, PULSE, PONG, TOUCHES].contains(kind))
    }

    /// Returns whether these are the bytes of a heartbeat, or of the answer to one.
    pub(crate) fn is_heartbeat(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|kind| [kind::HEARTBEAT, kind::HEARTBEAT_REPLY].contains(kind))
    }

    /// Returns whether these are the bytes of a heartbeat of another configuration: its sender was
    /// in that configuration, or is there already.
    pub(crate) fn is_foreign_heartbeat(bytes: &[u8], configuration: u32) -> bool {
        let named = || bytes[1..].first_chunk().map(|id| u32::from_be_bytes(*id));
        Frame::is_heartbeat(bytes) && named().is_some_and(|id| id != configuration)
    }

    /// Returns whether these are the bytes of forwarded commands: they report nothing of the log,
    /// and wait for no disk.
    pub(crate) fn is_forward(bytes: &[u8]) -> bool {
        bytes.first() == Some(&kind::FORWARD)
    }

    /// Decodes a frame. `roster` identifies the two ends; it does not matter if the frame [is not
    /// of consensus](Frame::is_of_consensus).
    pub fn decode(bytes: &[u8], roster: Roster) -> Result<Frame, BadFrame> {
        let mut fields = Fields { reader: Reader::new(bytes), roster };
        let frame = fields.frame()?;
        match fields.reader.rest() {
            [] => Ok(frame),
            _ => Err(DecodeError::NotAllowed("bytes behind the end").into()),
        }
    }
}

/// Returns the ballot of a frame that reports what is on the sender's disk, and the accepted index
/// if the frame has one.
pub(crate) fn told_of_disk(bytes: &[u8]) -> Option<(Ballot, Option<u64>)> {
    let (&kind, rest) = bytes.split_first()?;
    let (told, rest) = rest.split_at_checked(BALLOT_LEN)?;
    let accepted = || rest.first_chunk().copied().map(u64::from_be_bytes);
    match kind {
        kind::ACCEPTED => Some((ballot::from_bytes(told)?, accepted())),
        kind::PREPARE | kind::PROMISE => Some((ballot::from_bytes(told)?, None)),
        _ => None,
    }
}

/// Appends a `Forward` frame.
pub(crate) fn encode_forward(boot: u64, first: u64, commands: &[u8], out: &mut Vec<u8>) {
    out.put_u8(kind::FORWARD);
    out.put_u64(boot);
    out.put_u64(first);
    out.put_slice(commands);
}

fn encode_paxos(message: &PaxosMsg<LogEntry>, out: &mut Vec<u8>) {
    match message {
        PaxosMsg::PrepareReq(PrepareReq { n }) => put(kind::PREPARE_REQ, *n, &[], out),
        PaxosMsg::Prepare(Prepare { n, decided_idx, n_accepted, accepted_idx }) => {
            put(kind::PREPARE, *n, &[*decided_idx, *accepted_idx], out);
            put_ballot(*n_accepted, out);
        }
        PaxosMsg::Promise(Promise { n, n_accepted, decided_idx, accepted_idx, log_sync }) => {
            put(kind::PROMISE, *n, &[*decided_idx, *accepted_idx], out);
            put_ballot(*n_accepted, out);
            out.put_u8(u8::from(log_sync.is_some()));
            if let Some(sync) = log_sync {
                put_sync(sync, out);
            }
        }
        PaxosMsg::AcceptSync(AcceptSync { n, seq_num, decided_idx, log_sync }) => {
            put(kind::ACCEPT_SYNC, *n, &[*decided_idx], out);
            put_sequence(*seq_num, out);
            put_sync(log_sync, out);
        }
        PaxosMsg::AcceptDecide(AcceptDecide { n, seq_num, decided_idx, entries }) => {
            put(kind::ACCEPT_DECIDE, *n, &[*decided_idx], out);
            put_sequence(*seq_num, out);
            put_entries(entries, out);
        }
        PaxosMsg::Accepted(Accepted { n, accepted_idx }) => put(kind::ACCEPTED, *n, &[*accepted_idx], out),
        PaxosMsg::NotAccepted(NotAccepted { n }) => put(kind::NOT_ACCEPTED, *n, &[], out),
        PaxosMsg::Decide(Decide { n, seq_num, decided_idx }) => {
            put(kind::DECIDE, *n, &[*decided_idx], out);
            put_sequence(*seq_num, out);
        }
        PaxosMsg::ProposalForward(_) | PaxosMsg::ForwardStopSign(_) | PaxosMsg::AcceptStopSign(_) => {
            unreachable!("only a leader appends, and nobody reconfigures")
        }
        PaxosMsg::Compaction(_) => unreachable!("trimming is not the library's"),
    }
}

fn encode_heartbeat(configuration: u32, message: &HeartbeatMsg, out: &mut Vec<u8>) {
    match message {
        HeartbeatMsg::Request(HeartbeatRequest { round }) => {
            out.put_u8(kind::HEARTBEAT);
            out.put_u32(configuration);
            out.put_u32(*round);
        }
        HeartbeatMsg::Reply(HeartbeatReply { round, ballot, leader, happy }) => {
            out.put_u8(kind::HEARTBEAT_REPLY);
            out.put_u32(configuration);
            out.put_u32(*round);
            put_ballot(*ballot, out);
            put_ballot(*leader, out);
            out.put_u8(u8::from(*happy));
        }
    }
}

fn put(kind: u8, ballot: Ballot, indices: &[usize], out: &mut Vec<u8>) {
    out.put_u8(kind);
    put_ballot(ballot, out);
    indices.iter().for_each(|&index| out.put_u64(index as u64));
}

fn put_index(kind: u8, index: u64, out: &mut Vec<u8>) {
    out.put_u8(kind);
    out.put_u64(index);
}

fn put_status(status: &Status, out: &mut Vec<u8>) {
    let Status { configuration, base, votes, promise, accepting, leading, initialize, .. } = status;
    let Status { decided, end, origin, founders, knows, boot, .. } = status;
    out.put_u32(*configuration);
    out.put_u64(*base);
    put_ballot(*promise, out);
    [votes, accepting, leading, initialize].iter().for_each(|&&flag| out.put_u8(u8::from(flag)));
    [decided, end, origin, founders].iter().for_each(|&&field| out.put_u64(field));
    put_field(field::KNOWS, &knows.0.to_be_bytes(), out);
    put_field(field::BOOT, &boot.to_be_bytes(), out);
}

fn put_field(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.put_u8(tag);
    out.put_u8(u8::try_from(value.len()).expect("fields are short"));
    out.put_slice(value);
}

fn put_ballot(ballot: Ballot, out: &mut Vec<u8>) {
    out.put_slice(&ballot::to_id(ballot).0);
}

fn put_sequence(sequence: SequenceNumber, out: &mut Vec<u8>) {
    out.put_u64(sequence.session);
    out.put_u64(sequence.counter);
}

fn put_sync(sync: &LogSync<LogEntry>, out: &mut Vec<u8>) {
    out.put_u64(sync.sync_idx as u64);
    put_entries(&sync.suffix, out);
}

fn put_entries(entries: &[LogEntry], out: &mut Vec<u8>) {
    out.reserve(entries.iter().map(|entry| entry.0.len() + 4).sum());
    for LogEntry(entry) in entries {
        out.put_u32(entry.len() as u32);
        out.put_slice(entry);
    }
}

struct Fields<'a> {
    reader: Reader<'a>,
    roster: Roster,
}

impl Fields<'_> {
    fn frame(&mut self) -> Result<Frame, BadFrame> {
        let Roster { from, to, .. } = self.roster;
        let kind = self.byte()?;
        let paxos = |msg| Frame::Consensus(PaxosMessage { from, to, msg });
        let heartbeat = |configuration, msg| Frame::Heartbeat { configuration, message: BLEMessage { from, to, msg } };
        Ok(match kind {
            kind::PREPARE_REQ => paxos(PaxosMsg::PrepareReq(PrepareReq { n: self.ballot()? })),
            kind::PREPARE => paxos(PaxosMsg::Prepare(self.prepare(from)?)),
            kind::PROMISE => paxos(PaxosMsg::Promise(self.promise(to)?)),
            kind::ACCEPT_SYNC => {
                let (n, decided_idx, seq_num) = (self.ballot_of(from)?, self.index()?, self.sequence()?);
                paxos(PaxosMsg::AcceptSync(AcceptSync { n, seq_num, decided_idx, log_sync: self.sync()? }))
            }
            kind::ACCEPT_DECIDE => {
                let (n, decided_idx, seq_num) = (self.ballot_of(from)?, self.index()?, self.sequence()?);
                paxos(PaxosMsg::AcceptDecide(AcceptDecide { n, seq_num, decided_idx, entries: self.entries()? }))
            }
            kind::ACCEPTED => {
                paxos(PaxosMsg::Accepted(Accepted { n: self.ballot_of(to)?, accepted_idx: self.index()? }))
            }
            kind::NOT_ACCEPTED => paxos(PaxosMsg::NotAccepted(NotAccepted { n: self.ballot()? })),
            kind::DECIDE => {
                let (n, decided_idx, seq_num) = (self.ballot_of(from)?, self.index()?, self.sequence()?);
                paxos(PaxosMsg::Decide(Decide { n, seq_num, decided_idx }))
            }
            kind::HEARTBEAT => {
                let configuration = self.configuration()?;
                heartbeat(configuration, HeartbeatMsg::Request(HeartbeatRequest { round: self.word()? }))
            }
            kind::HEARTBEAT_REPLY => {
                let configuration = self.configuration()?;
                let (round, ballot, leader) = (self.word()?, self.ballot_of(from)?, self.ballot()?);
                let reply = HeartbeatReply { round, ballot, leader, happy: self.flag()? };
                heartbeat(configuration, HeartbeatMsg::Reply(reply))
            }
            kind::PING | kind::PULSE => {
                let sent_ms = self.number()?;
                Frame::Ping { urgent: kind == kind::PULSE, status: self.status()?, sent_ms }
            }
            kind::PONG => Frame::Pong(self.number()?),
            kind::READY => Frame::Ready(ballot::to_id(self.ready(from)?)),
            kind::FORWARD => {
                let (boot, first) = (self.number()?, self.number()?);
                Frame::Forward { boot, first, commands: self.rest().to_vec() }
            }
            kind::TOUCHES => Frame::Touches(self.sessions()?),
            kind::NEED_STATE => Frame::NeedState,
            kind::JOIN => Frame::Join,
            kind::JOIN_FOR => {
                let link = self.number()?;
                Frame::JoinFor { blank: ServerId(self.byte()?), link }
            }
            kind::JOIN_AT => Frame::JoinAt(self.number()?),
            kind::JOIN_AT_FOR => {
                let (at, link) = (self.number()?, self.number()?);
                Frame::JoinAtFor { blank: ServerId(self.byte()?), link, at }
            }
            kind::FOLLOW => Frame::Follow(self.index()? as u64),
            kind::LACKS => Frame::Lacks(self.index()? as u64),
            kind::DECIDED => Frame::Decided { first: self.index()? as u64, entries: self.entries()? },
            kind::LEARNED => Frame::Learned(self.index()? as u64),
            kind::TAKE_OVER => Frame::TakeOver,
            kind::DIGEST => {
                let applied = self.index()? as u64;
                Frame::Digest { applied, digest: Digest::decode(&mut self.reader)? }
            }
            kind::TWIN => Frame::Twin,
            kind::BEHIND => Frame::Behind(self.index()? as u64),
            unknown => return Err(BadFrame::Kind(unknown)),
        })
    }

    /// Reads a configuration, which must be the one that both ends are in.
    fn configuration(&mut self) -> Result<u32, BadFrame> {
        let configuration = self.word()?;
        let (known, number) = (self.roster.configuration, 0);
        let other = BadFrame::Ballot { configuration, number, process: self.roster.from };
        if configuration == known { Ok(configuration) } else { Err(other) }
    }

    fn prepare(&mut self, leader: u64) -> Result<Prepare, BadFrame> {
        let (n, decided_idx, accepted_idx) = (self.ballot_of(leader)?, self.index()?, self.index()?);
        Ok(Prepare { n, decided_idx, n_accepted: self.ballot()?, accepted_idx })
    }

    fn promise(&mut self, leader: u64) -> Result<Promise<LogEntry>, BadFrame> {
        let (n, decided_idx, accepted_idx) = (self.ballot_of(leader)?, self.index()?, self.index()?);
        let n_accepted = self.ballot()?;
        let log_sync = if self.flag()? { Some(self.sync()?) } else { None };
        Ok(Promise { n, n_accepted, decided_idx, accepted_idx, log_sync })
    }

    fn sync(&mut self) -> Result<LogSync<LogEntry>, BadFrame> {
        let sync_idx = self.index()?;
        Ok(LogSync { decided_snapshot: None, suffix: self.entries()?, sync_idx, stopsign: None })
    }

    fn status(&mut self) -> Result<Status, BadFrame> {
        let (configuration, base, promise) = (self.word()?, self.number()?, self.any_ballot()?);
        let (votes, accepting, leading, initialize) = (self.flag()?, self.flag()?, self.flag()?, self.flag()?);
        let (decided, end, origin, founders) = (self.number()?, self.number()?, self.number()?, self.number()?);
        let mut status = Status {
            configuration,
            base,
            votes,
            promise,
            accepting,
            leading,
            initialize,
            decided,
            end,
            origin,
            founders,
            ..Status::default()
        };
        while !self.reader.rest().is_empty() {
            let (tag, len) = (self.byte()?, self.byte()?);
            let value = Reader::new(self.reader.take(usize::from(len))?);
            let mut value = Fields { reader: value, roster: self.roster };
            match tag {
                field::NONE => return Err(DecodeError::NotAllowed("tag 0").into()),
                field::KNOWS => status.knows = Level(value.word()?),
                field::BOOT => status.boot = value.number()?,
                // A newer server may send more fields.
                _ => {}
            }
        }
        Ok(status)
    }

    /// Reads entries up to the end of the frame.
    fn entries(&mut self) -> Result<Vec<LogEntry>, BadFrame> {
        let mut entries = Vec::new();
        while !self.reader.rest().is_empty() {
            let len = self.word()? as usize;
            let entry = self.reader.take(len)?;
            Entry::check(entry, self.roster.knows)?;
            entries.push(LogEntry(Arc::from(entry)));
        }
        Ok(entries)
    }

    /// Reads sessions up to the end of the frame.
    fn sessions(&mut self) -> Result<Vec<SessionId>, BadFrame> {
        let mut sessions = Vec::new();
        while !self.reader.rest().is_empty() {
            sessions.push(SessionId(i64::decode(&mut self.reader)?));
        }
        Ok(sessions)
    }

    fn rest(&mut self) -> &[u8] {
        let len = self.reader.rest().len();
        self.reader.take(len).unwrap_or_default()
    }

    fn sequence(&mut self) -> Result<SequenceNumber, BadFrame> {
        Ok(SequenceNumber { session: self.number()?, counter: self.number()? })
    }

    /// Reads a ballot that process `leader` leads, or would lead: answers go to the process that a
    /// ballot names.
    fn ballot_of(&mut self, leader: u64) -> Result<Ballot, BadFrame> {
        let ballot = self.ballot()?;
        if ballot.pid == leader { Ok(ballot) } else { Err(BadFrame::ballot(ballot)) }
    }

    /// Reads the sender's own ballot; the processes of a later configuration are unknown here.
    fn ready(&mut self, from: u64) -> Result<Ballot, BadFrame> {
        let ballot = self.any_ballot()?;
        let known = ballot.config_id == self.roster.configuration;
        if known && ballot.pid != from { Err(BadFrame::ballot(ballot)) } else { Ok(ballot) }
    }

    /// Reads a ballot of a voter of this configuration, or none.
    fn ballot(&mut self) -> Result<Ballot, BadFrame> {
        let Roster { configuration, processes, .. } = self.roster;
        let ballot = self.any_ballot()?;
        let voter = ballot.config_id == configuration && ballot.pid <= processes;
        if voter || ballot == Ballot::default() { Ok(ballot) } else { Err(BadFrame::ballot(ballot)) }
    }

    /// Reads a ballot of any configuration, or none.
    fn any_ballot(&mut self) -> Result<Ballot, BadFrame> {
        let bytes = self.reader.take(BALLOT_LEN)?;
        let ballot = ballot::from_bytes(bytes).unwrap_or_default();
        let possible = ballot.config_id > 0 && (1..=MEMBERS_MAX as u64).contains(&ballot.pid);
        if possible && ballot.n <= BALLOT_NUMBER_MAX || ballot == Ballot::default() {
            return Ok(ballot);
        }
        Err(BadFrame::ballot(ballot))
    }

    fn index(&mut self) -> Result<usize, BadFrame> {
        let index = self.number()?;
        if index <= INDEX_MAX { Ok(index as usize) } else { Err(BadFrame::Index(index)) }
    }

    fn flag(&mut self) -> Result<bool, BadFrame> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::NotAllowed("flag").into()),
        }
    }

    fn byte(&mut self) -> Result<u8, BadFrame> {
        Ok(self.reader.take(1)?[0])
    }

    fn word(&mut self) -> Result<u32, BadFrame> {
        Ok(i32::decode(&mut self.reader)? as u32)
    }

    fn number(&mut self) -> Result<u64, BadFrame> {
        Ok(i64::decode(&mut self.reader)? as u64)
    }
}
