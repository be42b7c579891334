//! The engine thread of an ensemble member. It gives a [`MemberEngine`] its links, its own clients'
//! commands, a clock and a disk.
//!
//! While it waits for the disk, a second thread stands in for it. On a follower it does so at once,
//! so that reads here show what the leader reports as decided. Otherwise it does so only if the
//! disk is slow, because commands that arrive in the meantime are better batched into one entry.
//!
//! Invariants: only one of the two threads has the engine at a time; a checkpoint contains only
//! data that is on this server's disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oxkeeper_proto::ServerId;
use oxkeeper_replica::Proposals;
use oxkeeper_replica::engine::{MemberEngine, Moment};
use oxkeeper_replica::ensemble::{DiskJob, JournalFull, Outdated, Role, Want};
use parking_lot::{Mutex, MutexGuard};
use tracing::{info, warn};

use super::incarnation::{Agreed, Incarnation, Parts, Running, follow_own_line, linked_members};
use super::outside::Surroundings;
use crate::ended::Reason;
use crate::peers::{Alarm, PeerEvent};
use crate::telemetry::slow::Times;

/// Bytes of log entries returned per request to a thread that sends the state to a peer.
const PART_LEN: usize = 1 << 20;
/// Maximum time a stop waits for the last commands of the server's own clients.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// Duration after which a disk write is slow and the engine continues without it.
const SLOW_DISK_AFTER: Duration = Duration::from_millis(2);

/// State of the engine thread.
pub(crate) struct MemberThread {
    pub(super) parts: Parts,
    pub(super) running: Running,
}

/// Reason why an incarnation ends.
enum End {
    Stopped,
    /// The state of this peer is needed, with at least this many entries.
    Install(ServerId, u64),
    DiskFull,
    /// This server's state differs from that of the others.
    Wrong,
    /// The others have agreed on something this release does not know.
    Outdated(Outdated),
}

/// State that the two threads share.
struct SharedEngine<'a> {
    alarm: Arc<Alarm>,
    /// The first thread is waiting for the disk and does not hold the engine.
    disk_works: AtomicBool,
    engine: Mutex<&'a mut MemberThread>,
}

struct StopAlarm<'a>(&'a Alarm);

impl Drop for StopAlarm<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl SharedEngine<'_> {
    /// Runs the first thread.
    fn work(&self) -> End {
        let mut proposals = Proposals::default();
        let mut engine = self.engine.lock();
        loop {
            let patience = engine.idle_time();
            let stop = engine.gather(&mut proposals, patience);
            engine.turn();
            if let Some(work) = engine.begin_disk() {
                let done = self.wait_for_disk(&mut engine, work);
                if let Err(JournalFull) = engine.finish_disk(done) {
                    return End::DiskFull;
                }
            }
            if let Some(end) = engine.finish_turn(stop) {
                return end;
            }
        }
    }

    fn wait_for_disk(&self, engine: &mut MutexGuard<'_, &mut MemberThread>, work: DiskJob) -> Result<(), JournalFull> {
        let start = Instant::now();
        engine.parts.watchdog.engine_is_excused();
        self.disk_works.store(true, Ordering::Release);
        let listens = engine.follows();
        self.alarm.set(listens, SLOW_DISK_AFTER);
        let done = MutexGuard::unlocked(engine, work);
        self.disk_works.store(false, Ordering::Release);
        self.alarm.rest();
        engine.parts.watchdog.engine_beats();
        if engine.running.engine.writing_since_ms().is_some() {
            engine.parts.stats.lock().synced(start.elapsed().as_micros() as u64);
        }
        done
    }

    /// Runs the second thread.
    fn stand_in(&self) {
        let mut proposals = Proposals::default();
        while self.alarm.wait() {
            if self.disk_works.load(Ordering::Acquire) {
                let mut engine = self.engine.lock();
                // The disk may have finished in the meantime.
                if self.disk_works.load(Ordering::Acquire) {
                    engine.gather(&mut proposals, Duration::ZERO);
                    engine.turn();
                    engine.set_alarm(&self.alarm);
                }
            }
        }
    }
}

impl MemberThread {
    /// Binds the peer port. *Errors*: the port cannot be bound, or the disk is full; the parts are
    /// returned.
    pub(crate) fn start(parts: Parts, incarnation: Incarnation) -> Result<MemberThread, (Box<Parts>, io::Error)> {
        match Running::start(&parts, incarnation) {
            Ok(running) => {
                follow_own_line(&parts);
                Ok(MemberThread { parts, running })
            }
            Err(problem) => Err((Box::new(parts), problem)),
        }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        loop {
            let next = match self.live() {
                End::Stopped => return self.end(),
                End::Install(peer, at) => self.install(peer, at),
                End::DiskFull => self.wait_for_room(),
                End::Wrong => return self.stop_wrong(),
                End::Outdated(outdated) => return self.give_up(Reason::Entry(outdated)),
            };
            match next {
                Some(next) => self = next,
                None => return,
            }
        }
    }

    fn live(&mut self) -> End {
        let alarm = self.running.peers.alarm();
        let shared_engine = SharedEngine { alarm, disk_works: AtomicBool::new(false), engine: Mutex::new(self) };
        thread::scope(|scope| {
            // Ends the second thread on every exit path.
            let _stop = StopAlarm(&shared_engine.alarm);
            let second =
                thread::Builder::new().name("engine-2".to_owned()).spawn_scoped(scope, || shared_engine.stand_in());
            if let Err(error) = second {
                warn!(%error, "cannot start the engine's second thread; a slow disk will delay every request");
            }
            shared_engine.work()
        })
    }

    /// Waits for input for at most `patience` and takes it. Returns whether the server is to stop.
    fn gather(&mut self, proposals: &mut Proposals, patience: Duration) -> bool {
        self.running.peers.wait(patience);
        self.parts.watchdog.engine_beats();
        // No other server can expire the sessions of a sole voter, so its engine may stand still.
        let is_alone = self.running.engine.replica().configuration().is_sole();
        self.running.watch.moved(if is_alone { u64::MAX } else { self.parts.clock.now_ms() });
        self.listen();
        let stop = self.parts.proposing.take_waiting(proposals);
        self.running.engine.submit(proposals);
        self.parts.proposing.note_unapplied(self.running.engine.replica().waiting_len());
        stop
    }

    fn turn(&mut self) {
        let moment = Moment { now_ms: self.parts.clock.now_ms(), wall_ms: self.parts.clock.wall_ms() };
        self.drive(|engine, parts, outside| engine.turn(&parts.shared, moment, outside));
    }

    fn begin_disk(&mut self) -> Option<DiskJob> {
        self.running.engine.begin_disk(self.parts.clock.now_ms())
    }

    fn finish_disk(&mut self, done: Result<(), JournalFull>) -> Result<(), JournalFull> {
        let now_ms = self.parts.clock.now_ms();
        self.drive(|engine, parts, outside| engine.finish_disk(done, &parts.shared, now_ms, outside))
    }

    /// Runs `work` on the engine, then counts and publishes its effects.
    pub(super) fn drive<T>(&mut self, work: impl FnOnce(&mut MemberEngine, &Parts, &mut Surroundings<'_>) -> T) -> T {
        let Running { engine, peers, ensemble_id, level, agreed, .. } = &mut self.running;
        let mut outside = Surroundings::new(&self.parts, peers, (ensemble_id, level), agreed);
        let done = work(engine, &self.parts, &mut outside);
        let Surroundings { entries, agreed, .. } = outside;
        self.count(entries);
        agreed.into_iter().for_each(|agreed| self.note_members(agreed));
        self.show_role();
        done
    }

    /// Completes a turn. Returns the reason if this incarnation ends.
    fn finish_turn(&mut self, stop: bool) -> Option<End> {
        self.housekeep();
        self.answer_questions();
        if self.running.engine.replica().is_wrong() {
            return Some(End::Wrong);
        }
        if let Some(outdated) = self.running.engine.replica().outdated() {
            return Some(End::Outdated(outdated));
        }
        match self.running.engine.take_want() {
            Some(Want::Install { from, at }) => Some(End::Install(from, at)),
            None => (stop && self.may_stop()).then_some(End::Stopped),
        }
    }

    fn idle_time(&self) -> Duration {
        Duration::from_millis(self.running.engine.next_turn_ms().saturating_sub(self.parts.clock.now_ms()))
    }

    fn follows(&self) -> bool {
        matches!(self.running.engine.replica().role(), Role::Following(_) | Role::Observing(_))
    }

    /// Arms the alarm while the disk is busy: the stand-in takes the next turn when it is due or
    /// when a peer sends something. A leader that waits for its disk can do nothing for its own
    /// clients.
    fn set_alarm(&self, alarm: &Alarm) {
        if self.follows() {
            self.running.peers.hear_waker();
        }
        alarm.set(true, self.idle_time().max(Duration::from_millis(1)));
    }

    /// Returns true once the commands of the server's own clients are finished, or
    /// [`STOP_PATIENCE`] has passed.
    fn may_stop(&mut self) -> bool {
        let now_ms = self.parts.clock.now_ms();
        let Running { engine, stop_by, .. } = &mut self.running;
        let replica = engine.replica_mut();
        let by = *stop_by.get_or_insert_with(|| {
            if replica.transfer_leadership(now_ms) {
                info!("stopping; handing over leadership");
            }
            Instant::now() + STOP_PATIENCE
        });
        replica.waiting_len() == 0 && !replica.is_leaving() || Instant::now() >= by
    }

    /// Takes input from peers.
    fn listen(&mut self) {
        let (parts, Running { peers, engine, .. }) = (&self.parts, &mut self.running);
        let now_ms = parts.clock.now_ms();
        let mut refused: Vec<(ServerId, String)> = Vec::new();
        peers.poll(&mut |event| match event {
            PeerEvent::LinkUp(peer) => {
                refused.retain(|(known, _)| *known != peer);
                engine.link_up(peer, now_ms);
            }
            PeerEvent::LinkDown { peer, .. } => {
                refused.retain(|(known, _)| *known != peer);
                engine.link_down(peer, now_ms);
            }
            PeerEvent::Stirs(peer) => engine.replica_mut().stirred(peer, now_ms),
            PeerEvent::Drains(peer) => engine.replica_mut().drained(peer, now_ms),
            PeerEvent::Frame(peer, frame) => {
                if refused.iter().all(|(known, _)| *known != peer)
                    && let Err(problem) = engine.receive(peer, frame, now_ms)
                {
                    refused.push((peer, problem.to_string()));
                }
            }
        });
        for (peer, problem) in refused {
            self.running.peers.kill(peer, &problem);
        }
    }

    /// Answers requests for parts of the log.
    fn answer_questions(&mut self) {
        while let Ok((from, answer)) = self.running.questions.try_recv() {
            let part = self.running.engine.replica().log_part(from, PART_LEN);
            self.parts.stats.lock().states_sent += u64::from(part.as_ref().is_some_and(|part| part.last.is_some()));
            let _ = answer.send(part);
        }
    }

    /// Updates the statistics. `entries` has the number of commands and the age of each applied
    /// entry.
    fn count(&mut self, entries: Vec<(u64, u64)>) {
        let (parts, Running { engine, slow, .. }) = (&self.parts, &mut self.running);
        let times = Times { taken_ms: None, durable_ms: parts.clock.now_ms() };
        let slow = slow.report(engine.applier_mut(), times, parts.clock);
        let packed = engine.take_packed();
        let replica = engine.replica();
        if slow > 0 || packed.lens.count > 0 || !entries.is_empty() {
            let leads = replica.role() == Role::Leading;
            let mut stats = parts.stats.lock();
            stats.slow_requests += slow;
            stats.proposed(&packed);
            stats.decided = replica.decided();
            stats.waiting_len = replica.waiting_len();
            // An entry without commands only announces a leader.
            let entries = entries.into_iter().filter(|&(count, _)| count > 0);
            entries.for_each(|(count, age_ms)| stats.applied(count, age_ms, leads));
        }
        parts.proposing.note_unapplied(replica.waiting_len());
        // The last delivery may have woken the threads before this was true, and there may not be
        // another.
        parts.mailboxes.iter().for_each(|mailbox| mailbox.relieve());
    }

    /// Updates the links to match the current members.
    fn note_members(&mut self, agreed: Agreed) {
        let (members, are_agreed) = linked_members(&self.parts);
        self.running.peers.set_members(members, are_agreed);
        follow_own_line(&self.parts);
        if agreed.version != self.running.agreed.version {
            let Agreed { voters, observers, version, .. } = &agreed;
            info!(?voters, ?observers, version = format!("{version:x}"), "reconfigured: the members have changed");
        }
        self.running.agreed = agreed;
    }

    fn end(mut self) {
        // A full disk no longer matters here.
        let replica = self.running.engine.replica_mut();
        replica.stage_decided();
        let _ = replica.persist();
        if let Some(file) = &mut self.parts.config_file {
            file.finish(self.parts.shared.read().state.membership());
        }
        self.running.end(&self.parts);
    }
}
