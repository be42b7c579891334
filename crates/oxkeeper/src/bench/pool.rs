//! Many links under one epoll: wait, read each ready link, hand out its frames, write the requests they lead to.
//!
//! Edge-triggered: a link is read until a read comes back short, which costs one system call per burst.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use oxkeeper_client::Options;
use oxkeeper_proto::frame::{FRAME_LEN_MAX, PREFIX_LEN, split_frame};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;

use super::link::Link;
use super::lost::Lost;

/// Handshakes in flight: below the listen backlog of every server (ZooKeeper's is 50).
pub(super) const HANDSHAKES_IN_FLIGHT: usize = 16;
/// The longest time without a single answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest sleep, so that the progress bar moves.
pub(super) const NAP: Duration = Duration::from_millis(100);
const EVENTS_MAX: usize = 1024;

pub(super) struct Pool {
    epoll: OwnedFd,
    links: Vec<Link>,
    events: Vec<Event>,
    scratch: Vec<u8>,
    heard_at: Instant,
    session_timeout: Duration,
}

impl Pool {
    /// Makes a pool without links.
    pub(super) fn new() -> Result<Pool> {
        Ok(Pool {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            links: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            scratch: vec![0; PREFIX_LEN + 2 * FRAME_LEN_MAX],
            heard_at: Instant::now(),
            session_timeout: Duration::MAX,
        })
    }

    /// Opens a pool of `count` sessions, spread over the servers in turn.
    pub(super) fn open(servers: &[SocketAddr], count: u32, options: &Options) -> Result<Pool> {
        let mut pool = Pool::new()?;
        pool.grow(servers, count, options, HANDSHAKES_IN_FLIGHT, |_| {})?;
        Ok(pool)
    }

    /// Opens `count` more sessions with `in_flight` handshakes at a time; `opened` gets the time of each. Answers are
    /// awaited in order, so an early one is timed when its turn comes.
    pub(super) fn grow(
        &mut self,
        servers: &[SocketAddr],
        count: u32,
        options: &Options,
        in_flight: usize,
        mut opened: impl FnMut(Duration),
    ) -> Result<()> {
        let mut begun = VecDeque::with_capacity(in_flight);
        for number in 0..count as usize {
            let start = Instant::now();
            let server = servers[(self.links.len() + begun.len()) % servers.len()];
            begun.push_back((start, Link::connect(server, options)?));
            let last = number + 1 == count as usize;
            while begun.len() >= in_flight || last {
                let Some((start, link)) = begun.pop_front() else { break };
                self.add(link)?;
                opened(start.elapsed());
            }
        }
        Ok(())
    }

    fn add(&mut self, mut link: Link) -> Result<()> {
        self.session_timeout = self.session_timeout.min(link.begin()?);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &link, EventData::new_u64(self.links.len() as u64), flags)?;
        self.links.push(link);
        self.heard_at = Instant::now();
        Ok(())
    }

    /// The links, in the order they were opened.
    pub(super) fn links(&mut self) -> &mut [Link] {
        &mut self.links
    }

    /// The shortest session timeout negotiated.
    pub(super) fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    /// Sends the requests that the links hold.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.links.iter_mut().try_for_each(Link::flush)
    }

    /// Waits up to `timeout`, gives every frame that arrived to `handle`, and sends the requests that it added.
    ///
    /// *Errors*: those of `handle`, a lost connection, a server that has been silent for a minute.
    pub(super) fn turn(
        &mut self,
        timeout: Duration,
        mut handle: impl FnMut(usize, &mut Link, &[u8], Instant) -> Result<()>,
    ) -> Result<()> {
        self.wait(timeout)?;
        for &Event { flags, data, .. } in &self.events {
            let index = data.u64() as usize;
            let link = &mut self.links[index];
            let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            if flags.contains(EventFlags::IN) || hung_up {
                self.heard_at =
                    receive(link, &mut self.scratch, hung_up, |link, frame, now| handle(index, link, frame, now))?;
            }
            link.flush()?;
        }
        if self.events.is_empty() && self.heard_at.elapsed() > SILENCE_MAX {
            bail!(Lost::silent(SILENCE_MAX.as_secs()));
        }
        Ok(())
    }

    /// Restarts the clock of [`SILENCE_MAX`]: until now no answer was due.
    pub(super) fn rest(&mut self) {
        self.heard_at = Instant::now();
    }

    /// Ends every session, and waits for the answers. No other answer may be due.
    pub(super) fn close(mut self) -> Result<()> {
        self.links.iter_mut().for_each(Link::push_close);
        self.flush()?;
        let mut left = self.links.len();
        while left > 0 {
            self.wait(SILENCE_MAX)?;
            ensure!(!self.events.is_empty(), "the server does not answer closeSession");
            for &Event { flags, data, .. } in &self.events {
                let link = &mut self.links[data.u64() as usize];
                if flags.contains(EventFlags::IN) && closed(link, &mut self.scratch)? {
                    epoll::delete(&self.epoll, &*link)?;
                    left -= 1;
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<()> {
        let timeout = Timespec::try_from(timeout).context("timeout")?;
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("epoll_wait"),
        }
    }
}

/// Whether the answer to closeSession is there. The server hangs up right after it, so nothing more is read.
fn closed(link: &mut Link, scratch: &mut [u8]) -> Result<bool> {
    let (filled, _) = link.read(scratch)?;
    match split_frame(&scratch[..filled], FRAME_LEN_MAX)? {
        Some((frame, _)) => link.check_bare(None, frame).map(|()| true),
        None => {
            link.keep(&scratch[..filled]);
            Ok(false)
        }
    }
}

/// Reads a link until it is empty. Returns the time of the last read.
fn receive(
    link: &mut Link,
    scratch: &mut [u8],
    hung_up: bool,
    mut handle: impl FnMut(&mut Link, &[u8], Instant) -> Result<()>,
) -> Result<Instant> {
    loop {
        let (filled, more) = link.read(scratch)?;
        let now = Instant::now();
        let mut rest = &scratch[..filled];
        while let Some((frame, behind)) = split_frame(rest, FRAME_LEN_MAX)? {
            handle(link, frame, now)?;
            rest = behind;
        }
        link.keep(rest);
        // A peer that hung up leaves the end of the stream behind its last bytes, and no further event comes.
        let more = more || hung_up && filled > 0;
        if !more {
            return Ok(now);
        }
    }
}
