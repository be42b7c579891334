//! Deliveries that wait until a leader of the next voters has begun: the answer to a reconfig, and
//! everything behind it on the same connection.
//!
//! A client that learns of other voters may remove the disks of former ones, so the answer must
//! wait. Replies leave in request order, and events in the order of zxids: so everything behind it
//! on the same connection waits, too. Reads and pings behind it wait in the connection, which
//! counts the reconfig as in flight.
//!
//! Bounded: nothing is applied between the end of one configuration and the epoch of the next, so
//! at most the deliveries that the rest of one log entry makes to one connection wait. They are
//! dropped with the server's incarnation, which closes its clients. Source: `CommitProcessor`,
//! where a session's commits come strictly in order.

use crate::delivery::{ConnectionId, Outbox};

/// See the module.
#[derive(Debug)]
pub(crate) struct Withheld {
    /// Withheld deliveries by thread.
    outboxes: Vec<Outbox>,
    /// Connections that wait, each with the place of its answer among the current deliveries.
    connections: Vec<(ConnectionId, usize)>,
}

impl Withheld {
    pub(crate) fn new(threads: usize) -> Withheld {
        Withheld { outboxes: (0..threads).map(|_| Outbox::default()).collect(), connections: Vec::new() }
    }

    /// Makes the next delivery to `connection` wait, and all behind it.
    pub(crate) fn begin(&mut self, connection: ConnectionId, outboxes: &[Outbox]) {
        // One entry may bring the answers to several reconfigs of one connection.
        if self.connections.iter().any(|(waiting, _)| *waiting == connection) {
            return;
        }
        let place = outboxes[usize::from(connection.thread)].deliveries.len();
        self.connections.push((connection, place));
    }

    /// Takes the deliveries that must wait out of the current ones; `only_answers` is a bug of the
    /// simulator.
    pub(crate) fn take_from(&mut self, outboxes: &mut [Outbox], only_answers: bool) {
        // The last one first, so that the places of the others stay valid.
        for (connection, place) in self.connections.iter_mut().rev() {
            let thread = usize::from(connection.thread);
            let most = if only_answers { 1 } else { usize::MAX };
            outboxes[thread].split_off(*connection, std::mem::take(place), most, &mut self.outboxes[thread]);
        }
        if only_answers {
            self.connections.clear();
        }
    }

    /// Returns all deliveries: a leader of the next voters has begun.
    pub(crate) fn release(&mut self, outboxes: &mut [Outbox]) {
        self.connections.clear();
        for (withheld, outbox) in self.outboxes.iter_mut().zip(outboxes).filter(|(withheld, _)| !withheld.is_empty()) {
            withheld.append_to(outbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DeliveryKind;

    fn said(outbox: &Outbox) -> Vec<(u32, u8)> {
        outbox.iter().map(|(delivery, bytes)| (delivery.connection.place, bytes[0])).collect()
    }

    #[test]
    fn whatever_follows_on_the_same_connection_waits_in_order() {
        let id = |place| ConnectionId { thread: 0, generation: 0, place };
        let push = |outboxes: &mut [Outbox], place, byte| {
            outboxes[0].push(id(place), DeliveryKind::Event, |out| out.push(byte));
        };
        let (mut outboxes, mut withheld) = (vec![Outbox::default()], Withheld::new(1));
        push(&mut outboxes, 1, 0);
        push(&mut outboxes, 2, 1);
        withheld.begin(id(1), &outboxes);
        push(&mut outboxes, 1, 2);
        withheld.begin(id(1), &outboxes);
        push(&mut outboxes, 2, 3);
        push(&mut outboxes, 1, 4);
        withheld.take_from(&mut outboxes, false);
        assert_eq!(said(&outboxes[0]), [(1, 0), (2, 1), (2, 3)], "what came before is not held back");
        outboxes[0].clear(0);
        push(&mut outboxes, 1, 5);
        push(&mut outboxes, 2, 6);
        withheld.take_from(&mut outboxes, false);
        assert_eq!(said(&outboxes[0]), [(2, 6)]);
        outboxes[0].clear(0);
        withheld.release(&mut outboxes);
        assert_eq!(said(&outboxes[0]), [(1, 2), (1, 4), (1, 5)]);
        push(&mut outboxes, 1, 7);
        withheld.take_from(&mut outboxes, false);
        assert_eq!(said(&outboxes[0]).last(), Some(&(1, 7)), "nothing waits any more");
    }
}
