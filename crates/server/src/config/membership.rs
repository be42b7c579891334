//! An ensemble as the engine takes it: who the members are, which of them this server is, and how patient it is.
//!
//! Owns what an ensemble of this server asks beyond ZooKeeper's own checks: small ids, few members, distinct addresses.
//! Invariant: [`Membership::me`] is one of [`Membership::members`], which are voters in ascending order of their ids.
//! Absent: looking up names, and links.
//! Source: `QuorumPeer#start`, `QuorumMaj#toString`, `ZKDatabase#initConfigInZKDatabase`.

use std::collections::BTreeMap;

pub use oxkeeper_replica::ensemble::replica::MEMBERS_MAX;

use super::servers::{HostPort, Members, Server};
use super::settings::Config;

/// Heartbeats of silence after which a link is given up, unless `oxkeeper.peerTimeoutMs` says otherwise.
const SILENT_HEARTBEATS: u32 = 5;

/// One server of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The `N` of `server.N`: from 1, and the top byte of the session ids it gives out.
    pub id: u8,
    /// Name or address, as written; IPv6 literals stand without brackets.
    pub host: String,
    /// Where its peers reach it: the first port of its line.
    pub port: u16,
    /// Where its line says that clients reach it.
    pub client: Option<HostPort>,
}

/// An ensemble, and this server's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// This server.
    pub me: u8,
    /// Every server, this one too.
    pub members: Vec<Member>,
    /// Where peers are accepted.
    pub listen: HostPort,
    /// Peers are accepted only from addresses of members.
    pub peer_addresses_only: bool,
    /// A round of the election.
    pub heartbeat_ms: u32,
    /// Silence after which a link is given up.
    pub peer_timeout_ms: u32,
    /// The unit of session expiry.
    pub tick_ms: u32,
    /// What `/zookeeper/config` holds.
    pub text: String,
    /// The version of that text.
    pub version: i64,
}

impl Membership {
    /// This server's place in the ensemble that `config` describes. `config` has passed [`check`].
    ///
    /// *Errors*: no line for `my_id`.
    pub(super) fn new(config: &Config, my_id: i64) -> Result<Self, String> {
        let ensemble = &config.ensemble;
        let members: Vec<_> = ensemble.members.servers.iter().map(|(&id, server)| member(id, server)).collect();
        let Some(me) = members.iter().find(|member| i64::from(member.id) == my_id) else {
            return Err(format!("My id {my_id} not in the peer list")); // ZooKeeper's words
        };
        let host = (!ensemble.listen_on_all_addresses).then(|| me.host.clone());
        Ok(Membership {
            me: me.id,
            listen: HostPort { host, port: me.port },
            peer_addresses_only: ensemble.peer_addresses_only,
            heartbeat_ms: ensemble.heartbeat_ms,
            peer_timeout_ms: ensemble.peer_timeout_ms.unwrap_or(SILENT_HEARTBEATS * ensemble.heartbeat_ms),
            tick_ms: config.tick_time_ms.unsigned_abs(),
            text: text(&ensemble.members, ensemble.config_version.unwrap_or_default()),
            version: ensemble.config_version.unwrap_or_default(),
            members,
        })
    }
}

fn member(id: i64, server: &Server) -> Member {
    let id = u8::try_from(id).expect("checked when the lines were read");
    let address = server.addresses.first().expect("a server has at least one address");
    Member { id, host: address.host.clone(), port: address.quorum_port, client: server.client.clone() }
}

/// The content of `/zookeeper/config`: a line for each server, and the version without a line end.
// ZooKeeper: in the order of a hash table, which is this one for ids below 16.
fn text(members: &Members, version: i64) -> String {
    let lines = members.servers.iter().map(|(id, server)| format!("server.{id}={server}\n"));
    lines.chain([format!("version={version:x}")]).collect()
}

/// Can these servers be an ensemble here?
///
/// *Errors*: too many of them, an id that does not fit into a byte, two at one address.
pub(super) fn check(members: &Members) -> Result<(), String> {
    let servers = &members.servers;
    if servers.len() > MEMBERS_MAX {
        return Err(format!("{} servers: an ensemble has at most {MEMBERS_MAX}", servers.len()));
    }
    let mut addresses = BTreeMap::new();
    for (id, server) in servers {
        // ZooKeeper: any number is an id, though only its lowest byte gets into session ids.
        if u8::try_from(*id).unwrap_or(0) == 0 {
            return Err(format!("server.{id}: the id of a server is a number from 1 to {}", u8::MAX));
        }
        for address in &server.addresses {
            if let Some(other) = addresses.insert((&address.host, address.quorum_port), id) {
                let (host, port) = (&address.host, address.quorum_port);
                return Err(format!("server.{other} and server.{id} have the same address {host}:{port}"));
            }
        }
    }
    Ok(())
}
