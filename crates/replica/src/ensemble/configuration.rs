//! A configuration: who votes, from which index of the log on. There is one after the other; each is an instance of
//! OmniPaxos of its own over the same log.
//!
//! Invariant: ids of configurations grow by one; the voters of one are the same on every server that knows it.

use bytes::BufMut;
use oxkeeper_proto::ServerId;
use oxkeeper_state::State;

use super::journal::{Journal, scalar};

/// The one an ensemble is founded with.
const FIRST: u32 = 1;
/// Bytes before the voters.
const FIXED_LEN: usize = 12;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// From 1 on; 0 is none.
    pub id: u32,
    /// The index of its first entry: everything below was decided before.
    pub base: u64,
    /// The ids of those who vote, ascending.
    pub voters: Vec<ServerId>,
}

impl Configuration {
    /// What an ensemble of these servers begins with.
    pub fn first(voters: Vec<ServerId>) -> Configuration {
        Configuration { id: FIRST, base: 0, voters }
    }

    /// The one whose first entry comes behind those that made `state`, `applied` of them; only those among them that end a
    /// configuration are asked, so it may have begun before.
    pub(crate) fn behind(state: &State, applied: u64) -> Configuration {
        Configuration { id: Configuration::id_of(state), base: applied, voters: state.membership().voters() }
    }

    /// The id of the configuration that decides what comes behind `state`.
    pub fn id_of(state: &State) -> u32 {
        u32::try_from(state.configurations_ended()).unwrap_or(u32::MAX - FIRST).min(u32::MAX - FIRST) + FIRST
    }

    /// As a scalar: id (u32), base (u64), voters (u8 each).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.voters.len());
        out.put_u32(self.id);
        out.put_u64(self.base);
        out.extend(self.voters.iter().map(|voter| voter.0));
        out
    }

    /// `None`: these bytes are none.
    pub fn decode(bytes: &[u8]) -> Option<Configuration> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (base, voters) = rest.split_first_chunk()?;
        let voters = voters.iter().copied().map(ServerId).collect();
        Some(Configuration { id: u32::from_be_bytes(*id), base: u64::from_be_bytes(*base), voters })
    }

    /// The one that a journal is in; `None` of a server that has nothing.
    pub fn of(journal: &dyn Journal) -> Option<Configuration> {
        let founders = journal.scalar(scalar::MEMBERS)?;
        let known = journal.scalar(scalar::CONFIGURATION).and_then(|bytes| Configuration::decode(&bytes));
        // A journal of the first release says only who founded the ensemble.
        Some(known.unwrap_or_else(|| Configuration::first(founders.into_iter().map(ServerId).collect())))
    }

    /// A voter's place, from 1 on: OmniPaxos wants its process ids without gaps.
    pub(crate) fn process_of(&self, server: ServerId) -> Option<u64> {
        self.voters.iter().position(|&voter| voter == server).map(|place| place as u64 + 1)
    }

    /// The voter in a place.
    pub(crate) fn server(&self, process: u64) -> ServerId {
        self.voters[process as usize - 1]
    }

    /// One server votes, alone.
    pub fn is_sole(&self) -> bool {
        self.voters.len() == 1
    }

    pub(crate) fn has(&self, server: ServerId) -> bool {
        self.voters.contains(&server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_was_written() {
        let configuration = Configuration { id: 7, base: 1 << 40, voters: [1, 3, 200].map(ServerId).into() };
        let bytes = configuration.encode();
        assert_eq!(Configuration::decode(&bytes), Some(configuration));
        assert_eq!(Configuration::decode(&bytes[..FIXED_LEN - 1]), None);
    }
}
