//! The surroundings of a member's engine: peers, threads of its own clients, checkpoints, and the
//! operator's log.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use oxkeeper_proto::ServerId;
use oxkeeper_replica::engine::{Event, Outside};
use oxkeeper_replica::{Applier, Serving, Shared};
use oxkeeper_state::BallotId;
use parking_lot::RwLockWriteGuard;
use tracing::{error, info, warn};

use super::incarnation::{Agreed, Parts};
use crate::engine::mailbox::Order;
use crate::engine::standalone::{age_ms, deliver};
use crate::peers::Peers;

/// See the module.
pub(super) struct Surroundings<'a> {
    parts: &'a Parts,
    peers: &'a mut Peers,
    ensemble_id: &'a AtomicU64,
    level: &'a AtomicU32,
    /// Members version and leader epoch that the rest of the server already knows.
    known: (i64, Option<BallotId>),
    /// New members or a new leader, if an applied entry changed them.
    pub(super) agreed: Option<Agreed>,
    /// Number of commands and age in ms of each applied entry.
    pub(super) entries: Vec<(u64, u64)>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        peers: &'a mut Peers,
        (ensemble_id, level): (&'a AtomicU64, &'a AtomicU32),
        agreed: &Agreed,
    ) -> Surroundings<'a> {
        let known = (agreed.version, agreed.epoch);
        Surroundings { parts, peers, ensemble_id, level, known, agreed: None, entries: Vec::new() }
    }
}

impl Outside for Surroundings<'_> {
    fn send(&mut self, peer: ServerId, frame: Vec<u8>) {
        self.peers.send(peer, &frame);
    }

    fn flush(&mut self) {
        self.peers.flush();
    }

    fn end_link(&mut self, peer: ServerId, why: &str) {
        self.peers.kill(peer, why);
    }

    fn deliver(&mut self, applier: &mut Applier, locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>) {
        let (parts, state) = (self.parts, &locked.state);
        if let Some(entry) = entry {
            parts.checkpoints.applied(entry.len() as u64);
            self.entries.push((std::mem::take(&mut applier.applied), age_ms(state, parts.clock.wall_ms())));
        }
        // The ensemble gets its id with its first entry. Without an id, members of another ensemble
        // would be admitted.
        if self.ensemble_id.load(Ordering::Relaxed) == 0 {
            self.ensemble_id.store(state.ensemble(), Ordering::Release);
        }
        // A server that does not know the level is no longer linked.
        let agreed = state.level();
        if self.level.swap(agreed.0, Ordering::AcqRel) != agreed.0 {
            info!(level = agreed.0, "raised the feature level; older releases can no longer join");
        }
        if (state.membership().version(), state.epoch_ballot()) != self.known {
            self.agreed = Some(Agreed::of(state));
        }
        deliver(applier, &parts.mailboxes, parts.audit.as_deref(), locked);
    }

    fn may_run_ahead(&mut self) -> bool {
        self.parts.checkpoints.allow_ahead()
    }

    fn note_ahead(&mut self, is_ahead: bool) {
        self.parts.checkpoints.note_ahead(is_ahead);
    }

    fn idle(&mut self) {
        self.parts.checkpoints.idle();
    }

    fn spent(&mut self) -> u64 {
        let through = self.parts.checkpoints.trimmable();
        through.map_or(0, |through| through + 1)
    }

    fn happened(&mut self, event: Event<'_>) {
        match event {
            Event::SessionExpired { session, ephemerals } => {
                info!(%session, ephemerals, "session expired");
                self.parts.stats.lock().sessions_expired += 1;
            }
            Event::LocalSessionExpired { session, holder } => {
                info!(%session, "local session expired");
                self.parts.stats.lock().sessions_expired += 1;
                if let Some(takeover) = holder {
                    self.parts.mailboxes[usize::from(takeover.holder.thread)].order(Order::Supersede(takeover));
                }
            }
            Event::Reaped(znode) => info!(path = znode.path, "deleting a container or TTL znode"),
            Event::Serving { former, now } => self.serve(former, now),
            // Only a standalone server refuses writes; a member leaves the ensemble for a while.
            Event::DiskFull | Event::LevelRaised(_) => {}
            Event::DiskStalled { stalled_ms } => {
                error!(stalled_ms, "the disk does not answer; handing leadership over. Check the disk");
            }
        }
    }
}

impl Surroundings<'_> {
    fn serve(&self, former: Serving, now: Serving) {
        match now {
            Serving::Yes => info!("serving"),
            Serving::ReadOnly => warn!("lost quorum; serving read-only clients only"),
            Serving::No => warn!("lost quorum; closing clients until it is back"),
        }
        let read_only = former == Serving::ReadOnly;
        if former != Serving::No {
            self.parts.mailboxes.iter().for_each(|mailbox| mailbox.order(Order::EndSessions { read_only }));
        }
    }
}
