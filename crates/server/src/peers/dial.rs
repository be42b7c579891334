//! Dials peers: one thread for each peer with a larger id, and any thread that fetches state.
//!
//! A link that ends is redialled at once if it had stood for a while, otherwise after growing
//! pauses.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxkeeper_proto::ServerId;
use thiserror::Error;
use tracing::{debug, warn};

use super::Member;
use super::greet::{self, GreetError};
use super::hello::Purpose;
use super::helpers::{Helpers, Topic, canonical, resolve};
use super::stream::PeerStream;

/// Maximum number of addresses tried per name.
const ADDRESSES_MAX: usize = 4;
/// Growth of the pause, in quarters of the previous one.
const GROWTH_QUARTERS: u32 = 6;
/// Time for which an unreachable peer is no cause for concern: the servers of an ensemble start and
/// restart one after the other.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(10);

/// Connects for state transfers, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(super) helpers: Arc<Helpers>,
}

impl Connector {
    /// Returns the servers to ask for the state if `peer` has it. If `peer` joined after this
    /// server was configured, only the other servers know its address.
    pub(crate) fn sources(&self, peer: ServerId) -> Vec<ServerId> {
        match self.helpers.member(peer) {
            Some(_) => vec![peer],
            None => self.helpers.ids().into_iter().filter(|&id| id != self.helpers.config.me).collect(),
        }
    }

    /// Returns a greeted, blocking connection over which the peer sends its state. Blocks until it
    /// is established. Reads fail when the server stops, and with `WouldBlock` when nothing arrives
    /// for `state_timeout`.
    ///
    /// # Errors
    /// The peer is not a member, is unreachable, or refuses.
    pub(crate) fn connect_for_state(&self, peer: ServerId) -> io::Result<PeerStream> {
        let member = self.helpers.member(peer);
        let member =
            member.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no member has id {peer}")))?;
        let stream = connect(&self.helpers, &member, Purpose::State).map_err(io::Error::other)?;
        stream.limit(Some(self.helpers.config.state_timeout))?;
        if stream.become_state() { Ok(stream) } else { Err(io::ErrorKind::QuotaExceeded.into()) }
    }
}

/// Reason why there is no connection.
#[derive(Debug, Error)]
enum DialError {
    #[error("cannot resolve {host}: {source}")]
    Name { host: String, source: io::Error },
    #[error("{host} is an address to listen on, not one to connect to")]
    Wildcard { host: String },
    #[error("{address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("{address}: {source}")]
    Greet { address: SocketAddr, source: GreetError },
}

impl DialError {
    fn topic(&self) -> Topic {
        match self {
            DialError::Name { .. } | DialError::Wildcard { .. } => Topic::Name,
            DialError::Greet { source: GreetError::RefusedThere(_), .. } => Topic::RefusedThere,
            DialError::Connect { .. } | DialError::Greet { .. } => Topic::Unreachable,
        }
    }

    /// Returns whether a peer that is about to start could cause this error; its name may not
    /// resolve until then.
    fn may_be_early(&self) -> bool {
        match self {
            DialError::Name { .. } | DialError::Connect { .. } => true,
            DialError::Wildcard { .. } => false,
            DialError::Greet { source, .. } => match source {
                GreetError::Io(_) => true,
                GreetError::Handshake(_)
                | GreetError::Garbage
                | GreetError::Refused { .. }
                | GreetError::RefusedThere(_) => false,
            },
        }
    }

    /// Returns advice for the operator.
    fn advice(&self) -> &'static str {
        match self {
            DialError::Name { .. } => "look at the name in its server line, and at the name server",
            DialError::Wildcard { .. } => "give it a host by reconfig, or in its line of this server's file",
            DialError::Connect { .. } => {
                "start it; if it runs, look at the address in its server line and at the network in between"
            }
            DialError::Greet { .. } => "look at the server lines and settings of both, and at the other one's log",
        }
    }
}

/// Runs the dialling thread of one peer, until this server no longer dials it.
pub(super) fn run(helpers: &Helpers, id: ServerId) {
    // If the peer should dial this server, give it time to do so.
    let mut pause = if helpers.config.me < id { Duration::ZERO } else { helpers.config.redial_max };
    while helpers.pause(pause) && helpers.await_need(id) {
        let Some(peer) = &helpers.stop_dialling(id) else { return };
        match connect(helpers, peer, Purpose::Link) {
            Ok(stream) => {
                let since = Instant::now();
                helpers.satisfied(peer.id);
                if let Err(error) = helpers.hand_over(peer.id, stream) {
                    debug!(peer = peer.id.0, %error, "a link was lost before it stood");
                    helpers.need(peer.id);
                }
                if !helpers.await_need(peer.id) {
                    return;
                }
                let stood = since.elapsed() >= helpers.config.redial_max;
                pause = if stood { Duration::ZERO } else { grown(pause, helpers) };
            }
            Err(error) => {
                complain(helpers, peer, &error);
                pause = grown(pause, helpers);
            }
        }
    }
}

fn grown(pause: Duration, helpers: &Helpers) -> Duration {
    (pause * GROWTH_QUARTERS / 4).clamp(helpers.config.redial_first, helpers.config.redial_max)
}

fn complain(helpers: &Helpers, peer: &Member, error: &DialError) {
    if helpers.is_stopped() {
        return;
    }
    let (Member { id, host, port }, lacking) = (peer, helpers.lacking_for(peer.id));
    if is_worth_a_warning(error, lacking) {
        if helpers.complaints.due(error.topic(), Some(*id)) {
            let (seconds, advice) = (lacking.as_secs(), error.advice());
            warn!(peer = id.0, "no link to server {id} at {host}:{port} for {seconds} s: {error}; {advice}");
        }
    } else {
        debug!(peer = id.0, "no link to server {id} at {host}:{port} yet: {error}");
    }
}

/// Returns whether a failure deserves a warning after `lacking` without a link to the peer.
fn is_worth_a_warning(error: &DialError, lacking: Duration) -> bool {
    lacking >= UNREACHABLE_PATIENCE || !error.may_be_early()
}

/// Tries the addresses of a peer's name in turn until one accepts or refuses the connection.
fn connect(helpers: &Helpers, peer: &Member, purpose: Purpose) -> Result<PeerStream, DialError> {
    let unresolved = |source| DialError::Name { host: peer.host.clone(), source };
    let mut failed = None;
    for address in resolve(&peer.host, peer.port).map_err(unresolved)?.take(ADDRESSES_MAX) {
        // A server that dials a wildcard address reaches itself.
        if canonical(address).is_unspecified() {
            return Err(DialError::Wildcard { host: peer.host.clone() });
        }
        match connect_to(helpers, peer, purpose, address) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.topic() == Topic::RefusedThere => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no address"))))
}

fn connect_to(
    helpers: &Helpers,
    peer: &Member,
    purpose: Purpose,
    address: SocketAddr,
) -> Result<PeerStream, DialError> {
    let connect_failed = |source| DialError::Connect { address, source };
    let socket = TcpStream::connect_timeout(&address, helpers.config.connect_timeout).map_err(connect_failed)?;
    socket.set_nodelay(true).map_err(connect_failed)?;
    let guest = helpers.guests.dial(&socket).map_err(connect_failed)?;
    let mut stream = PeerStream::new(socket, guest);
    let deadline = Instant::now() + helpers.config.hello_timeout;
    let greet_failed = |source| DialError::Greet { address, source };
    if let Some(tls) = &helpers.config.tls {
        let secure = tls.dial(stream.socket(), &peer.host, deadline).map_err(GreetError::handshake);
        stream.set_secure(secure.map_err(greet_failed)?);
    }
    greet::dial(&mut stream, &helpers.hello(purpose, peer.id), deadline).map_err(greet_failed)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_has_not_started_yet_is_no_trouble_at_first() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let greet = |source| DialError::Greet { address, source };
        let early = [
            DialError::Name { host: "zk-1.zk".to_owned(), source: io::ErrorKind::NotFound.into() },
            DialError::Connect { address, source: refused() },
            greet(GreetError::Io(io::ErrorKind::UnexpectedEof.into())),
        ];
        for error in &early {
            assert!(!is_worth_a_warning(error, Duration::ZERO), "{error}");
            assert!(is_worth_a_warning(error, UNREACHABLE_PATIENCE), "{error}");
        }
        // These do not resolve by waiting.
        let wrong = [
            greet(GreetError::RefusedThere("another ensemble".to_owned())),
            greet(GreetError::Handshake(refused())),
            greet(GreetError::Garbage),
        ];
        for error in &wrong {
            assert!(is_worth_a_warning(error, Duration::ZERO), "{error}");
        }
    }
}
