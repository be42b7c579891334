//! Links to the other servers of an ensemble: one TCP connection for each pair, over which frames go both ways in order.
//!
//! The engine's thread owns every link. It sleeps in [`Peers::wait`], which any thread ends through a [`Waker`]; takes what
//! came with [`Peers::poll`]; adds to what leaves with [`Peers::send`] and writes it with [`Peers::flush`]. None of these
//! blocks. What may block — names, connecting, accepting, greeting — is done by helper threads that hand over connections
//! which have been greeted ([`hello`] says how): [`dial`] and [`accept`]. State transfers have connections of their own to
//! the same port, which those threads keep.
//!
//! While the engine's thread waits for its disk, an [`alarm`] may wake another one to stand in for it.
//!
//! The smaller id dials the larger. A new link replaces the old one of its peer. A link that loses a byte is ended, so
//! what the engine sees of one link is a prefix of what its peer sent, but for urgent frames (heartbeats): they leave between two
//! pieces of a long one ([`pieces`]), and the system is given little at a time. A silent link is for the engine to end: nothing
//! here sends on its own. A link over which a part of a frame comes is not silent, nor is one that was full and drains.
//!
//! TLS ([`tls`]) is within [`PeerStream`], the one type that reads and writes.
//!
//! In ZooKeeper, `QuorumCnxManager` and the learner sockets of `Leader` do this, on two ports. docs/omnipaxos-notes.md says why
//! a link must lose nothing.

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

/// Longest frame, bytes.
pub(crate) const FRAME_LEN_MAX: usize = 96 << 20;
/// Bytes that may wait for one peer before its link is given up.
pub(crate) const UNSENT_LEN_MAX: usize = 256 << 20;
/// Stands for the waker among the peers' ids in events, which are bytes.
const WAKER: u64 = u64::MAX;
/// Events taken at a time; what is left over comes again.
const EVENTS_MAX: usize = 32;

/// Another server, or this one, of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The `N` of its line.
    pub(crate) id: ServerId,
    /// A name or an address; IPv6 literals stand without brackets.
    pub(crate) host: String,
    /// Where it accepts its peers.
    pub(crate) port: u16,
}

impl Member {
    /// Where its peers are accepted, if it listens like `listen`: at its host, or at every address there is.
    pub(crate) fn place(&self, listen: &HostPort) -> HostPort {
        let host = listen.host.as_ref().map(|host| if is_wildcard(host) { host } else { &self.host });
        HostPort { host: host.cloned(), port: self.port }
    }
}

/// What the links are made from.
#[derive(Clone, Debug)]
pub(crate) struct PeersConfig {
    /// This server's id.
    pub(crate) me: ServerId,
    /// With this server.
    pub(crate) members: Vec<Member>,
    /// Where peers are accepted.
    pub(crate) listen: HostPort,
    /// Accept peers only from the addresses of their hosts.
    pub(crate) restrict: bool,
    /// Members change: a server may be linked that is none yet, or knows others.
    pub(crate) open: bool,
    /// 0: none yet.
    pub(crate) ensemble: Arc<AtomicU64>,
    /// The feature level that was agreed on.
    pub(crate) level: Arc<AtomicU32>,
    /// The highest feature level that this server knows.
    pub(crate) knows: Level,
    /// `None`: links come without TLS, both ways.
    pub(crate) tls: Option<Arc<PeerTls>>,
    /// A whole greeting, the handshake of TLS included, takes no longer.
    pub(crate) hello_timeout: Duration,
    /// Connecting to one address takes no longer.
    pub(crate) connect_timeout: Duration,
    /// Pause before a peer is dialled again, at first.
    pub(crate) redial_first: Duration,
    /// The same, at most; also the age at which a link counts as one that stood.
    pub(crate) redial_max: Duration,
    /// A state transfer in which so long nothing moves fails, on both sides: the other may have lost its power.
    pub(crate) state_timeout: Duration,
    /// Bytes that may wait for one peer.
    pub(crate) unsent_len_max: usize,
}

impl PeersConfig {
    /// The usual times and limits.
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

/// What [`Peers::poll`] tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PeerEvent<'a> {
    /// There is a link to this peer, and nothing has passed over it.
    LinkUp(ServerId),
    /// It is gone; what was on its way is lost.
    LinkDown {
        /// Whose it was.
        peer: ServerId,
        /// The peer closed it, died, or dialled anew; otherwise we gave it up, or the network did.
        by_peer: bool,
    },
    /// A frame of this peer, whole.
    Frame(ServerId, &'a [u8]),
    /// Bytes of this peer have come, and no whole frame: it lives.
    Stirs(ServerId),
    /// The link to this peer was full, and bytes leave again: its machine lives.
    Drains(ServerId),
}

/// Sends the state to whoever asks. Called on a thread of its own, at most [`stream::STATES_MAX`] at a time; the stream
/// blocks, and ends with an error when the server stops or nothing moves for `state_timeout`.
pub(crate) type OnState = Arc<dyn Fn(PeerStream, ServerId) + Send + Sync>;

/// The links, for the engine's thread. Dropping it ends them and stops the helper threads.
#[derive(Debug)]
pub(crate) struct Peers {
    helpers: Arc<Helpers>,
    epoll: Arc<OwnedFd>,
    /// What is ready, and for what.
    ready: Vec<(u64, EventFlags)>,
    /// That is newer than the last poll.
    collected: bool,
    links: BTreeMap<ServerId, Link>,
    /// Peers, and whether they did it, whose links ended and who have not been told of.
    ended: Vec<(ServerId, bool)>,
    entrance: Arc<Entrance>,
    alarm: Arc<Alarm>,
}

impl Peers {
    /// Binds, and starts to dial and to accept.
    ///
    /// # Errors
    /// The address cannot be had, or the system refuses a thread.
    pub(crate) fn start(config: PeersConfig, on_state: OnState) -> io::Result<Peers> {
        let listeners = accept::bind(&config.listen)?;
        Peers::start_on(listeners, config, on_state)
    }

    /// The same on sockets that listen already.
    ///
    /// # Errors
    /// As [`Peers::start`].
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
        // A thread that there is already may wait for the need of one that was no member for a while.
        let unlinked = self.helpers.ids().into_iter().filter(|peer| !self.links.contains_key(peer));
        unlinked.for_each(|peer| self.helpers.need(peer));
        for peer in self.helpers.begin_dialling() {
            let helpers = self.helpers.clone();
            spawn(&format!("peer-dial-{peer}"), move || dial::run(&helpers, peer))?;
        }
        Ok(())
    }

    /// The members are these now; `agreed` says whether the others know that this server is one. Links stay; new ones are
    /// made where the members are now, this server too. But a server that is a member only now must be whom its certificate
    /// names: before, nobody knew its host.
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

    /// Ends [`Peers::wait`] from any thread.
    pub(crate) fn waker(&self) -> Waker {
        self.helpers.waker.clone()
    }

    /// Connects for state transfers, from any thread.
    pub(crate) fn connector(&self) -> Connector {
        Connector { helpers: self.helpers.clone() }
    }

    /// Until there is something for [`Peers::poll`], somebody wakes us, or time is up.
    pub(crate) fn wait(&mut self, timeout: Duration) {
        let urgent = !self.ended.is_empty() || self.links.values().any(Link::is_broken);
        let sleeps = !urgent && self.helpers.waker.fall_asleep();
        self.collect(if sleeps { timeout } else { Duration::ZERO });
        self.helpers.waker.awake();
    }

    fn collect(&mut self, timeout: Duration) {
        // A time that the system cannot express is as good as none.
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

    /// Tells what came since the last time, each link's in order. A killed link tells nothing but its end.
    pub(crate) fn poll(&mut self, event: &mut dyn FnMut(PeerEvent<'_>)) {
        if !self.collected {
            self.collect(Duration::ZERO);
        }
        self.collected = false;
        for at in 0..self.ready.len() {
            let (whose, flags) = self.ready[at];
            // The waker is nobody's id.
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

    /// Tells of links over which no frame has come, and yet something has passed.
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

    /// Writes to and reads from a link that is ready.
    fn attend(&mut self, peer: ServerId, flags: EventFlags, event: &mut dyn FnMut(PeerEvent<'_>)) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        if flags.contains(EventFlags::OUT) {
            write(&self.epoll, peer, link);
        }
        // Errors and hang-ups show when one reads.
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

    /// Takes over the links that the helper threads have made.
    fn take_arrived(&mut self, event: &mut dyn FnMut(PeerEvent<'_>)) {
        for (peer, established) in self.helpers.take_arrived() {
            match self.links.get(&peer) {
                // Two greetings were under way at once, and the older one was slower.
                Some(old) if old.number > established.number => continue,
                Some(_) => self.end(peer, &End { by_peer: true, reason: "replaced by a new one".to_owned() }),
                None => {}
            }
            self.tell_ended(event);
            // Its line may be newer than its greeting.
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

    /// Wakes whoever stands in for the engine's thread.
    pub(crate) fn alarm(&self) -> Arc<Alarm> {
        self.alarm.clone()
    }

    /// From now on a [`Waker`] counts as a peer that says something.
    pub(crate) fn hear_waker(&self) {
        let _ = self.helpers.waker.fall_asleep();
    }

    /// Adds a frame to what leaves with the next [`Peers::flush`]; one that [is urgent](Frame::is_urgent) in front of what has not
    /// begun to leave. Without a link it is dropped, as all that is on its way when a link ends.
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

    /// Writes what the links take. The rest follows with [`Peers::poll`] when they take more.
    pub(crate) fn flush(&mut self) {
        for (peer, link) in &mut self.links {
            if !link.blocked && link.has_unsent() {
                write(&self.epoll, *peer, link);
            }
        }
    }

    /// Bytes that wait for a peer here, besides what the system holds.
    #[cfg(test)]
    fn unsent(&self, peer: ServerId) -> usize {
        self.links.get(&peer).map_or(0, Link::unsent)
    }

    /// Ends a link at once; the next [`Peers::poll`] tells it. Does nothing without one.
    pub(crate) fn kill(&mut self, peer: ServerId, reason: &str) {
        self.end(peer, &End { by_peer: false, reason: reason.to_owned() });
    }

    fn end(&mut self, peer: ServerId, end: &End) {
        let Some(link) = self.links.remove(&peer) else { return };
        warn!(peer = peer.0, by_peer = end.by_peer, "lost the link to server {peer}: {}", end.reason);
        // It leaves the event queue with its last descriptor anyway.
        let _ = epoll::delete(&*self.epoll, link.stream().socket());
        link.reset();
        self.ended.push((peer, end.by_peer));
        self.helpers.need(peer);
    }
}

/// Writes, and has the event queue say when there is room for more.
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
