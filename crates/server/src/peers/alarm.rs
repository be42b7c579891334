//! Wakes the engine's second thread while the first one waits for its disk: when a peer sends
//! something, or after a timeout.
//!
//! Each [`Alarm::set`] wakes a thread in [`Alarm::wait`] once. A late alarm wakes a thread that
//! then finds nothing to do.

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
    /// The peers' event queue, readable when one of them sends something.
    peers: Arc<OwnedFd>,
    timer: OwnedFd,
    /// Readable once all waits are to end.
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

    /// Sets the alarm to `after`, or earlier if `listen` is true and a peer sends or has sent
    /// something.
    pub(crate) fn set(&self, listen: bool, after: Duration) {
        if listen {
            self.attend(EventFlags::IN | EventFlags::ONESHOT);
        }
        // A zero time would disarm the timer.
        let it_value = Timespec::try_from(after.max(Duration::from_nanos(1))).unwrap_or(NEVER);
        let at = Itimerspec { it_interval: NEVER, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &at).expect("the timer is open, and the time is one");
    }

    /// Stops watching the peers.
    pub(crate) fn rest(&self) {
        self.attend(EventFlags::ONESHOT);
    }

    fn attend(&self, flags: EventFlags) {
        epoll::modify(&self.epoll, &*self.peers, EventData::new_u64(PEERS), flags).expect("it is in the event queue");
    }

    /// Blocks until the alarm goes off. Returns false once all waits are to end.
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
        // This fails only if it is already unreadable.
        let _ = rustix::io::read(&self.timer, &mut [0u8; 8]);
        events.iter().all(|event: &epoll::Event| event.data.u64() != BELL)
    }

    /// Ends all waits, permanently.
    pub(crate) fn stop(&self) {
        // This fails only if the counter is full; the descriptor is then readable, as intended.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}
