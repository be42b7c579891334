//! One accepted client: its socket, its connection, and the bytes that wait on either side.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use oxkeeper_replica::{Connection, ConnectionConfig, ConnectionId, End};
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::socket_queue;
use crate::tls::{Proved, Secure, Wire, WireEnd};

/// How long an ending connection may take none of its last bytes, ms.
const FAREWELL_MS: u64 = 5_000;

/// A client as its thread keeps it. Only that thread touches it.
pub(crate) struct Client {
    pub(crate) id: ConnectionId,
    stream: RefCell<TcpStream>,
    wire: RefCell<Wire>,
    pub(crate) peer: SocketAddr,
    /// When it was accepted, Unix ms and monotonic ms.
    pub(crate) established_ms: i64,
    pub(crate) opened_ms: u64,
    pub(crate) inner: RefCell<Inner>,
    waker: Cell<Option<Waker>>,
}

/// What changes about a client.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) connection: Connection,
    /// Input that is not a complete frame yet, or waits.
    pub(crate) unread: BytesMut,
    /// Output the socket did not take yet.
    pub(crate) unsent: Vec<u8>,
    /// Bytes delivered by the engine since `unsent` was last empty.
    pub(crate) delivered_len: usize,
    /// The next frame waits for an answer, or for room.
    pub(crate) blocked: bool,
    /// It has had its share of the thread; its task goes on.
    pub(crate) paused: bool,
    /// A four-letter word is being answered: nothing else is.
    pub(crate) word: bool,
    /// Since when its client has sent all that it will, monotonic ms.
    pub(crate) input_ended_ms: Option<u64>,
    /// Its client takes no output any more: what it has sent is still carried out.
    pub(crate) deaf: bool,
    /// Bytes the socket has taken so far.
    written: u64,
    /// Bytes of those that the client had taken at the last look, and when that last grew, monotonic ms.
    pub(crate) taken: (u64, u64),
    /// Its socket is closed.
    pub(crate) closed: bool,
    /// The server will not answer its writes.
    pub(crate) abandoned: bool,
    /// The connection that waits for this one's end: the last of those that asked for its session.
    pub(crate) successor: Option<ConnectionId>,
    /// It is in the list of clients that deliveries have touched.
    pub(crate) touched: bool,
    /// It is in the list of clients that wait until less is under way.
    pub(crate) queued: bool,
    /// It has heard that the server stops; it is left to it to close.
    pub(crate) parting: bool,
    /// Why and since when (monotonic ms) it is to end; what is unsent goes out first.
    pub(crate) end: Option<(Farewell, u64)>,
}

/// The peer is gone: nothing can be read or written any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// How a client ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It closed its side, or the network did.
    Gone,
    /// A four-letter word was answered.
    Answered,
    /// The protocol says so.
    Protocol(End),
    /// It does not read what it asked for.
    Unread(usize),
    /// It did not say who it is in time.
    Silent,
    /// TLS says so.
    Wire(WireEnd),
    /// Its handshake took too long.
    Handshake,
    /// The server stops.
    Stopping,
}

impl Client {
    pub(crate) fn new(
        id: ConnectionId,
        stream: TcpStream,
        wire: Wire,
        peer: SocketAddr,
        times: (i64, u64),
    ) -> Rc<Client> {
        let inner = Inner {
            connection: Connection::new(id, &address_text(peer)),
            unread: BytesMut::new(),
            unsent: Vec::new(),
            delivered_len: 0,
            blocked: false,
            paused: false,
            word: false,
            input_ended_ms: None,
            deaf: false,
            written: 0,
            taken: (0, times.1),
            closed: false,
            abandoned: false,
            successor: None,
            touched: false,
            queued: false,
            parting: false,
            end: None,
        };
        Rc::new(Client {
            id,
            stream: RefCell::new(stream),
            wire: RefCell::new(wire),
            peer,
            established_ms: times.0,
            opened_ms: times.1,
            inner: RefCell::new(inner),
            waker: Cell::new(None),
        })
    }

    /// The client's task sleeps and wants to be woken.
    pub(crate) fn sleep(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Wakes the client's task: what it waits for may have changed.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Reads what the socket has, once; how many bytes. Unlike `try_read`, this knows from a short read that nothing is
    /// left, which saves a system call.
    pub(crate) fn poll_read(&self, buffer: &mut [u8], context: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut buffer);
        polled.map(|read| match (read, buffer.filled().len()) {
            (Ok(()), count @ 1..) => Ok(count),
            (Ok(()) | Err(_), _) => Err(Gone),
        })
    }

    /// Whether bytes pass as they are.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(*self.wire.borrow(), Wire::Plain)
    }

    /// Whether they are encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure(|_| true)
    }

    /// Whether a handshake of TLS goes on.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.secure(Secure::is_handshaking)
    }

    /// Whether the client has said, within TLS, that it sends nothing more.
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.secure(Secure::is_peer_closed)
    }

    fn secure(&self, holds: impl FnOnce(&Secure) -> bool) -> bool {
        match &*self.wire.borrow() {
            Wire::Plain | Wire::Undecided(..) => false,
            Wire::Secure(secure) => holds(secure),
        }
    }

    /// Takes what came off the wire: the client's own bytes go to `plain`.
    pub(crate) fn receive(&self, inner: &mut Inner, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), WireEnd> {
        let mut wire = self.wire.borrow_mut();
        wire.decide(input.first().copied().unwrap_or_default())?;
        match &mut *wire {
            Wire::Plain | Wire::Undecided(..) => plain.extend_from_slice(input),
            Wire::Secure(secure) => {
                if let Some(proved) = secure.receive(input, self.peer, plain, &mut inner.unsent)? {
                    inner.identify(&proved)?;
                }
            }
        }
        Ok(())
    }

    /// Says goodbye in the manner of TLS; whether there is anything to be sent.
    pub(crate) fn say_goodbye(&self, unsent: &mut Vec<u8>) -> bool {
        match &mut *self.wire.borrow_mut() {
            Wire::Plain | Wire::Undecided(..) => false,
            Wire::Secure(secure) => secure.close(unsent),
        }
    }

    /// Until the socket takes output again.
    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.stream.borrow().poll_write_ready(context).map_err(|_| Gone)
    }

    /// Whether there is input that was not handled yet, here or as the system sees it now.
    pub(crate) fn has_input(&self) -> bool {
        if self.secure(Secure::has_partial) {
            return true;
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(&*self.stream.borrow(), &mut [0; 1][..], flags).is_ok_and(|(count, _)| count > 0)
    }

    /// Reads what has arrived by now, as the system sees it; 0 if there is nothing, or never will be.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> usize {
        rustix::net::recv(&*self.stream.borrow(), buffer, RecvFlags::DONTWAIT).map_or(0, |(count, _)| count)
    }

    /// Bytes that were sent and that the client's system has not acknowledged.
    fn unacknowledged(&self) -> u64 {
        socket_queue::unacknowledged(&*self.stream.borrow())
    }

    /// Ends the connection in both directions. The descriptor stays until the client is dropped.
    pub(crate) fn shut_down(&self) {
        // A client that is gone already needs no word.
        let _ = SockRef::from(&*self.stream.borrow()).shutdown(Shutdown::Both);
    }

    /// Whether the peer is gone and has left nothing to read.
    pub(crate) fn is_gone(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&*self.stream.borrow(), &mut [0; 1][..], flags) {
            Ok((_, count)) => count == 0,
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }

    /// Nothing more is sent: the client learns it behind everything that was.
    pub(crate) fn close_output(&self) {
        // A client that is gone already needs no word.
        let _ = SockRef::from(&*self.stream.borrow()).shutdown(Shutdown::Write);
    }

    /// Writes out what the socket takes without waiting. A client that takes nothing any more is not told anything.
    pub(crate) fn flush(&self, inner: &mut Inner) {
        if !inner.deaf {
            match self.write(&mut inner.unsent) {
                Ok(count) => inner.written += count as u64,
                Err(Gone) => inner.deaf = true,
            }
        }
        if inner.deaf {
            inner.unsent.clear();
        }
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

    /// Looks whether the client takes what is sent to it. That is a sign of life, too.
    pub(crate) fn look_for_progress(&self, inner: &mut Inner, now_ms: u64) {
        let taken = inner.written.saturating_sub(self.unacknowledged());
        if taken > inner.taken.0 {
            inner.connection.renew(now_ms);
            inner.taken = (taken, now_ms);
        }
    }
}

impl Inner {
    /// The client has shown a certificate.
    fn identify(&mut self, proved: &Proved) -> Result<(), WireEnd> {
        let schemes = if proved.is_super { &["super", "x509"][..] } else { &["x509"] };
        let taken = schemes.iter().all(|scheme| self.connection.identify(scheme, &proved.subject));
        if taken { Ok(()) } else { Err(WireEnd::Session("the certificate's subject is too long".to_owned())) }
    }

    /// The connection ends once everything is sent; the first reason counts.
    pub(crate) fn end(&mut self, farewell: Farewell, now_ms: u64) {
        self.end.get_or_insert((farewell, now_ms));
    }

    /// Ends a client that has been handled to its end.
    pub(crate) fn end_over(&mut self, now_ms: u64) {
        let moved = self.successor.is_some();
        self.end(if moved { Farewell::Protocol(End::Disconnected) } else { Farewell::Gone }, now_ms);
    }

    /// Whether the client has been handled to its end: it sends nothing more, and what it sent is carried out.
    pub(crate) fn is_over(&self) -> bool {
        self.input_ended_ms.is_some() && !self.is_held_back() && !self.blocked
    }

    /// Whether input only gathers: replies must leave first, or other clients' requests.
    pub(crate) fn is_held_back(&self) -> bool {
        self.queued || self.word || !self.unsent.is_empty()
    }

    /// Whether its writes in flight must be answered before its session goes on elsewhere.
    pub(crate) fn must_settle(&self, config: &ConnectionConfig) -> bool {
        !self.abandoned && self.connection.must_settle(config)
    }

    /// Whether the client leaves, or sends nothing more, and takes none of the output it is owed.
    pub(crate) fn takes_nothing(&self, now_ms: u64) -> bool {
        let leaving_since_ms = self.end.as_ref().map(|&(_, since_ms)| since_ms).or(self.input_ended_ms);
        let is_stuck = |since_ms: u64| now_ms > since_ms.max(self.taken.1) + FAREWELL_MS;
        !self.unsent.is_empty() && leaving_since_ms.is_some_and(is_stuck)
    }

    /// Input was handled: what is left of it, behind so many bytes, waits.
    pub(crate) fn used(&mut self, mut unread: BytesMut, used: usize) {
        if used < unread.len() {
            unread.advance(used);
            self.unread = unread;
        }
    }

    /// Whether everything that was read is answered, and every answer sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.connection.in_flight() == 0 && !self.blocked && self.unsent.is_empty()
    }

    /// Whether more input is wanted. Input that waits is read up to a limit: pings may be in it, and writes.
    pub(crate) fn wants_input(&self, unread_len_max: usize) -> bool {
        !self.word && self.end.is_none() && self.input_ended_ms.is_none() && self.unread.len() < unread_len_max
    }
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
