//! Servers of two releases, one of which knows a higher feature level.
//!
//! Promise: the level is raised only once every member has run a release that knows it. Until then
//! no server meets anything that it does not know. A server that does so afterwards takes nothing
//! of it, and stops.

use oxkeeper_state::Level;

use super::server::{Incarnation, Process};
use super::trace::note;
use super::world::World;

impl World {
    /// Chooses the release with which a server starts.
    pub(super) fn choose_release(&mut self, me: usize) {
        let [older, newer] = self.options.releases;
        let is_newer = older == newer || self.settling || self.hosts[me].outdated || self.random.once_in(2);
        let host = &mut self.hosts[me];
        host.knows = if is_newer { newer } else { older };
        host.ever_knew = host.ever_knew.max(host.knows);
        if older != newer {
            note(self.now_ms, me, "runs a release that knows level", [host.knows.0.into(), 0]);
        }
    }

    /// Checks that a leader proposes a level only if every member can know it.
    pub(super) fn check_raise(&mut self, process: &Process, incarnation: &Incarnation) {
        let engine = incarnation.engine.lock();
        let replica = engine.replica();
        let Some(raised) = replica.raised().filter(|raised| *raised > self.raised) else { return };
        self.raised = raised;
        let shared = process.shared.read();
        let learners = shared.state.membership().ids();
        for id in replica.configuration().voters.iter().copied().chain(learners) {
            let host = &self.hosts[self.options.place(id)];
            assert!(host.ever_knew >= raised, "levels: level {raised} is proposed, and server {id} never knew it");
        }
    }

    /// Notes that a server has met a level that it does not know.
    pub(super) fn note_outdated(&mut self, me: usize, needs: Level) {
        assert!(needs <= self.raised, "levels: server {} meets level {needs}, which nobody has proposed", me + 1);
        note(self.now_ms, me, "is of a release that does not know level", [needs.0.into(), 0]);
        self.hosts[me].outdated = true;
        self.report.outdated += 1;
    }

    /// Restarts every server that runs the older release with the newer one.
    pub(super) fn upgrade_all(&mut self) {
        let [_, newer] = self.options.releases;
        for me in 0..self.hosts.len() {
            if self.hosts[me].process.is_some() && self.hosts[me].knows < newer {
                self.hosts[me].crash_at = Some((0, false));
                self.crash(me);
            }
        }
    }

    /// Returns whether all servers are at the newer release's level.
    pub(super) fn is_upgraded(&self) -> bool {
        let [_, newer] = self.options.releases;
        let level = |process: &Process| process.shared.read().state.level();
        self.hosts.iter().all(|host| host.process.as_ref().is_some_and(|process| level(process) == newer))
    }
}
