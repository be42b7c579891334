//! Housekeeping: expires sessions and znodes, and trims the log.
//!
//! Invariant: the time that a leader spends without a majority does not count. No server could hear
//! its clients then, and what it proposed would take effect later, when they are back.

use oxkeeper_proto::{OpCode, SessionId};

use super::member::{MemberEngine, Moment};
use crate::Shared;
use crate::connection::Takeover;
use crate::outside::{Event, Outside};
use parking_lot::RwLock;

/// Settings for the deletion of spent containers and overdue TTL znodes.
#[derive(Clone, Copy, Debug)]
pub struct Reaping {
    /// Interval between two searches, ms.
    pub interval_ms: u64,
    /// Largest number of znodes deleted at once.
    pub count_max: usize,
    /// Age at which a container that never had a child is spent, ms; 0 for never.
    pub never_used_ms: i64,
}

impl MemberEngine {
    /// Does the housekeeping that is due, once per interval of the clocks.
    pub(super) fn housekeep(&mut self, shared: &RwLock<Shared>, moment: Moment, outside: &mut dyn Outside) {
        let Moment { now_ms, .. } = moment;
        if now_ms < self.next_tick_ms {
            return;
        }
        self.next_tick_ms = now_ms + shared.read().sessions.lock().clocks.interval_ms();
        for peer in self.replica.silent(now_ms) {
            outside.end_link(peer, "it is silent");
        }
        self.expire(shared, now_ms, outside);
        self.reap(shared, moment, outside);
        self.expire_local(shared, now_ms, outside);
        self.shorten_log(outside);
    }

    /// Proposes the end of expired sessions. A leader's clocks show the time at which it last heard
    /// a majority.
    fn expire(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        // The touches of followers may have arrived just now, all at once.
        self.replica.settle_touches(shared, now_ms);
        let Some(contact_ms) = self.replica.ruled_until_ms(now_ms) else { return };
        let shared = shared.read();
        let expired = shared.sessions.lock().clocks.tick(contact_ms);
        for session in expired {
            let ephemerals = shared.state.ephemerals_of(session);
            outside.happened(Event::SessionExpired { session, ephemerals });
            self.replica.submit_expiry(session, &shared.state);
        }
    }

    /// Expires the sessions that only this server knows.
    fn expire_local(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let expired = shared.read().sessions.lock().expire_local(now_ms);
        for (session, holder) in expired {
            let holder = holder.map(|holder| Takeover { holder, successor: None });
            outside.happened(Event::LocalSessionExpired { session, holder });
        }
    }

    /// Proposes to delete spent znodes. The interval begins anew when this server begins to lead,
    /// or hears a majority again: clients that keep a znode alive must have had time to do so.
    fn reap(&mut self, shared: &RwLock<Shared>, moment: Moment, outside: &mut dyn Outside) {
        let Moment { now_ms, wall_ms } = moment;
        let Reaping { interval_ms, count_max, never_used_ms } = self.options.reaping;
        if !self.replica.leads_now(now_ms) {
            self.next_reap_ms = now_ms + interval_ms;
        }
        if now_ms < self.next_reap_ms {
            return;
        }
        self.next_reap_ms = now_ms + interval_ms;
        for znode in shared.read().state.expendable(wall_ms, never_used_ms, count_max) {
            outside.happened(Event::Reaped(&znode));
            self.replica.submit_own(SessionId::NONE, OpCode::DeleteContainer, &znode.encode());
        }
    }

    /// Trims entries that a checkpoint holds from the log. A tick without a write is a good time
    /// for a checkpoint.
    fn shorten_log(&mut self, outside: &mut dyn Outside) {
        let applied = self.replica.applied();
        if std::mem::replace(&mut self.applied_last_tick, applied) == applied {
            outside.idle();
            self.replica.stage_decided();
        }
        self.replica.trim_for(outside.spent(), &self.pins);
    }
}
