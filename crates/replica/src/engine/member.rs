//! The engine of a server of an ensemble, in turns.
//!
//! Invariants: frames leave for a peer in the order in which the replica hands them out; an entry
//! is applied after it is on the disks of a majority, and of this server if it leads; clients are
//! served only while the replica allows it.

use std::sync::Arc;

use oxkeeper_proto::ServerId;
use parking_lot::{Mutex, RwLock};

use super::housekeeping::Reaping;
use crate::delivery::Proposals;
use crate::ensemble::{BadFrame, DiskJob, JournalFull, Packed, Pins, Replica, Role, Want};
use crate::outside::{Event, Outside};
use crate::{Applier, Serving, Shared};

/// A point in time, on both clocks of a server.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic time, ms.
    pub now_ms: u64,
    /// Unix time, ms.
    pub wall_ms: i64,
}

/// Settings of a member's engine.
#[derive(Clone, Copy, Debug)]
pub struct MemberOptions {
    /// Settings for the deletion of containers and TTL znodes.
    pub reaping: Reaping,
    /// Time without a quorum after which reads are served, ms, if at all.
    pub read_only_after_ms: Option<u64>,
    /// Time after which a leader whose disk does not answer hands over to another server, ms.
    pub disk_stall_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub struct MemberEngine {
    pub(super) replica: Replica,
    pub(super) applier: Applier,
    pub(super) options: MemberOptions,
    /// Held while an entry is applied, during which the state may be unlocked at times.
    entry: Arc<Mutex<()>>,
    /// Holds the parts of the log that peers need after they have received a state.
    pub(super) pins: Arc<Pins>,
    pub(super) next_tick_ms: u64,
    pub(super) next_reap_ms: u64,
    pub(super) applied_last_tick: u64,
    /// Time since which the disk has worked on something that others wait for, ms.
    writing_since_ms: Option<u64>,
}

impl MemberEngine {
    /// Creates an engine with a replica that has just started. A thread that holds `entry` keeps
    /// entries from being applied; a thread that sends a state to a peer keeps the log for it in
    /// `pins`.
    pub fn new(
        replica: Replica,
        mut applier: Applier,
        options: MemberOptions,
        entry: Arc<Mutex<()>>,
        pins: Arc<Pins>,
        now_ms: u64,
    ) -> MemberEngine {
        applier.me = Some(replica.origin());
        let next_reap_ms = now_ms + options.reaping.interval_ms;
        MemberEngine {
            replica,
            applier,
            options,
            entry,
            pins,
            next_tick_ms: 0,
            next_reap_ms,
            applied_last_tick: 0,
            writing_since_ms: None,
        }
    }

    /// Returns the replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Returns the replica, mutably.
    pub fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replica
    }

    /// Returns the applier, mutably.
    pub fn applier_mut(&mut self) -> &mut Applier {
        &mut self.applier
    }

    /// Handles a new link; the former one to the same peer has ended.
    pub fn link_up(&mut self, peer: ServerId, now_ms: u64) {
        self.replica.link_up(peer, now_ms);
    }

    /// Handles the end of a link.
    pub fn link_down(&mut self, peer: ServerId, now_ms: u64) {
        self.replica.link_down(peer, now_ms);
    }

    /// Handles a frame from `peer`. *Errors*: the frame is invalid; the link must end.
    pub fn receive(&mut self, peer: ServerId, frame: &[u8], now_ms: u64) -> Result<(), BadFrame> {
        self.replica.receive(peer, frame, now_ms)
    }

    /// Takes commands of this server's clients and leaves `proposals` empty.
    pub fn submit(&mut self, proposals: &mut Proposals) {
        self.replica.submit(proposals);
    }

    /// Acts on the time and on everything received.
    pub fn turn(&mut self, shared: &RwLock<Shared>, moment: Moment, outside: &mut dyn Outside) {
        self.housekeep(shared, moment, outside);
        self.mind_disk(moment.now_ms, outside);
        self.replica.step(shared, moment.now_ms, moment.wall_ms);
        self.settle(shared, moment.now_ms, outside);
    }

    /// Returns work for the disk, if there is any and no other is under way.
    pub fn begin_disk(&mut self, now_ms: u64) -> Option<DiskJob> {
        if let Some(work) = self.replica.begin_persist() {
            self.writing_since_ms = Some(now_ms);
            return Some(work);
        }
        self.replica.begin_upkeep()
    }

    /// Notes that the work is done. *Errors*: the disk is full: what was not written is lost, and
    /// this server must restart.
    pub fn finish_disk(
        &mut self,
        done: Result<(), JournalFull>,
        shared: &RwLock<Shared>,
        now_ms: u64,
        outside: &mut dyn Outside,
    ) -> Result<(), JournalFull> {
        self.replica.finish_persist(done)?;
        if self.writing_since_ms.take().is_some() {
            self.settle(shared, now_ms, outside);
        }
        Ok(())
    }

    /// Returns the time since which the disk has worked on something that others wait for, ms.
    pub fn writing_since_ms(&self) -> Option<u64> {
        self.writing_since_ms
    }

    /// Sends the frames that may leave, applies decided entries, and updates which clients are
    /// served.
    fn settle(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        self.send(outside);
        self.apply(shared, now_ms, outside);
        // Servers admitted by the last entries are told now, not with the next frame.
        self.send(outside);
        self.serve(shared, now_ms, outside);
    }

    fn send(&mut self, outside: &mut dyn Outside) {
        let mut sent = false;
        for peer in self.replica.linked() {
            while let Some(frame) = self.replica.next_frame(peer) {
                outside.send(peer, frame);
                sent = true;
            }
        }
        if sent {
            outside.flush();
        }
    }

    fn apply(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let early = outside.may_run_ahead();
        let applied = self.replica.apply(shared, &self.entry, &mut self.applier, outside, early, now_ms);
        applied.unwrap_or_else(|problem| panic!("log entry {} cannot be decoded: {problem}", self.replica.applied()));
        // A checkpoint must not hold what the log does not.
        outside.note_ahead(self.replica.is_ahead_of_disk());
    }

    /// Hands over leadership if the disk stalls. A leader whose disk stands still holds up the
    /// ensemble; one whose disk is slow is better than none.
    fn mind_disk(&mut self, now_ms: u64, outside: &mut dyn Outside) {
        let Some(since_ms) = self.writing_since_ms else { return };
        let stalled_ms = now_ms.saturating_sub(since_ms);
        if stalled_ms >= self.options.disk_stall_ms && self.replica.leads_now(now_ms) && !self.replica.is_leaving() {
            self.replica.transfer_leadership(now_ms);
            outside.happened(Event::DiskStalled { stalled_ms });
        }
    }

    /// Changes which clients are served. The current clients are to be closed: those that qualify
    /// under the new rule come back.
    fn serve(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let (former, now) = (shared.read().serving, self.whom_to_serve(now_ms));
        if former == now {
            return;
        }
        shared.write().serve(now, now_ms);
        if former == Serving::Yes {
            self.replica.orphan();
        }
        outside.happened(Event::Serving { former, now });
    }

    fn whom_to_serve(&self, now_ms: u64) -> Serving {
        let is_long = |after_ms| self.replica.alone_ms(now_ms) >= after_ms;
        match self.options.read_only_after_ms {
            _ if self.replica.is_serving() => Serving::Yes,
            // An empty server has nothing to read.
            Some(after_ms) if is_long(after_ms) && self.replica.role() != Role::Uninitialized => Serving::ReadOnly,
            Some(_) | None => Serving::No,
        }
    }

    /// Stops serving: this server leaves the ensemble for a while.
    pub fn stop_serving(&mut self, shared: &RwLock<Shared>, now_ms: u64, outside: &mut dyn Outside) {
        let former = shared.read().serving;
        self.replica.orphan();
        if former != Serving::No {
            shared.write().serve(Serving::No, now_ms);
            outside.happened(Event::Serving { former, now: Serving::No });
        }
    }

    /// Takes the action that the replica asks of its driver; each is returned once, when the disk
    /// has nothing to do.
    pub fn take_want(&mut self) -> Option<Want> {
        self.replica.take_want()
    }

    /// Takes the counts of what this server, as the leader, has packed since the last call.
    pub fn take_packed(&mut self) -> Packed {
        self.replica.take_packed()
    }

    /// Returns the time at which the next turn is due if nothing arrives before, ms.
    pub fn next_turn_ms(&self) -> u64 {
        // The last applied entry has led to more writes.
        if self.replica.wants_disk() {
            return 0;
        }
        self.replica.next_step_ms().min(self.next_tick_ms)
    }
}
