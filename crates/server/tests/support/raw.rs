//! A blocking client that sends and receives frames, valid or not. It never pings.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use oxkeeper_proto::frame::put_frame;
use oxkeeper_proto::op::{CreateMode, XID_NOTIFICATION};
use oxkeeper_proto::records::{
    Acl, ConnectRequest, ConnectResponse, CreateRequest, CreateResponse, DeleteRequest, GetChildrenResponse,
    GetDataResponse, Id, ReadRequest, ReplyHeader, RequestHeader, SetDataRequest, Stat, StatResponse, WatcherEvent,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader};

use super::PATIENCE;

/// A session as its client knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    pub id: i64,
    pub password: [u8; 16],
}

/// One frame from the server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl Reply {
    /// Returns the body, or the error.
    pub fn result(self) -> Result<Vec<u8>, ErrorCode> {
        if self.err == 0 { Ok(self.body) } else { Err(ErrorCode::from_wire(self.err).unwrap()) }
    }

    /// Returns type and path of a notification.
    pub fn event(&self) -> Option<(i32, String)> {
        (self.xid == XID_NOTIFICATION).then(|| {
            let event = WatcherEvent::from_bytes(&self.body).unwrap();
            (event.event_type, event.path.unwrap().into_owned())
        })
    }
}

/// A connection with a session.
#[derive(Debug)]
pub struct Raw {
    pub stream: TcpStream,
    pub session: Session,
    pub timeout_ms: i32,
    /// The server serves reads only.
    pub read_only: bool,
    input: Vec<u8>,
    used: usize,
    xid: i32,
}

impl Raw {
    /// Opens a new session.
    pub fn connect(server: SocketAddr, timeout_ms: i32) -> io::Result<Raw> {
        Raw::open(server, timeout_ms, Session::default())
    }

    /// Opens or resumes a session. The id is 0 if the server refuses.
    pub fn open(server: SocketAddr, timeout_ms: i32, session: Session) -> io::Result<Raw> {
        Raw::shake_hands(server, &handshake(timeout_ms, session))
    }

    /// Like [`Raw::open`], and also accepts a server that serves reads only.
    pub fn open_to_read(server: SocketAddr, timeout_ms: i32, session: Session) -> io::Result<Raw> {
        let mut request = handshake(timeout_ms, session);
        *request.last_mut().unwrap() = 1;
        Raw::shake_hands(server, &request)
    }

    /// Returns a connection whose handshake is up to the test.
    pub fn unconnected(stream: TcpStream) -> Raw {
        let session = Session::default();
        Raw { stream, session, timeout_ms: 0, read_only: false, input: Vec::new(), used: 0, xid: 0 }
    }

    fn shake_hands(server: SocketAddr, request: &[u8]) -> io::Result<Raw> {
        let mut raw = Raw::unconnected(dial(server)?);
        raw.stream.write_all(request)?;
        let frame = raw.frame()?;
        let mut reader = Reader::new(&frame);
        let response = ConnectResponse::decode(&mut reader).unwrap();
        raw.session = Session { id: response.session_id, password: response.passwd.unwrap().try_into().unwrap() };
        (raw.timeout_ms, raw.read_only) = (response.timeout_ms, bool::decode(&mut reader).unwrap());
        Ok(raw)
    }

    /// Returns the xid and bytes of one request, with the next xid.
    pub fn request<'a>(&mut self, op: OpCode, record: &impl Jute<'a>) -> (i32, Vec<u8>) {
        self.request_with(op, |out| record.encode(out))
    }

    /// Like [`Raw::request`], with a body that `write` appends.
    pub fn request_with(&mut self, op: OpCode, write: impl FnOnce(&mut Vec<u8>)) -> (i32, Vec<u8>) {
        self.xid += 1;
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            RequestHeader { xid: self.xid, op: op.wire() }.encode(out);
            write(out);
        });
        (self.xid, frame)
    }

    /// Sends one request and returns its xid.
    pub fn send<'a>(&mut self, op: OpCode, record: &impl Jute<'a>) -> io::Result<i32> {
        let (xid, frame) = self.request(op, record);
        self.stream.write_all(&frame)?;
        Ok(xid)
    }

    /// Returns the body of the next frame.
    pub fn frame(&mut self) -> io::Result<Vec<u8>> {
        let len = loop {
            let rest = &self.input[self.used..];
            let len = rest.first_chunk::<4>().map(|prefix| i32::from_be_bytes(*prefix) as usize);
            match len {
                Some(len) if rest.len() >= 4 + len => break len,
                Some(_) | None => self.fill()?,
            }
        };
        let start = self.used + 4;
        self.used = start + len;
        Ok(self.input[start..start + len].to_vec())
    }

    fn fill(&mut self) -> io::Result<()> {
        self.input.drain(..self.used);
        self.used = 0;
        let before = self.input.len();
        self.input.resize(before + (64 << 10), 0);
        let count = self.stream.read(&mut self.input[before..]);
        self.input.truncate(before + *count.as_ref().unwrap_or(&0));
        if count? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Returns the next reply or notification.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let frame = self.frame()?;
        let mut reader = Reader::new(&frame);
        let ReplyHeader { xid, zxid, err } = Jute::decode(&mut reader).unwrap();
        Ok(Reply { xid, zxid, err, body: reader.rest().to_vec() })
    }

    /// Returns the reply to `xid`; drops notifications before it.
    pub fn reply_to(&mut self, xid: i32) -> io::Result<Reply> {
        loop {
            let reply = self.receive()?;
            if reply.xid != XID_NOTIFICATION {
                assert_eq!(reply.xid, xid, "replies leave in request order");
                return Ok(reply);
            }
        }
    }

    /// Sends one request and waits for its reply; drops notifications before it.
    pub fn call<'a>(&mut self, op: OpCode, record: &impl Jute<'a>) -> io::Result<Reply> {
        let xid = self.send(op, record)?;
        self.reply_to(xid)
    }

    pub fn ping(&mut self) -> io::Result<Reply> {
        let (_, frame) = self.request_with(OpCode::Ping, |_| {});
        self.stream.write_all(&frame)?;
        self.reply_to(oxkeeper_proto::op::XID_PING)
    }

    pub fn create(&mut self, path: &str, data: &[u8], mode: CreateMode) -> io::Result<Result<String, ErrorCode>> {
        let result = self.call(OpCode::Create, &create_request(path, data, mode))?.result();
        Ok(result.map(|body| CreateResponse::from_bytes(&body).unwrap().path.unwrap().into_owned()))
    }

    pub fn set(&mut self, path: &str, data: &[u8]) -> io::Result<Result<Stat, ErrorCode>> {
        let result = self.call(OpCode::SetData, &set_request(path, data))?.result();
        Ok(result.map(|body| StatResponse::from_bytes(&body).unwrap().stat))
    }

    pub fn delete(&mut self, path: &str) -> io::Result<Result<(), ErrorCode>> {
        let record = DeleteRequest { path: Some(path.into()), version: -1 };
        Ok(self.call(OpCode::Delete, &record)?.result().map(drop))
    }

    pub fn get(&mut self, path: &str) -> Result<(Vec<u8>, Stat), ErrorCode> {
        let body = self.call(OpCode::GetData, &read_request(path, false)).unwrap().result()?;
        let GetDataResponse { data, stat } = GetDataResponse::from_bytes(&body).unwrap();
        Ok((data.unwrap_or_default().to_vec(), stat))
    }

    pub fn exists(&mut self, path: &str) -> Option<Stat> {
        let reply = self.call(OpCode::Exists, &read_request(path, false)).unwrap();
        reply.result().ok().map(|body| StatResponse::from_bytes(&body).unwrap().stat)
    }

    pub fn children(&mut self, path: &str) -> Vec<String> {
        let body = self.call(OpCode::GetChildren, &read_request(path, false)).unwrap().result().unwrap();
        let children = GetChildrenResponse::from_bytes(&body).unwrap().children.unwrap();
        let mut names: Vec<String> = children.into_iter().map(|name| name.into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Waits until the server closes this connection.
    pub fn wait_closed(&mut self) {
        loop {
            match self.fill() {
                Ok(()) => self.used = self.input.len(),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the server does not close the connection")
                }
                Err(_) => return,
            }
        }
    }
}

/// Returns a connection that has sent nothing.
pub fn dial(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Returns the frame that opens or resumes a session.
pub fn handshake(timeout_ms: i32, session: Session) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, |out| {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: session.id,
            passwd: Some(&session.password),
        }
        .encode(out);
        false.encode(out);
    });
    out
}

/// Returns a create request that grants everyone all permissions.
pub fn create_request<'a>(path: &'a str, data: &'a [u8], mode: CreateMode) -> CreateRequest<'a> {
    let acl = vec![Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }];
    CreateRequest { path: Some(path.into()), data: Some(data), acl: Some(acl), flags: mode.wire() }
}

/// Returns a setData request for any version.
pub fn set_request<'a>(path: &'a str, data: &'a [u8]) -> SetDataRequest<'a> {
    SetDataRequest { path: Some(path.into()), data: Some(data), version: -1 }
}

/// Returns a read request, with or without a watch.
pub fn read_request(path: &str, watch: bool) -> ReadRequest<'_> {
    ReadRequest { path: Some(path.into()), watch }
}
