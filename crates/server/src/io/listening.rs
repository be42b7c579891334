//! Where clients are accepted, and how that moves while the server runs.
//!
//! Owns the listening sockets: the first thread that owns connections accepts on them. Of a member whose client address is
//! changed by reconfig the port without TLS moves; connections stay. Invariant: a place that cannot be had leaves clients
//! where they were. Source: `QuorumPeer#processReconfig`, `ServerCnxnFactory#reconfigure`.

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

/// Connections the system may hold for us until they are accepted, when the configuration does not say.
const BACKLOG: i32 = 4096;
/// How long a socket that is to be closed, or to be had again, is waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Why clients cannot be accepted.
#[derive(Debug, Error)]
pub enum ListenError {
    /// A port cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address that was tried.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The configuration has no client port.
    #[error("clientPort and secureClientPort are missing")]
    NoPort,
}

/// What clients connect to at first.
pub(crate) struct Listeners {
    plain: Option<TcpListener>,
    secure: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// A port cannot be had, or there is none.
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
    /// `None`: there is no such port, nor will there be.
    plain_address: Mutex<Option<SocketAddr>>,
    secure_address: Option<SocketAddr>,
    /// True once the server stops.
    stopping: watch::Sender<bool>,
    /// Of the thread that accepts.
    mailbox: Arc<Mailbox>,
    door: Door,
    backlog: i32,
    keep_alive: bool,
    rebind: Arc<Rebind>,
}

/// The port without TLS, or with both.
#[derive(Debug)]
struct Plain {
    /// `None` of one that was closed for another, which could not be had.
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

    /// One that listens nowhere, and says it did at `port`.
    #[cfg(test)]
    pub(crate) fn pretended(config: &Config, port: u16) -> Listening {
        let listening = Listening::new(config, &Listeners { plain: None, secure: None }, Arc::default());
        *listening.plain_address.lock() = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        listening
    }

    /// Clients are accepted from now on.
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

    /// Where clients connect: without TLS, if there is such a port.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.plain_address.lock().or(self.secure_address);
        address.expect("there is a listener, or the server had not started")
    }

    /// Where clients connect with TLS.
    pub(crate) fn secure_address(&self) -> Option<SocketAddr> {
        self.secure_address
    }

    /// The port without TLS.
    pub(crate) fn plain_port(&self) -> Option<u16> {
        self.plain_address.lock().map(|address| address.port())
    }

    /// No clients any more.
    pub(crate) fn stop(&self) {
        // In this order: who moves the port looks whether it is to stop.
        let _ = self.stopping.send_replace(true);
        self.plain.lock().closing.send_replace(true);
    }

    /// Has clients accepted at `place`, if that is elsewhere: soon.
    pub(crate) fn follow(self: &Arc<Self>, place: &HostPort) {
        if self.is_at(place) && !self.rebind.is_busy() {
            return;
        }
        let listening = self.clone();
        let sent = self.rebind.send(place.clone(), "move", move |place| listening.move_to(place));
        sent.unwrap_or_else(|error| warn!(%error, "cannot move the client port"));
    }

    /// Whether clients are accepted there already, or never without TLS.
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

    /// By the rebind's thread alone. Names are looked up, and sockets waited for, while nothing is locked.
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

    /// Until nobody holds the socket any more.
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

    /// At the address that was closed a moment ago.
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
