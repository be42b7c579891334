//! Moves something to the last requested place: one attempt at a time, on a separate thread because
//! name resolution is slow.
//!
//! Invariant: the requester does not wait; when the thread ends, the last requested place was the
//! last one tried.

use std::io;
use std::sync::Arc;

use crate::handoff::errand::Errand;
use crate::thread::spawn;
use oxkeeper_config::HostPort;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rebind {
    errand: Errand<HostPort>,
}

impl Rebind {
    /// Returns whether an earlier requested place is still being tried.
    pub(crate) fn is_busy(&self) -> bool {
        self.errand.is_busy()
    }

    /// Calls `go` with `place` on the thread, unless another place is requested first.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(crate) fn send(
        self: &Arc<Self>,
        place: HostPort,
        name: &str,
        go: impl Fn(&HostPort) + Send + 'static,
    ) -> io::Result<()> {
        let rebind = self.clone();
        let set_out = move || {
            while let Some(place) = rebind.errand.next() {
                go(&place);
            }
        };
        self.errand.ask(place, || spawn(name, set_out).map(drop))
    }
}

/// Opens a new place. Returns the listener to use from now on and, on failure, the error; in that
/// case the listener is the reopened old one, if it had to be closed. The old one is closed first
/// only if it is in the way.
pub(crate) fn reopen<T>(
    is_same_port: bool,
    open: impl Fn() -> io::Result<T>,
    close: impl FnOnce(),
    open_again: impl FnOnce() -> Option<T>,
) -> (Option<T>, Option<io::Error>) {
    match open() {
        Ok(opened) => {
            close();
            (Some(opened), None)
        }
        Err(problem) if !is_same_port || problem.kind() != io::ErrorKind::AddrInUse => (None, Some(problem)),
        Err(_) => {
            close();
            match open() {
                Ok(opened) => (Some(opened), None),
                Err(problem) => (open_again(), Some(problem)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    fn at(port: u16) -> HostPort {
        HostPort { host: None, port }
    }

    #[test]
    fn the_last_place_wins_and_tries_do_not_overlap() {
        let rebind = Arc::new(Rebind::default());
        let (tried, tries) = mpsc::channel();
        let (go_on, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let go = move |place: &HostPort| {
            tried.send(place.port).expect("the test listens");
            gate.lock().recv().expect("the test goes on");
        };
        let patience = Duration::from_secs(10);
        rebind.send(at(1), "move", go).expect("a thread");
        assert_eq!(tries.recv_timeout(patience), Ok(1));
        for port in [2, 3, 1] {
            rebind.send(at(port), "move", |_| unreachable!("one thread is enough")).expect("no thread is needed");
        }
        assert!(rebind.is_busy());
        go_on.send(()).expect("it waits");
        assert_eq!(tries.recv_timeout(patience), Ok(1), "of all places wanted meanwhile the last one");
        go_on.send(()).expect("it waits");
        while rebind.is_busy() {
            std::thread::yield_now();
        }
        assert!(tries.try_recv().is_err());
    }

    #[test]
    fn the_old_place_is_closed_first_only_where_it_is_in_the_way() {
        let fails = |kind: io::ErrorKind| move || Err::<u8, _>(kind.into());
        let closed = Cell::new(0);
        let close = || closed.set(closed.get() + 1);
        let (opened, problem) = reopen(true, fails(io::ErrorKind::NotFound), close, || Some(1));
        assert!(opened.is_none() && problem.is_some() && closed.get() == 0, "a name that is not known");
        let (opened, problem) = reopen(false, fails(io::ErrorKind::AddrInUse), close, || Some(1));
        assert!(opened.is_none() && problem.is_some() && closed.get() == 0, "somebody else's port");
        let (opened, problem) = reopen(true, fails(io::ErrorKind::AddrInUse), close, || Some(1));
        assert!(opened == Some(1) && problem.is_some() && closed.get() == 1, "back at the old place");
        let in_the_way = || if closed.get() < 2 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(2) };
        let (opened, problem) = reopen(true, in_the_way, close, || Some(1));
        assert!(opened == Some(2) && problem.is_none() && closed.get() == 2);
    }
}
