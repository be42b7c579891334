//! The ensemble in the form the engine needs: its members, this server's own id, and the timeouts.
//!
//! Invariant: [`Membership::me`] is one of [`Membership::members`], which are in ascending order of their ids.
//! Absent: name look-ups and links.
//! Source: `QuorumPeer#start`, `QuorumMaj#toString`, `ZKDatabase#initConfigInZKDatabase`.

use std::borrow::Cow;

use oxkeeper_proto::ServerId;
use oxkeeper_state::command::VERSION_WANTED;
pub use oxkeeper_state::membership::MEMBERS_MAX;
use oxkeeper_state::membership::{self, HostPort, Role, Server, is_wildcard};

use super::settings::Config;

/// Heartbeats of silence after which a link is closed, unless `oxkeeper.peerTimeoutMs` is set.
const SILENT_HEARTBEATS: u32 = 5;

/// The greatest id of a server if TTL znodes are enabled.
const ID_MAX_BESIDE_TTL: ServerId = ServerId(254);

/// One server of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The `N` of `server.N`, and the top byte of the session ids that the server creates.
    pub id: ServerId,
    /// Name or address, as written; IPv6 literals are without brackets.
    pub host: String,
    /// Port for its peers: the first port of its line.
    pub port: u16,
    /// Address for clients in its line.
    pub client: Option<HostPort>,
    /// Whether the member votes; otherwise it is an observer.
    pub votes: bool,
}

/// An ensemble, and this server's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Id of this server.
    pub me: ServerId,
    /// All servers, including this one.
    pub members: Vec<Member>,
    /// Address on which this server accepts peers.
    pub listen: HostPort,
    /// Whether peers are accepted only from addresses of members.
    pub peer_addresses_only: bool,
    /// Whether the members may change.
    pub reconfig_enabled: bool,
    /// Whether one voter is enough.
    pub one_voter_enabled: bool,
    /// Whether a server may have several addresses.
    pub multi_address_enabled: bool,
    /// Duration of an election round.
    pub heartbeat_ms: u32,
    /// Time of silence after which a link is closed.
    pub peer_timeout_ms: u32,
    /// Time without an answer from the disk after which a leader hands over, ms.
    pub disk_stall_ms: u32,
    /// The unit of session expiry.
    pub tick_ms: u32,
    /// Content of `/zookeeper/config`.
    pub text: String,
    /// Version of that text; [`VERSION_WANTED`] if there is none and the members may change.
    pub version: i64,
}

impl Membership {
    /// Determines this server's place in the ensemble that `config` describes. `config` has passed `check`.
    ///
    /// *Errors*: there is no line for `my_id`; it is 255, and TTL znodes are enabled.
    pub(super) fn new(config: &Config, my_id: i64) -> Result<Self, String> {
        let ensemble = &config.ensemble;
        let members: Vec<_> = ensemble.members.servers.iter().map(|(&id, server)| member(id, server)).collect();
        let Some(me) = members.iter().find(|member| i64::from(member.id.0) == my_id) else {
            let ids: Vec<_> = ensemble.members.servers.keys().map(ToString::to_string).collect();
            let known = ids.join(", ");
            return Err(format!("is {my_id}, but there is no server.{my_id} line (there are {known})"));
        };
        // ZooKeeper: it starts, logs this again and again, and never serves.
        if me.id > ID_MAX_BESIDE_TTL && config.extended_types_enabled {
            return Err(format!(
                "is {my_id}, but with extendedTypesEnabled=true it must be at most {ID_MAX_BESIDE_TTL}: the session ids \
                 of server {my_id} look like the owners of TTL znodes"
            ));
        }
        let version = ensemble.config_version.unwrap_or_default();
        let wanted = if version == 0 && ensemble.reconfig_enabled { VERSION_WANTED } else { version };
        let host = (!ensemble.listen_on_all_addresses).then(|| me.host.clone());
        Ok(Membership {
            me: me.id,
            listen: HostPort { host, port: me.port },
            peer_addresses_only: ensemble.peer_addresses_only,
            reconfig_enabled: ensemble.reconfig_enabled,
            one_voter_enabled: !ensemble.standalone_enabled,
            multi_address_enabled: ensemble.multi_address_enabled,
            heartbeat_ms: ensemble.heartbeat_ms,
            disk_stall_ms: ensemble.disk_stall_ms,
            peer_timeout_ms: ensemble.peer_timeout_ms.unwrap_or(SILENT_HEARTBEATS * ensemble.heartbeat_ms),
            tick_ms: config.tick_time_ms.unsigned_abs(),
            text: membership::Membership::new(ensemble.members.clone(), version).to_string(),
            version: wanted,
            members,
        })
    }

    /// Returns the host for connections to a member whose own host may be a wildcard: the host in the
    /// configuration. If that is a wildcard, too, and the port is not this server's own, the member is
    /// another server on this machine.
    pub fn host_of<'a>(&'a self, member: &'a Member) -> Cow<'a, str> {
        let configured = self.members.iter().find(|configured| configured.id == member.id);
        match configured.filter(|_| is_wildcard(&member.host)) {
            None => Cow::from(&member.host),
            Some(known) if !is_wildcard(&known.host) => Cow::from(&known.host),
            Some(_) if member.id == self.me || member.port == self.listen.port => Cow::from(&member.host),
            Some(known) => Cow::from(if known.host.contains(':') { "::1" } else { "127.0.0.1" }),
        }
    }
}

/// Returns the members in a state, in the form links need.
pub fn members_of(agreed: &membership::Membership) -> Vec<Member> {
    agreed.members().servers.iter().map(|(&id, server)| member(id, server)).collect()
}

fn member(id: i64, server: &Server) -> Member {
    let id = ServerId(u8::try_from(id).expect("checked when the lines were read"));
    let address = server.addresses.first().expect("a server has at least one address");
    let (host, port, votes) = (address.host.clone(), address.quorum_port, server.role == Role::Participant);
    Member { id, host, port, client: server.client.clone(), votes }
}
