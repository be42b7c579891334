//! The listener, its thread, and the limits that apply before a request is processed.
//!
//! This module owns the sockets. Invariant: a connection ends when its client is silent for the
//! configured time, and there are never more than [`CONNECTIONS_MAX`] connections.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use oxkeeper_tls::FIRST_BYTE;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use super::site::{Origin, Port, Site};
use crate::net::tls::AdminTls;
use crate::telemetry::throttle::Throttle;
use crate::thread::spawn;
use oxkeeper_config::Config;

/// Maximum number of admin connections, over all ports. Additional ones are closed at once.
const CONNECTIONS_MAX: usize = 128;
/// Maximum length of a request's line and headers, bytes.
const HEADERS_LEN_MAX: usize = 16 << 10;
/// Maximum number of headers in a request.
const HEADERS_MAX: usize = 64;
/// Maximum number of connections in the accept queue.
const BACKLOG: i32 = 128;
/// ZooKeeper's default admin port.
const USUAL_PORT: u16 = 8080;
/// Pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Interval between health checks of the other threads.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bound listeners waiting for their thread.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    listeners: Vec<(Port, StdListener)>,
}

/// A port that cannot be bound.
#[derive(Debug)]
pub(crate) struct Busy {
    pub(crate) port: Port,
    pub(crate) address: String,
    pub(crate) source: io::Error,
}

/// Binds the configured ports. *Errors*: an explicitly configured port is taken.
// ZooKeeper: a busy admin port ends a standalone server, even if it is the default port; a member
// of an ensemble continues without it.
pub(crate) fn bind(config: &Config) -> Result<Bound, Busy> {
    let mut bound = Bound::default();
    if let Some(metrics) = &config.metrics_port {
        let host = metrics.host.clone().unwrap_or_default();
        bound.listeners.push((Port::Metrics, listen(Port::Metrics, &host, metrics.port)?));
    }
    let admin = &config.admin;
    if !admin.enabled {
        return Ok(bound);
    }
    let any_port = config.client.as_ref().is_some_and(|client| client.port == 0);
    let port = admin.port.unwrap_or(if any_port { 0 } else { USUAL_PORT });
    match listen(Port::Admin, &admin.host, port) {
        Ok(listener) => bound.listeners.push((Port::Admin, listener)),
        Err(busy) if admin.port.is_some() && !config.is_distributed() => return Err(busy),
        Err(Busy { address, source, .. }) if admin.named => {
            warn!("the admin server is off: cannot listen on {address}: {source}; set admin.serverPort");
        }
        // The port is a default that nobody chose.
        Err(Busy { address, source, .. }) => {
            info!("the admin server is off: cannot listen on {address}: {source}; --admin-port picks another port");
        }
    }
    Ok(bound)
}

fn listen(port: Port, host: &str, number: u16) -> Result<StdListener, Busy> {
    let busy = |source| Busy { port, address: format!("{host}:{number}"), source };
    let address = (host, number).to_socket_addrs().map_err(busy)?.next();
    let address = address.ok_or_else(|| busy(io::ErrorKind::AddrNotAvailable.into()))?;
    bind_to(address).map_err(busy)
}

fn bind_to(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The running thread. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct AdminServer {
    addresses: Vec<(Port, SocketAddr)>,
    tls: Option<AdminTls>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Starts the thread. Returns `None` if there is no port.
    pub(crate) fn start(bound: Bound, site: Arc<Site>, tls: Option<AdminTls>) -> io::Result<Option<AdminServer>> {
        if bound.listeners.is_empty() {
            return Ok(None);
        }
        let address = |(port, listener): &(Port, StdListener)| Ok((*port, listener.local_addr()?));
        let addresses = bound.listeners.iter().map(address).collect::<io::Result<Vec<_>>>()?;
        for (port, address) in &addresses {
            let protocol = match &tls {
                Some(tls) if *port == Port::Admin => tls.protocols(),
                Some(_) | None => "HTTP",
            };
            info!(%address, "{protocol} for {port}");
        }
        let (stop, stopped) = watch::channel(false);
        let its_tls = tls.clone();
        let thread = spawn("admin", move || run(bound, site, its_tls, stopped))?;
        Ok(Some(AdminServer { addresses, tls, stop, thread: Some(thread) }))
    }

    /// Returns the address for administrators.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address_of(Port::Admin)
    }

    /// Returns the address for metrics, if they have a port of their own.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.address_of(Port::Metrics)
    }

    /// Returns the TLS configuration, if any.
    pub(crate) fn tls(&self) -> Option<&AdminTls> {
        self.tls.as_ref()
    }

    fn address_of(&self, wanted: Port) -> Option<SocketAddr> {
        self.addresses.iter().find(|(port, _)| *port == wanted).map(|(_, address)| *address)
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(bound: Bound, site: Arc<Site>, tls: Option<AdminTls>, mut stopped: watch::Receiver<bool>) {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.expect("the system has an event queue left");
    runtime.block_on(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        for (port, listener) in bound.listeners {
            let listener = TcpListener::from_std(listener).expect("the event queue takes a listener");
            let tls = tls.clone().filter(|_| port == Port::Admin);
            tokio::spawn(accept(listener, port, tls, site.clone(), room.clone()));
        }
        tokio::spawn(look_regularly(site));
        // Replies still in progress are cut off.
        let _ = stopped.changed().await;
    });
}

async fn look_regularly(site: Arc<Site>) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        site.look();
    }
}

async fn accept(listener: TcpListener, port: Port, tls: Option<AdminTls>, site: Arc<Site>, room: Arc<Semaphore>) {
    let (mut failures, mut refusals) = (Throttle::default(), Throttle::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(left_out) = failures.due(Instant::now()) {
                    warn!(%error, left_out, "cannot accept an administrator's connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match room.clone().try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(welcome(stream, peer, port, tls.clone(), site.clone(), place))),
            Err(_full) => {
                if let Some(left_out) = refusals.due(Instant::now()) {
                    warn!(%peer, left_out, "refused an administrator: {CONNECTIONS_MAX} are connected");
                }
            }
        }
    }
}

/// Serves one connection until it ends, with TLS if the client uses it.
async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    port: Port,
    tls: Option<AdminTls>,
    site: Arc<Site>,
    _place: OwnedSemaphorePermit,
) {
    let patience = site.patience();
    // A client that does not take its reply is silent, too.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
    let _ = stream.set_nodelay(true);
    let origin = Origin { port, peer, secure: false };
    let Some(tls) = tls else { return converse(stream, origin, &site).await };
    match timeout(patience, begin(stream, &tls)).await {
        Ok(Ok(Begun::Plain(stream))) => {
            site.running().into_iter().for_each(|running| running.words.admin.lock().insecure += 1);
            converse(stream, origin, &site).await;
        }
        Ok(Ok(Begun::Secure(stream))) => converse(*stream, Origin { secure: true, ..origin }, &site).await,
        Ok(Err(problem)) => debug!(%peer, %problem, "an administrator's TLS handshake failed"),
        Err(_elapsed) => debug!(%peer, "an administrator's connection said nothing"),
    }
}

/// A connection of known kind.
enum Begun {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// Decides by the first byte. *Errors*: TLS is required and not used, or its handshake failed.
async fn begin(stream: TcpStream, tls: &AdminTls) -> io::Result<Begun> {
    let mut first = [0];
    let is_plain = stream.peek(&mut first).await? == 1 && first[0] != FIRST_BYTE;
    match is_plain {
        true if tls.accepts_plain => Ok(Begun::Plain(stream)),
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "not TLS, and admin.forceHttps takes nothing else")),
        false => Ok(Begun::Secure(Box::new(TlsAcceptor::from(tls.live.server()).accept(stream).await?))),
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, origin: Origin, site: &Arc<Site>) {
    let service = service_fn(|request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(origin, request).await) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(site.patience())
        .max_buf_size(HEADERS_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(problem) = conversation {
        debug!(peer = %origin.peer, %problem, "an administrator's connection ended");
    }
}
