//! Promise: a client gets replies in the order of its requests, of whatever kind; it sees its own
//! writes; and what it sees never goes back, even if it returns on another connection.
//!
//! A reply's zxid identifies the state that it shows. To keep the promise it suffices that zxids
//! never decrease among a client's replies: the reply to the client's own write has the write's
//! zxid, so every later reply shows at least that write, and `contents` checks that a reply shows
//! exactly the state at its zxid.

use std::collections::VecDeque;

use oxkeeper_proto::op::XID_PING;

/// A request without a reply.
#[derive(Debug)]
struct Asked<R> {
    xid: i32,
    floor: i64,
    at_ms: u64,
    request: R,
}

/// Outstanding requests of a client, and the last zxid it has seen.
#[derive(Debug)]
pub struct Order<R> {
    outstanding: VecDeque<Asked<R>>,
    last_zxid: i64,
}

impl<R> Default for Order<R> {
    fn default() -> Order<R> {
        Order { outstanding: VecDeque::new(), last_zxid: 0 }
    }
}

impl<R> Order<R> {
    /// Notes a request. `floor` is kept with it.
    pub fn asked(&mut self, xid: i32, floor: i64, at_ms: u64, request: R) {
        self.outstanding.push_back(Asked { xid, floor, at_ms, request });
    }

    /// Checks the order of a reply, which shows the state at `zxid`. Returns the request and its
    /// `floor`.
    pub fn answered(&mut self, xid: i32, zxid: i64) -> (R, i64) {
        let oldest = self.outstanding.pop_front();
        let Asked { xid: expected, floor, request, .. } = oldest.expect("order: a reply nobody waits for");
        assert_eq!(xid, expected, "order: of replies");
        assert_ne!(xid, 0, "order: 0 is the server's own");
        assert!(zxid >= self.last_zxid, "order: a reply of zxid {zxid} behind one of {}", self.last_zxid);
        self.last_zxid = zxid;
        (request, floor)
    }

    /// Removes the requests that were lost with the connection, and returns them.
    pub fn lost(&mut self) -> impl Iterator<Item = R> {
        self.outstanding.drain(..).map(|asked| asked.request)
    }

    /// Starts over for a client that begins another session.
    pub fn forget(&mut self) {
        *self = Order::default();
    }

    /// Returns the number of requests without a reply.
    pub fn count(&self) -> usize {
        self.outstanding.len()
    }

    /// Returns the time of the oldest request without a reply.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.outstanding.front().map(|asked| asked.at_ms)
    }

    /// Returns the highest zxid of a reply.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Returns whether all requests but pings have been answered.
    pub fn is_settled(&self) -> bool {
        self.outstanding.iter().all(|asked| asked.xid == XID_PING)
    }

    /// Returns whether a ping is outstanding.
    pub fn pings(&self) -> bool {
        self.outstanding.iter().any(|asked| asked.xid == XID_PING)
    }
}
