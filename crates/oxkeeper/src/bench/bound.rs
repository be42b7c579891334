//! The lower bound: a server without semantics. It splits frames, patches the xid and a rising zxid into fixed bytes, and
//! answers; in `set` mode, it first appends all requests of one turn to a file and syncs it. The difference between a real
//! server and this one is the cost of the semantics.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use oxkeeper_proto::Jute;
use oxkeeper_proto::frame::{FRAME_LEN_MAX, PREFIX_LEN, put_frame, split_frame};
use oxkeeper_proto::records::{ConnectResponse, GetDataResponse, ReplyHeader, Stat, StatResponse};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Offsets of the patched fields in a reply frame.
const XID_AT: usize = 4;
const ZXID_AT: usize = 8;
/// The listener's token; a connection's is its index.
const LISTENER: u64 = u64::MAX;
const EVENTS_MAX: usize = 1024;
const NAME: &str = "oxkeeper-bound.log";
/// Length of the log: a ring of zeros written in advance, as in ZooKeeper and etcd, so that a sync changes no metadata.
const LOG_LEN: u64 = 64 << 20;
const READ_LEN: usize = 2 * (PREFIX_LEN + FRAME_LEN_MAX);

/// The kind of the fixed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A GetDataResponse.
    Get,
    /// A StatResponse, once the request is durable.
    Set,
}

/// Serves until it is killed. Prints its address once it accepts connections.
pub(super) fn serve(kind: Kind, listen: SocketAddr, data_dir: &Path, size: usize) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let log = if kind == Kind::Set { Some(Log::create(&data_dir.join(NAME))?) } else { None };
    let mut bound = Bound {
        listener,
        epoll,
        connections: Vec::new(),
        reply: reply(kind, size),
        greeting: greeting(),
        zxid: 1,
        log,
        scratch: vec![0; READ_LEN],
    };
    say!("listening on {}", bound.listener.local_addr()?);
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        bound.turn(&mut events)?;
    }
}

fn reply(kind: Kind, size: usize) -> Vec<u8> {
    let stat = Stat {
        czxid: 1,
        mzxid: 1,
        ctime: 1,
        mtime: 1,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length: i32::try_from(size).unwrap_or(i32::MAX),
        num_children: 0,
        pzxid: 1,
    };
    let mut frame = Vec::new();
    put_frame(&mut frame, |out| {
        ReplyHeader { xid: 0, zxid: 0, err: 0 }.encode(out);
        match kind {
            Kind::Get => GetDataResponse { data: Some(&vec![b'x'; size]), stat }.encode(out),
            Kind::Set => StatResponse { stat }.encode(out),
        }
    });
    frame
}

fn greeting() -> Vec<u8> {
    let mut frame = Vec::new();
    put_frame(&mut frame, |out| {
        let (timeout_ms, session_id) = (30_000, 1);
        ConnectResponse { protocol_version: 0, timeout_ms, session_id, passwd: Some(&[7; 16]) }.encode(out);
        false.encode(out);
    });
    frame
}

struct Connection {
    socket: TcpStream,
    greeted: bool,
    /// Received, not yet a whole frame.
    partial: Vec<u8>,
    /// Answered, not yet sent.
    out: Vec<u8>,
}

struct Bound {
    listener: TcpListener,
    epoll: OwnedFd,
    /// The connections by token; an ended one leaves its place free.
    connections: Vec<Option<Connection>>,
    reply: Vec<u8>,
    greeting: Vec<u8>,
    zxid: i64,
    log: Option<Log>,
    scratch: Vec<u8>,
}

impl Bound {
    fn turn(&mut self, events: &mut Vec<Event>) -> Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for event in events.iter() {
            match event.data.u64() {
                LISTENER => self.accept()?,
                token => self.receive(token as usize)?,
            }
        }
        if let Some(log) = &mut self.log {
            log.sync()?;
        }
        for event in events.iter().filter(|event| event.data.u64() != LISTENER) {
            self.send(event.data.u64() as usize);
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let free = self.connections.iter().position(Option::is_none);
            let token = free.unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&self.epoll, &socket, EventData::new_u64(token as u64), flags)?;
            self.connections[token] = Some(Connection { socket, greeted: false, partial: Vec::new(), out: Vec::new() });
        }
    }

    fn receive(&mut self, token: usize) -> Result<()> {
        while let Some(connection) = &mut self.connections[token] {
            let kept = connection.partial.len();
            self.scratch[..kept].copy_from_slice(&connection.partial);
            let count = match connection.socket.read(&mut self.scratch[kept..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Ok(count) if count > 0 => count,
                // Closed: dropping the socket also ends its registration.
                _ => {
                    self.connections[token] = None;
                    return Ok(());
                }
            };
            connection.partial.clear();
            if let Some(log) = &mut self.log {
                log.append(&self.scratch[kept..kept + count]);
            }
            let mut rest = &self.scratch[..kept + count];
            while let Some((frame, behind)) = split_frame(rest, FRAME_LEN_MAX)? {
                connection.answer(frame, &mut self.zxid, &self.reply, &self.greeting);
                rest = behind;
            }
            connection.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    fn send(&mut self, token: usize) {
        let Some(connection) = &mut self.connections[token] else { return };
        while !connection.out.is_empty() {
            match connection.socket.write(&connection.out) {
                Ok(count) => drop(connection.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.connections[token] = None;
                    return;
                }
            }
        }
    }
}

impl Connection {
    fn answer(&mut self, frame: &[u8], zxid: &mut i64, reply: &[u8], greeting: &[u8]) {
        if !self.greeted {
            self.greeted = true;
            self.out.extend_from_slice(greeting);
            return;
        }
        *zxid += 1;
        let start = self.out.len();
        self.out.extend_from_slice(reply);
        let answer = &mut self.out[start..];
        if let Some(xid) = frame.first_chunk::<4>() {
            answer[XID_AT..XID_AT + 4].copy_from_slice(xid);
        }
        answer[ZXID_AT..ZXID_AT + 8].copy_from_slice(&zxid.to_be_bytes());
    }
}

/// The log to which `set` appends every request.
struct Log {
    file: File,
    at: u64,
    batch: Vec<u8>,
}

impl Log {
    fn create(path: &Path) -> Result<Log> {
        let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all(&vec![0; LOG_LEN as usize])?;
        file.rewind()?;
        file.sync_all()?;
        Ok(Log { file, at: 0, batch: Vec::new() })
    }

    fn append(&mut self, bytes: &[u8]) {
        self.batch.extend_from_slice(bytes);
    }

    /// Makes the batch durable with one write and one fdatasync.
    fn sync(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if self.at + self.batch.len() as u64 > LOG_LEN {
            self.file.rewind()?;
            self.at = 0;
        }
        self.file.write_all(&self.batch)?;
        self.file.sync_data()?;
        self.at += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }
}
