//! Listening sockets for clients.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::tls::Door;
use oxkeeper_config::HostPort;

/// A listening socket for the thread that accepts on it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) listener: TcpListener,
    pub(crate) door: Door,
    /// Becomes true when the socket is to be closed. The receiver is dropped after the socket.
    pub(crate) closing: watch::Receiver<bool>,
}

/// Binds the client port. Without a host, binds the wildcard addresses of both families.
pub(crate) fn listen(client: &HostPort, backlog: i32, keep_alive: bool) -> io::Result<TcpListener> {
    match &client.host {
        Some(host) => {
            let mut addresses = (host.as_str(), client.port).to_socket_addrs()?;
            bind(addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?, backlog, keep_alive)
        }
        None => {
            let every = |address: [u16; 8]| SocketAddr::from((address, client.port));
            let dual = bind(every([0; 8]), backlog, keep_alive);
            // A system without IPv6 still has IPv4.
            dual.or_else(|_| bind(SocketAddr::from(([0, 0, 0, 0], client.port)), backlog, keep_alive))
        }
    }
}

pub(crate) fn bind(address: SocketAddr, backlog: i32, keep_alive: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(keep_alive)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}
