//! Membership of an ensemble: typed, versioned, and as the text that clients read in
//! `/zookeeper/config`.
//!
//! Owns the canonical text, its parser, and our own requirements beyond ZooKeeper's checks.
//! Invariant: a [`Membership`] that is not empty has passed [`check`]. Source: `QuorumMaj`,
//! `QuorumHierarchical`, `QuorumPeerConfig#parseDynamicConfig`.

mod members;

use std::collections::BTreeMap;
use std::fmt;

use oxkeeper_proto::{ErrorCode, ServerId};

pub use members::{HostPort, Members, PeerAddress, Role, Server, ServerLineError, is_wildcard, parse_id};

use crate::properties;

/// Maximum number of members in an ensemble: each has a link to every other, and a majority
/// acknowledges each write.
pub const MEMBERS_MAX: usize = 15;

/// The members of an ensemble and their version. Empty for a standalone server, or if nothing is
/// agreed on yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    members: Members,
    version: i64,
}

/// Reason why a membership is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Error code for clients.
    pub code: ErrorCode,
    /// Explanation for operators.
    pub why: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, why: impl Into<String>) -> Refusal {
        Refusal { code, why: why.into() }
    }

    pub(crate) fn arguments(why: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::BadArguments, why)
    }

    /// ZooKeeper: an exception that has no error code of its own.
    pub(crate) fn marshalling(why: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::Marshalling, why)
    }
}

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> ErrorCode {
        refusal.code
    }
}

impl From<ServerLineError> for Refusal {
    fn from(error: ServerLineError) -> Refusal {
        match error {
            ServerLineError::PortOutOfRange(_) => Refusal::marshalling(error.to_string()),
            ServerLineError::Wrong(why) => Refusal::arguments(why),
        }
    }
}

impl Membership {
    /// Creates a membership of these members at this version.
    pub fn new(members: Members, version: i64) -> Membership {
        Membership { members, version }
    }

    /// Reads `server.N=`, `group.N=`, `weight.N=` and `version=` lines.
    ///
    /// *Errors*: text that ZooKeeper would not read, with the code it answers.
    pub fn parse(text: &str, multi_address_enabled: bool) -> Result<Membership, Refusal> {
        let lines = properties::parse(text).map_err(|error| Refusal::marshalling(error.message))?;
        // The last of several lines with the same key counts, as in a hash table.
        let lines: BTreeMap<_, _> = lines.into_iter().map(|line| (line.key, line.value)).collect();
        let mut membership = Membership::default();
        for (key, value) in &lines {
            membership.add(key, value, multi_address_enabled)?;
        }
        Ok(membership)
    }

    fn add(&mut self, key: &str, value: &str, multi_address_enabled: bool) -> Result<(), Refusal> {
        let id = |text: &str| parse_id(text).map_err(Refusal::marshalling);
        let after_dot = |key: &str| id(key.split_once('.').map_or(key, |(_, id)| id));
        if let Some(server) = key.strip_prefix("server.") {
            let server = id(server)?;
            self.members.servers.insert(server, Server::parse(server, value, multi_address_enabled)?);
        } else if key.starts_with("group") {
            self.members.add_group(after_dot(key)?, value).map_err(Refusal::arguments)?;
        } else if key.starts_with("weight") {
            self.members.weights.insert(after_dot(key)?, id(value)?);
        } else if key == "version" {
            self.version = i64::from_str_radix(value, 16).map_err(|error| Refusal::marshalling(error.to_string()))?;
        } else {
            return Err(Refusal::arguments(format!("Unrecognised parameter: {key}")));
        }
        Ok(())
    }

    /// Returns the members.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Replaces wildcards by hosts, where `known` has the host of that server.
    pub(crate) fn locate_by(&mut self, known: &Membership) {
        self.members.locate_by(&known.members);
    }

    /// Returns the zxid of the reconfig that made this membership, or the version in a file's name.
    /// 0 means no version.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.servers.is_empty()
    }

    /// Returns the servers that vote, ascending.
    pub fn voters(&self) -> Vec<ServerId> {
        self.with_role(Role::Participant)
    }

    /// Returns the servers that only learn, ascending.
    pub fn observers(&self) -> Vec<ServerId> {
        self.with_role(Role::Observer)
    }

    /// Returns all servers, ascending.
    pub fn ids(&self) -> Vec<ServerId> {
        self.members.servers.keys().filter_map(|&id| u8::try_from(id).ok().map(ServerId)).collect()
    }

    /// Returns the contents of the line of `server`.
    pub fn server(&self, server: ServerId) -> Option<&Server> {
        self.members.servers.get(&i64::from(server.0))
    }

    fn with_role(&self, role: Role) -> Vec<ServerId> {
        let servers = self.members.servers.iter().filter(|(_, server)| server.role == role);
        servers.filter_map(|(&id, _)| u8::try_from(id).ok().map(ServerId)).collect()
    }
}

/// Formats the content of `/zookeeper/config`: a line for each server, and the version without a
/// line end.
// ZooKeeper: uses the order of a hash table, which equals this order for ids below 16.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}version={:x}", self.members, self.version)
    }
}

/// Reason why servers cannot form an ensemble here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Server whose line is to blame; `None` if all of them are.
    pub server: Option<i64>,
    /// Explanation for operators.
    pub why: String,
}

/// Checks that these servers can form an ensemble here.
///
/// *Errors*: too many servers, an id that does not fit into a byte, two servers at one address.
pub fn check(members: &Members) -> Result<(), Misfit> {
    let servers = &members.servers;
    if servers.len() > MEMBERS_MAX {
        let why = format!("there are {} servers, but an ensemble has at most {MEMBERS_MAX}", servers.len());
        return Err(Misfit { server: None, why });
    }
    let mut addresses = BTreeMap::new();
    for (id, server) in servers {
        // ZooKeeper: allows any number as an id, though only its lowest byte gets into session ids.
        let misfit = |why| Misfit { server: Some(*id), why };
        if u8::try_from(*id).is_err() {
            return Err(misfit(format!("server id must be 0–{}, not {id}", u8::MAX)));
        }
        for address in &server.addresses {
            if let Some(other) = addresses.insert((&address.host, address.quorum_port), id) {
                let (host, port) = (&address.host, address.quorum_port);
                return Err(misfit(format!("server.{other} and server.{id} have the same address {host}:{port}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_zookeepers_and_means_the_same() {
        let text = "server.2=b:2888:3888:participant;0.0.0.0:2181\nserver.1=a:2888:3888\nversion=100000002\n\
                    server.3=[::1]:2888:3888:observer";
        let membership = Membership::parse(text, false).expect("legal");
        let expected = "server.1=a:2888:3888:participant\nserver.2=b:2888:3888:participant;0.0.0.0:2181\n\
                        server.3=[::1]:2888:3888:observer\nversion=100000002";
        assert_eq!(membership.to_string(), expected);
        assert_eq!(Membership::parse(expected, false).as_ref(), Ok(&membership));
        assert_eq!(
            (membership.voters(), membership.observers()),
            ([1, 2].map(ServerId).into(), [3].map(ServerId).into())
        );
        assert_eq!(membership.version(), 0x1_0000_0002);
    }

    #[test]
    fn groups_and_weights_are_shown() {
        let text = "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2\nweight.2=3";
        let membership = Membership::parse(text, false).expect("legal");
        // ZooKeeper: shows a voter's weight even if none was given.
        let expected = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\ngroup.1=1:2\nweight.1=1\nweight.2=3\n\
                        version=0";
        assert_eq!(membership.to_string(), expected);
    }
}
