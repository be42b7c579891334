//! Ways in which a server takes part in its ensemble.

use super::catch_up::Learner;
use super::consensus::Consensus;
use super::journal::{Journal, MemoryJournal};
use super::storage::Store;

/// See the module.
#[derive(Debug)]
pub(super) enum Participation {
    /// The server has nothing, and waits to join, or to found the ensemble with others.
    Uninitialized(Uninitialized),
    /// The server votes.
    Voter(Box<Consensus>),
    /// The server learns decided entries.
    Learner(Box<Learner>),
}

/// State of a server that has nothing.
#[derive(Debug)]
pub(super) struct Uninitialized {
    pub(super) journal: Box<dyn Journal>,
    pub(super) next_ping_ms: u64,
}

impl std::fmt::Debug for dyn Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "journal {}..{}", self.first_index(), self.next_index())
    }
}

impl Participation {
    pub(super) fn consensus(&self) -> Option<&Consensus> {
        match self {
            Participation::Voter(consensus) => Some(consensus),
            Participation::Uninitialized(_) | Participation::Learner(_) => None,
        }
    }

    pub(super) fn consensus_mut(&mut self) -> Option<&mut Consensus> {
        match self {
            Participation::Voter(consensus) => Some(consensus),
            Participation::Uninitialized(_) | Participation::Learner(_) => None,
        }
    }

    pub(super) fn store(&self) -> Option<&Store> {
        match self {
            Participation::Voter(consensus) => Some(&consensus.store),
            Participation::Learner(learner) => Some(&learner.store),
            Participation::Uninitialized(_) => None,
        }
    }

    pub(super) fn blank_mut(&mut self) -> Option<&mut Uninitialized> {
        match self {
            Participation::Uninitialized(blank) => Some(blank),
            Participation::Voter(_) | Participation::Learner(_) => None,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Participation::Uninitialized(_))
    }

    /// Takes the journal, for the server's next participation.
    pub(super) fn take_journal(&mut self) -> Box<dyn Journal> {
        match self {
            Participation::Uninitialized(blank) => {
                std::mem::replace(&mut blank.journal, Box::new(MemoryJournal::default()))
            }
            Participation::Voter(consensus) => consensus.store.lock().take_journal(),
            Participation::Learner(learner) => learner.store.lock().take_journal(),
        }
    }

    pub(super) fn with_journal<T>(&mut self, work: impl FnOnce(&mut dyn Journal) -> T) -> T {
        match self {
            Participation::Uninitialized(blank) => work(&mut *blank.journal),
            Participation::Voter(consensus) => work(&mut *consensus.store.lock().journal),
            Participation::Learner(learner) => work(&mut *learner.store.lock().journal),
        }
    }

    /// Returns one past the last entry that may be applied: it is decided and durable here, unless
    /// `early` says that a follower need not wait for its disk.
    pub(super) fn applicable(&self, early: bool) -> u64 {
        match self {
            Participation::Voter(consensus) => consensus.applicable(early),
            Participation::Learner(learner) => {
                let store = learner.store.lock();
                store.decided().min(store.durable_end())
            }
            Participation::Uninitialized(_) => 0,
        }
    }

    /// Returns the time of its next step if nothing arrives, ms.
    pub(super) fn next_step_ms(&self) -> u64 {
        match self {
            Participation::Voter(consensus) => consensus.next_round_ms(),
            Participation::Learner(learner) => learner.next_ping_ms,
            Participation::Uninitialized(blank) => blank.next_ping_ms,
        }
    }
}
