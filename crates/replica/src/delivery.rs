//! What the applier says to connections: frames and orders, in the order in which they must reach each connection.

use std::sync::Arc;

use oxkeeper_proto::OpCode;

/// A client connection: which thread owns it, where there, and which of those that ever had that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index of the owning thread.
    pub thread: u16,
    /// Distinguishes connections that used the same place one after the other.
    pub generation: u16,
    /// Place within the thread's table.
    pub place: u32,
}

/// One thing a connection must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who hears it.
    pub connection: ConnectionId,
    /// Bytes of the outbox that belong to it.
    pub len: u32,
    /// What it is.
    pub kind: DeliveryKind,
}

/// What a delivery means to its connection, beside the bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryKind {
    /// A notification.
    Event,
    /// The answer to the connection's oldest unanswered write.
    Reply(Answered),
    /// The answer to a read that travelled with the connection's next write, see [`ReadsAhead`].
    Read(Answered),
    /// The connection's session exists now, or goes on here; the handshake can be answered.
    SessionOpened(Answered),
    /// The session that the connection wants to resume has ended: the handshake is answered so, and the connection ends.
    SessionRefused,
    /// As `Reply`, to closeSession: the connection ends once it is flushed.
    SessionClosed(Answered),
    /// The session expired or moved to another connection or server: the connection ends without a word.
    Disconnect,
    /// The answers to its reads that travelled have become so long that the rest of them is left out: the connection ends.
    Overlong,
    /// As `Disconnect`, in place of the answer to the connection's oldest unanswered write.
    Unanswered,
}

/// Which request a reply answers, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What it asked for.
    pub op: OpCode,
    /// Its xid.
    pub xid: i32,
    /// The zxid in the reply.
    pub zxid: i64,
    /// When it arrived, ms as the clocks count.
    pub received_ms: u64,
}

/// Deliveries for the connections of one thread: their bytes one after the other.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The bytes of all deliveries.
    pub bytes: Vec<u8>,
    /// In order.
    pub deliveries: Vec<Delivery>,
}

impl Outbox {
    /// Adds one delivery, whose bytes `write` appends.
    pub fn push(&mut self, connection: ConnectionId, kind: DeliveryKind, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let len = u32::try_from(self.bytes.len() - start).expect("a frame is shorter than 4 GiB");
        self.deliveries.push(Delivery { connection, len, kind });
    }

    /// Moves everything behind what `other` holds already.
    pub fn append_to(&mut self, other: &mut Outbox) {
        if other.deliveries.is_empty() {
            std::mem::swap(self, other);
        } else {
            other.bytes.append(&mut self.bytes);
            other.deliveries.append(&mut self.deliveries);
        }
    }

    /// Moves what `connection` must hear, from the delivery in place `from` on and `most` of it, behind what `other` holds.
    pub(crate) fn split_off(&mut self, connection: ConnectionId, from: usize, most: usize, other: &mut Outbox) {
        let is_of = |delivery: &Delivery| delivery.connection == connection;
        if !self.deliveries.iter().skip(from).any(is_of) {
            return;
        }
        let (all, mut moved) = (std::mem::take(self), 0);
        for (place, (delivery, bytes)) in all.iter().enumerate() {
            let goes = place >= from && is_of(&delivery) && moved < most;
            moved += usize::from(goes);
            let to = if goes { &mut *other } else { &mut *self };
            to.bytes.extend_from_slice(bytes);
            to.deliveries.push(delivery);
        }
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Each delivery with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Delivery, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.deliveries.iter().map(move |&delivery| {
            let (bytes, behind) = rest.split_at(delivery.len as usize);
            rest = behind;
            (delivery, bytes)
        })
    }

    /// Forgets everything; keeps at most `capacity_max` bytes allocated.
    pub fn clear(&mut self, capacity_max: usize) {
        self.bytes.clear();
        self.deliveries.clear();
        self.bytes.shrink_to(capacity_max);
        self.deliveries.shrink_to(capacity_max / size_of::<Delivery>());
    }
}

/// Where a command came from, so that its answer finds the way back. Not part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `None` for the server's own commands.
    pub connection: Option<ConnectionId>,
    /// When the request arrived, ms as the clocks count.
    pub received_ms: u64,
    /// Reads that the client sent before this command and after its former one.
    pub reads: Option<Box<ReadsAhead>>,
}

impl Origin {
    /// The server itself, now.
    pub fn own(received_ms: u64) -> Origin {
        Origin { connection: None, received_ms, reads: None }
    }
}

/// Reads that a client sent between two writes. They are answered when the first of the writes is applied and the second is
/// not, which only the thread that applies both can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadsAhead {
    /// Whole frames, with their lengths in front, each of a request whose answer is short as far as one can tell.
    pub frames: Vec<u8>,
    /// When the first of them arrived, ms as the clocks count.
    pub arrived_ms: u64,
}

/// Encoded commands on their way to the log, and where each came from.
#[derive(Debug, Default)]
pub struct Proposals {
    /// Commands, each with its length in front.
    pub commands: Vec<u8>,
    /// One for each command.
    pub origins: Vec<Origin>,
}

impl Proposals {
    /// Moves everything behind what `other` holds already.
    pub fn append_to(&mut self, other: &mut Proposals) {
        other.commands.append(&mut self.commands);
        other.origins.append(&mut self.origins);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.origins.clear();
    }

    /// Whether there is nothing to propose.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }
}

/// Identities as they travel in commands and are kept with watches.
pub type IdentityBytes = Arc<[u8]>;
