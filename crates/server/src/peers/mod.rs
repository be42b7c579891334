//! Links to the other servers of an ensemble: one TCP connection per pair, which carries frames in
//! both directions, in order.
//!
//! The engine thread owns every link. It sleeps in [`Peers::wait`], which any thread can end
//! through a [`Waker`], takes input with [`Peers::poll`], adds output with [`Peers::send`] and
//! writes it with [`Peers::flush`]. Only the sleep blocks. Operations that may block — name lookup,
//! connecting, accepting, greeting — run on helper threads ([`dial`] and [`accept`]), which hand
//! over greeted connections ([`hello`] defines the greeting). State transfers have separate
//! connections to the same port, which those threads keep.
//! transfers have separate connections to the same port, which those threads keep.
//!
//! While the engine thread waits for its disk, an [`alarm`] may wake another thread to stand in for
//! it.
//!
//! The server with the smaller id dials the one with the larger. A new link replaces the old link
//! of its peer. A link that loses a byte is ended, so the engine sees a prefix of what the peer
//! sent on the link. Urgent frames (heartbeats) are the exception to the order: they are sent
//! between two pieces of a long frame ([`pieces`]), and only a little is given to the system at a
//! time. The engine has to end silent links: nothing here sends on its own. A link on which part of
//! a frame arrives is not silent, nor is one that was full and drains.
//!
//! TLS ([`tls`]) is inside [`PeerStream`], the only type that reads and writes.
//!
//! In ZooKeeper, `QuorumCnxManager` and the learner sockets of `Leader` do this, on two ports.
//! docs/omnipaxos-notes.md explains why a link must not lose anything.

mod accept;
mod alarm;
mod dial;
mod greet;
mod hello;
mod helpers;
mod link;
mod pieces;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod wake;

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use oxkeeper_durable::layout::KNOWS;
use oxkeeper_proto::ServerId;
use oxkeeper_replica::ensemble::frame::Frame;
use oxkeeper_state::Level;
use oxkeeper_state::membership::is_wildcard;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tracing::{error, info, warn};

use self::accept::Entrance;
use self::helpers::Helpers;
use self::link::{End, Link};
use oxkeeper_config::HostPort;

pub(crate) use self::alarm::Alarm;
pub(crate) use self::dial::Connector;
pub(crate) use self::stream::PeerStream;
pub(crate) use self::tls::PeerTls;
pub(crate) use self::wake::Waker;

/// Maximum length of a frame, bytes.
pub(crate) const FRAME_LEN_MAX: usize = 96 << 20;
/// Maximum bytes waiting for one peer before its link is closed.
pub(crate) const UNSENT_LEN_MAX: usize = 256 << 20;
/// Event key of the waker. It differs from every peer id, since those are bytes.
const WAKER: u64 = u64::MAX;
/// Maximum events per wait. Others are reported by the next one.
const EVENTS_MAX: usize = 32;

/// A server of the ensemble, possibly this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The `N` of its server line.
    pub(crate) id: ServerId,
    /// A name or an address; IPv6 literals have no brackets.
    pub(crate) host: String,
    /// Port for peers.
    pub(crate) port: u16,
}

impl Member {
    /// Returns the address where the member accepts peers if it listens like `listen`: at its host,
    /// or at the wildcard address.
    pub(crate) fn place(&self, listen: &HostPort) -> HostPort {
        let host = listen.host.as_ref().map(|host| if is_wildcard(host) { host } else { &self.host });
        HostPort { host: host.cloned(), port: self.port }
    }
}

/// Configuration of the links.
#[derive(Clone, Debug)]
pub(crate) struct PeersConfig {
    /// This server's id.
    pub(crate) me: ServerId,
    /// All members, including this server.
    pub(crate) members: Vec<Member>,
    /// Address for peers.
    pub(crate) listen: HostPort,
    /// Accept peers only from the addresses of their hosts.
    pub(crate) restrict: bool,
    /// Members can change: a server may be linked that is not a member yet, or that has another
    /// list of members.
    pub(crate) open: bool,
    /// Ensemble id; 0: none yet.
    pub(crate) ensemble: Arc<AtomicU64>,
    /// The agreed feature level.
    pub(crate) level: Arc<AtomicU32>,
    /// The highest feature level that this release knows.
    pub(crate) knows: Level,
    /// `None`: links use no TLS in either direction.
    pub(crate) tls: Option<Arc<PeerTls>>,
    /// Maximum duration of a greeting, including the TLS handshake.
    pub(crate) hello_timeout: Duration,
    /// Maximum duration of connecting to one address.
    pub(crate) connect_timeout: Duration,
    /// Initial pause before a peer is redialled.
    pub(crate) redial_first: Duration,
    /// Maximum pause before a peer is redialled; also the age from which a link counts as
    /// established.
    pub(crate) redial_max: Duration,
    /// Time without progress after which a state transfer fails, on both sides: the other server
    /// may have lost power.
    pub(crate) state_timeout: Duration,
    /// Maximum bytes waiting for one peer.
    pub(crate) unsent_len_max: usize,
}

impl PeersConfig {
    /// Returns a configuration with the default times and limits.
    pub(crate) fn new(me: ServerId, members: Vec<Member>, listen: HostPort) -> PeersConfig {
        PeersConfig {
            me,
            members,
            listen,
            restrict: false,
            open: false,
            ensemble: Arc::default(),
            level: Arc::default(),
            knows: KNOWS,
            tls: None,
            hello_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_millis(500),
            redial_first: Duration::from_millis(100),
            redial_max: Duration::from_secs(1),
            state_timeout: Duration::from_secs(60),
            unsent_len_max: UNSENT_LEN_MAX,
        }
    }
}

/// An event reported by [`Peers::poll`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PeerEvent<'a> {
    /// A link to this peer was established; nothing has passed over it yet.
    LinkUp(ServerId),
    /// The link is gone; everything in transit is lost.
    LinkDown {
        /// The peer.
        peer: ServerId,
        /// The peer closed the link, died or redialled; otherwise this server or the network ended
        /// it.
        by_peer: bool,
    },
    /// A whole frame from this peer.
    Frame(ServerId, &'a [u8]),
    /// Bytes from this peer have arrived, but no whole frame: the peer is alive.
    Stirs(ServerId),
    /// The link to this peer was full and is draining: the peer's machine is alive.
    Drains(ServerId),
}

/// Sends the state to a peer that asks for it. Called on a separate thread, at most
/// [`stream::STATES_MAX`] at a time. The stream blocks; it fails when the server stops or nothing
/// moves for `state_timeout`.
pub(crate) type OnState = Arc<dyn Fn(PeerStream, ServerId) + Send + Sync>;

/// All links, for the engine thread. Dropping it ends them and stops the helper threads.
#[derive(Debug)]
pub(crate) struct Peers {
    helpers: Arc<Helpers>,
    epoll: Arc<OwnedFd>,
    /// Ready sockets and their events.
    ready: Vec<(u64, EventFlags)>,
    /// `ready` is newer than the last poll.
    collected: bool,
    links: BTreeMap<ServerId, Link>,
    /// Peers whose links ended and are not reported yet, and whether the peer caused it.
    ended: Vec<(ServerId, bool)>,
    entrance: Arc<Entrance>,
    alarm: Arc<Alarm>,
}

impl Peers {
    /// Binds the address, and starts dialling and accepting.
    ///
    /// # Errors
    /// The address cannot be bound, or the system cannot create a thread.
    pub(crate) fn start(config: PeersConfig, on_state: OnState) -> io::Result<Peers> {
        let listeners = accept::bind(&config.listen)?;
        Peers::start_on(listeners, config, on_state)
    }

    /// Like [`Peers::start`], on sockets that already listen.
    ///
    /// # Errors
    /// Those of [`Peers::start`].
    pub(crate) fn start_on(listeners: Vec<TcpListener>, config: PeersConfig, on_state: OnState) -> io::Result<Peers> {
        let helpers = Arc::new(Helpers::new(config)?);
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&*epoll, helpers.waker.descriptor(), EventData::new_u64(WAKER), EventFlags::IN)?;
        let alarm = Arc::new(Alarm::new(epoll.clone())?);
        let peers = Peers {
            entrance: Entrance::start(helpers.clone(), listeners, on_state)?,
            helpers,
            epoll,
            ready: Vec::with_capacity(EVENTS_MAX),
            collected: false,
            links: BTreeMap::new(),
            ended: Vec::new(),
            alarm,
        };
        peers.start_dialling()?;
        Ok(peers)
    }

    fn start_dialling(&self) -> io::Result<()> {
        // An existing thread may be waiting for a need of a peer that was not a member for a while.
        let unlinked = self.helpers.ids().into_iter().filter(|peer| !self.links.contains_key(peer));
        unlinked.for_each(|peer| self.helpers.need(peer));
        for peer in self.helpers.begin_dialling() {
            let helpers = self.helpers.clone();
            spawn(&format!("peer-dial-{peer}"), move || dial::run(&helpers, peer))?;
        }
        Ok(())
    }

    /// Sets the members. `agreed` says whether the others know that this server is one. Existing
    /// links stay; new ones use the new addresses, and this server's listeners move to theirs. A
    /// server that only now became a member must match its certificate, which could not be checked
    /// before because its host was unknown.
    pub(crate) fn set_members(&mut self, members: Vec<Member>, agreed: bool) {
        let PeersConfig { me, listen, .. } = &self.helpers.config;
        let own = members.iter().find(|member| member.id == *me);
        let place = own.map(|own| own.place(listen));
        let strangers: Vec<ServerId> =
            self.links.keys().copied().filter(|&peer| self.helpers.member(peer).is_none()).collect();
        self.helpers.set_members(members, agreed);
        for peer in strangers {
            let checked =
                self.links.get(&peer).map(|link| accept::check_certificate(&self.helpers, peer, link.stream()));
            if let Some(Err(refusal)) = checked {
                self.kill(peer, &refusal.to_string());
            }
        }
        if let Err(error) = place.map_or(Ok(()), |place| self.entrance.follow(place)) {
            warn!(%error, "cannot listen for peers at this server's new address yet");
        }
        if let Err(error) = self.start_dialling() {
            warn!(%error, "cannot connect to new members yet");
        }
    }

    /// Returns a waker that ends [`Peers::wait`] from any thread.
    pub(crate) fn waker(&self) -> Waker {
        self.helpers.waker.clone()
    }

    /// Returns a connector for state transfers, usable from any thread.
    pub(crate) fn connector(&self) -> Connector {
        Connector { helpers: self.helpers.clone() }
    }

    /// Waits until there is something for [`Peers::poll`], a waker fires, or the timeout expires.
    pub(crate) fn wait(&mut self, timeout: Duration) {
        let urgent = !self.ended.is_empty() || self.links.values().any(Link::is_broken);
        let sleeps = !urgent && self.helpers.waker.fall_asleep();
        self.collect(if sleeps { timeout } else { Duration::ZERO });
        self.helpers.waker.awake();
    }

    fn collect(&mut self, timeout: Duration) {
        // A timeout that the system cannot express is treated as none.
        let timeout = Timespec::try_from(timeout).ok();
        let mut room = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        self.ready.clear();
        match epoll::wait(&*self.epoll, &mut room, timeout.as_ref()) {
            Ok((events, _)) => self.ready.extend(events.iter().map(|event| (event.data.u64(), event.flags))),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the event queue is open: {error}"),
        }
        if self.ready.iter().any(|(whose, _)| *whose == WAKER) {
            self.helpers.waker.silence();
        }
        self.collected = true;
    }

    /// Reports what arrived since the last call, in order per link. A killed link reports only its
    /// end.
    pub(crate) fn poll(&mut self, event: &mut dyn FnMut(PeerEvent<'_>)) {
        if !self.collected {
            self.collect(Duration::ZERO);
        }
        self.collected = false;
        for at in 0..self.ready.len() {
            let (whose, flags) = self.ready[at];
            // The waker's key is not a peer id.
            if let Ok(peer) = u8::try_from(whose) {
                self.attend(ServerId(peer), flags, event);
            }
        }
        let broken: Vec<ServerId> =
            self.links.iter().filter(|(_, link)| link.is_broken()).map(|(peer, _)| *peer).collect();
        for peer in broken {
            self.attend(peer, EventFlags::IN, event);
        }
        self.tell_life(event);
        self.tell_ended(event);
        self.take_arrived(event);
    }

    /// Reports links on which something has passed, but no frame has arrived.
    fn tell_life(&mut self, event: &mut dyn FnMut(PeerEvent<'_>)) {
        for (&peer, link) in &mut self.links {
            if std::mem::take(&mut link.stirs) {
                event(PeerEvent::Stirs(peer));
            }
            if std::mem::take(&mut link.drains) {
                event(PeerEvent::Drains(peer));
            }
        }
    }

    /// Writes to and reads from a ready link.
    fn attend(&mut self, peer: ServerId, flags: EventFlags, event: &mut dyn FnMut(PeerEvent<'_>)) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        if flags.contains(EventFlags::OUT) {
            write(&self.epoll, peer, link);
        }
        // Errors and hang-ups show up when reading.
        if flags != EventFlags::OUT
            && let Err(end) = link.read(&mut |frame| event(PeerEvent::Frame(peer, frame)))
        {
            self.end(peer, &end);
        }
    }

    fn tell_ended(&mut self, event: &mut dyn FnMut(PeerEvent<'_>)) {
        for (peer, by_peer) in self.ended.drain(..) {
            event(PeerEvent::LinkDown { peer, by_peer });
        }
    }

    /// Takes over the links that the helper threads have established.
    fn take_arrived(&mut self, event: &mut dyn FnMut(PeerEvent<'_>)) {
        for (peer, established) in self.helpers.take_arrived() {
            match self.links.get(&peer) {
                // Two greetings were in progress at once, and the older one was slower.
                Some(old) if old.number > established.number => continue,
                Some(_) => self.end(peer, &End { by_peer: true, reason: "replaced by a new one".to_owned() }),
                None => {}
            }
            self.tell_ended(event);
            // The peer's line may be newer than its greeting.
            if let Err(refusal) = accept::check_certificate(&self.helpers, peer, &established.stream) {
                warn!(peer = peer.0, "refused a link to server {peer}: {refusal}");
                self.helpers.need(peer);
                continue;
            }
            let link = Link::new(established.stream, established.number);
            let added =
                epoll::add(&*self.epoll, link.stream().socket(), EventData::new_u64(peer.0.into()), EventFlags::IN);
            if let Err(error) = added {
                warn!(peer = peer.0, %error, "cannot take over a link");
                self.helpers.need(peer);
                continue;
            }
            let address = link.stream().socket().peer_addr().ok();
            info!(peer = peer.0, address = address.map(tracing::field::display), "linked to server {peer}");
            self.links.insert(peer, link);
            self.helpers.satisfied(peer);
            event(PeerEvent::LinkUp(peer));
        }
    }

    /// Returns the alarm that wakes the engine's stand-in.
    pub(crate) fn alarm(&self) -> Arc<Alarm> {
        self.alarm.clone()
    }

    /// Makes a [`Waker`] trigger the alarm, as input from a peer does.
    pub(crate) fn hear_waker(&self) {
        let _ = self.helpers.waker.fall_asleep();
    }

    /// Adds a frame to the output of the next [`Peers::flush`]. A frame that [is
    /// urgent](Frame::is_urgent) goes ahead of everything whose sending has not begun. Without a
    /// link, the frame is dropped, like everything in transit when a link ends.
    pub(crate) fn send(&mut self, peer: ServerId, frame: &[u8]) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        if frame.len() > FRAME_LEN_MAX {
            error!(
                peer = peer.0,
                len = frame.len(),
                "dropped a frame to server {peer}: longer than {FRAME_LEN_MAX} bytes"
            );
            return self.kill(peer, "a frame to it is too long");
        }
        link.push(frame, Frame::is_urgent(frame));
        let unsent = link.unsent();
        if unsent > self.helpers.config.unsent_len_max {
            self.kill(peer, &format!("{unsent} bytes wait for it"));
        }
    }

    /// Writes as much as the links accept. [`Peers::poll`] writes the rest when they accept more.
    pub(crate) fn flush(&mut self) {
        for (peer, link) in &mut self.links {
            if !link.blocked && link.has_unsent() {
                write(&self.epoll, *peer, link);
            }
        }
    }

    /// Returns the bytes waiting for a peer, not counting the system's buffer.
    #[cfg(test)]
    fn unsent(&self, peer: ServerId) -> usize {
        self.links.get(&peer).map_or(0, Link::unsent)
    }

    /// Ends a link at once; the next [`Peers::poll`] reports it. Does nothing without a link.
    pub(crate) fn kill(&mut self, peer: ServerId, reason: &str) {
        self.end(peer, &End { by_peer: false, reason: reason.to_owned() });
    }

    fn end(&mut self, peer: ServerId, end: &End) {
        let Some(link) = self.links.remove(&peer) else { return };
        warn!(peer = peer.0, by_peer = end.by_peer, "lost the link to server {peer}: {}", end.reason);
        // Closing the last descriptor removes it from the event queue anyway.
        let _ = epoll::delete(&*self.epoll, link.stream().socket());
        link.reset();
        self.ended.push((peer, end.by_peer));
        self.helpers.need(peer);
    }
}

/// Writes to the link and, if output is left, watches for room.
fn write(epoll: &OwnedFd, peer: ServerId, link: &mut Link) {
    let was_watched = link.watched;
    link.write();
    if was_watched != link.blocked {
        let flags = if link.blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(epoll, link.stream().socket(), EventData::new_u64(peer.0.into()), flags)
            .expect("the link is in the event queue");
        link.watched = link.blocked;
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.helpers.stop();
        self.entrance.stop();
    }
}
