//! Writes behind a waiting read, and the reads between two writes.
//!
//! A read waits for its connection's own writes. Requests behind it need not: the next write is
//! proposed at once and takes the reads in front of it along ([`ReadsAhead`]). The thread that
//! applies this write answers them first, when the previous write is applied and this one is not,
//! so that they see exactly what they would have seen had the client waited. Reads with no write
//! behind them stay where they are, and the connection answers them.
//!
//! Requests that change the connection itself, or whose answers may be long, do not travel:
//! everything behind them waits. Source: `CommitProcessor`, where the reads of a session hold up
//! the next commit of any session.

use oxkeeper_proto::op::XID_PING;
use oxkeeper_proto::records::{ReadRequest, RequestHeader};
use oxkeeper_proto::{Jute, OpCode, Reader, frame};
use oxkeeper_state::{Command, State};

use crate::Shared;
use crate::connection::{Connection, IN_FLIGHT_MAX, OUT_TURN_MAX, Turn, is_write, put_reply};
use crate::delivery::{Answered, ConnectionId, DeliveryKind, Outbox, ReadsAhead};
use crate::reading::Reading;
use crate::watches::Watcher;

/// Largest number of bytes of answers between two writes; if other clients' writes have made them
/// longer, the connection ends.
pub(crate) const ANSWERS_LEN_MAX: usize = 32 << 20;
/// Approximate bytes of a short answer.
const SHORT_ANSWER_LEN: usize = 128;
/// Approximate bytes of one child in an answer.
const CHILD_LEN: usize = 32;

/// Reads of a connection that wait in front of its writes.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Reads on their way into a proposal.
    pub(crate) reads: Option<Box<ReadsAhead>>,
    /// Reads at the start of the input, which no write has taken along.
    waiting: Reads,
    /// Bytes of the frames of `waiting`.
    waiting_len: usize,
    /// Reads that writes have taken along and that are not answered yet.
    travelling: Reads,
    /// Bytes of the longest write since none was in flight: a read may read what it writes.
    pub(crate) longest: usize,
}

/// Number of reads, and the size of their answers.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    count: u32,
    /// Approximate bytes of their answers.
    answers_len: usize,
}

impl Ahead {
    /// Notes that a read that travelled is answered.
    pub(crate) fn answered(&mut self) {
        self.travelling.count -= 1;
        if self.travelling.count == 0 {
            self.travelling = Reads::default();
        }
    }

    /// Returns whether one more read may travel.
    fn has_room(&self) -> bool {
        let [count, answers_len] = [self.waiting, self.travelling]
            .iter()
            .fold([0, 0], |[count, len], reads| [count + reads.count as usize, len + reads.answers_len]);
        count < IN_FLIGHT_MAX as usize && answers_len < OUT_TURN_MAX
    }

    /// Lets the waiting reads travel.
    fn depart(&mut self) {
        let Reads { count, answers_len } = std::mem::take(&mut self.waiting);
        self.waiting_len = 0;
        self.travelling.count += count;
        self.travelling.answers_len += answers_len;
    }
}

impl Connection {
    /// Proposes the first write of `input`, if only reads that may travel precede it. Returns the
    /// bytes of all that, or `None` if the input must wait.
    pub(crate) fn send_ahead(&mut self, input: &[u8], turn: &mut Turn<'_>) -> Option<usize> {
        let is_open = self.is_open() && self.in_flight() > 0;
        if !is_open || self.is_too_late(turn) || !self.has_enforced_auth(turn.config) {
            return None;
        }
        loop {
            let (reads, behind) = input.split_at(self.ahead.waiting_len);
            let (body, rest) = frame::split_frame(behind, turn.config.frame_len_max).ok().flatten()?;
            let mut reader = Reader::new(body);
            let op = OpCode::from_wire(RequestHeader::decode(&mut reader).ok()?.op)?;
            if is_write(op, turn.config) {
                return self.send_write(reads, body, turn).then(|| input.len() - rest.len());
            }
            let answer_len = self.answer_len(op, reader.rest(), turn.shared)?;
            if !self.ahead.has_room() {
                return None;
            }
            let waiting = &mut self.ahead.waiting;
            waiting.count += 1;
            waiting.answers_len += answer_len;
            self.ahead.waiting_len += behind.len() - rest.len();
        }
    }

    /// Proposes a write together with the reads in front of it. Returns whether that succeeded.
    fn send_write(&mut self, reads: &[u8], body: &[u8], turn: &mut Turn<'_>) -> bool {
        if !turn.load.has_room(body.len()) {
            return false;
        }
        let arrived_ms = std::mem::replace(&mut self.arrived_ms, turn.now_ms);
        self.ahead.reads = Some(Box::new(ReadsAhead { frames: reads.to_vec(), arrived_ms }));
        // An error occurs again when it is the write's turn.
        let sent = self.request(body, turn).is_ok();
        self.ahead.reads = None;
        if sent {
            self.ahead.depart();
            for body in bodies(reads) {
                self.counting(turn.stats).received(body.len());
            }
        } else {
            self.arrived_ms = arrived_ms;
        }
        sent
    }

    /// Returns the approximate bytes of a read and its answer, whatever the writes in flight do;
    /// `None` if the read does not travel.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever is not named does not travel")]
    fn answer_len(&self, op: OpCode, body: &[u8], shared: &Shared) -> Option<usize> {
        let found_len = match op {
            OpCode::Ping
            | OpCode::Exists
            | OpCode::Sync
            | OpCode::AddWatch
            | OpCode::CheckWatches
            | OpCode::RemoveWatches => 0,
            OpCode::GetData => znode_of(body, &shared.state, |_, len| len).max(self.ahead.longest),
            OpCode::GetChildren | OpCode::GetChildren2 => {
                CHILD_LEN * (znode_of(body, &shared.state, |children, _| children) + self.in_flight() as usize)
            }
            _ => return None,
        };
        Some(SHORT_ANSWER_LEN + body.len() + found_len)
    }
}

/// Estimates the length of an answer for a znode from the number of its children and the length of
/// its data.
fn znode_of(body: &[u8], state: &State, len: impl FnOnce(usize, usize) -> usize) -> usize {
    let path = ReadRequest::from_bytes(body).ok().and_then(|request| request.path);
    let slot = path.and_then(|path| state.tree().lookup(&path));
    slot.map_or(0, |slot| {
        let znode = state.tree().znode(slot);
        len(znode.num_children() as usize, znode.data_len())
    })
}

fn bodies(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let (body, behind) = frame::split_frame(rest, usize::MAX).ok().flatten()?;
        rest = behind;
        Some(body)
    })
}

impl ReadsAhead {
    /// Answers every read that waited in front of `command`.
    pub(crate) fn answer(&self, shared: &Shared, command: &Command<'_>, connection: ConnectionId, outbox: &mut Outbox) {
        let who = Watcher { connection, session: command.session, identities: command.identities.0 };
        let reading = Reading { shared, settings: command.settings, who };
        let zxid = shared.state.zxid().0;
        let start = outbox.bytes.len();
        for body in bodies(&self.frames) {
            if outbox.bytes.len() - start > ANSWERS_LEN_MAX {
                return outbox.push(connection, DeliveryKind::Overlong, |_| {});
            }
            let mut reader = Reader::new(body);
            let header = RequestHeader::decode(&mut reader).expect("it was looked at");
            let op = OpCode::from_wire(header.op).expect("it was looked at");
            let answered = Answered { op, xid: header.xid, zxid, received_ms: self.arrived_ms };
            outbox.push(connection, DeliveryKind::Read(answered), |out| {
                if op == OpCode::Ping {
                    put_reply(XID_PING, zxid, out, |_| Ok(()));
                } else {
                    put_reply(header.xid, zxid, out, |out| reading.answer(op, reader.rest(), out));
                }
            });
        }
    }
}
