//! A connection between two servers, and the registry of the connections that helper threads hold.
//!
//! [`PeerStream`] is the only type that carries bytes between servers, with TLS ([`SecureSocket`])
//! or without.
//!
//! Invariant: every stream that a helper thread may block on is in [`Guests`], so that
//! [`Guests::stop`] ends it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxkeeper_tls::SecureSocket;
use parking_lot::{Condvar, Mutex};

/// Maximum number of accepted connections in their greeting. Another one evicts the oldest.
pub(super) const GREETINGS_MAX: usize = 32;
/// Maximum number of concurrent state transfers, to and from this server.
pub(crate) const STATES_MAX: usize = 16;
/// Time a new connection waits for the place of an evicted greeting.
const PLACE_WAIT: Duration = Duration::from_millis(100);

/// A connection to another server.
#[derive(Debug)]
pub(crate) struct PeerStream {
    socket: TcpStream,
    /// `None`: no TLS.
    secure: Option<Box<SecureSocket>>,
    /// Dropped after the socket.
    guest: Option<Guest>,
}

impl PeerStream {
    pub(super) fn new(socket: TcpStream, guest: Guest) -> PeerStream {
        PeerStream { socket, secure: None, guest: Some(guest) }
    }

    /// Returns the socket, for its timeouts and address, not for its data.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Enables encryption from now on.
    pub(super) fn set_secure(&mut self, secure: Option<SecureSocket>) {
        self.secure = secure.map(Box::new);
    }

    /// Returns the TLS session, if any.
    pub(super) fn secure(&self) -> Option<&SecureSocket> {
        self.secure.as_deref()
    }

    /// Returns whether more may be readable after a short read, or with an empty socket.
    pub(super) fn may_have_more(&self) -> bool {
        self.secure.is_some()
    }

    /// Returns whether data can be read without the socket.
    pub(super) fn has_plain(&self) -> bool {
        self.secure().is_some_and(SecureSocket::has_plain)
    }

    /// Returns whether written data has not been sent yet.
    pub(super) fn wants_flush(&self) -> bool {
        self.secure().is_some_and(SecureSocket::wants_flush)
    }

    /// Takes a place for a state transfer. Returns false if there is none.
    pub(super) fn become_state(&self) -> bool {
        self.guest.as_ref().is_some_and(Guest::become_state)
    }

    /// Limits how long a read or a write may block.
    pub(super) fn limit(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)?;
        self.socket.set_write_timeout(timeout)
    }

    /// Detaches the stream from the helper threads: it becomes non-blocking, and [`Guests::stop`]
    /// no longer ends it. Returns its sequence number, which is larger for streams accepted or
    /// dialled later.
    pub(super) fn leave(&mut self) -> io::Result<u64> {
        self.socket.set_nonblocking(true)?;
        Ok(self.guest.take().map_or(0, |guest| guest.number))
    }
}

impl Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secure {
            Some(secure) => secure.read(&self.socket, buffer),
            None => self.socket.read(buffer),
        }
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.secure {
            Some(secure) => secure.write(&self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.secure {
            Some(secure) => secure.flush(&self.socket),
            None => self.socket.flush(),
        }
    }
}

/// Streams held by helper threads.
#[derive(Debug, Default)]
pub(super) struct Guests {
    places: Mutex<Places>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Places {
    taken: BTreeMap<u64, (Doing, TcpStream)>,
    next: u64,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Accepted, not yet greeted.
    Greeting,
    /// Accepted, not yet greeted, and ended to make room.
    Evicted,
    /// Dialled by this server.
    Dialling,
    /// A state transfer.
    State,
}

impl Places {
    fn count(&self, doing: Doing) -> usize {
        self.taken.values().filter(|(found, _)| *found == doing).count()
    }

    fn accepted_count(&self) -> usize {
        self.count(Doing::Greeting) + self.count(Doing::Evicted)
    }

    /// Ends the oldest greeting.
    fn evict_oldest(&mut self) {
        if let Some((doing, socket)) = self.taken.values_mut().find(|(doing, _)| *doing == Doing::Greeting) {
            *doing = Doing::Evicted;
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn enter(&mut self, doing: Doing, socket: &TcpStream) -> io::Result<u64> {
        if self.stopped {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the server stops"));
        }
        let socket = socket.try_clone()?;
        self.next += 1;
        self.taken.insert(self.next, (doing, socket));
        Ok(self.next)
    }
}

impl Guests {
    /// Registers an accepted connection. *Errors*: stopped, or all places are taken and none
    /// becomes free.
    pub(super) fn accept(self: &Arc<Self>, socket: &TcpStream) -> io::Result<Guest> {
        let mut places = self.places.lock();
        if places.accepted_count() >= GREETINGS_MAX {
            places.evict_oldest();
            let until = Instant::now() + PLACE_WAIT;
            self.left.wait_while_until(&mut places, |places| places.accepted_count() >= GREETINGS_MAX, until);
            if places.accepted_count() >= GREETINGS_MAX {
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many connections greet at once"));
            }
        }
        let number = places.enter(Doing::Greeting, socket)?;
        Ok(Guest { guests: self.clone(), number })
    }

    /// Registers a dialled connection. *Errors*: stopped.
    pub(super) fn dial(self: &Arc<Self>, socket: &TcpStream) -> io::Result<Guest> {
        let number = self.places.lock().enter(Doing::Dialling, socket)?;
        Ok(Guest { guests: self.clone(), number })
    }

    /// Ends every stream, admits no more, and waits for state transfers to release theirs, for at
    /// most `patience`.
    pub(super) fn stop(&self, patience: Duration) {
        let mut places = self.places.lock();
        places.stopped = true;
        for (_, socket) in places.taken.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        let until = Instant::now() + patience;
        self.left.wait_while_until(&mut places, |places| places.count(Doing::State) > 0, until);
    }
}

/// A stream's place in the registry.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    number: u64,
}

impl Guest {
    fn become_state(&self) -> bool {
        let mut places = self.guests.places.lock();
        if places.count(Doing::State) >= STATES_MAX {
            return false;
        }
        if let Some((doing, _)) = places.taken.get_mut(&self.number) {
            *doing = Doing::State;
        }
        drop(places);
        self.guests.left.notify_all();
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.places.lock().taken.remove(&self.number);
        self.guests.left.notify_all();
    }
}
