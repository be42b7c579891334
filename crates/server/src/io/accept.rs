//! Accepts clients.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use rustix::process::{Resource, getrlimit};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::admission::Admission;
use crate::net::listener::Opened;
use crate::net::tls::Door;
use crate::telemetry::throttle::Throttle;

/// Pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts clients until `closing` asks for an end, and hands on the admitted ones.
pub(crate) async fn accept(
    opened: Opened,
    admission: &Admission,
    mut hand_on: impl FnMut(TcpStream, SocketAddr, Door),
) {
    // `closing` is dropped last, when the socket is already closed.
    let Opened { mut closing, listener, door } = opened;
    if *closing.borrow_and_update() {
        return;
    }
    let listener = watched(listener);
    let (mut failures, mut refusals) = (Throttle::default(), Throttle::default());
    loop {
        let mut ready = tokio::select! {
            ready = listener.readable() => ready.expect("the event queue is open"),
            _ = closing.changed() => return,
        };
        let (stream, peer) = match ready.try_io(|listener| accept_one(listener.get_ref())) {
            Err(_nobody) => continue,
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                if let Some(left_out) = failures.due(Instant::now()) {
                    warn!(left_out, "cannot accept a client: {}", told(&error));
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(reason) = admission.enter(peer) {
            if let Some(left_out) = refusals.due(Instant::now()) {
                warn!(%peer, left_out, "refused a client: {reason}");
            }
            turn_away(&stream);
            continue;
        }
        hand_on(stream, peer, door);
    }
}

/// Explains why the system returns no connection and, if a limit is the cause, what to raise.
fn told(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            let limit = getrlimit(Resource::Nofile).current;
            let limit = limit.map_or("all".to_owned(), |limit| format!("all {limit}"));
            format!("{limit} file descriptors of this process are in use; raise `ulimit -n` (systemd: LimitNOFILE)")
        }
        Some(Errno::NFILE) => "all file descriptors of this machine are in use; raise fs.file-max".to_owned(),
        _ => error.to_string(),
    }
}

/// Prepares a refused `stream` for its drop: the client reads an end of stream instead of a reset,
/// and the system keeps no state of the connection.
// ZooKeeper: `NIOServerCnxnFactory#fastCloseSock`; data that the client sends after the end is
// answered with a reset.
fn turn_away(stream: &TcpStream) {
    // The client may already be gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

/// Registers a listener in this thread's event queue. Clients are accepted by hand: a stream
/// accepted by tokio would be registered here, deregistered, and registered again on the thread
/// that serves it.
#[expect(unsafe_code, reason = "tokio asks for a promise about the file descriptor")]
fn watched(listener: TcpListener) -> AsyncFd<TcpListener> {
    // SAFETY: the registration requires that the descriptor stays open and unchanged for its
    // lifetime. `TcpListener` owns its descriptor and never changes it; `AsyncFd` owns the listener
    // and deregisters it before dropping it; `accept` only borrows it.
    let watched = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
    watched.expect("the event queue takes a listener")
}

/// Accepts one client as a non-blocking socket. It inherits the options of the listener.
fn accept_one(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), peer.try_into()?))
}
