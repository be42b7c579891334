//! Installs a peer's state at a server, which then begins a new incarnation. Mirrors
//! `Ensemble::install` and `start_anew`.

use std::path::Path;
use std::sync::Arc;

use oxkeeper_durable::own_log::{is_current, kept, own_log};
use oxkeeper_durable::transfer::{Receiver, Sender, TransferError};
use oxkeeper_store::{Disk, Log};

use super::server::{Install, Mode, Process, Unfit, founders, store_options};
use super::trace::note;
use super::world::World;
use crate::options::Bug;
use crate::server::{DATA_DIR, LOG_DIR};

/// Pause after a failed fetch, and between attempts while the disk is full, ms.
const RETRY_PAUSE_MS: u64 = 1_000;
/// Time for which a state's stream may be silent, ms.
const PATIENCE_MS: u64 = 5_000;

impl World {
    pub(super) fn begin_install(&mut self, me: usize, from: usize, at: u64, mut process: Process) {
        note(self.now_ms, me, "installs the state of server", [from as u64 + 1, 0]);
        self.report.installs += 1;
        self.stop_serving(me, &mut process);
        self.expiry.troubled(me, self.now_ms);
        let disk: Arc<dyn Disk> = Arc::new(self.hosts[me].disk.clone());
        let dir = Path::new(DATA_DIR);
        let receiver = Receiver::new(&disk, dir, dir, &store_options(&self.options, self.hosts[me].knows));
        if self.hosts[me].has_crashed() {
            self.hosts[me].process = Some(process);
            return self.crash(me);
        }
        let (now_ms, start) = (self.now_ms, self.hosts[from].start);
        let reachable = self.hosts[from].process.is_some() && self.peer_network.is_open(me, from, now_ms);
        process.mode = match receiver {
            Ok(receiver) if reachable => {
                let (until_ms, sender, coming) = (now_ms + PATIENCE_MS, None, Vec::new());
                Mode::Installing(Box::new(Install { from, from_start: start, at, sender, receiver, until_ms, coming }))
            }
            Ok(_) | Err(_) => self.give_up(me),
        };
        self.hosts[me].process = Some(process);
        self.wake_engine(me, now_ms + 1);
    }

    fn give_up(&mut self, me: usize) -> Mode {
        note(self.now_ms, me, "cannot fetch the state", [0; 2]);
        Mode::Resting(self.now_ms + RETRY_PAUSE_MS)
    }

    /// Takes the next chunk, or ends the transfer.
    pub(super) fn install_turn(&mut self, me: usize) {
        let now_ms = self.now_ms;
        let mut process = self.hosts[me].process.take().expect("its turn");
        let mode = std::mem::replace(&mut process.mode, Mode::Ready);
        let Mode::Installing(mut install) = mode else { unreachable!("its turn") };
        let from = install.from;
        let source = &self.hosts[from];
        let alive = source.start == install.from_start && source.process.is_some();
        let open = self.peer_network.is_open(me, from, now_ms);
        if !alive || now_ms >= install.until_ms {
            process.mode = self.give_up(me);
        } else if !open {
            process.mode = Mode::Installing(install);
        } else if install.coming.is_empty() {
            process.mode = match self.next_chunk(&mut install) {
                Ok(()) => Mode::Installing(install),
                Err(problem) => {
                    note(now_ms, me, problem, [0; 2]);
                    self.give_up(me)
                }
            };
        } else {
            let bytes = std::mem::take(&mut install.coming);
            install.until_ms = now_ms + PATIENCE_MS;
            let taken = install.receiver.take(&bytes);
            let complete = taken.as_ref().is_ok_and(|progress| progress.complete);
            if let Err(TransferError::Newer { needs, .. }) = taken {
                self.note_outdated(me, needs);
                self.hosts[me].process = Some(process);
                self.hosts[me].crash_at = Some((0, false));
                return self.crash(me);
            }
            let full = matches!(taken, Err(TransferError::Store(_)));
            assert!(taken.is_ok() || full, "transfer: server {} refuses the state: {taken:?}", me + 1);
            if self.hosts[me].has_crashed() {
                self.hosts[me].process = Some(process);
                return self.crash(me);
            }
            if complete {
                return self.finish_install(me, *install, process);
            }
            process.mode = if full { self.give_up(me) } else { Mode::Installing(install) };
        }
        let at_ms = match &process.mode {
            Mode::Resting(until_ms) => *until_ms,
            Mode::Installing(install) if install.coming.is_empty() || !open => now_ms + 5,
            Mode::Ready | Mode::Persisting(_) | Mode::Installing(_) => {
                let coming =
                    if let Mode::Installing(install) = &process.mode { install.coming.len() as u64 } else { 0 };
                let passes_ms = coming.checked_div(self.options.peer_bytes_per_ms).unwrap_or_default();
                now_ms + passes_ms + self.random.within(0, 2 * self.options.peer_delay_ms_max)
            }
        };
        self.hosts[me].process = Some(process);
        self.wake_engine(me, at_ms);
    }

    /// Fetches the next chunk from the peer, between two turns of its engine; nothing comes while
    /// that engine waits for its disk.
    fn next_chunk(&mut self, install: &mut Install) -> Result<(), &'static str> {
        let host = &self.hosts[install.from];
        let Some(Process { incarnation: Some(incarnation), mode, .. }) = &host.process else {
            return Err("the peer has no incarnation");
        };
        if host.paused_until_ms > self.now_ms || !matches!(mode, Mode::Ready) {
            return Ok(());
        }
        if install.sender.is_none() {
            install.sender = Some(Sender::new(incarnation.source()).map_err(|_| "the peer's state cannot be read")?);
        }
        let sender = install.sender.as_mut().expect("it is there");
        match sender.next_chunk(&mut install.coming) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the peer's state ends too early"),
            Err(_) => Err("the peer ends its stream"),
        }
    }

    fn finish_install(&mut self, me: usize, mut install: Install, process: Process) {
        if let Some(sender) = install.sender.take()
            && self.options.bug != Bug::PinEndsWithTransfer
        {
            sender.into_source().is_sent_to(self.options.id(me));
        }
        let disk: Arc<dyn Disk> = Arc::new(self.hosts[me].disk.clone());
        let options = store_options(&self.options, self.hosts[me].knows);
        let log = Log::open(disk, Path::new(LOG_DIR), &options.log).expect("its own log can be opened");
        if !install.receiver.tail().is_some_and(|tail| is_current(&log, tail) && tail.decided >= install.at) {
            let mut process = process;
            process.mode = self.give_up(me);
            self.hosts[me].process = Some(process);
            return self.wake_engine(me, self.now_ms + RETRY_PAUSE_MS);
        }
        let (members, naive) = (founders(&self.options, me), self.options.bugs.naive_install);
        let finished = install.receiver.finish(|tail| kept(&own_log(&log, &members, tail.decided), tail, naive));
        drop(log);
        if self.hosts[me].has_crashed() {
            self.hosts[me].process = Some(process);
            return self.crash(me);
        }
        match finished {
            Ok(installed) => {
                note(self.now_ms, me, "has a peer's state, applied and end", [installed.applied, installed.end]);
                self.report.installed += 1;
                self.progress.fetched(me);
                self.hosts[me].groups.push(installed.applied..installed.end);
                let takes_ms = self.loads_ms(me, install.from, installed.end - installed.applied);
                self.load(me, process, takes_ms);
            }
            Err(_) => {
                let mut process = process;
                process.mode = self.give_up(me);
                self.hosts[me].process = Some(process);
                self.wake_engine(me, self.now_ms + RETRY_PAUSE_MS);
            }
        }
    }

    /// Loads the data on the disk, which takes `load_ms`, and begins a new incarnation.
    pub(super) fn load(&mut self, me: usize, mut process: Process, load_ms: u64) {
        if self.is_checkpointing(me) {
            return self.rest(me, process, load_ms.max(1));
        }
        if load_ms == 0 {
            return self.start_anew(me, process);
        }
        self.end_incarnation(me, &mut process);
        self.rest(me, process, load_ms);
    }

    /// Waits, and begins a new incarnation afterwards.
    fn rest(&mut self, me: usize, mut process: Process, rest_ms: u64) {
        process.mode = Mode::Resting(self.now_ms + rest_ms);
        self.hosts[me].process = Some(process);
        self.wake_engine(me, self.now_ms + rest_ms);
    }

    /// Ends the incarnation: cuts all links, and ends the state transfers that the server is
    /// sending.
    fn end_incarnation(&mut self, me: usize, process: &mut Process) {
        let now_ms = self.now_ms;
        process.incarnation = None;
        self.expiry.gone(me, now_ms);
        self.locals.gone(me);
        self.end_states_of(me);
        for peer in (0..self.hosts.len()).filter(|&peer| peer != me) {
            self.peer_network.kill(me, peer, now_ms, &mut self.random);
            while self.peer_network.poll(me, peer, now_ms).is_some() {}
            self.wake_engine_when_due(peer);
        }
    }

    /// Begins a new incarnation from the data on the disk, as if the process had been restarted.
    pub(super) fn start_anew(&mut self, me: usize, mut process: Process) {
        if self.is_checkpointing(me) {
            return self.rest(me, process, 1);
        }
        let now_ms = self.now_ms;
        process.mode = Mode::Ready;
        self.end_incarnation(me, &mut process);
        (0..self.hosts.len()).filter(|&peer| peer != me).for_each(|peer| self.dial_soon(me, peer));
        let (seed, wall_ms) = (self.random.any(), self.wall_ms(me));
        let birth = self.birth(me, seed, wall_ms, self.hosts[me].initialize);
        let recovered = birth.recover();
        let shared = recovered.map(|(incarnation, state)| {
            let shared = birth.share(state, &incarnation);
            (incarnation, shared)
        });
        if self.hosts[me].has_crashed() {
            self.hosts[me].process = Some(process);
            return self.crash(me);
        }
        if let Err(Unfit::Newer(needs)) = shared {
            panic!("levels: server {} has taken what it does not know: level {needs}", me + 1);
        }
        let Ok((incarnation, shared)) = shared else {
            return self.rest(me, process, RETRY_PAUSE_MS);
        };
        *process.shared.write() = shared;
        process.incarnation = Some(incarnation);
        self.hosts[me].process = Some(process);
        self.check_recovered(me);
        self.wake_engine(me, now_ms);
    }
}
