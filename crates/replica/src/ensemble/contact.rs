//! Time at which a server last heard the others it depends on: a leader its majority, any other
//! server its leader.
//!
//! Invariant: session clocks go by the time at which the others were heard. Forgiving a pause of
//! this server's own keeps it in office, but moves no clock: no client could be heard during the
//! pause.

/// Contact state; see the module. Times are monotonic, ms.
#[derive(Debug)]
pub(super) struct Contact {
    /// Silence longer than this is lost contact.
    patience_ms: u64,
    started_ms: u64,
    /// Time of the last call to `advance`.
    now_ms: u64,
    heard_ms: Option<u64>,
    /// Time from which silence counts: `heard_ms`, or later by a pause of this server's own.
    counts_from_ms: Option<u64>,
    forgave_pause: bool,
}

impl Contact {
    /// Creates a contact that has heard no one.
    pub(super) fn new(patience_ms: u64, now_ms: u64) -> Contact {
        Contact { patience_ms, started_ms: now_ms, now_ms, heard_ms: None, counts_from_ms: None, forgave_pause: false }
    }

    /// Advances the time. A stretch in which this server itself stood still is not silence of the
    /// others. It is forgiven once, until they are heard again: a leader without followers must
    /// step back however slow its disk is.
    pub(super) fn advance(&mut self, now_ms: u64) {
        let gap_ms = now_ms.saturating_sub(std::mem::replace(&mut self.now_ms, now_ms));
        if gap_ms > self.patience_ms / 2 && !self.forgave_pause {
            self.counts_from_ms = self.counts_from_ms.map(|from_ms| from_ms + gap_ms);
            self.forgave_pause = true;
        }
    }

    /// Notes when the others were last heard.
    pub(super) fn note_heard(&mut self, at_ms: Option<u64>) {
        let at_ms = at_ms.map(|at_ms| at_ms.min(self.now_ms));
        self.heard_ms = self.heard_ms.max(at_ms);
        if at_ms > self.counts_from_ms {
            (self.counts_from_ms, self.forgave_pause) = (at_ms, false);
        }
    }

    /// Returns the time of the last call to `advance`.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Returns the time at which the others were last heard.
    pub(super) fn heard_ms(&self) -> Option<u64> {
        self.heard_ms
    }

    /// Returns whether the others were heard recently enough.
    pub(super) fn is_recent(&self, now_ms: u64) -> bool {
        self.counts_from_ms.is_some_and(|from_ms| now_ms <= from_ms + self.patience_ms)
    }

    /// Returns how long the others have been silent, at most since the start.
    pub(super) fn silent_for_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.counts_from_ms.unwrap_or(self.started_ms))
    }

    /// Asserts every invariant.
    pub(super) fn check(&self) {
        let Contact { heard_ms, counts_from_ms, now_ms, .. } = self;
        assert!(heard_ms <= counts_from_ms, "invariant: heard at {heard_ms:?}, it counts from {counts_from_ms:?}");
        assert!(
            *counts_from_ms <= Some(*now_ms),
            "invariant: it was in contact at {counts_from_ms:?}, now it is {now_ms}"
        );
    }
}
