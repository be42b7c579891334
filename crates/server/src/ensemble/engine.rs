//! The engine's thread of an ensemble's server.
//!
//! Invariant: what the replica hands out for a peer leaves in that order; an entry is applied after it is on the disks of a
//! majority, and of this server if it leads; a checkpoint holds nothing that is not on this server's disk; clients are served only while the replica says so.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oxkeeper_replica::Proposals;
use oxkeeper_replica::ensemble::{Applying, JournalFull, Role, Want};
use oxkeeper_state::State;
use parking_lot::{Mutex, MutexGuard};
use tracing::{info, warn};

use super::life::{Agreed, Life, Parts, Running, follow_own_line, linked_members};
use crate::engine::{age_ms, deliver};
use crate::peers::{Ear, PeerEvent};
use crate::slow::Times;

/// Bytes of log entries given to a peer that is sent the state at once.
const PART_LEN: usize = 1 << 20;
/// How long a stop waits for own clients' last commands.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// The thread's state.
pub(crate) struct Ensemble {
    pub(super) parts: Parts,
    pub(super) running: Running,
}

/// Why a life ends.
enum End {
    Stopped,
    /// This peer's state is needed, with so many entries.
    Install(u8, u64),
    DiskFull,
}

/// Where the engine's thread works, and lets another one hear the leader while it waits for its disk.
struct Desk<'a> {
    ear: Arc<Ear>,
    /// The engine's thread waits for its disk, and nothing of it is locked.
    syncing: AtomicBool,
    engine: Mutex<&'a mut Ensemble>,
}

struct StopEar<'a>(&'a Ear);

impl Drop for StopEar<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Desk<'_> {
    fn work(&self) -> End {
        let mut proposals = Proposals::default();
        let mut engine = self.engine.lock();
        loop {
            let stop = engine.gather(&mut proposals);
            engine.begin_turn();
            if let Err(JournalFull) = self.persist(&mut engine) {
                return End::DiskFull;
            }
            engine.end_turn();
            if let Some(end) = engine.settle(stop) {
                return end;
            }
        }
    }

    fn persist(&self, engine: &mut MutexGuard<'_, &mut Ensemble>) -> Result<(), JournalFull> {
        engine.parts.pulse.engine_is_excused();
        let start = Instant::now();
        let was_staged = match engine.running.replica.begin_persist()? {
            Some(syncing) => {
                self.syncing.store(true, Ordering::Release);
                engine.listen_meanwhile();
                MutexGuard::unlocked(engine, syncing);
                self.syncing.store(false, Ordering::Release);
                engine.running.peers.listen_no_more();
                engine.running.replica.finish_persist();
                true
            }
            None => engine.running.replica.persist()?,
        };
        if was_staged {
            engine.parts.stats.lock().synced(start.elapsed().as_micros() as u64);
        }
        engine.parts.pulse.engine_beats();
        Ok(())
    }

    /// The other thread.
    fn overhear(&self) {
        while self.ear.wait() {
            if self.syncing.load(Ordering::Acquire) {
                let mut engine = self.engine.lock();
                // It may have been locked by the engine's thread, which is done.
                if self.syncing.load(Ordering::Acquire) {
                    engine.overhear();
                }
            }
        }
    }
}

impl Ensemble {
    /// Binds the peers' port. *Errors*: that, or a full disk; the parts come back.
    pub(crate) fn start(parts: Parts, life: Life) -> Result<Ensemble, (Box<Parts>, io::Error)> {
        match Running::start(&parts, life) {
            Ok(running) => {
                follow_own_line(&parts);
                Ok(Ensemble { parts, running })
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
            };
            match next {
                Some(next) => self = next,
                None => return,
            }
        }
    }

    fn live(&mut self) -> End {
        let desk = Desk { ear: self.running.peers.ear(), syncing: AtomicBool::new(false), engine: Mutex::new(self) };
        thread::scope(|scope| {
            // However this ends, the other one ends, too.
            let _stop = StopEar(&desk.ear);
            let helper = thread::Builder::new().name("overhear".to_owned()).spawn_scoped(scope, || desk.overhear());
            if let Err(error) = helper {
                warn!(%error, "no thread: reads show what others have written only when this server's disk has it");
            }
            desk.work()
        })
    }

    /// Takes what waits for it; whether it is to stop.
    fn gather(&mut self, proposals: &mut Proposals) -> bool {
        self.running.peers.wait(self.idle_time());
        self.parts.pulse.engine_beats();
        // Nobody else could end the sessions of a voter that is alone: it may stand still.
        let is_alone = self.running.replica.configuration().is_sole();
        self.running.watch.moved(if is_alone { u64::MAX } else { self.parts.clock.now_ms() });
        self.listen();
        let stop = self.parts.proposing.take_waiting(proposals);
        self.running.replica.submit(proposals);
        self.parts.proposing.note_unapplied(self.running.replica.waiting_len());
        stop
    }

    /// After a turn; why this life ends, if it does.
    fn settle(&mut self, stop: bool) -> Option<End> {
        // Now nothing is staged: what the log has, the disk has.
        self.answer_questions();
        match self.running.replica.take_want() {
            Some(Want::Install { from, at }) => Some(End::Install(from, at)),
            None => (stop && self.may_stop()).then_some(End::Stopped),
        }
    }

    fn idle_time(&self) -> Duration {
        // What the last entry applied has brought about.
        if self.running.replica.is_staged() {
            return Duration::ZERO;
        }
        let next_ms = self.running.replica.next_step_ms().min(self.running.next_tick_ms);
        Duration::from_millis(next_ms.saturating_sub(self.parts.clock.now_ms()))
    }

    /// Own clients' commands are finished, as long as that does not take too long.
    fn may_stop(&mut self) -> bool {
        let now_ms = self.parts.clock.now_ms();
        let Running { replica, stop_by, .. } = &mut self.running;
        let by = *stop_by.get_or_insert_with(|| {
            if replica.hand_over(now_ms) {
                info!("this server stops: another one is to lead");
            }
            Instant::now() + STOP_PATIENCE
        });
        replica.waiting_len() == 0 && !replica.is_leaving() || Instant::now() >= by
    }

    /// Takes what peers sent.
    fn listen(&mut self) {
        let (parts, Running { peers, replica, .. }) = (&self.parts, &mut self.running);
        let now_ms = parts.clock.now_ms();
        let mut refused: Vec<(u8, String)> = Vec::new();
        peers.poll(&mut |event| match event {
            PeerEvent::LinkUp(peer) => {
                refused.retain(|(known, _)| *known != peer);
                replica.link_up(peer, now_ms);
            }
            PeerEvent::LinkDown { peer, .. } => {
                refused.retain(|(known, _)| *known != peer);
                replica.link_down(peer, now_ms);
            }
            PeerEvent::Stirs(peer) => replica.stirred(peer, now_ms),
            PeerEvent::Drains(peer) => replica.drained(peer, now_ms),
            PeerEvent::Frame(peer, frame) => {
                if refused.iter().all(|(known, _)| *known != peer)
                    && let Err(problem) = replica.receive(peer, frame, now_ms)
                {
                    refused.push((peer, problem.to_string()));
                }
            }
        });
        for (peer, problem) in refused {
            self.running.peers.kill(peer, &problem);
        }
    }

    /// Gives out parts of the log, all of which is on disk by now.
    fn answer_questions(&mut self) {
        while let Ok((from, answer)) = self.running.questions.try_recv() {
            let part = self.running.replica.log_part(from, PART_LEN);
            self.parts.stats.lock().states_sent += u64::from(part.as_ref().is_some_and(|part| part.last.is_some()));
            let _ = answer.send(part);
        }
    }

    fn begin_turn(&mut self) {
        self.tick();
        let clock = self.parts.clock;
        self.running.replica.step(&self.parts.shared, clock.now_ms(), clock.wall_ms());
        self.send();
        self.apply();
    }

    fn end_turn(&mut self) {
        self.note_ahead();
        self.send();
        self.apply();
        // Whom the last entries let in is told now, not with the next frame.
        self.send();
        self.show_role();
        self.running.replica.with_journal(|journal| journal.prepare());
    }

    /// While the disk works: what the leader says is decided, is shown.
    fn overhear(&mut self) {
        let Running { replica, peers, .. } = &mut self.running;
        if let Role::Following(leader) = replica.role() {
            peers.overhear(leader, &mut |frame| replica.overhear(leader, frame));
            self.apply();
            self.listen_meanwhile();
        }
    }

    fn listen_meanwhile(&mut self) {
        if let Role::Following(leader) = self.running.replica.role() {
            self.running.peers.listen_meanwhile(leader);
        }
    }

    /// A checkpoint must not hold what the log does not.
    fn note_ahead(&self) {
        self.parts.checkpoints.note_ahead(self.running.replica.is_ahead_of_disk());
    }

    fn send(&mut self) {
        let mut sent = false;
        for peer in self.running.replica.linked() {
            while let Some(frame) = self.running.replica.next_frame(peer) {
                self.running.peers.send(peer, &frame);
                sent = true;
            }
        }
        if sent {
            self.running.peers.flush();
        }
    }

    fn apply(&mut self) {
        let early = self.parts.checkpoints.allow_ahead();
        let (parts, Running { replica, writer, slow, agreed, ensemble_id, .. }) = (&self.parts, &mut self.running);
        let durable_ms = parts.clock.now_ms();
        let checkpoints = &parts.checkpoints;
        // The state is unlocked behind the last command of an entry.
        let (is_last, mut entries) = (Cell::new(false), Vec::new());
        let wall_ms = parts.clock.wall_ms();
        let (version, epoch, mut agreed) = (agreed.version, agreed.epoch, None);
        let mut applying = Applying {
            shared: &parts.shared,
            entry: checkpoints.between_entries(),
            writer,
            deliver: &mut |writer, locked| {
                if is_last.take() {
                    let age_ms = age_ms(&locked.state, wall_ms);
                    entries.push((std::mem::take(&mut writer.applied), age_ms));
                }
                note_ensemble(ensemble_id, &locked.state);
                if (locked.state.membership().version(), locked.state.epoch_ballot()) != (version, epoch) {
                    agreed = Some(Agreed::of(&locked.state));
                }
                deliver(writer, &parts.mailboxes, parts.audit.as_deref(), locked);
            },
            applied: &mut |entry| {
                checkpoints.applied(entry.len() as u64);
                is_last.set(true);
            },
            now_ms: parts.clock.now_ms(),
            early,
        };
        let applied = replica.apply(&mut applying);
        let slow = slow.report(writer, Times { taken_ms: None, durable_ms }, parts.clock);
        let packed = replica.take_packed();
        if slow > 0 || packed.lens.count > 0 || !entries.is_empty() {
            let leads = replica.role() == Role::Leading;
            let mut stats = parts.stats.lock();
            stats.slow_requests += slow;
            stats.proposed(&packed);
            stats.decided = replica.decided();
            stats.waiting_len = replica.waiting_len();
            // An entry without a command says only that somebody leads.
            let entries = entries.into_iter().filter(|&(count, _)| count > 0);
            entries.for_each(|(count, age_ms)| stats.applied(count, age_ms, leads));
        }
        applied.unwrap_or_else(|problem| panic!("log entry {} is none: {problem}", replica.applied()));
        parts.proposing.note_unapplied(replica.waiting_len());
        // The last delivery may have woken them before that was so, and there may be no next one.
        parts.mailboxes.iter().for_each(|mailbox| mailbox.relieve());
        agreed.into_iter().for_each(|agreed| self.note_members(agreed));
        self.note_ahead();
    }

    /// Links are made to whoever is a member now.
    fn note_members(&mut self, agreed: Agreed) {
        let (members, are_agreed) = linked_members(&self.parts);
        self.running.peers.set_members(members, are_agreed);
        follow_own_line(&self.parts);
        if agreed.version != self.running.agreed.version {
            let Agreed { voters, observers, version, .. } = &agreed;
            info!(?voters, ?observers, version = format!("{version:x}"), "the members have changed");
        }
        self.running.agreed = agreed;
    }

    fn end(mut self) {
        // A full disk changes nothing any more.
        let _ = self.running.replica.persist_decided();
        if let Some(file) = &mut self.parts.config_file {
            file.finish(self.parts.shared.read().state.membership());
        }
        self.running.end(&self.parts);
    }
}

/// From its first entry on the ensemble has an id, without which another one's members would be let in.
fn note_ensemble(id: &AtomicU64, state: &State) {
    if id.load(Ordering::Relaxed) == 0 {
        id.store(state.ensemble(), Ordering::Release);
    }
}
