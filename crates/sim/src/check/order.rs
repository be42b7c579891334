//! Promise: a client is answered in the order in which it asked, whatever it asks for; it sees its own writes; what it sees never goes back,
//! also when it comes back on another connection.
//!
//! A reply's zxid says which state it shows. That zxids never fall among the replies of a client is all of it: an own
//! write is answered with its zxid, so whatever is answered behind it shows at least that, and `contents` checks that
//! a reply shows exactly the state of its zxid.

use std::collections::VecDeque;

use oxkeeper_proto::op::XID_PING;

/// A request without an answer.
#[derive(Debug)]
struct Asked<R> {
    xid: i32,
    floor: i64,
    at_ms: u64,
    request: R,
}

/// One client's requests and what it has seen.
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
    /// A request leaves. `floor` is kept with it.
    pub fn asked(&mut self, xid: i32, floor: i64, at_ms: u64, request: R) {
        self.outstanding.push_back(Asked { xid, floor, at_ms, request });
    }

    /// A reply arrives: to which request, and what was kept with it. `zxid` is what it shows.
    pub fn answered(&mut self, xid: i32, zxid: i64) -> (R, i64) {
        let oldest = self.outstanding.pop_front();
        let Asked { xid: expected, floor, request, .. } = oldest.expect("order: a reply nobody waits for");
        assert_eq!(xid, expected, "order: of replies");
        assert_ne!(xid, 0, "order: 0 is the server's own");
        assert!(zxid >= self.last_zxid, "order: a reply of zxid {zxid} behind one of {}", self.last_zxid);
        self.last_zxid = zxid;
        (request, floor)
    }

    /// The connection is gone, and with it what was not answered.
    pub fn lost(&mut self) -> impl Iterator<Item = R> {
        self.outstanding.drain(..).map(|asked| asked.request)
    }

    /// The client begins anew, with another session.
    pub fn forget(&mut self) {
        *self = Order::default();
    }

    /// Requests without an answer.
    pub fn count(&self) -> usize {
        self.outstanding.len()
    }

    /// When the oldest of them was made.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.outstanding.front().map(|asked| asked.at_ms)
    }

    /// The highest zxid of a reply.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Whether everything but pings is answered.
    pub fn is_settled(&self) -> bool {
        self.outstanding.iter().all(|asked| asked.xid == XID_PING)
    }

    /// Whether a ping waits.
    pub fn pings(&self) -> bool {
        self.outstanding.iter().any(|asked| asked.xid == XID_PING)
    }
}
