//! Promise: ctime and mtime are what the clock of the server that packed the entry shows. Where it shows less than before, by
//! at most ten seconds, they are the time before: small steps back are not seen. After a larger one they are right at once.

/// A step back that is not seen, at most, ms.
const HELD_MS: i64 = 10_000;

/// The time of what is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    last_ms: i64,
}

impl Times {
    /// The next entry was packed when it was `told_ms` there.
    pub fn told(&mut self, told_ms: i64) {
        let is_seen = self.last_ms - told_ms > HELD_MS;
        self.last_ms = if is_seen { told_ms } else { self.last_ms.max(told_ms) };
    }

    /// The time of what that entry does, Unix ms.
    pub fn now_ms(&self) -> i64 {
        self.last_ms
    }
}
