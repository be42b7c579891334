//! Session clocks: when each session was last heard of, and which have expired.
//!
//! Owns one deadline per session, in buckets of one tick, as ZooKeeper keeps them: a session expires between its timeout
//! and its timeout plus one tick after it was last heard of, never earlier. What was heard is a plain time that the
//! connection's thread writes and this reads when a deadline comes due, so that a packet costs no more than a store.
//!
//! The own-pause guard: when this server itself stood still, its sessions could not be heard, so their deadlines move
//! by the pause. ZooKeeper expires every session in that case. Source: `SessionTrackerImpl`, `ExpiryQueue`.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use oxkeeper_proto::SessionId;

/// When a session's connection last sent something, ms; [`TAKEN_OVER`] once another connection has the session. Shared
/// with the thread that owns the connection, which only ever raises it.
pub type Heard = Arc<AtomicU64>;

/// Later than any time: what a connection that has lost its session finds.
pub const TAKEN_OVER: u64 = u64::MAX;

#[derive(Debug)]
struct Clock {
    timeout_ms: u64,
    heard: Heard,
    /// Not before this, whatever was heard.
    floor_ms: u64,
    /// The bucket it is in.
    deadline_ms: u64,
    closing: bool,
}

/// The clocks of all sessions. Times are ms on a monotonic clock that the caller reads.
#[derive(Debug)]
pub struct Clocks {
    tick_ms: u64,
    by_session: HashMap<SessionId, Clock, FixedState>,
    buckets: BTreeMap<u64, Vec<SessionId>>,
    last_tick_ms: u64,
}

/// A gap between two looks at the clocks of more than this many ticks is a pause of this server.
const PAUSE_TICKS: u64 = 1;

impl Clocks {
    /// No sessions yet.
    pub fn new(tick_ms: u64, now_ms: u64) -> Clocks {
        let by_session = HashMap::with_hasher(FixedState::with_seed(tick_ms));
        Clocks { tick_ms, by_session, buckets: BTreeMap::new(), last_tick_ms: now_ms }
    }

    /// How often [`Clocks::tick`] wants to be called, ms.
    pub fn interval_ms(&self) -> u64 {
        (self.tick_ms / 2).max(1)
    }

    /// A session exists (again): its full timeout begins now.
    pub fn open(&mut self, session: SessionId, timeout_ms: i32, now_ms: u64) {
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        let deadline_ms = self.bucket(now_ms + timeout_ms);
        let heard = Arc::new(AtomicU64::new(now_ms));
        let clock = Clock { timeout_ms, heard, floor_ms: 0, deadline_ms, closing: false };
        self.by_session.insert(session, clock);
        self.buckets.entry(deadline_ms).or_default().push(session);
    }

    /// A connection takes the session over, with a newly negotiated timeout. `None`: it is unknown or ending.
    pub fn attach(&mut self, session: SessionId, timeout_ms: i32, now_ms: u64) -> Option<Heard> {
        let clock = self.by_session.get_mut(&session).filter(|clock| !clock.closing)?;
        clock.timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        clock.floor_ms = 0;
        let heard = Arc::new(AtomicU64::new(now_ms));
        std::mem::replace(&mut clock.heard, heard.clone()).store(TAKEN_OVER, Ordering::Relaxed);
        self.hasten(session);
        Some(heard)
    }

    /// A shorter timeout must not wait for the old, later bucket.
    fn hasten(&mut self, session: SessionId) {
        let due_ms = self.due_ms(&self.by_session[&session]);
        let clock = self.by_session.get_mut(&session).expect("just looked up");
        if due_ms < clock.deadline_ms {
            clock.deadline_ms = due_ms;
            self.buckets.entry(due_ms).or_default().push(session);
        }
    }

    /// The session is over.
    pub fn close(&mut self, session: SessionId) {
        self.by_session.remove(&session);
    }

    /// The session is being closed: nothing renews it any more.
    pub fn closing(&mut self, session: SessionId) {
        if let Some(clock) = self.by_session.get_mut(&session) {
            clock.closing = true;
        }
    }

    /// The sessions that have expired by `now_ms`; each is named once.
    pub fn tick(&mut self, now_ms: u64) -> Vec<SessionId> {
        let gap_ms = now_ms.saturating_sub(self.last_tick_ms);
        self.last_tick_ms = now_ms;
        if gap_ms > self.interval_ms() + PAUSE_TICKS * self.tick_ms {
            self.forgive(gap_ms, now_ms);
        }
        let mut expired = Vec::new();
        while let Some(entry) = self.buckets.first_entry().filter(|entry| *entry.key() <= now_ms) {
            let (deadline_ms, sessions) = entry.remove_entry();
            for session in sessions {
                self.look_at(session, deadline_ms, now_ms, &mut expired);
            }
        }
        expired
    }

    fn look_at(&mut self, session: SessionId, deadline_ms: u64, now_ms: u64, expired: &mut Vec<SessionId>) {
        let Some(clock) = self.by_session.get(&session) else { return };
        if clock.closing || clock.deadline_ms != deadline_ms {
            return;
        }
        let due_ms = self.due_ms(clock);
        let clock = self.by_session.get_mut(&session).expect("just looked up");
        if due_ms <= now_ms {
            clock.closing = true;
            expired.push(session);
        } else {
            clock.deadline_ms = due_ms;
            self.buckets.entry(due_ms).or_default().push(session);
        }
    }

    /// Moves every deadline by a pause of this server; but nobody, heard of since or not, has more than a full timeout
    /// from now.
    fn forgive(&mut self, gap_ms: u64, now_ms: u64) {
        let moved = |clock: &Clock| (self.due_ms(clock) + gap_ms).min(self.bucket(now_ms + clock.timeout_ms));
        let floors: Vec<_> = self.by_session.iter().map(|(&id, clock)| (id, moved(clock))).collect();
        for (session, floor_ms) in floors {
            if let Some(clock) = self.by_session.get_mut(&session) {
                clock.floor_ms = floor_ms;
            }
        }
    }

    fn due_ms(&self, clock: &Clock) -> u64 {
        self.bucket(clock.heard.load(Ordering::Relaxed) + clock.timeout_ms).max(clock.floor_ms)
    }

    /// The end of the tick that `at_ms` lies in.
    fn bucket(&self, at_ms: u64) -> u64 {
        (at_ms / self.tick_ms + 1) * self.tick_ms
    }

    /// The sessions by the time at which they would expire, for `dump`.
    pub fn deadlines(&self) -> BTreeMap<u64, Vec<SessionId>> {
        let mut deadlines: BTreeMap<u64, Vec<SessionId>> = BTreeMap::new();
        for (&session, clock) in &self.by_session {
            deadlines.entry(self.due_ms(clock)).or_default().push(session);
        }
        deadlines.values_mut().for_each(|sessions| sessions.sort());
        deadlines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);

    #[test]
    fn expiry_is_late_never_early() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 250, 0);
        let heard = clocks.attach(A, 250, 0).unwrap();
        for now in (50..=300).step_by(50) {
            assert_eq!(clocks.tick(now), if now < 300 { vec![] } else { vec![A] }, "{now}");
        }
        assert_eq!(clocks.tick(350), [], "named once");
        assert!(clocks.attach(A, 250, 350).is_none(), "nothing renews it");
        heard.store(350, Ordering::Relaxed);
        assert_eq!(clocks.tick(400), []);
    }

    #[test]
    fn what_is_heard_renews() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 200, 0);
        let heard = clocks.attach(A, 200, 0).unwrap();
        for now in (50..2000).step_by(50) {
            heard.store(now, Ordering::Relaxed);
            assert_eq!(clocks.tick(now), [], "{now}");
        }
        assert_eq!(clocks.tick(2050), []);
        assert_eq!(clocks.tick(2100), []);
        assert_eq!(clocks.tick(2150), []);
        assert_eq!(clocks.tick(2200), [A]);
    }

    #[test]
    fn an_own_pause_is_forgiven() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 400, 0);
        assert_eq!(clocks.tick(50), []);
        assert_eq!(clocks.tick(8050), [], "the server stood still for 8 s");
        assert_eq!(clocks.tick(8100), []);
        for now in (8150..8500).step_by(50) {
            assert_eq!(clocks.tick(now), [], "{now}");
        }
        assert_eq!(clocks.tick(8500), [A], "500 due, and the pause of 8000");
    }

    #[test]
    fn a_pause_is_not_added_to_what_was_heard_after_it() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 400, 0);
        let heard = clocks.attach(A, 400, 0).unwrap();
        assert_eq!(clocks.tick(50), []);
        heard.store(8040, Ordering::Relaxed);
        for now in (8050..8500).step_by(50) {
            assert_eq!(clocks.tick(now), [], "{now}");
        }
        assert_eq!(clocks.tick(8500), [A], "not at 16500");
    }

    #[test]
    fn a_shorter_timeout_counts_at_once() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 10_000, 0);
        clocks.attach(A, 200, 0).unwrap();
        for now in (50..300).step_by(50) {
            assert_eq!(clocks.tick(now), [], "{now}");
        }
        assert_eq!(clocks.tick(300), [A]);
    }
}
