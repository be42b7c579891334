//! A session over a TCP socket, blocking or not as the socket is.
//!
//! Invariant: of what was taken to be written nothing is forgotten; what the socket did not take waits here, and
//! [`SecureSocket::flush`] says so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

use crate::session::Session;

/// Bytes read from the socket at once.
const INPUT_LEN: usize = 64 << 10;
/// Bytes encrypted at once.
const CHUNK_LEN: usize = 64 << 10;
const CLOSED: &str = "the other side closed the connection in the handshake: does it speak TLS?";
/// Bytes of an empty buffer that are kept for the next time.
const BUFFER_KEPT: usize = 256 << 10;

fn invalid(problem: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("TLS: {}", problem.to_string()))
}

/// Nothing on this socket blocks longer than until then.
///
/// # Errors
/// Time is up, or the socket is unusable.
pub fn limit(socket: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))?;
    socket.set_write_timeout(Some(left))
}

/// A session over a socket.
#[derive(Debug)]
pub struct SecureSocket {
    session: Session,
    input: Box<[u8]>,
    /// Decrypted; `plain[read..]` is not handed out yet.
    plain: Vec<u8>,
    read: usize,
    /// Encrypted; `output[sent..]` is not taken by the socket yet.
    output: Vec<u8>,
    sent: usize,
}

impl SecureSocket {
    fn new(session: Session) -> SecureSocket {
        let input = vec![0; INPUT_LEN].into_boxed_slice();
        SecureSocket { session, input, plain: Vec::new(), read: 0, output: Vec::new(), sent: 0 }
    }

    /// The handshake of a connection that was accepted. The socket blocks, and may have time limits afterwards.
    ///
    /// # Errors
    /// It came to nothing: `InvalidData` where TLS says why.
    pub fn accept(config: Arc<ServerConfig>, socket: &TcpStream, deadline: Instant) -> io::Result<SecureSocket> {
        let mut secure = SecureSocket::new(Session::accept(config).map_err(invalid)?);
        secure.shake_hands(socket, deadline)?;
        Ok(secure)
    }

    /// The same for one that was dialled, to somebody whose certificate names `host`, a name or an address.
    ///
    /// # Errors
    /// As [`SecureSocket::accept`].
    pub fn dial(
        config: Arc<ClientConfig>,
        host: &str,
        socket: &TcpStream,
        deadline: Instant,
    ) -> io::Result<SecureSocket> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| invalid(format!("{host:?} is neither a name nor an address")))?;
        let mut output = Vec::new();
        let session = Session::dial(config, name, &mut output).map_err(invalid)?;
        let mut secure = SecureSocket { output, ..SecureSocket::new(session) };
        secure.shake_hands(socket, deadline).map_err(|error| {
            // That is how somebody answers who does not speak TLS.
            let hung_up = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            if hung_up { invalid(CLOSED) } else { error }
        })?;
        Ok(secure)
    }

    fn shake_hands(&mut self, socket: &TcpStream, deadline: Instant) -> io::Result<()> {
        while self.session.is_handshaking() {
            limit(socket, deadline)?;
            self.flush(socket)?;
            match self.fill(socket) {
                Ok(0) => return Err(invalid(CLOSED)),
                Ok(_) => {}
                // Time is up when nothing is left of it.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        self.flush(socket)
    }

    /// The certificate that the other side has shown.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.session.peer_certificate()
    }

    /// Whether there is something to be read without the socket.
    pub fn has_plain(&self) -> bool {
        self.read < self.plain.len()
    }

    /// Reads the socket once, unless there is something still.
    ///
    /// # Errors
    /// The socket's, `Interrupted` if no whole record has come yet, `InvalidData` where TLS says why.
    pub fn read(&mut self, socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.has_plain() {
            if self.session.is_peer_closed() || self.fill(socket)? == 0 {
                return Ok(0);
            }
            match self.flush(socket) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let count = buffer.len().min(self.plain.len() - self.read);
        buffer[..count].copy_from_slice(&self.plain[self.read..self.read + count]);
        self.read += count;
        match count {
            0 if self.session.is_peer_closed() => Ok(0),
            0 => Err(ErrorKind::Interrupted.into()),
            count => Ok(count),
        }
    }

    /// Reads and decrypts; how many bytes came off the wire.
    fn fill(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        let count = socket.read(&mut self.input)?;
        self.plain.clear();
        self.plain.shrink_to(BUFFER_KEPT);
        self.read = 0;
        if let Err(error) = self.session.receive(&mut self.input[..count], &mut self.plain, &mut self.output) {
            // It may hear why.
            let _ = self.flush(socket);
            return Err(invalid(error));
        }
        Ok(count)
    }

    /// Takes some bytes to be written.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` while earlier ones wait.
    pub fn write(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let count = bytes.len().min(CHUNK_LEN);
        self.session.encrypt(&bytes[..count], &mut self.output).map_err(invalid)?;
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            // They are taken: the next call, or a flush, goes on.
            Ok(()) | Err(_) => Ok(count),
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` if it does not take it all.
    pub fn flush(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while self.sent < self.output.len() {
            match socket.write(&self.output[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(BUFFER_KEPT);
        self.sent = 0;
        Ok(())
    }

    /// Whether something waits.
    pub fn wants_flush(&self) -> bool {
        self.sent < self.output.len()
    }
}
