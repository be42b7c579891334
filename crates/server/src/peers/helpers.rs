//! Data that the helper threads share with each other and with the engine.
//!
//! Invariant: among the links to one peer that the engine has not taken yet, only the newest is
//! kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, vec};

use oxkeeper_proto::ServerId;
use oxkeeper_state::Level;
use parking_lot::{Condvar, Mutex};

use super::hello::{Hello, Levels, Purpose};
use super::stream::{Guests, PeerStream};
use super::wake::Waker;
use super::{Member, PeersConfig};

/// Maximum time a stop waits for state transfers to release what they read.
const STATES_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Helpers {
    pub(super) config: PeersConfig,
    roster: Mutex<Roster>,
    pub(super) waker: Waker,
    pub(super) guests: Arc<Guests>,
    pub(super) complaints: Complaints,
    /// `None` once everything has stopped.
    arrived: Mutex<Option<BTreeMap<ServerId, Established>>>,
    needs: Mutex<Needs>,
    needed: Condvar,
}

/// The members of the ensemble.
#[derive(Debug)]
struct Roster {
    members: BTreeMap<ServerId, Member>,
    /// The other members know this server and dial it where they should.
    agreed: bool,
    /// Peers with a dialling thread.
    dialled: BTreeSet<ServerId>,
}

impl Roster {
    /// Returns whether this server dials `peer`. It dials peers with larger ids, or all peers if
    /// they do not know it.
    fn dials(&self, config: &PeersConfig, peer: ServerId) -> bool {
        self.members.contains_key(&peer) && (config.me < peer || config.open && !self.agreed && config.me != peer)
    }
}

/// A link waiting for the engine.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) stream: PeerStream,
    /// Sequence number; a later link has a larger one.
    pub(super) number: u64,
}

/// Work for the dialling threads.
#[derive(Debug, Default)]
struct Needs {
    /// Peers to dial, each with the time since which it has had no link.
    peers: BTreeMap<ServerId, Instant>,
    stopped: bool,
}

impl Helpers {
    pub(super) fn new(config: PeersConfig) -> io::Result<Helpers> {
        let members = by_id(&config.members);
        assert_eq!(members.len(), config.members.len(), "the configuration has each id once");
        assert!(members.contains_key(&config.me), "the configuration has this server");
        let roster = Roster { members, agreed: !config.open, dialled: BTreeSet::new() };
        Ok(Helpers {
            config,
            roster: Mutex::new(roster),
            waker: Waker::new()?,
            guests: Arc::default(),
            complaints: Complaints::default(),
            arrived: Mutex::new(Some(BTreeMap::new())),
            needs: Mutex::default(),
            needed: Condvar::new(),
        })
    }

    pub(super) fn member(&self, id: ServerId) -> Option<Member> {
        self.roster.lock().members.get(&id).cloned()
    }

    /// Returns the ids of the members, ascending.
    pub(super) fn ids(&self) -> Vec<ServerId> {
        self.roster.lock().members.keys().copied().collect()
    }

    /// Sets the members.
    pub(super) fn set_members(&self, members: Vec<Member>, agreed: bool) {
        let mut roster = self.roster.lock();
        (roster.members, roster.agreed) = (by_id(&members), agreed);
        drop(roster);
        self.needed.notify_all();
    }

    /// Returns the peers to dial that have no thread yet, and marks them as having one.
    pub(super) fn begin_dialling(&self) -> Vec<ServerId> {
        let mut roster = self.roster.lock();
        let dialled: Vec<ServerId> =
            roster.members.keys().copied().filter(|&peer| roster.dials(&self.config, peer)).collect();
        dialled.into_iter().filter(|&peer| roster.dialled.insert(peer)).collect()
    }

    /// Returns the peer's address, or `None` if it is no longer to be dialled and its thread ends.
    pub(super) fn stop_dialling(&self, peer: ServerId) -> Option<Member> {
        let mut roster = self.roster.lock();
        if roster.dials(&self.config, peer) {
            return roster.members.get(&peer).cloned();
        }
        roster.dialled.remove(&peer);
        None
    }

    /// Returns this server's greeting for a peer.
    pub(super) fn hello(&self, purpose: Purpose, to: ServerId) -> Hello {
        Hello {
            purpose,
            from: self.config.me,
            to,
            ensemble: self.ensemble(),
            members: self.ids(),
            levels: self.levels(),
        }
    }

    pub(super) fn levels(&self) -> Levels {
        Levels { agreed: Level(self.config.level.load(Ordering::Acquire)), knows: self.config.knows }
    }

    pub(super) fn ensemble(&self) -> u64 {
        self.config.ensemble.load(Ordering::Acquire)
    }

    /// Hands a link to the engine. *Errors*: the socket is unusable.
    pub(super) fn hand_over(&self, peer: ServerId, mut stream: PeerStream) -> io::Result<()> {
        let number = stream.leave()?;
        if let Some(arrived) = self.arrived.lock().as_mut()
            && arrived.get(&peer).is_none_or(|other| other.number < number)
        {
            arrived.insert(peer, Established { stream, number });
        }
        self.waker.wake();
        Ok(())
    }

    /// Takes the links handed over since the last call.
    pub(super) fn take_arrived(&self) -> BTreeMap<ServerId, Established> {
        self.arrived.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes that there is no link to this peer, so this server dials it if it should.
    pub(super) fn need(&self, peer: ServerId) {
        if self.roster.lock().dials(&self.config, peer) {
            self.needs.lock().peers.entry(peer).or_insert_with(Instant::now);
            self.needed.notify_all();
        }
    }

    /// Waits until a peer is to be dialled. Returns false once everything stops.
    pub(super) fn await_need(&self, peer: ServerId) -> bool {
        let mut needs = self.needs.lock();
        self.needed.wait_while(&mut needs, |needs| !needs.stopped && !needs.peers.contains_key(&peer));
        !needs.stopped
    }

    /// Waits. Returns false once everything stops.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let mut needs = self.needs.lock();
        self.needed.wait_while_until(&mut needs, |needs| !needs.stopped, Instant::now() + pause);
        !needs.stopped
    }

    /// Notes that the peer was dialled, until the engine reports the link as lost.
    pub(super) fn satisfied(&self, peer: ServerId) {
        self.needs.lock().peers.remove(&peer);
    }

    /// Returns how long a peer that this server dials has had no link.
    pub(super) fn lacking_for(&self, peer: ServerId) -> Duration {
        self.needs.lock().peers.get(&peer).map_or(Duration::ZERO, Instant::elapsed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.needs.lock().stopped
    }

    /// Stops the helper threads. A thread in a name lookup may take longer.
    pub(super) fn stop(&self) {
        self.needs.lock().stopped = true;
        self.needed.notify_all();
        self.guests.stop(STATES_PATIENCE);
        *self.arrived.lock() = None;
    }
}

fn by_id(members: &[Member]) -> BTreeMap<ServerId, Member> {
    members.iter().map(|member| (member.id, member.clone())).collect()
}

/// Resolves a host name. Blocks as long as the system's resolver does.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    (host, port).to_socket_addrs()
}

/// Returns the canonical form of an address, since IPv6 sockets report IPv4 addresses as mapped
/// ones.
pub(super) fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Subject of a complaint in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// A peer's name does not resolve.
    Name,
    /// A peer is unreachable or does not greet.
    Unreachable,
    /// A peer refused this server.
    RefusedThere,
    /// This server refused a peer.
    Refused,
    /// The TLS handshake of a connection failed.
    Handshake,
    /// A connection is not from a peer.
    Stranger,
    /// A connection was lost to the system or a limit.
    Accepting,
}

impl Topic {
    /// Returns the time for which the same complaint is not repeated.
    fn silence(self) -> Duration {
        match self {
            Topic::RefusedThere | Topic::Refused | Topic::Accepting | Topic::Handshake => Duration::from_secs(5),
            Topic::Name | Topic::Unreachable | Topic::Stranger => Duration::from_secs(10),
        }
    }
}

/// Suppresses repeated complaints in the log.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    next: Mutex<BTreeMap<(Topic, Option<ServerId>), Instant>>,
}

impl Complaints {
    /// Returns whether to complain now. `peer` is `None` if it is unknown.
    pub(super) fn due(&self, topic: Topic, peer: Option<ServerId>) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock();
        let due = next.get(&(topic, peer)).is_none_or(|next| *next <= now);
        if due {
            next.insert((topic, peer), now + topic.silence());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_made_once_at_first() {
        let complaints = Complaints::default();
        assert!(complaints.due(Topic::Refused, Some(ServerId(1))));
        assert!(!complaints.due(Topic::Refused, Some(ServerId(1))));
        assert!(complaints.due(Topic::Refused, Some(ServerId(2))));
        assert!(complaints.due(Topic::Stranger, Some(ServerId(1))));
    }

    #[test]
    fn a_link_is_lacking_until_there_is_one() {
        let member = |id| Member { id, host: "127.0.0.1".to_owned(), port: 1 };
        let listen = oxkeeper_config::HostPort { host: None, port: 1 };
        let helpers =
            Helpers::new(PeersConfig::new(ServerId(1), vec![member(ServerId(1)), member(ServerId(2))], listen))
                .unwrap();
        helpers.need(ServerId(2));
        let since = helpers.needs.lock().peers[&ServerId(2)];
        helpers.need(ServerId(2));
        assert_eq!(helpers.needs.lock().peers[&ServerId(2)], since);
        helpers.satisfied(ServerId(2));
        assert_eq!(helpers.lacking_for(ServerId(2)), Duration::ZERO);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_itself() {
        let address = canonical("[::ffff:127.0.0.1]:80".parse().unwrap());
        assert_eq!(address, canonical("127.0.0.1:90".parse().unwrap()));
    }
}
