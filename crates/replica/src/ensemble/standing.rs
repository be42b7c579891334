//! How a server takes part in its ensemble.

use super::consensus::Consensus;
use super::journal::{Journal, MemoryJournal};
use super::learning::Learner;
use super::storage::Store;

/// See the module.
#[derive(Debug)]
pub(super) enum Standing {
    /// It has nothing, and waits to join, or to found the ensemble with others.
    Blank(Blank),
    /// It votes.
    Voter(Box<Consensus>),
    /// It is told what is decided.
    Learner(Box<Learner>),
}

/// Of a server that has nothing.
#[derive(Debug)]
pub(super) struct Blank {
    pub(super) journal: Box<dyn Journal>,
    pub(super) next_ping_ms: u64,
}

impl std::fmt::Debug for dyn Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "journal {}..{}", self.first_index(), self.next_index())
    }
}

impl Standing {
    pub(super) fn consensus(&self) -> Option<&Consensus> {
        match self {
            Standing::Voter(consensus) => Some(consensus),
            Standing::Blank(_) | Standing::Learner(_) => None,
        }
    }

    pub(super) fn consensus_mut(&mut self) -> Option<&mut Consensus> {
        match self {
            Standing::Voter(consensus) => Some(consensus),
            Standing::Blank(_) | Standing::Learner(_) => None,
        }
    }

    pub(super) fn store(&self) -> Option<&Store> {
        match self {
            Standing::Voter(consensus) => Some(&consensus.store),
            Standing::Learner(learner) => Some(&learner.store),
            Standing::Blank(_) => None,
        }
    }

    pub(super) fn blank_mut(&mut self) -> Option<&mut Blank> {
        match self {
            Standing::Blank(blank) => Some(blank),
            Standing::Voter(_) | Standing::Learner(_) => None,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Standing::Blank(_))
    }

    /// Takes the journal away, for whatever this server is next.
    pub(super) fn take_journal(&mut self) -> Box<dyn Journal> {
        match self {
            Standing::Blank(blank) => std::mem::replace(&mut blank.journal, Box::new(MemoryJournal::default())),
            Standing::Voter(consensus) => consensus.store.lock().take_journal(),
            Standing::Learner(learner) => learner.store.lock().take_journal(),
        }
    }

    pub(super) fn with_journal<T>(&mut self, work: impl FnOnce(&mut dyn Journal) -> T) -> T {
        match self {
            Standing::Blank(blank) => work(&mut *blank.journal),
            Standing::Voter(consensus) => work(&mut *consensus.store.lock().journal),
            Standing::Learner(learner) => work(&mut *learner.store.lock().journal),
        }
    }

    /// Returns one past the last entry that may be applied: it is decided and durable here, unless `early` says that a follower
    /// need not wait for its disk.
    pub(super) fn applicable(&self, early: bool) -> u64 {
        match self {
            Standing::Voter(consensus) => consensus.applicable(early),
            Standing::Learner(learner) => {
                let store = learner.store.lock();
                store.decided().min(store.durable_end())
            }
            Standing::Blank(_) => 0,
        }
    }

    /// Returns when time alone has something for it to do, ms.
    pub(super) fn next_step_ms(&self) -> u64 {
        match self {
            Standing::Voter(consensus) => consensus.next_round_ms(),
            Standing::Learner(learner) => learner.next_ping_ms,
            Standing::Blank(blank) => blank.next_ping_ms,
        }
    }
}
