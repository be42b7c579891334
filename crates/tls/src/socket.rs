//! A session over a TCP socket, blocking or not, depending on the socket.
//!
//! Invariant: no byte accepted for writing is lost. Bytes that the socket did not take wait here until
//! [`SecureSocket::flush`] writes them.

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
/// Capacity that an empty buffer keeps for reuse, bytes.
const BUFFER_KEPT: usize = 256 << 10;

fn invalid(problem: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("TLS: {}", problem.to_string()))
}

/// Sets the socket's timeouts so that no operation on it blocks beyond the deadline.
///
/// # Errors
/// The deadline has passed, or the socket is unusable.
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
    /// Decrypted bytes; `plain[read..]` has not been handed out yet.
    plain: Vec<u8>,
    read: usize,
    /// Encrypted bytes; the socket has not taken `output[sent..]` yet.
    output: Vec<u8>,
    sent: usize,
}

impl SecureSocket {
    fn new(session: Session) -> SecureSocket {
        let input = vec![0; INPUT_LEN].into_boxed_slice();
        SecureSocket { session, input, plain: Vec::new(), read: 0, output: Vec::new(), sent: 0 }
    }

    /// Performs the handshake of an accepted connection. The socket must be blocking; its timeouts may be changed.
    ///
    /// # Errors
    /// The handshake failed: `InvalidData` if TLS gives the reason.
    pub fn accept(config: Arc<ServerConfig>, socket: &TcpStream, deadline: Instant) -> io::Result<SecureSocket> {
        let mut secure = SecureSocket::new(Session::accept(config).map_err(invalid)?);
        secure.shake_hands(socket, deadline)?;
        Ok(secure)
    }

    /// Performs the handshake of a dialled connection. The server's certificate must name `host`, a name or an address.
    ///
    /// # Errors
    /// Those of [`SecureSocket::accept`].
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
            // A server that does not speak TLS answers like this.
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
                // `limit` returns the error once the deadline has passed.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        self.flush(socket)
    }

    /// Returns the certificate that the peer has shown.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.session.peer_certificate()
    }

    /// Returns whether decrypted bytes can be read without reading the socket.
    pub fn has_plain(&self) -> bool {
        self.read < self.plain.len()
    }

    /// Reads decrypted bytes; reads the socket, once, only if there are none.
    ///
    /// # Errors
    /// The socket's; `Interrupted` if no complete record has arrived yet; `InvalidData` if TLS gives the reason.
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

    /// Reads and decrypts. Returns the number of bytes that came from the socket.
    fn fill(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        let count = socket.read(&mut self.input)?;
        self.plain.clear();
        self.plain.shrink_to(BUFFER_KEPT);
        self.read = 0;
        if let Err(error) = self.session.receive(&mut self.input[..count], &mut self.plain, &mut self.output) {
            // The alert tells the peer the reason.
            let _ = self.flush(socket);
            return Err(invalid(error));
        }
        Ok(count)
    }

    /// Accepts bytes for writing. Returns how many.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` while earlier bytes wait.
    pub fn write(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let count = bytes.len().min(CHUNK_LEN);
        self.session.encrypt(&bytes[..count], &mut self.output).map_err(invalid)?;
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            // The bytes are accepted: the next call, or a flush, writes the rest.
            Ok(()) | Err(_) => Ok(count),
        }
    }

    /// Writes the waiting bytes.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` if it does not take all of them.
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

    /// Returns whether bytes wait to be written.
    pub fn wants_flush(&self) -> bool {
        self.sent < self.output.len()
    }
}
