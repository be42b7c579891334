//! Records the last events for the analysis of a failed run: a few words each, formatted only on
//! request.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;

/// Number of events to remember.
const EVENTS_MAX: usize = 200;

#[derive(Clone, Copy, Debug)]
struct Event {
    now_ms: u64,
    server: usize,
    what: &'static str,
    numbers: [u64; 2],
}

thread_local! {
    static EVENTS: RefCell<VecDeque<Event>> = const { RefCell::new(VecDeque::new()) };
}

/// Forgets all events.
pub fn clear() {
    EVENTS.with_borrow_mut(VecDeque::clear);
}

/// Records an event at a server.
pub fn note(now_ms: u64, server: usize, what: &'static str, numbers: [u64; 2]) {
    EVENTS.with_borrow_mut(|events| {
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { now_ms, server, what, numbers });
    });
}

/// Formats the last events of this thread's run, one per line. Servers are numbered from 1.
pub fn text() -> String {
    EVENTS.with_borrow(|events| {
        let mut text = String::new();
        for Event { now_ms, server, what, numbers: [a, b] } in events {
            let _ = writeln!(text, "{now_ms:>8} ms  server {}  {what} {a} {b}", server + 1);
        }
        text
    })
}
