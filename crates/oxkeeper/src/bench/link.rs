//! A non-blocking connection with a session: its bytes and its xids.
//!
//! Invariant: xids count up from 1, so the xid of the reply that is due is that of the last one plus 1.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use oxkeeper_client::{Options, Tls};
use oxkeeper_proto::Jute;
use oxkeeper_proto::OpCode;
use oxkeeper_proto::frame::{PREFIX_LEN, put_frame};
use oxkeeper_proto::op::XID_PING;
use oxkeeper_proto::records::{ConnectRequest, ConnectResponse, PASSWORD_LEN, ReplyHeader, RequestHeader};
use oxkeeper_tls::SecureSocket;

use super::lost::Lost;
use super::request::{Op, Requests, error_name};

/// Length of a handshake's answer with the readOnly byte.
const CONNECT_RESPONSE_LEN: usize = 37;
/// Time limit of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Link {
    server: SocketAddr,
    socket: TcpStream,
    /// `None`: without TLS.
    secure: Option<Box<SecureSocket>>,
    /// Received, not yet a whole frame.
    partial: Vec<u8>,
    /// Encoded, not yet taken by the socket.
    out: Vec<u8>,
    xid_sent: i32,
    xid_answered: i32,
    zxid_seen: i64,
}

impl Link {
    /// Connects and sends the handshake. The socket blocks until [`Link::begin`].
    pub(super) fn connect(server: SocketAddr, options: &Options) -> Result<Link> {
        let socket = TcpStream::connect(server).map_err(|error| Lost::no_connection(server, error))?;
        socket.set_nodelay(true)?;
        let secure = options.tls.as_ref().map(|tls| secure(tls, server, &socket)).transpose()?;
        socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: i32::try_from(options.timeout.as_millis()).context("session timeout too long")?,
            session_id: 0,
            passwd: Some(&[0; PASSWORD_LEN]),
        };
        let mut out = Vec::new();
        put_frame(&mut out, |out| {
            request.encode(out);
            false.encode(out);
        });
        let partial = Vec::new();
        let mut link = Link { server, socket, secure, partial, out, xid_sent: 0, xid_answered: 0, zxid_seen: 0 };
        link.flush().context("handshake")?;
        Ok(link)
    }

    /// Waits for the handshake's answer. Returns the negotiated timeout.
    pub(super) fn begin(&mut self) -> Result<Duration> {
        let mut answer = [0; PREFIX_LEN + CONNECT_RESPONSE_LEN];
        let mut filled = 0;
        while filled < answer.len() {
            match self.read_some(&mut answer[filled..]) {
                Ok(0) => {
                    bail!(Lost::no_connection(self.server, "it closed the connection instead of opening a session"))
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => bail!(Lost::no_connection(self.server, error)),
            }
        }
        let response = ConnectResponse::from_bytes(&answer[PREFIX_LEN..])?;
        let ConnectResponse { session_id, timeout_ms, passwd, .. } = &response;
        let password_len = passwd.map_or(0, <[u8]>::len);
        ensure!(
            *session_id != 0 && *timeout_ms > 0 && password_len == PASSWORD_LEN,
            "wrong answer to the handshake: session {session_id:#x}, timeout {timeout_ms} ms, a password of {password_len} bytes"
        );
        self.socket.set_nonblocking(true)?;
        Ok(Duration::from_millis(response.timeout_ms.unsigned_abs().into()))
    }

    /// Appends a request, which the next [`Link::flush`] sends.
    pub(super) fn push(&mut self, requests: &Requests, op: Op, number: u32) {
        self.xid_sent = xid_after(self.xid_sent);
        requests.put(op, number, self.xid_sent, &mut self.out);
    }

    /// Appends a ping, which has no xid of its own.
    pub(super) fn push_ping(&mut self) {
        self.push_bare(XID_PING, OpCode::Ping);
    }

    /// Appends a closeSession.
    pub(super) fn push_close(&mut self) {
        self.xid_sent = xid_after(self.xid_sent);
        self.push_bare(self.xid_sent, OpCode::CloseSession);
    }

    fn push_bare(&mut self, xid: i32, op: OpCode) {
        put_frame(&mut self.out, |out| RequestHeader { xid, op: op.wire() }.encode(out));
    }

    /// Checks the reply that is due. *Errors*: any other reply.
    pub(super) fn check(&mut self, requests: &Requests, op: Op, number: u32, frame: &[u8]) -> Result<()> {
        self.xid_answered = xid_after(self.xid_answered);
        self.zxid_seen = requests.check(op, number, self.xid_answered, self.zxid_seen, frame)?;
        Ok(())
    }

    /// Checks the reply to a ping or a closeSession.
    pub(super) fn check_bare(&mut self, xid: Option<i32>, frame: &[u8]) -> Result<()> {
        let header = ReplyHeader::from_bytes(frame)?;
        let expected = xid.unwrap_or_else(|| {
            self.xid_answered = xid_after(self.xid_answered);
            self.xid_answered
        });
        ensure!(header.xid == expected, "wrong reply: it has xid {}, expected {expected}", header.xid);
        ensure!(header.err == 0, "wrong reply to xid {expected}: {}", error_name(header.err));
        ensure!(
            header.zxid >= self.zxid_seen,
            "wrong reply to xid {expected}: the zxid goes back from {:#x} to {:#x}",
            self.zxid_seen,
            header.zxid
        );
        self.zxid_seen = header.zxid;
        Ok(())
    }

    /// Reads once into `scratch`, behind the bytes left from before. Returns the filled length, and whether the socket may
    /// have more.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Result<(usize, bool)> {
        let kept = self.partial.len();
        let room = scratch.len() - kept;
        let read = loop {
            match self.read_some(&mut scratch[kept..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => bail!(Lost::connection(self.server, "it closed the connection")),
            Ok(count) => {
                scratch[..kept].copy_from_slice(&self.partial);
                self.partial.clear();
                // With TLS, a short read does not mean that the socket is empty.
                Ok((kept + count, count == room || self.secure.is_some()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((0, false)),
            Err(error) => bail!(Lost::connection(self.server, error)),
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secure {
            None => self.socket.read(buffer),
            Some(secure) => secure.read(&self.socket, buffer),
        }
    }

    /// Keeps the bytes behind the last whole frame.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.partial.extend_from_slice(rest);
    }

    /// Writes as much as the socket takes; the rest waits until it takes more.
    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.out.is_empty() || self.secure.as_ref().is_some_and(|secure| secure.wants_flush()) {
            let written = match &mut self.secure {
                None => self.socket.write(&self.out),
                Some(secure) if self.out.is_empty() => secure.flush(&self.socket).map(|()| 0),
                Some(secure) => secure.write(&self.socket, &self.out),
            };
            match written {
                Ok(count) if count == self.out.len() => self.out.clear(),
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => bail!(Lost::connection(self.server, error)),
            }
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Performs the handshake of TLS.
fn secure(tls: &Tls, server: SocketAddr, socket: &TcpStream) -> Result<Box<SecureSocket>> {
    let name = tls.name.clone().unwrap_or_else(|| server.ip().to_canonical().to_string());
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    let secure = SecureSocket::dial(tls.live.client(), &name, socket, deadline);
    Ok(Box::new(secure.with_context(|| format!("server {server}"))?))
}

fn xid_after(xid: i32) -> i32 {
    xid.checked_add(1).unwrap_or(1)
}
