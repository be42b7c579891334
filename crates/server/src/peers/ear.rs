//! Hears one peer while the engine's thread waits for its disk.
//!
//! Whoever waits in [`Ear::wait`] is woken once for each [`Ear::listen`], unless [`Ear::rest`] comes before the peer says anything: what
//! the engine hears itself wakes nobody else.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// Stands for the bell among the peers' ids in events, which are bytes.
const BELL: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ear {
    epoll: OwnedFd,
    /// Rings when nobody is to wait any more.
    bell: OwnedFd,
}

impl Ear {
    pub(super) fn new() -> io::Result<Ear> {
        let ear = Ear { epoll: epoll::create(CreateFlags::CLOEXEC)?, bell: eventfd(0, EventfdFlags::CLOEXEC)? };
        epoll::add(&ear.epoll, &ear.bell, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(ear)
    }

    /// From now on, until that wakes somebody once: whatever this peer says, or has said already.
    pub(super) fn listen(&self, peer: u8, socket: &TcpStream) {
        let (whose, flags) = (EventData::new_u64(peer.into()), EventFlags::IN | EventFlags::ONESHOT);
        let listens = match epoll::modify(&self.epoll, socket, whose, flags) {
            Err(Errno::NOENT) => epoll::add(&self.epoll, socket, whose, flags),
            listens => listens,
        };
        // Without it everything is heard as soon as the disk has answered.
        let _ = listens;
    }

    /// Not any more. The socket is one that was listened for.
    pub(super) fn rest(&self, peer: u8, socket: &TcpStream) {
        // Who is woken all the same finds that there is nothing to do.
        let _ = epoll::modify(&self.epoll, socket, EventData::new_u64(peer.into()), EventFlags::ONESHOT);
    }

    /// Until a peer that is listened for says something; false once nobody is to wait any more.
    pub(crate) fn wait(&self) -> bool {
        let mut events = Vec::with_capacity(2);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => return events.iter().all(|event: &epoll::Event| event.data.u64() != BELL),
                Err(Errno::INTR) => {}
                Err(error) => panic!("the event queue is open: {error}"),
            }
        }
    }

    /// Nobody is to wait any more.
    pub(crate) fn stop(&self) {
        // Refused only when the counter is full: then it is readable, which is all that is wanted.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}
