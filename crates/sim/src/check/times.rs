//! Promise: ctime and mtime are the time shown by the clock of the server that packed the entry. If
//! that time is earlier than before by at most ten seconds, the previous time is used: small steps
//! back are not visible. After a larger step back, the times follow the clock at once.

/// Largest step back that is hidden, ms.
const HELD_MS: i64 = 10_000;

/// Time of the entries applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    last_ms: i64,
}

impl Times {
    /// Takes the time at which the next entry was packed, by the clock of the server that packed
    /// it.
    pub fn told(&mut self, told_ms: i64) {
        let is_seen = self.last_ms - told_ms > HELD_MS;
        self.last_ms = if is_seen { told_ms } else { self.last_ms.max(told_ms) };
    }

    /// Returns the time of that entry's changes, Unix ms.
    pub fn now_ms(&self) -> i64 {
        self.last_ms
    }
}
