//! The checkers, one file for each promise of a server. A broken promise panics with a message that
//! begins with its name.
//!
//! Checkers see what clients see, the bytes that reach the disk, and the order in which commands
//! are applied. They keep their own oracle and do not consult production code.

pub mod bounds;
pub mod contents;
pub mod durable;
pub mod expiry;
pub mod history;
pub mod locals;
pub mod oracle;
pub mod order;
pub mod origins;
pub mod progress;
pub mod sessions;
pub mod times;
pub mod watches;
pub mod zxids;

use oxkeeper_state::{Batch, State};

pub use oracle::Oracle;

/// State of all checkers of a run.
#[derive(Debug)]
pub struct Checks {
    /// The expected history, and what clients saw of it.
    pub oracle: Oracle,
    /// Checks that acknowledged writes survive.
    pub durable: durable::Durable,
    /// Checks that zxids are unique and ascending, and that digests at equal zxids are equal.
    pub zxids: zxids::Zxids,
    /// Checks that sessions end neither early nor late.
    pub sessions: sessions::Sessions,
}

impl Checks {
    /// Creates checkers for a new run.
    pub fn new(tick_ms: u64) -> Checks {
        Checks {
            oracle: Oracle::default(),
            durable: durable::Durable::default(),
            zxids: zxids::Zxids::default(),
            sessions: sessions::Sessions::new(tick_ms),
        }
    }

    /// Checks `state` after the next `limit` commands of the current entry were applied.
    pub fn applied(&mut self, limit: usize, state: &State, now_ms: u64) {
        self.advance(limit, now_ms);
        self.zxids.reached(state, &self.oracle.model);
    }

    /// Applies the commands to the model.
    fn advance(&mut self, limit: usize, now_ms: u64) {
        let Checks { oracle, durable, sessions, .. } = self;
        let (entry, done) = durable.at_work();
        let batch = Batch::decode(&entry).expect("the entry is one of ours");
        let (count, time_ms) = (batch.clone().count(), batch.time_ms);
        for command in batch.skip(done).take(limit) {
            let command = command.expect("the command is one of ours");
            sessions.applied(&command, now_ms);
            oracle.applied(&command, time_ms);
        }
        durable.advanced(limit, count);
    }

    /// Checks `state` after a restart that recovered `applied` entries from `log`.
    pub fn recovered(&mut self, applied: u64, state: &State, log: &oxkeeper_store::LogReader, now_ms: u64) {
        self.durable.recovered(applied, log);
        while self.durable.behind() {
            self.advance(usize::MAX, now_ms);
        }
        self.zxids.reached(state, &self.oracle.model);
        self.oracle.check_seen(state.zxid().0);
        contents::check(state, &self.oracle.model);
        self.sessions.restarted(&self.oracle.model, now_ms);
    }
}
