//! One TLS session without a socket: decrypts the bytes from the wire and encrypts the bytes of the application.
//!
//! Owns the keys and, between calls, only the received part of an incomplete record: an idle session has no
//! buffers. The socket's owner owns the buffers, which sessions share. Invariant: bytes for the wire are
//! appended to the caller's buffer in the order in which they must be sent.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, Error, ServerConfig};

/// First byte of every TLS connection: the type of a handshake record.
pub const FIRST_BYTE: u8 = 0x16;
/// Maximal length of an incomplete record or handshake message, bytes; rustls has its own, lower limits for
/// what it parses.
const INCOMPLETE_LEN_MAX: usize = 128 << 10;
/// Maximal application data in one record, bytes.
const RECORD_LEN: usize = 16 << 10;
/// Maximal bytes of a record besides its data: header, nonce, tag, type.
const RECORD_OVERHEAD: usize = 64;

/// A TLS session.
#[derive(Debug)]
pub struct Session {
    side: Side,
    incomplete: Vec<u8>,
    begun: bool,
    peer_closed: bool,
    closed: bool,
    /// The error that ended the session: the library must not be called again.
    broken: Option<Error>,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Server(_) => "Server",
            Side::Client(_) => "Client",
        })
    }
}

/// Result of one call of `process_tls_records`.
enum Step {
    /// Call again: there may be more.
    On,
    /// Nothing more can be done with the input so far.
    Rest,
}

/// Processes one state of either side: the types differ, the code does not.
macro_rules! step {
    ($connection:expr, $input:expr, $plain:expr, $out:expr, $peer_closed:expr) => {{
        let UnbufferedStatus { mut discard, state } = $connection.process_tls_records($input);
        let step = match state {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut outcome = Ok(Step::On);
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            $plain.extend_from_slice(record.payload);
                        }
                        Err(error) => outcome = Err(error),
                    }
                }
                outcome
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append($out, 0, |room| match data.encode(room) {
                    Ok(len) => Ok(len),
                    Err(EncodeError::InsufficientSize(size)) => Err(size.required_size),
                    Err(EncodeError::AlreadyEncoded) => Ok(0),
                });
                Ok(Step::On)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Step::On)
            }
            Ok(ConnectionState::PeerClosed) => {
                *$peer_closed = true;
                Ok(Step::Rest)
            }
            // Blocked, ready to write, closed, or a state of a later version: nothing can be done with the input so
            // far.
            Ok(_) => Ok(Step::Rest),
        };
        (discard, step)
    }};
}

/// Lets `write` fill room at the end of `out`; it returns how much it wrote, or how much room it needs.
fn append(out: &mut Vec<u8>, room: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let start = out.len();
    let mut room = room;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(len) => return out.truncate(start + len),
            Err(needed) => {
                assert!(needed > room, "more room is asked for than there was");
                room = needed;
            }
        }
    }
}

impl Session {
    /// Begins a session on the accepting side.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn accept(config: Arc<ServerConfig>) -> Result<Session, Error> {
        UnbufferedServerConnection::new(config).map(|connection| Session::new(Side::Server(connection)))
    }

    /// Begins a session on the dialling side; appends its first message to `out`.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn dial(config: Arc<ClientConfig>, host: ServerName<'static>, out: &mut Vec<u8>) -> Result<Session, Error> {
        let connection = UnbufferedClientConnection::new(config, host)?;
        let mut session = Session::new(Side::Client(connection));
        session.receive(&mut [], &mut Vec::new(), out)?;
        Ok(session)
    }

    fn new(side: Side) -> Session {
        Session { side, incomplete: Vec::new(), begun: false, peer_closed: false, closed: false, broken: None }
    }

    /// Returns whether the handshake is in progress.
    pub fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Server(connection) => connection.is_handshaking(),
            Side::Client(connection) => connection.is_handshaking(),
        }
    }

    /// Returns whether any bytes have been received.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Returns whether part of an incomplete record has been received.
    pub fn has_partial(&self) -> bool {
        !self.incomplete.is_empty()
    }

    /// Returns whether the peer has said that it sends nothing more.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Returns the certificate that the peer has shown.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let chain = match &self.side {
            Side::Server(connection) => connection.peer_certificates(),
            Side::Client(connection) => connection.peer_certificates(),
        };
        chain?.first()
    }

    /// Takes the bytes from the wire and overwrites them. Appends application data to `plain`, and the
    /// session's own messages to `out`.
    ///
    /// # Errors
    /// The session is over; `out` has the alert for the peer.
    pub fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.begun |= !input.is_empty();
        if self.incomplete.is_empty() {
            let used = self.process(input, plain, out)?;
            self.incomplete.extend_from_slice(&input[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.incomplete);
            whole.extend_from_slice(input);
            let used = self.process(&mut whole, plain, out)?;
            whole.drain(..used);
            self.incomplete = whole;
        }
        if self.incomplete.is_empty() {
            self.incomplete = Vec::new();
        }
        if self.incomplete.len() > INCOMPLETE_LEN_MAX {
            return Err(Error::General(format!("a message of more than {INCOMPLETE_LEN_MAX} bytes")));
        }
        Ok(())
    }

    /// Processes `input`. Returns how many of its bytes were consumed.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<usize, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let mut used = 0;
        loop {
            let (discard, step) = self.step(&mut input[used..], plain, out);
            used += discard;
            match step {
                Ok(Step::On) => {}
                Ok(Step::Rest) => return Ok(used),
                Err(error) => {
                    // The alert for the peer is queued before the error.
                    while self.has_something_to_say() && matches!(self.step(&mut [], plain, out), (_, Ok(Step::On))) {}
                    self.broken = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    fn has_something_to_say(&self) -> bool {
        match &self.side {
            Side::Server(connection) => connection.wants_write(),
            Side::Client(connection) => connection.wants_write(),
        }
    }

    fn step(&mut self, input: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> (usize, Result<Step, Error>) {
        let peer_closed = &mut self.peer_closed;
        match &mut self.side {
            Side::Server(connection) => step!(connection, input, plain, out, peer_closed),
            Side::Client(connection) => step!(connection, input, plain, out, peer_closed),
        }
    }

    /// Encrypts the bytes of `out` from `start` to the end, in place.
    ///
    /// # Errors
    /// The handshake is not complete, or the session is over.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize, scratch: &mut Vec<u8>) -> Result<(), Error> {
        scratch.clear();
        scratch.extend_from_slice(&out[start..]);
        out.truncate(start);
        self.encrypt(scratch, out)
    }

    /// Encrypts `plain` and appends it to `out`.
    ///
    /// # Errors
    /// Those of [`Session::seal`].
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let room = plain.len() + (plain.len() / RECORD_LEN + 1) * RECORD_OVERHEAD;
        self.write(out, |traffic, out| {
            let mut result = Ok(());
            append(out, room, |room| match traffic.encrypt(plain, room) {
                Ok(len) => Ok(len),
                Err(EncryptError::InsufficientSize(size)) => Err(size.required_size),
                Err(EncryptError::EncryptExhausted) => {
                    result = Err(Error::EncryptError);
                    Ok(0)
                }
            });
            result
        })
    }

    /// Appends the closing alert, once; without a complete handshake there is none.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) || self.is_handshaking() || self.broken.is_some() {
            return;
        }
        let _ = self.write(out, |traffic, out| {
            append(out, RECORD_OVERHEAD, |room| match traffic.queue_close_notify(room) {
                Ok(len) => Ok(len),
                Err(EncryptError::InsufficientSize(size)) => Err(size.required_size),
                Err(EncryptError::EncryptExhausted) => Ok(0),
            });
            Ok(())
        });
    }

    /// Processes the session until it can write, then calls `write`.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut dyn Traffic, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The session's own messages are sent first; received data was read when it arrived, so none is left.
        let mut incomplete = std::mem::take(&mut self.incomplete);
        let mut plain = Vec::new();
        let used = self.process(&mut incomplete, &mut plain, out)?;
        incomplete.drain(..used);
        assert!(plain.is_empty(), "what came was read when it came");
        let result = match &mut self.side {
            Side::Server(connection) => match connection.process_tls_records(&mut incomplete).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => write(&mut traffic, out),
                Ok(_) => Err(Error::HandshakeNotComplete),
                Err(error) => Err(error),
            },
            Side::Client(connection) => match connection.process_tls_records(&mut incomplete).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => write(&mut traffic, out),
                Ok(_) => Err(Error::HandshakeNotComplete),
                Err(error) => Err(error),
            },
        };
        self.incomplete = incomplete;
        result
    }
}

/// Write operations of both sides.
trait Traffic {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Traffic for rustls::unbuffered::WriteTraffic<'_, Data> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        rustls::unbuffered::WriteTraffic::encrypt(self, plain, out)
    }

    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        rustls::unbuffered::WriteTraffic::queue_close_notify(self, out)
    }
}
