//! Writes behind a read that waits, and the reads between two writes.
//!
//! A read waits for its connection's own writes. What stands behind it need not: the next write is proposed at once and
//! takes the reads in front of it along ([`ReadsAhead`]). Whoever applies it answers them first, when the former write is
//! applied and this one is not, so that they see exactly what they would have seen had the client waited. Reads with no
//! write behind them stay where they are and are answered by the connection.
//!
//! Requests that change the connection itself, or whose answers may be long, do not travel: everything behind them waits.
//! Source: `CommitProcessor`, where the reads of a session hold up the next commit of anybody.

use oxkeeper_proto::op::XID_PING;
use oxkeeper_proto::records::{ReadRequest, RequestHeader};
use oxkeeper_proto::{Jute, OpCode, Reader, frame};
use oxkeeper_state::{Command, State};

use crate::Shared;
use crate::connection::{Connection, IN_FLIGHT_MAX, OUT_TURN_MAX, Turn, is_write, put_reply};
use crate::delivery::{Answered, ConnectionId, DeliveryKind, Outbox, ReadsAhead};
use crate::reading::Reading;
use crate::watches::Watcher;

/// Bytes of answers between two writes, if others have made them longer than they seemed: then the connection ends.
pub(crate) const ANSWERS_LEN_MAX: usize = 32 << 20;
/// Bytes a short answer may take, about.
const SHORT_ANSWER_LEN: usize = 128;
/// Bytes of one child in an answer, about.
const CHILD_LEN: usize = 32;

/// Reads of a connection that wait in front of its writes.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// On their way into a proposal.
    pub(crate) reads: Option<Box<ReadsAhead>>,
    /// Those at the start of the input, which no write has taken along.
    waiting: Reads,
    /// Bytes of the frames of those.
    waiting_len: usize,
    /// Those that writes have taken along, not answered yet.
    travelling: Reads,
    /// Bytes of the longest write since none was in flight: what it writes may be what is read.
    pub(crate) longest: usize,
}

/// So many reads.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    count: u32,
    /// Bytes of their answers, about.
    answers_len: usize,
}

impl Ahead {
    /// A read that travelled is answered.
    pub(crate) fn answered(&mut self) {
        self.travelling.count -= 1;
        if self.travelling.count == 0 {
            self.travelling = Reads::default();
        }
    }

    /// Whether one more read may travel.
    fn has_room(&self) -> bool {
        let [count, answers_len] = [self.waiting, self.travelling]
            .iter()
            .fold([0, 0], |[count, len], reads| [count + reads.count as usize, len + reads.answers_len]);
        count < IN_FLIGHT_MAX as usize && answers_len < OUT_TURN_MAX
    }

    /// The reads that waited travel.
    fn depart(&mut self) {
        let Reads { count, answers_len } = std::mem::take(&mut self.waiting);
        self.waiting_len = 0;
        self.travelling.count += count;
        self.travelling.answers_len += answers_len;
    }
}

impl Connection {
    /// Proposes the first write of `input`, if there are only reads before it, and they may travel: bytes of all that.
    /// `None`: the input waits.
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

    /// Whether a write could be proposed together with the reads in front of it.
    fn send_write(&mut self, reads: &[u8], body: &[u8], turn: &mut Turn<'_>) -> bool {
        if !turn.load.has_room(body.len()) {
            return false;
        }
        let arrived_ms = std::mem::replace(&mut self.arrived_ms, turn.now_ms);
        self.ahead.reads = Some(Box::new(ReadsAhead { frames: reads.to_vec(), arrived_ms }));
        // An error is met again when the write's turn comes.
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

    /// Bytes that a read and its answer may take, about, whatever the writes in flight do; `None`: it does not travel.
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

/// Tells by the number of its children and the length of its data what the answer for a znode takes.
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
    /// Answers every read in front of `command`, for which they waited.
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
