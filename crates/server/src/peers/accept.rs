//! Accepts peers: one thread for the listeners, and one short-lived thread per greeting.
//!
//! A reconfig can move the address; links stay. If the new address cannot be bound, the old one
//! stays open.
//!
//! Invariant: a stranger costs at most one thread for `hello_timeout`, whatever it sends, and there
//! are at most [`GREETINGS_MAX`](super::stream::GREETINGS_MAX) such threads.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use oxkeeper_proto::ServerId;
use oxkeeper_tls::{SecureSocket, check_name};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use tracing::{error, info, warn};

use super::greet::{self, GreetError};
use super::hello::{Hello, Purpose, Refusal};
use super::helpers::{Helpers, Topic, canonical, resolve};
use super::stream::PeerStream;
use super::{OnState, spawn};
use crate::net::rebind::{Rebind, reopen};
use oxkeeper_config::HostPort;

/// Pause after the system has refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the configured address: every local address of the host name, or the wildcard addresses
/// without one.
pub(super) fn bind(place: &HostPort) -> io::Result<Vec<TcpListener>> {
    let port = place.port;
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {place}: {error}"));
    let Some(host) = &place.host else {
        // One socket serves both families; a system without IPv6 still has IPv4.
        let dual = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
        return Ok(vec![dual.map_err(explain)?]);
    };
    let (mut bound, mut failed) = (Vec::new(), None);
    for address in resolve(host, port).map_err(explain)? {
        match TcpListener::bind(address) {
            Ok(listener) => bound.push(listener),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if bound.is_empty() => Err(explain(error)),
        None if bound.is_empty() => Err(explain(io::ErrorKind::AddrNotAvailable.into())),
        _ => Ok(bound),
    }
}

/// Binds addresses that were open a moment ago.
fn bind_all(addresses: &[SocketAddr]) -> Option<Vec<TcpListener>> {
    let bound: io::Result<Vec<TcpListener>> = addresses.iter().map(TcpListener::bind).collect();
    bound.inspect_err(|problem| error!(%problem, "cannot accept peers any more")).ok()
}

/// The listeners for peers.
pub(super) struct Entrance {
    helpers: Arc<Helpers>,
    on_state: OnState,
    open: Mutex<Open>,
    rebind: Arc<Rebind>,
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open.fmt(f)
    }
}

/// The currently open sockets.
#[derive(Debug)]
struct Open {
    place: HostPort,
    addresses: Vec<SocketAddr>,
    /// Readable once the thread is to end.
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Entrance {
    /// Accepts on these sockets, which are bound to the configured address.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(super) fn start(
        helpers: Arc<Helpers>,
        listeners: Vec<TcpListener>,
        on_state: OnState,
    ) -> io::Result<Arc<Entrance>> {
        let open = Open::start(&helpers, helpers.config.listen.clone(), listeners, &on_state)?;
        Ok(Arc::new(Entrance { helpers, on_state, open: Mutex::new(open), rebind: Arc::default() }))
    }

    /// Moves the listeners to `place`, in the background, if it is elsewhere.
    pub(super) fn follow(self: &Arc<Self>, place: HostPort) -> io::Result<()> {
        if self.open.lock().is_at(&place) && !self.rebind.is_busy() {
            return Ok(());
        }
        let entrance = self.clone();
        self.rebind.send(place, "peer-move", move |place| entrance.move_to(place))
    }

    /// Moves the listeners. Only the rebind thread calls this. Nothing is locked while names are
    /// resolved.
    fn move_to(&self, place: &HostPort) {
        let open = self.open.lock();
        if open.is_at(place) {
            return;
        }
        let (old, addresses) = (open.place.clone(), open.addresses.clone());
        drop(open);
        let close = || self.open.lock().close();
        let again = || bind_all(&addresses);
        let (listeners, problem) = reopen(old.port == place.port, || bind(place), close, again);
        let place = match problem {
            Some(problem) => {
                error!(%problem, "cannot listen for peers at {place}, where the members expect this server");
                old
            }
            None => place.clone(),
        };
        let Some(listeners) = listeners else { return };
        let mut open = self.open.lock();
        if self.helpers.is_stopped() {
            return;
        }
        info!("listening for peers at {place}");
        match Open::start(&self.helpers, place, listeners, &self.on_state) {
            Ok(started) => *open = started,
            Err(problem) => error!(%problem, "cannot accept peers any more"),
        }
    }

    /// Stops the thread.
    pub(super) fn stop(&self) {
        self.open.lock().close();
    }
}

impl Open {
    fn start(
        helpers: &Arc<Helpers>,
        place: HostPort,
        listeners: Vec<TcpListener>,
        on_state: &OnState,
    ) -> io::Result<Open> {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let listening =
            Listening { helpers: helpers.clone(), listeners, stop: stop.clone(), on_state: on_state.clone() };
        let thread = Some(spawn("peer-listen", move || listening.run())?);
        Ok(Open { place, addresses, stop, thread })
    }

    fn is_at(&self, place: &HostPort) -> bool {
        self.place == *place && self.thread.is_some()
    }

    fn close(&mut self) {
        // The thread checks whether it is to stop when this wakes it.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread that accepts connections.
struct Listening {
    helpers: Arc<Helpers>,
    listeners: Vec<TcpListener>,
    stop: Arc<OwnedFd>,
    on_state: OnState,
}

impl Listening {
    fn run(self) {
        loop {
            let mut watched: Vec<_> = self.listeners.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
            watched.push(PollFd::new(&*self.stop, PollFlags::IN));
            if let Err(error) = poll(&mut watched, None)
                && error != rustix::io::Errno::INTR
            {
                self.hindered(&error.into());
            }
            let ready: Vec<bool> = watched.iter().map(|it| !it.revents().is_empty()).collect();
            if ready.last() == Some(&true) || self.helpers.is_stopped() {
                return;
            }
            for (listener, _) in self.listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
                self.accept(listener);
            }
        }
    }

    fn accept(&self, listener: &TcpListener) {
        match listener.accept() {
            Ok((socket, address)) => {
                if let Err(error) = self.greet(socket, address) {
                    self.hindered(&error);
                }
            }
            // The connection was reset while it waited, or another event woke the thread.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {}
            Err(error) => {
                self.hindered(&error);
                self.helpers.pause(ACCEPT_PAUSE);
            }
        }
    }

    fn hindered(&self, error: &io::Error) {
        if !self.helpers.is_stopped() && self.helpers.complaints.due(Topic::Accepting, None) {
            warn!(%error, "cannot accept a peer's connection");
        }
    }

    /// Greets the peer on a new thread, which a state transfer then keeps.
    fn greet(&self, socket: TcpStream, address: SocketAddr) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        let guest = self.helpers.guests.accept(&socket)?;
        let stream = PeerStream::new(socket, guest);
        let (helpers, on_state) = (self.helpers.clone(), self.on_state.clone());
        thread::Builder::new().name("peer-greet".to_owned()).spawn(move || {
            if let Err(error) = receive(&helpers, stream, address, &on_state) {
                complain(&helpers, address, &error);
            }
        })?;
        Ok(())
    }
}

fn receive(
    helpers: &Helpers,
    mut stream: PeerStream,
    address: SocketAddr,
    on_state: &OnState,
) -> Result<(), GreetError> {
    let judge = |hello: &Hello, stream: &PeerStream| judge(helpers, hello, stream, address);
    let deadline = Instant::now() + helpers.config.hello_timeout;
    if let Some(tls) = &helpers.config.tls {
        let secure = tls.accept(stream.socket(), deadline).map_err(GreetError::handshake)?;
        stream.set_secure(secure);
    }
    let hello = greet::receive(&mut stream, deadline, judge)?;
    match hello.purpose {
        Purpose::Link => helpers.hand_over(hello.from, stream)?,
        Purpose::State => {
            stream.limit(Some(helpers.config.state_timeout))?;
            info!(peer = hello.from.0, %address, "server {} asks for the state", hello.from);
            on_state(stream, hello.from);
        }
    }
    Ok(())
}

fn judge(helpers: &Helpers, hello: &Hello, stream: &PeerStream, address: SocketAddr) -> Result<(), Refusal> {
    hello.check(helpers.config.me, &helpers.ids(), helpers.ensemble(), helpers.config.open)?;
    hello.check_levels(helpers.config.me, helpers.levels())?;
    if helpers.config.restrict {
        check_address(helpers, hello.from, address)?;
    }
    check_certificate(helpers, hello.from, stream)?;
    match hello.purpose {
        Purpose::State if !stream.become_state() => Err(Refusal::Busy),
        Purpose::State | Purpose::Link => Ok(()),
    }
}

/// Checks that the peer comes from an address of its host. A name that does not resolve has no
/// address.
fn check_address(helpers: &Helpers, from: ServerId, address: SocketAddr) -> Result<(), Refusal> {
    let unknown = || Refusal::Unknown { from, members: helpers.ids() };
    let member = helpers.member(from).ok_or_else(unknown)?;
    let known = resolve(&member.host, member.port)
        .is_ok_and(|mut addresses| addresses.any(|known| canonical(known) == canonical(address)));
    let refusal = || Refusal::Address { address: canonical(address), from, host: member.host.clone() };
    if known { Ok(()) } else { Err(refusal()) }
}

/// Checks that the certificate matches the host in the server's line.
// ZooKeeper: compares it with the address, and with the name that reverse DNS has for the address.
pub(super) fn check_certificate(helpers: &Helpers, from: ServerId, stream: &PeerStream) -> Result<(), Refusal> {
    let checks = helpers.config.tls.as_ref().is_some_and(|tls| tls.checks_names);
    let Some(certificate) = stream.secure().and_then(SecureSocket::peer_certificate).filter(|_| checks) else {
        return Ok(());
    };
    // The host of a server that is not a member yet is unknown; its certificate is trusted, though.
    // It is checked again once the server has a line.
    let Some(member) = helpers.member(from) else { return Ok(()) };
    check_name(certificate, &member.host).map_err(Refusal::Certificate)
}

fn complain(helpers: &Helpers, address: SocketAddr, error: &GreetError) {
    let due = |topic, peer| !helpers.is_stopped() && helpers.complaints.due(topic, peer);
    match error {
        GreetError::Refused { from, .. } if due(Topic::Refused, *from) => {
            warn!(peer = from.map(|from| from.0), %address, "refused a peer: {error}");
        }
        GreetError::Io(_) | GreetError::Garbage if due(Topic::Stranger, None) => {
            info!(%address, "dropped a connection to the peers' port: {error}");
        }
        GreetError::Handshake(_) if due(Topic::Handshake, None) => {
            warn!(%address, "dropped a connection to the peers' port: {error}");
        }
        GreetError::Refused { .. }
        | GreetError::Io(_)
        | GreetError::Handshake(_)
        | GreetError::Garbage
        | GreetError::RefusedThere(_) => {}
    }
}
