//! The listening sockets for clients, and how they move while the server runs.
//!
//! This module owns the listening sockets; the first thread that owns connections accepts on them.
//! If a reconfig changes a member's client address, the plain port moves and connections stay.
//! Invariant: if the new place cannot be bound, clients stay where they were. Source:
//! `QuorumPeer#processReconfig`, `ServerCnxnFactory#reconfigure`.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::engine::mailbox::{Mailbox, Order};
use crate::net::listener::{Opened, bind, listen};
use crate::net::rebind::{Rebind, reopen};
use crate::net::tls::Door;
use oxkeeper_config::{Config, HostPort};

/// Maximum number of connections in the accept queue, if the configuration does not set it.
const BACKLOG: i32 = 4096;
/// Maximum wait for a socket to close or to be bound again.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Reason why clients cannot be accepted.
#[derive(Debug, Error)]
pub enum ListenError {
    /// A port cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address to bind.
        address: String,
        /// The error from the system.
        source: io::Error,
    },
    /// The configuration has no client port.
    #[error("clientPort and secureClientPort are missing")]
    NoPort,
}

/// Listeners bound at the start.
pub(crate) struct Listeners {
    plain: Option<TcpListener>,
    secure: Option<TcpListener>,
}

impl Listeners {
    /// Binds the configured ports.
    ///
    /// # Errors
    /// A port cannot be bound, or none is configured.
    pub(crate) fn bind(config: &Config) -> Result<Listeners, ListenError> {
        let bind = |place: &HostPort| {
            let text = place.host.as_deref().unwrap_or("[::]");
            let failed = |source| ListenError::Bind { address: format!("{text}:{}", place.port), source };
            listen(place, backlog(config), config.client_tcp_keep_alive).map_err(failed)
        };
        let plain = config.client.as_ref().map(bind).transpose()?;
        let secure = config.secure_client.as_ref().map(bind).transpose()?;
        if plain.is_none() && secure.is_none() { Err(ListenError::NoPort) } else { Ok(Listeners { plain, secure }) }
    }
}

fn backlog(config: &Config) -> i32 {
    if config.listen_backlog > 0 { config.listen_backlog } else { BACKLOG }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Listening {
    plain: Mutex<Plain>,
    /// `None` if there is no plain port and never will be.
    plain_address: Mutex<Option<SocketAddr>>,
    secure_address: Option<SocketAddr>,
    /// True once the server stops.
    stopping: watch::Sender<bool>,
    /// Mailbox of the thread that accepts.
    mailbox: Arc<Mailbox>,
    door: Door,
    backlog: i32,
    keep_alive: bool,
    rebind: Arc<Rebind>,
}

/// The plain port, or the port that accepts both plain and TLS connections.
#[derive(Debug)]
struct Plain {
    /// `None` after it was closed for a new place that could not be bound.
    place: Option<HostPort>,
    is_open: bool,
    closing: watch::Sender<bool>,
}

impl Listening {
    pub(crate) fn new(config: &Config, listeners: &Listeners, mailbox: Arc<Mailbox>) -> Listening {
        let address =
            |listener: &Option<TcpListener>| listener.as_ref().and_then(|listener| listener.local_addr().ok());
        Listening {
            plain: Mutex::new(Plain {
                place: config.client.clone(),
                is_open: true,
                closing: watch::Sender::new(false),
            }),
            plain_address: Mutex::new(address(&listeners.plain)),
            secure_address: address(&listeners.secure),
            stopping: watch::Sender::new(false),
            mailbox,
            door: if config.security.client_port_unification { Door::Either } else { Door::Plain },
            backlog: backlog(config),
            keep_alive: config.client_tcp_keep_alive,
            rebind: Arc::default(),
        }
    }

    /// Returns an instance that listens nowhere but reports the port `port`.
    #[cfg(test)]
    pub(crate) fn pretended(config: &Config, port: u16) -> Listening {
        let listening = Listening::new(config, &Listeners { plain: None, secure: None }, Arc::default());
        *listening.plain_address.lock() = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        listening
    }

    /// Starts accepting clients.
    pub(crate) fn open(&self, listeners: Listeners) {
        let closing = self.plain.lock().closing.subscribe();
        let plain = listeners.plain.map(|listener| Opened { listener, door: self.door, closing });
        let secure = listeners.secure.map(|listener| Opened {
            listener,
            door: Door::Secure,
            closing: self.stopping.subscribe(),
        });
        plain.into_iter().chain(secure).for_each(|opened| self.mailbox.order(Order::Listen(opened)));
    }

    /// Returns the address for clients: the plain one if there is one.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.plain_address.lock().or(self.secure_address);
        address.expect("there is a listener, or the server had not started")
    }

    /// Returns the address for clients with TLS.
    pub(crate) fn secure_address(&self) -> Option<SocketAddr> {
        self.secure_address
    }

    /// Returns the plain port.
    pub(crate) fn plain_port(&self) -> Option<u16> {
        self.plain_address.lock().map(|address| address.port())
    }

    /// Stops accepting clients.
    pub(crate) fn stop(&self) {
        // The order matters: a thread that moves the port checks `stopping`.
        let _ = self.stopping.send_replace(true);
        self.plain.lock().closing.send_replace(true);
    }

    /// Moves the plain port to `place`, in the background, if it is elsewhere.
    pub(crate) fn follow(self: &Arc<Self>, place: &HostPort) {
        if self.is_at(place) && !self.rebind.is_busy() {
            return;
        }
        let listening = self.clone();
        let sent = self.rebind.send(place.clone(), "move", move |place| listening.move_to(place));
        sent.unwrap_or_else(|error| warn!(%error, "cannot move the client port"));
    }

    /// Returns whether clients are already accepted at `place`, or there is no plain port at all.
    fn is_at(&self, place: &HostPort) -> bool {
        let Some(address) = *self.plain_address.lock() else { return true };
        let is_host = match &place.host {
            None => address.ip().is_unspecified(),
            Some(host) => host.parse::<IpAddr>().is_ok_and(|ip| {
                ip == address.ip().to_canonical() || ip.is_unspecified() && address.ip().is_unspecified()
            }),
        };
        is_host && place.port == address.port() && self.plain.lock().is_open
    }

    /// Moves the plain port. Only the rebind thread calls this. Nothing is locked while names are
    /// resolved or sockets awaited.
    fn move_to(&self, place: &HostPort) {
        let Some(old) = *self.plain_address.lock() else { return };
        if self.is_at(place) || self.plain.lock().place.as_ref() == Some(place) {
            return;
        }
        let open = || listen(place, self.backlog, self.keep_alive);
        let (opened, problem) = reopen(old.port() == place.port, open, || self.close(), || self.open_again(old));
        if let Some(problem) = &problem {
            error!(%problem, still = %old, "cannot listen for clients at {place}, where the members expect this server");
        }
        let mut plain = self.plain.lock();
        if *self.stopping.borrow() {
            return;
        }
        if problem.is_none() {
            plain.place = Some(place.clone());
        }
        let Some(listener) = opened else { return };
        let address = listener.local_addr().ok();
        info!(address = address.map(tracing::field::display), "listening for clients");
        *self.plain_address.lock() = address;
        plain.closing = watch::Sender::new(false);
        plain.is_open = true;
        let closing = plain.closing.subscribe();
        self.mailbox.order(Order::Listen(Opened { listener, door: self.door, closing }));
    }

    /// Closes the plain port and waits until nobody holds the socket.
    fn close(&self) {
        let mut plain = self.plain.lock();
        (plain.place, plain.is_open) = (None, false);
        let closing = plain.closing.clone();
        drop(plain);
        closing.send_replace(true);
        let until = Instant::now() + CLOSE_PATIENCE;
        while !closing.is_closed() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Binds again the address that was just closed.
    fn open_again(&self, address: SocketAddr) -> Option<TcpListener> {
        let until = Instant::now() + CLOSE_PATIENCE;
        loop {
            match bind(address, self.backlog, self.keep_alive) {
                Ok(listener) => return Some(listener),
                Err(problem) if Instant::now() >= until || *self.stopping.borrow() => {
                    error!(%problem, %address, "cannot accept clients any more");
                    return None;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}
