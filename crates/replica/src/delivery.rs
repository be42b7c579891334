//! Deliveries of the applier to connections: frames and orders, in the order in which they must
//! reach each connection.

use std::sync::Arc;

use oxkeeper_proto::OpCode;

/// Id of a client connection: the owning thread, the place there, and the generation of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index of the owning thread.
    pub thread: u16,
    /// Distinguishes connections that used the same place one after another.
    pub generation: u16,
    /// Place in the thread's table.
    pub place: u32,
}

/// One delivery to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The receiving connection.
    pub connection: ConnectionId,
    /// Bytes of the outbox that belong to it.
    pub len: u32,
    /// The kind of delivery.
    pub kind: DeliveryKind,
}

/// Meaning of a delivery to its connection, besides the bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryKind {
    /// A notification.
    Event,
    /// The answer to the connection's oldest unanswered write.
    Reply(Answered),
    /// The answer to a read that travelled with the connection's next write; see [`ReadsAhead`].
    Read(Answered),
    /// The connection's session exists now, or continues here; the handshake can be answered.
    SessionOpened(Answered),
    /// The session that the connection wants to resume has ended: the handshake says so, and the
    /// connection ends.
    SessionRefused,
    /// Like `Reply`, to closeSession: the connection ends once it is flushed.
    SessionClosed(Answered),
    /// The session expired or moved to another connection or server: the connection ends without an
    /// answer.
    Disconnect,
    /// The answers to its reads that travelled exceed the limit, and the rest is left out: the
    /// connection ends.
    Overlong,
    /// Like `Disconnect`, in place of the answer to the connection's oldest unanswered write.
    Unanswered,
}

/// The request that a reply answers, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The operation.
    pub op: OpCode,
    /// The xid.
    pub xid: i32,
    /// The zxid in the reply.
    pub zxid: i64,
    /// Arrival time on the monotonic clock, ms.
    pub received_ms: u64,
}

/// Deliveries to the connections of one thread, with their bytes one after another.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The bytes of all deliveries.
    pub bytes: Vec<u8>,
    /// The deliveries, in order.
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

    /// Appends everything to `other`.
    pub fn append_to(&mut self, other: &mut Outbox) {
        if other.deliveries.is_empty() {
            std::mem::swap(self, other);
        } else {
            other.bytes.append(&mut self.bytes);
            other.deliveries.append(&mut self.deliveries);
        }
    }

    /// Moves the deliveries to `connection`, starting with the one in place `from` and at most
    /// `most` of them, to the end of `other`.
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

    /// Returns whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Returns each delivery with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Delivery, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.deliveries.iter().map(move |&delivery| {
            let (bytes, behind) = rest.split_at(delivery.len as usize);
            rest = behind;
            (delivery, bytes)
        })
    }

    /// Clears the outbox; keeps at most `capacity_max` bytes allocated.
    pub fn clear(&mut self, capacity_max: usize) {
        self.bytes.clear();
        self.deliveries.clear();
        self.bytes.shrink_to(capacity_max);
        self.deliveries.shrink_to(capacity_max / size_of::<Delivery>());
    }
}

/// Source of a command, to which its answer returns. Not part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The connection; `None` for the server's own commands.
    pub connection: Option<ConnectionId>,
    /// Arrival time of the request on the monotonic clock, ms.
    pub received_ms: u64,
    /// Reads that the client sent before this command and after its previous one.
    pub reads: Option<Box<ReadsAhead>>,
}

impl Origin {
    /// Returns the origin of a command of the server itself.
    pub fn own(received_ms: u64) -> Origin {
        Origin { connection: None, received_ms, reads: None }
    }
}

/// Reads that a client sent between two writes. They are answered once the first write is applied
/// and before the second one is, at a time that only the thread that applies both knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadsAhead {
    /// Whole frames, each preceded by its length, of requests whose answers are expected to be
    /// short.
    pub frames: Vec<u8>,
    /// Arrival time of the first of them on the monotonic clock, ms.
    pub arrived_ms: u64,
}

/// Encoded commands on their way to the log, with the origin of each.
#[derive(Debug, Default)]
pub struct Proposals {
    /// Commands, each preceded by its length.
    pub commands: Vec<u8>,
    /// Origins, one for each command.
    pub origins: Vec<Origin>,
}

impl Proposals {
    /// Appends everything to `other`.
    pub fn append_to(&mut self, other: &mut Proposals) {
        other.commands.append(&mut self.commands);
        other.origins.append(&mut self.origins);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.origins.clear();
    }

    /// Returns whether there is nothing to propose.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }
}

/// Encoded identities, as in commands and watches.
pub type IdentityBytes = Arc<[u8]>;
