//! Session clocks: the time at which each session was last heard, and its expiry.
//!
//! Each session has one deadline, at the end of a tick, as in ZooKeeper: a session expires between
//! its timeout and its timeout plus one tick after it was last heard, never earlier. The
//! connection's thread writes the time as a plain value, which the clocks read when a deadline
//! comes due, so that a packet costs no more than a store.
//!
//! The own-pause guard: when this server itself stood still, its sessions could not be heard, so
//! their deadlines move by the pause. ZooKeeper expires every session in that case. A session that
//! stays silent between the pauses is forgiven at most as many pauses as there are looks at the
//! clocks in its timeout: after those it has had its full timeout's chances to be heard, and must
//! expire, however late each look comes.
//!
//! In an ensemble every server has clocks, but only the leader looks at them: the others tell it
//! the sessions from which they have heard. Invariant: a session that is not closing has exactly
//! one place among the deadlines. Source: `SessionTrackerImpl`, `ExpiryQueue`,
//! `LearnerSessionTracker`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use oxkeeper_proto::SessionId;

/// Time at which a session's connection last sent something, ms; [`TAKEN_OVER`] once another
/// connection has the session. Shared with the thread that owns the connection, which only ever
/// raises it.
pub type Heard = Arc<AtomicU64>;

/// Value later than any time, which a connection finds once it has lost its session.
pub const TAKEN_OVER: u64 = u64::MAX;

#[derive(Debug)]
struct Clock {
    timeout_ms: u64,
    heard: Heard,
    /// Value of `heard` when the leader was last told.
    told_ms: u64,
    /// Lower bound of the expiry, whatever was heard.
    floor_ms: u64,
    /// Its place among the deadlines.
    deadline_ms: u64,
    closing: Option<Closing>,
    /// The last `heard` for which pauses were forgiven, and the number of those pauses.
    forgiven: (u64, u64),
}

/// Reason why a session is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The session has expired.
    Expired,
    /// The client asked for it.
    Asked,
}

/// The clocks of all sessions. Times are ms on a monotonic clock that the caller reads.
#[derive(Debug)]
pub struct Clocks {
    tick_ms: u64,
    by_session: HashMap<SessionId, Clock, FixedState>,
    deadlines: BTreeSet<(u64, SessionId)>,
    last_tick_ms: u64,
}

/// Number of ticks between two looks at the clocks above which the gap is a pause of this server.
const PAUSE_TICKS: u64 = 1;

impl Clocks {
    /// Creates clocks without sessions.
    pub fn new(tick_ms: u64, now_ms: u64) -> Clocks {
        let by_session = HashMap::with_hasher(FixedState::with_seed(tick_ms));
        Clocks { tick_ms, by_session, deadlines: BTreeSet::new(), last_tick_ms: now_ms }
    }

    /// Returns clocks with the same settings, without sessions.
    pub(crate) fn emptied(&self, now_ms: u64) -> Clocks {
        Clocks::new(self.tick_ms, now_ms)
    }

    /// Returns the number of sessions.
    pub fn len(&self) -> usize {
        self.by_session.len()
    }

    /// Returns whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    /// Returns whether there is a clock for `session`.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    /// Returns the interval at which to call [`Clocks::tick`], ms.
    pub fn interval_ms(&self) -> u64 {
        (self.tick_ms / 2).max(1)
    }

    /// Opens or reopens a session: its full timeout begins now.
    pub fn open(&mut self, session: SessionId, timeout_ms: i32, now_ms: u64) {
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        let deadline_ms = self.bucket(now_ms + timeout_ms);
        let heard = Arc::new(AtomicU64::new(now_ms));
        self.close(session);
        let forgiven = (now_ms, 0);
        let clock = Clock { timeout_ms, heard, told_ms: now_ms, floor_ms: 0, deadline_ms, closing: None, forgiven };
        self.by_session.insert(session, clock);
        self.deadlines.insert((deadline_ms, session));
    }

    /// Attaches a connection to the session, with a newly negotiated timeout. Returns `None` if the
    /// session is unknown or ending.
    pub fn attach(&mut self, session: SessionId, timeout_ms: i32, now_ms: u64) -> Option<Heard> {
        let clock = self.by_session.get_mut(&session).filter(|clock| clock.closing.is_none())?;
        clock.timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        clock.floor_ms = 0;
        let heard = Arc::new(AtomicU64::new(now_ms));
        std::mem::replace(&mut clock.heard, heard.clone()).store(TAKEN_OVER, Ordering::Relaxed);
        self.hasten(session);
        Some(heard)
    }

    /// Detaches the connection that has the session; its deadline stays.
    pub fn take_over(&mut self, session: SessionId) {
        if let Some(clock) = self.by_session.get_mut(&session) {
            let heard_ms = clock.heard.swap(TAKEN_OVER, Ordering::Relaxed);
            clock.heard = Arc::new(AtomicU64::new(heard_ms));
        }
    }

    /// Resumes the session, here or at another server, as agreed: the connection that had it loses
    /// it. An end that was pending comes too late, or takes effect in its turn.
    pub fn resume(&mut self, session: SessionId, timeout_ms: i32, now_ms: u64) {
        if let Some(clock) = self.by_session.get_mut(&session) {
            clock.closing = None;
            self.attach(session, timeout_ms, now_ms).expect("it is not closing");
        }
    }

    /// Moves the deadline forward if it is too late: a shorter timeout must not wait for the old
    /// one.
    fn hasten(&mut self, session: SessionId) {
        let clock = &self.by_session[&session];
        let due_ms = self.due_ms(clock);
        if due_ms < clock.deadline_ms || !self.deadlines.contains(&(clock.deadline_ms, session)) {
            self.schedule(session, due_ms);
        }
    }

    /// Moves the session to another deadline.
    fn schedule(&mut self, session: SessionId, due_ms: u64) {
        let clock = self.by_session.get_mut(&session).expect("its clock exists");
        self.deadlines.remove(&(clock.deadline_ms, session));
        self.deadlines.insert((due_ms, session));
        clock.deadline_ms = due_ms;
    }

    /// Notes that another server has heard from the session.
    pub fn touch(&mut self, session: SessionId, now_ms: u64) {
        if let Some(clock) = self.by_session.get(&session) {
            clock.heard.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    /// Returns whether the session was heard since the last call.
    pub(crate) fn take_touched(&mut self, session: SessionId) -> bool {
        let Some(clock) = self.by_session.get_mut(&session) else { return false };
        let heard_ms = clock.heard.load(Ordering::Relaxed);
        std::mem::replace(&mut clock.told_ms, heard_ms) != heard_ms
    }

    /// Restarts the clocks when this server begins to lead: it does not know what the former leader
    /// has heard, so every session gets its full timeout anew. Sessions that had expired on this
    /// server live on; those that their clients want closed will be closed.
    pub fn restart(&mut self, now_ms: u64) {
        self.last_tick_ms = now_ms;
        self.deadlines.clear();
        for (&session, clock) in &mut self.by_session {
            clock.closing = clock.closing.filter(|&closing| closing == Closing::Asked);
            clock.floor_ms = bucket(now_ms + clock.timeout_ms, self.tick_ms);
            clock.forgiven.1 = 0;
            clock.deadline_ms = clock.floor_ms;
            self.deadlines.insert((clock.deadline_ms, session));
        }
    }

    /// Removes a session that has ended.
    pub fn close(&mut self, session: SessionId) {
        if let Some(clock) = self.by_session.remove(&session) {
            self.deadlines.remove(&(clock.deadline_ms, session));
        }
    }

    /// Notes that the session is being closed at its client's request: nothing renews it any longer.
    pub fn closing(&mut self, session: SessionId) {
        if let Some(clock) = self.by_session.get_mut(&session) {
            clock.closing = Some(Closing::Asked);
        }
    }

    /// Returns the sessions that have expired by `now_ms`, each once.
    pub fn tick(&mut self, now_ms: u64) -> Vec<SessionId> {
        let now_ms = now_ms.max(self.last_tick_ms);
        let gap_ms = now_ms.saturating_sub(self.last_tick_ms);
        self.last_tick_ms = now_ms;
        if gap_ms > self.interval_ms() + PAUSE_TICKS * self.tick_ms {
            self.forgive(gap_ms, now_ms);
        }
        let mut expired = Vec::new();
        while let Some(&(deadline_ms, session)) = self.deadlines.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            self.deadlines.remove(&(deadline_ms, session));
            self.look_at(session, now_ms, &mut expired);
        }
        expired
    }

    fn look_at(&mut self, session: SessionId, now_ms: u64, expired: &mut Vec<SessionId>) {
        let clock = &self.by_session[&session];
        if clock.closing.is_some() {
            return;
        }
        let due_ms = self.due_ms(clock);
        if due_ms <= now_ms {
            self.by_session.get_mut(&session).expect("just looked up").closing = Some(Closing::Expired);
            expired.push(session);
        } else {
            self.schedule(session, due_ms);
        }
    }

    /// Moves every deadline by a pause of this server; but no session, heard since or not, gets
    /// more than a full timeout from now, and none that stays silent is forgiven forever.
    fn forgive(&mut self, gap_ms: u64, now_ms: u64) {
        let (tick_ms, interval_ms) = (self.tick_ms, self.interval_ms());
        for clock in self.by_session.values_mut() {
            let heard_ms = clock.heard.load(Ordering::Relaxed);
            if clock.forgiven.0 != heard_ms {
                clock.forgiven = (heard_ms, 0);
            }
            if clock.forgiven.1 < (clock.timeout_ms / interval_ms).max(1) {
                clock.forgiven.1 += 1;
                let moved_ms = clock.due_ms(tick_ms) + gap_ms;
                clock.floor_ms = moved_ms.min(bucket(now_ms + clock.timeout_ms, tick_ms));
            }
        }
    }

    /// Checks every invariant. Panics with the one that is broken.
    pub fn check(&self) {
        for &(deadline_ms, session) in &self.deadlines {
            let known_ms = self.by_session.get(&session).map(|clock| clock.deadline_ms);
            assert!(known_ms == Some(deadline_ms), "invariant: {session:?} is due at {deadline_ms}, not {known_ms:?}");
        }
        for (&session, clock) in &self.by_session {
            let is_due = clock.closing.is_some() || self.deadlines.contains(&(clock.deadline_ms, session));
            assert!(is_due, "invariant: {session:?} never expires");
        }
    }

    fn due_ms(&self, clock: &Clock) -> u64 {
        clock.due_ms(self.tick_ms)
    }

    fn bucket(&self, at_ms: u64) -> u64 {
        bucket(at_ms, self.tick_ms)
    }

    /// Returns the sessions by the time at which they would expire, for `dump`.
    pub fn deadlines(&self) -> BTreeMap<u64, Vec<SessionId>> {
        let mut deadlines: BTreeMap<u64, Vec<SessionId>> = BTreeMap::new();
        for (&session, clock) in &self.by_session {
            deadlines.entry(self.due_ms(clock)).or_default().push(session);
        }
        deadlines.values_mut().for_each(|sessions| sessions.sort());
        deadlines
    }
}

impl Clock {
    fn due_ms(&self, tick_ms: u64) -> u64 {
        bucket(self.heard.load(Ordering::Relaxed) + self.timeout_ms, tick_ms).max(self.floor_ms)
    }
}

/// Returns the end of the tick that contains `at_ms`.
fn bucket(at_ms: u64, tick_ms: u64) -> u64 {
    (at_ms / tick_ms + 1) * tick_ms
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

    /// Simulates a machine so slow that each look comes too late, forever.
    #[test]
    fn late_looks_do_not_keep_the_dead_alive() {
        for (gap_ms, timeout_ms) in [(151, 400), (1_000, 400), (400, 2_000)] {
            // As many looks as there are in its timeout, then its timeout, and one look and one
            // tick more.
            let latest_ms = timeout_ms / 50 * gap_ms + timeout_ms + gap_ms + 100;
            let mut clocks = Clocks::new(100, 0);
            let (dead, alive) = (A, SessionId(2));
            [dead, alive].into_iter().for_each(|session| clocks.open(session, timeout_ms as i32, 0));
            let heard = clocks.attach(alive, timeout_ms as i32, 0).unwrap();
            let mut expired = Vec::new();
            for look in 1..100 {
                let now_ms = look * gap_ms;
                // The client is heard as soon as the server is there, but the clocks are looked at
                // before.
                expired.extend(clocks.tick(now_ms).into_iter().map(|session| (session, now_ms)));
                heard.store(now_ms, Ordering::Relaxed);
            }
            let [(session, at_ms)] = expired[..] else { panic!("one expires: {expired:?}") };
            assert!(session == dead && at_ms >= timeout_ms && at_ms <= latest_ms, "{session} at {at_ms}");
        }
    }

    /// The limit on forgiven pauses applies only if nothing is heard between them.
    #[test]
    fn every_pause_of_a_server_that_hears_its_clients_is_forgiven() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 400, 0);
        let heard = clocks.attach(A, 400, 0).unwrap();
        for pause in 1..100 {
            assert_eq!(clocks.tick(pause * 8_000), []);
            heard.store(pause * 8_000 + 1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_wrong_in_the_clocks_is_found() {
        let clocks = || {
            let mut clocks = Clocks::new(100, 0);
            clocks.open(A, 250, 0);
            clocks
        };
        crate::ensemble::check::tests::assert_found(
            clocks,
            |clocks| clocks.check(),
            &[("is due at 300, not None", |it| it.by_session.clear()), ("never expires", |it| it.deadlines.clear())],
        );
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

    /// Returns the time of the first look at which `A` expires.
    fn expires_ms(clocks: &mut Clocks, mut now_ms: u64) -> u64 {
        while clocks.tick(now_ms) != [A] {
            assert!(now_ms < 100_000, "it expires at last");
            now_ms += 50;
        }
        now_ms
    }

    #[test]
    fn what_others_have_heard_renews() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 300, 0);
        clocks.touch(SessionId(2), 10);
        clocks.touch(A, 250);
        clocks.touch(A, 150);
        assert_eq!(expires_ms(&mut clocks, 50), 600, "550 due");
    }

    #[test]
    fn a_new_leader_begins_with_full_timeouts() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 300, 0);
        assert_eq!(expires_ms(&mut clocks, 50), 400);
        // Other servers led, and looked at their clocks, for a long time: that is no pause of this
        // server.
        clocks.restart(9_010);
        assert_eq!(expires_ms(&mut clocks, 9_100), 9_400, "9310 due: it had not been closed");
        clocks.restart(9_410);
        clocks.attach(A, 200, 9_450).unwrap();
        assert_eq!(expires_ms(&mut clocks, 9_450), 9_700, "9650 due, by a shorter timeout");
    }

    #[test]
    fn what_a_client_wants_closed_will_be() {
        let mut clocks = Clocks::new(100, 0);
        clocks.open(A, 300, 0);
        clocks.closing(A);
        clocks.restart(10);
        assert!(clocks.attach(A, 300, 10).is_none());
        assert!((0..20).all(|look| clocks.tick(50 * look).is_empty()));
        // It is not closed if it was agreed before that the session continues elsewhere.
        clocks.resume(A, 300, 1_000);
        clocks.resume(SessionId(2), 300, 1_000);
        assert_eq!(expires_ms(&mut clocks, 1_000), 1_400);
        clocks.resume(A, 300, 1_450);
        assert_eq!(expires_ms(&mut clocks, 1_450), 1_800, "it had expired, but its end was not agreed on");
    }

    #[test]
    fn clocks_that_nobody_looks_at_do_not_grow() {
        let mut clocks = Clocks::new(100, 0);
        for id in 0..100 {
            clocks.open(SessionId(id), 300, id as u64);
            clocks.attach(SessionId(id), 200, id as u64).unwrap();
            clocks.resume(SessionId(id), 400, id as u64);
            clocks.close(SessionId(id));
        }
        assert!(clocks.deadlines.is_empty() && clocks.by_session.is_empty());
    }
}
