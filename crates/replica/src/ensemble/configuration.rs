//! A configuration: the voters, and the index of the log from which they vote. Configurations
//! follow one another; each is an OmniPaxos instance of its own over the same log.
//!
//! Invariant: configuration ids grow by one; every server that knows a configuration knows the same
//! voters.

use bytes::BufMut;
use oxkeeper_proto::ServerId;
use oxkeeper_state::State;

use super::journal::{Journal, scalar};

/// Id of the configuration that an ensemble is founded with.
const FIRST: u32 = 1;
/// Bytes before the voters.
const FIXED_LEN: usize = 12;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Id, from 1 on; 0 for none.
    pub id: u32,
    /// Index of its first entry: everything below was decided before.
    pub base: u64,
    /// Ids of the voters, ascending.
    pub voters: Vec<ServerId>,
}

impl Configuration {
    /// Returns the first configuration of an ensemble of these servers.
    pub fn first(voters: Vec<ServerId>) -> Configuration {
        Configuration { id: FIRST, base: 0, voters }
    }

    /// Returns the configuration that follows the `applied` entries that made `state`. It counts
    /// only the entries that end a configuration, so this one may have begun earlier.
    pub(crate) fn behind(state: &State, applied: u64) -> Configuration {
        Configuration { id: Configuration::id_of(state), base: applied, voters: state.membership().voters() }
    }

    /// Returns the id of the configuration that decides the entries behind `state`.
    pub fn id_of(state: &State) -> u32 {
        u32::try_from(state.configurations_ended()).unwrap_or(u32::MAX - FIRST).min(u32::MAX - FIRST) + FIRST
    }

    /// Encodes it as a scalar: id (u32), base (u64), voters (u8 each).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.voters.len());
        out.put_u32(self.id);
        out.put_u64(self.base);
        out.extend(self.voters.iter().map(|voter| voter.0));
        out
    }

    /// Decodes a scalar; `None` if the bytes are not a configuration.
    pub fn decode(bytes: &[u8]) -> Option<Configuration> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (base, voters) = rest.split_first_chunk()?;
        let voters = voters.iter().copied().map(ServerId).collect();
        Some(Configuration { id: u32::from_be_bytes(*id), base: u64::from_be_bytes(*base), voters })
    }

    /// Returns the configuration that a journal is in; `None` for a blank server.
    pub fn of(journal: &dyn Journal) -> Option<Configuration> {
        let founders = journal.scalar(scalar::MEMBERS)?;
        let known = journal.scalar(scalar::CONFIGURATION).and_then(|bytes| Configuration::decode(&bytes));
        // A journal of the first release has only the founders.
        Some(known.unwrap_or_else(|| Configuration::first(founders.into_iter().map(ServerId).collect())))
    }

    /// Returns a voter's process id, from 1 on: OmniPaxos requires process ids without gaps.
    pub(crate) fn process_of(&self, server: ServerId) -> Option<u64> {
        self.voters.iter().position(|&voter| voter == server).map(|place| place as u64 + 1)
    }

    /// Returns the voter with a process id.
    pub(crate) fn server(&self, process: u64) -> ServerId {
        self.voters[process as usize - 1]
    }

    /// Returns whether there is only one voter.
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
