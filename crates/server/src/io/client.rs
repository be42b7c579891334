//! One accepted client: its socket, and the transport (plain or TLS) over it.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use oxkeeper_replica::client_io::ClientIo;
use oxkeeper_replica::{Connection, ConnectionId};
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::net::socket_queue;
use crate::net::tls::{Proved, Secure, Wire, WireEnd};

/// A client. Only the thread that owns it touches it.
pub(crate) struct Client {
    pub(crate) id: ConnectionId,
    stream: RefCell<TcpStream>,
    wire: RefCell<Wire>,
    pub(crate) peer: SocketAddr,
    /// Time of acceptance, Unix ms; `opened_ms` is the same in monotonic ms.
    pub(crate) established_ms: i64,
    pub(crate) opened_ms: u64,
    pub(crate) io: RefCell<ClientIo>,
    /// The client was told that the server stops; it is expected to close the connection.
    pub(crate) parting: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// The peer is gone: nothing more can be read or written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

impl Client {
    pub(crate) fn new(
        id: ConnectionId,
        stream: TcpStream,
        wire: Wire,
        peer: SocketAddr,
        times: (i64, u64),
    ) -> Rc<Client> {
        let connection = Connection::new(id, &address_text(peer));
        Rc::new(Client {
            id,
            stream: RefCell::new(stream),
            wire: RefCell::new(wire),
            peer,
            established_ms: times.0,
            opened_ms: times.1,
            io: RefCell::new(ClientIo::new(connection, times.1)),
            parting: Cell::new(false),
            waker: Cell::new(None),
        })
    }

    /// Registers the waker of the client's task, which is about to sleep.
    pub(crate) fn sleep(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Wakes the client's task because what it waits for may have changed.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Reads once from the socket and returns the number of bytes. Unlike `try_read`, it concludes
    /// from a short read that nothing is left, which saves a system call.
    pub(crate) fn poll_read(&self, buffer: &mut [u8], context: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut buffer);
        polled.map(|read| match (read, buffer.filled().len()) {
            (Ok(()), count @ 1..) => Ok(count),
            (Ok(()) | Err(_), _) => Err(Gone),
        })
    }

    /// Returns whether the transport is plain.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(*self.wire.borrow(), Wire::Plain)
    }

    /// Returns whether the transport is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure(|_| true)
    }

    /// Returns whether a TLS handshake is in progress.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.secure(Secure::is_handshaking)
    }

    /// Returns whether the client has announced within TLS that it sends nothing more.
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.secure(Secure::is_peer_closed)
    }

    fn secure(&self, holds: impl FnOnce(&Secure) -> bool) -> bool {
        match &*self.wire.borrow() {
            Wire::Plain | Wire::Undecided(..) => false,
            Wire::Secure(secure) => holds(secure),
        }
    }

    /// Processes raw input and appends the client's own bytes to `plain`.
    pub(crate) fn receive(&self, io: &mut ClientIo, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), WireEnd> {
        let mut wire = self.wire.borrow_mut();
        wire.decide(input.first().copied().unwrap_or_default())?;
        match &mut *wire {
            Wire::Plain | Wire::Undecided(..) => plain.extend_from_slice(input),
            Wire::Secure(secure) => {
                if let Some(proved) = secure.receive(input, self.peer, plain, &mut io.unsent)? {
                    identify(&mut io.connection, &proved)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the TLS close message to `unsent`. Returns whether there is anything to send.
    pub(crate) fn say_goodbye(&self, unsent: &mut Vec<u8>) -> bool {
        match &mut *self.wire.borrow_mut() {
            Wire::Plain | Wire::Undecided(..) => false,
            Wire::Secure(secure) => secure.close(unsent),
        }
    }

    /// Waits until the socket accepts output again.
    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.stream.borrow().poll_write_ready(context).map_err(|_| Gone)
    }

    /// Returns whether there is unprocessed input, either here or in the socket's receive buffer.
    pub(crate) fn has_input(&self) -> bool {
        if self.secure(Secure::has_partial) {
            return true;
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(&*self.stream.borrow(), &mut [0; 1][..], flags).is_ok_and(|(count, _)| count > 0)
    }

    /// Reads what the system has received by now. Returns 0 if there is nothing, or never will be.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> usize {
        rustix::net::recv(&*self.stream.borrow(), buffer, RecvFlags::DONTWAIT).map_or(0, |(count, _)| count)
    }

    /// Returns the number of sent bytes that the client's system has not acknowledged.
    fn unacknowledged(&self) -> u64 {
        socket_queue::unacknowledged(&*self.stream.borrow())
    }

    /// Shuts down both directions. The descriptor stays open until the client is dropped.
    pub(crate) fn shut_down(&self) {
        // The client may already be gone.
        let _ = SockRef::from(&*self.stream.borrow()).shutdown(Shutdown::Both);
    }

    /// Returns whether the peer is gone and left nothing to read.
    pub(crate) fn is_gone(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&*self.stream.borrow(), &mut [0; 1][..], flags) {
            Ok((_, count)) => count == 0,
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }

    /// Shuts down output: the client sees the end after everything that was sent.
    pub(crate) fn close_output(&self) {
        // The client may already be gone.
        let _ = SockRef::from(&*self.stream.borrow()).shutdown(Shutdown::Write);
    }

    /// Writes what the socket accepts without blocking. Sends nothing to a client that no longer
    /// takes output.
    pub(crate) fn flush(&self, io: &mut ClientIo) {
        if !io.is_deaf() {
            match self.write(&mut io.unsent) {
                Ok(count) => io.wrote(count),
                Err(Gone) => io.turn_deaf(),
            }
        }
        io.forget_unheard();
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<usize, Gone> {
        let mut wire = self.wire.borrow_mut();
        if let Wire::Secure(secure) = &mut *wire {
            secure.seal(out).map_err(|_| Gone)?;
        }
        let stream = self.stream.borrow();
        let mut sent = 0;
        while sent < out.len() {
            match stream.try_write(&out[sent..]) {
                Ok(0) => return Err(Gone),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        out.drain(..sent);
        if let Wire::Secure(secure) = &mut *wire {
            secure.sent(sent);
        }
        Ok(sent)
    }

    /// Checks whether the client takes what is sent to it, which also counts as a sign of life.
    pub(crate) fn look_for_progress(&self, io: &mut ClientIo, now_ms: u64) {
        io.note_unacknowledged(self.unacknowledged(), now_ms);
    }
}

/// Authenticates the connection by the client's certificate.
fn identify(connection: &mut Connection, proved: &Proved) -> Result<(), WireEnd> {
    let schemes = if proved.is_super { &["super", "x509"][..] } else { &["x509"] };
    let taken = schemes.iter().all(|scheme| connection.identify(scheme, &proved.subject));
    if taken { Ok(()) } else { Err(WireEnd::Session("the certificate's subject is too long".to_owned())) }
}

/// ZooKeeper: Java's spelling. IPv4-mapped addresses are IPv4, IPv6 is not compressed.
pub(crate) fn address_text(peer: SocketAddr) -> String {
    match peer.ip().to_canonical() {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_spelled_as_java_does() {
        let check = |peer: &str, expected| assert_eq!(address_text(peer.parse().unwrap()), expected);
        check("127.0.0.1:1", "127.0.0.1");
        check("[::1]:1", "0:0:0:0:0:0:0:1");
        check("[::ffff:10.0.0.1]:1", "10.0.0.1");
    }
}
