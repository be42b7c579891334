//! What happened last, for whoever looks at a run that failed: a few words an event, formatted only when asked for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;

/// Events remembered.
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

/// Begins anew.
pub fn clear() {
    EVENTS.with_borrow_mut(VecDeque::clear);
}

/// Something happened to a server.
pub fn note(now_ms: u64, server: usize, what: &'static str, numbers: [u64; 2]) {
    EVENTS.with_borrow_mut(|events| {
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { now_ms, server, what, numbers });
    });
}

/// The last events of this thread's run, a line each. Servers are numbered from 1.
pub fn text() -> String {
    EVENTS.with_borrow(|events| {
        let mut text = String::new();
        for Event { now_ms, server, what, numbers: [a, b] } in events {
            let _ = writeln!(text, "{now_ms:>8} ms  server {}  {what} {a} {b}", server + 1);
        }
        text
    })
}
