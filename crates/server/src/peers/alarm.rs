//! Wakes the engine's second thread while the first one waits for its disk: when a peer says something, or after a time.
//!
//! A thread in [`Alarm::wait`] is woken once for each [`Alarm::set`]. An alarm that comes too late wakes a thread which finds that
//! there is nothing to do.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

const BELL: u64 = 0;
const TIMER: u64 = 1;
const PEERS: u64 = 2;
const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// See the module.
#[derive(Debug)]
pub(crate) struct Alarm {
    epoll: OwnedFd,
    /// The event queue of the peers: readable when one of them says something.
    peers: Arc<OwnedFd>,
    timer: OwnedFd,
    /// Rings when nobody is to wait any more.
    bell: OwnedFd,
}

impl Alarm {
    pub(super) fn new(peers: Arc<OwnedFd>) -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        epoll::add(&epoll, &*peers, EventData::new_u64(PEERS), EventFlags::ONESHOT)?;
        Ok(Alarm { epoll, peers, timer, bell })
    }

    /// Wakes somebody after this time, and before that if `listen` and a peer says something, or has said it already.
    pub(crate) fn set(&self, listen: bool, after: Duration) {
        if listen {
            self.attend(EventFlags::IN | EventFlags::ONESHOT);
        }
        // All zeros would turn it off.
        let it_value = Timespec::try_from(after.max(Duration::from_nanos(1))).unwrap_or(NEVER);
        let at = Itimerspec { it_interval: NEVER, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &at).expect("the timer is open, and the time is one");
    }

    /// Stops waking for what peers say.
    pub(crate) fn rest(&self) {
        self.attend(EventFlags::ONESHOT);
    }

    fn attend(&self, flags: EventFlags) {
        epoll::modify(&self.epoll, &*self.peers, EventData::new_u64(PEERS), flags).expect("it is in the event queue");
    }

    /// Blocks until it goes off; false once nobody is to wait any more.
    pub(crate) fn wait(&self) -> bool {
        let mut events = Vec::with_capacity(3);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => panic!("the event queue is open: {error}"),
            }
        }
        // Fails only when it is unreadable already.
        let _ = rustix::io::read(&self.timer, &mut [0u8; 8]);
        events.iter().all(|event: &epoll::Event| event.data.u64() != BELL)
    }

    /// Ends all waits, for good.
    pub(crate) fn stop(&self) {
        // Refused only when the counter is full: then it is readable, which is all that is wanted.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}
