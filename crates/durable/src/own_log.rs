//! Reads a member's own log, and decides which parts of it survive when the member installs a
//! peer's state.
//!
//! docs/omnipaxos-notes.md explains why: the naive rules lost data.

use std::sync::Arc;

use oxkeeper_proto::ServerId;
use oxkeeper_replica::ensemble::Configuration;
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::replica::{OwnLog, compare_rounds, greater_ballot};
use oxkeeper_store::Log;

use crate::transfer::{InstalledScalars, Tail};

/// Returns the voters that the log began with, or `None` if it is not the log of an ensemble
/// member.
pub fn members_of(log: &Log) -> Option<Vec<ServerId>> {
    log.scalar(scalar::MEMBERS).map(|members| members.into_iter().map(ServerId).collect())
}

/// Returns the server that wrote a log, if it is that of an ensemble's member.
pub fn owner_of(log: &Log) -> Option<ServerId> {
    log.scalar(scalar::OWNER).and_then(|owner| Some(ServerId(*owner.first()?)))
}

/// Returns the part of its own log and the scalars that a server keeps when it installs a peer's
/// state.
///
/// The peer's entries beyond the decided index, with the round in which they were accepted, replace
/// the server's own entries, unless the own entries were accepted in a later round, or in the same
/// round and reach further. In that case the own entries stay, with their round. In both cases
/// every entry below the peer's decided index is the peer's. The promise never decreases. Promises
/// and entries accepted in a configuration that the peer has left are void.
pub fn kept(own: &OwnLog, peer: &Tail, naive: bool) -> InstalledScalars {
    let void = OwnLog { boot: own.boot.clone(), members: own.members.clone(), ..OwnLog::default() };
    let own = if own.configuration_id() == id_of(peer) { own } else { &void };
    let promise = greater_ballot(&own.promise, &peer.promise);
    let peers_suffix = compare_rounds((&peer.round, peer.end), (&own.round, own.end)).is_ge();
    let (keep_until, suffix, round) = if naive {
        (peer.decided, Vec::new(), own.round.clone())
    } else if peers_suffix {
        (peer.end, Vec::new(), peer.round.clone())
    } else {
        (peer.decided, own.suffix(peer.decided), own.round.clone())
    };
    let scalars = vec![
        (scalar::PROMISE, promise),
        (scalar::ROUND, round),
        (scalar::DECIDED, peer.decided.to_be_bytes().to_vec()),
        (scalar::BOOT, own.boot.clone()),
        (scalar::MEMBERS, own.members.clone()),
        (scalar::CONFIGURATION, peer.configuration.clone()),
    ];
    let scalars = scalars.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    InstalledScalars { keep_until, own: suffix, scalars }
}

/// Returns whether a peer's state may be installed here: it must not have missed the end of a
/// configuration that this server's log knows about.
pub fn is_current(log: &Log, peer: &Tail) -> bool {
    let own = OwnLog { configuration: configuration_of(log), ..OwnLog::default() };
    own.configuration_id() <= id_of(peer)
}

fn id_of(peer: &Tail) -> u32 {
    Configuration::decode(&peer.configuration).map_or(0, |configuration| configuration.id)
}

fn configuration_of(log: &Log) -> Vec<u8> {
    let Some(members) = members_of(log) else { return Vec::new() };
    let first = || Configuration::first(members).encode();
    log.scalar(scalar::CONFIGURATION).unwrap_or_else(first)
}

/// Returns the part of a log that [`kept`] needs: its scalars, and its entries from index `from`
/// on.
pub fn own_log(log: &Log, members: &[ServerId], from: u64) -> OwnLog {
    let scalar = |key| log.scalar(key).unwrap_or_default();
    let first = from.clamp(log.first_index(), log.durable_end());
    let mut entries = Vec::new();
    let read = log.read(first..log.durable_end(), |_, entry| entries.push(Arc::<[u8]>::from(entry)));
    read.unwrap_or_else(|problem| panic!("the log cannot be read: {problem}"));
    OwnLog {
        promise: scalar(scalar::PROMISE),
        round: scalar(scalar::ROUND),
        end: log.durable_end(),
        boot: scalar(scalar::BOOT),
        members: members.iter().map(|member| member.0).collect(),
        configuration: configuration_of(log),
        first,
        entries,
    }
}
