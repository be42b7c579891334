//! An ensemble as the engine takes it: who the members are, which of them this server is, and how patient it is.
//!
//! Invariant: [`Membership::me`] is one of [`Membership::members`], which are in ascending order of their ids.
//! Absent: looking up names, and links.
//! Source: `QuorumPeer#start`, `QuorumMaj#toString`, `ZKDatabase#initConfigInZKDatabase`.

use std::borrow::Cow;

use oxkeeper_proto::ServerId;
use oxkeeper_state::command::VERSION_WANTED;
pub use oxkeeper_state::membership::MEMBERS_MAX;
use oxkeeper_state::membership::{self, HostPort, Role, Server, is_wildcard};

use super::settings::Config;

/// Heartbeats of silence after which a link is given up, unless `oxkeeper.peerTimeoutMs` says otherwise.
const SILENT_HEARTBEATS: u32 = 5;

/// The largest id of a server where there are TTL znodes.
const ID_MAX_BESIDE_TTL: ServerId = ServerId(254);

/// One server of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The `N` of `server.N`, and the top byte of the session ids it gives out.
    pub id: ServerId,
    /// Name or address, as written; IPv6 literals stand without brackets.
    pub host: String,
    /// Where its peers reach it: the first port of its line.
    pub port: u16,
    /// Where its line says that clients reach it.
    pub client: Option<HostPort>,
    /// Whether it votes; otherwise it observes.
    pub votes: bool,
}

/// An ensemble, and this server's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// This server.
    pub me: ServerId,
    /// Every server, this one too.
    pub members: Vec<Member>,
    /// Where peers are accepted.
    pub listen: HostPort,
    /// Peers are accepted only from addresses of members.
    pub peer_addresses_only: bool,
    /// The members may change.
    pub reconfig_enabled: bool,
    /// One voter is enough.
    pub one_voter_enabled: bool,
    /// A server may have several addresses.
    pub multi_address_enabled: bool,
    /// A round of the election.
    pub heartbeat_ms: u32,
    /// Silence after which a link is given up.
    pub peer_timeout_ms: u32,
    /// A leader whose disk does not answer for so long hands over, ms.
    pub disk_stall_ms: u32,
    /// The unit of session expiry.
    pub tick_ms: u32,
    /// What `/zookeeper/config` holds.
    pub text: String,
    /// The version of that text; [`VERSION_WANTED`] if there is none and the members may change.
    pub version: i64,
}

impl Membership {
    /// This server's place in the ensemble that `config` describes. `config` has passed [`check`].
    ///
    /// *Errors*: no line for `my_id`; it is 255, and TTL znodes are enabled.
    pub(super) fn new(config: &Config, my_id: i64) -> Result<Self, String> {
        let ensemble = &config.ensemble;
        let members: Vec<_> = ensemble.members.servers.iter().map(|(&id, server)| member(id, server)).collect();
        let Some(me) = members.iter().find(|member| i64::from(member.id.0) == my_id) else {
            let ids: Vec<_> = ensemble.members.servers.keys().map(ToString::to_string).collect();
            let known = ids.join(", ");
            return Err(format!("is {my_id}, but there is no server.{my_id} line (there are {known})"));
        };
        // ZooKeeper: starts, says so in its log again and again, and never serves.
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

    /// Where to reach a member that may have a wildcard for a host: where the configuration says. A wildcard there, and
    /// another port than this server's own, is another server of this machine.
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

/// The members that a state knows, as links need them.
pub fn members_of(agreed: &membership::Membership) -> Vec<Member> {
    agreed.members().servers.iter().map(|(&id, server)| member(id, server)).collect()
}

fn member(id: i64, server: &Server) -> Member {
    let id = ServerId(u8::try_from(id).expect("checked when the lines were read"));
    let address = server.addresses.first().expect("a server has at least one address");
    let (host, port, votes) = (address.host.clone(), address.quorum_port, server.role == Role::Participant);
    Member { id, host, port, client: server.client.clone(), votes }
}
